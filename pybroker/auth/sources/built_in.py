"""The rules of the broker's own database, compiled; the table that holds them belongs to `control`.

Whoever changes the table writes it first and then calls `load` (everything) or `replace` (the lists that changed).
Both compile in a thread and then swap: from the next packet on every client is judged by the new rules.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Literal, TypeAlias

from pybroker._core import AccessRules

RuleList: TypeAlias = tuple[str | None, Literal["clientid", "username", "all"], str, Sequence[Mapping[str, object]]]
"""One principal's rules: namespace (`None`: global), kind, name (`""` for all users), rules in their order. A rule is a
dictionary with the keys of the API (`topic`, `permission`, `action`, `qos`, `retain` and the conditions)."""


class BuiltInRules:
    """The compiled rules of all namespaces.

    Args:
        subscribe_match: how a rule must cover the filter of a subscription.
        profile: what a placeholder without a usable value does.
        template_allow: characters that values of placeholders may hold.
    """

    def __init__(
        self,
        subscribe_match: Literal["strict", "strict_overlap", "emqx"] = "strict",
        profile: Literal["legacy", "hardened"] = "legacy",
        template_allow: Sequence[Literal["plus", "hash", "slash"]] = (),
    ) -> None:
        self._compile = partial(AccessRules.compile, subscribe_match=subscribe_match, profile=profile)
        self._template_allow = tuple(template_allow)
        self._kept: Callable[[], Iterable[RuleList]] = lambda: ()
        self._rules = self._compile((), template_allow=self._template_allow)
        self._lock = asyncio.Lock()
        self._on_swap: Callable[[], None] = lambda: None

    @property
    def rules(self) -> AccessRules:
        """Rules in force, to be asked or explained; immutable, `len` is their number."""
        return self._rules

    def listen(self, on_swap: Callable[[], None]) -> None:
        """Call `on_swap` after every change, instead of whoever was called before."""
        self._on_swap = on_swap

    def read_from(self, kept: Callable[[], Iterable[RuleList]]) -> None:
        """Compile what `kept` returns where everything has to be compiled anew, instead of whoever was asked before.

        Args:
            kept: called on the loop; what it returns is read in another thread while lists may change.
        """
        self._kept = kept

    async def allow(self, template_allow: Sequence[Literal["plus", "hash", "slash"]]) -> None:
        """Let values of placeholders hold these characters; compiles everything anew if that is a change."""
        async with self._lock:
            if self._template_allow != tuple(template_allow):
                self._template_allow = tuple(template_allow)
                # Whoever changes a list does so before he waits here to have it compiled: nothing is missed.
                lists = self._kept()
                await self._swap(lambda: self._compile(lists, template_allow=self._template_allow))

    async def load(self, lists: Iterable[RuleList]) -> None:
        """Put `lists` in the place of everything. They are read in another thread, one by one.

        Raises:
            RulesError: some are not valid; nothing has changed.
        """
        async with self._lock:
            await self._swap(lambda: self._compile(lists, template_allow=self._template_allow))

    async def replace(self, lists: Iterable[RuleList]) -> None:
        """Put these lists in the place of those of the same principals; one without rules removes. Raises as `load`."""
        async with self._lock:
            await self._swap(lambda: self._rules.replace(lists))

    async def _swap(self, compile_rules: Callable[[], AccessRules]) -> None:
        self._rules = await asyncio.to_thread(compile_rules)
        self._on_swap()
