"""The built-in rules: who may change them, how a change is checked, stored and put into force.

Every change takes the one lock, is checked whole, is written in one transaction and is then compiled and swapped in.
Whoever was cancelled meanwhile stops waiting, the change ends all the same: nobody sees half of one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from pybroker.auth.sources.built_in import BuiltInRules
from pybroker.config.sections.access import BuiltInSource
from pybroker.control.authorization.checks import check_lists
from pybroker.control.authorization.lists import Principal, RuleLists, Rules, Updates, core_lists
from pybroker.control.caller import Caller
from pybroker.control.configuration import Configuration
from pybroker.control.namespaces.managed import ManagedNamespaces
from pybroker.errors import Refused
from pybroker.persistence.records import PrincipalKind
from pybroker.persistence.sqlite import Database
from pybroker.persistence.table import Change, apply_all
from pybroker.slices import let_go

BUILT_IN = "built_in_database"
MAX_RULES = 100_000
"""Rules in all, whatever the number of connections. Seed: Default Authorization."""

_MANY = 250
"""Lists or rules from which on work is done in a thread; so many take about a millisecond."""

_BLOCKS_A_TURN = 8
"""Blocks of names that are searched before the loop gets its turn: half a millisecond."""

T = TypeVar("T")


class RuleBook:
    """Reader and changer of the lists.

    Args:
        database: keeps them.
        lists: in memory.
        compiled: what clients are judged by.
        namespaces: those that exist.
        configuration: knows the sources and the number of connections.
    """

    def __init__(
        self,
        database: Database,
        lists: RuleLists,
        compiled: BuiltInRules,
        namespaces: ManagedNamespaces,
        configuration: Configuration,
    ) -> None:
        self._database = database
        self._compiled = compiled
        self._namespaces = namespaces
        self._configuration = configuration
        self._lock = asyncio.Lock()
        self.lists = lists

    @property
    def limit(self) -> int:
        """Most rules in all: twice the connections that the licence allows, 100,000 at most."""
        quota = self._configuration.current.license.connection_quota
        return min(2 * quota, MAX_RULES) if quota else MAX_RULES

    @property
    def source(self) -> BuiltInSource:
        """Settings of the source.

        Raises:
            Refused: `NOT_FOUND`: it is not configured.
        """
        for source in self._configuration.current.authorization.sources:
            if isinstance(source, BuiltInSource):
                return source
        raise Refused("NOT_FOUND", f"source is not configured: {BUILT_IN!r}")

    async def load(self) -> None:
        """Read what is stored and put it into force.

        Raises:
            StoreError: a record cannot be read.
        """
        await self.lists.load()
        self._compiled.read_from(lambda: core_lists(self._every()))
        await self._compiled.load(core_lists(self._every()))

    def scope(self, caller: Caller, namespace: str | None) -> str | None:
        """Return the namespace that a caller works in, `None` for the global one.

        Args:
            namespace: that he named, if he did.

        Raises:
            Refused: `NOT_FOUND`: the source is not configured; `FORBIDDEN`: it is not his own; `BAD_REQUEST`: it does
                not exist.
        """
        _ = self.source
        return self.space(caller, namespace)

    def space(self, caller: Caller, namespace: str | None) -> str | None:
        """Return what `scope` does, whether or not the source is configured.

        Raises:
            Refused: `FORBIDDEN`: the namespace is not his own; `BAD_REQUEST`: it does not exist.
        """
        if caller.namespace is not None:
            if namespace not in (None, caller.namespace):
                raise Refused("FORBIDDEN", f"namespace is not yours: {namespace!r}")
            return caller.namespace
        self._namespaces.check(namespace)
        return namespace

    def find(self, principal: Principal) -> Rules:
        """Return the rules of a principal.

        Raises:
            Refused: `NOT_FOUND`.
        """
        rules = self.lists.rules_of(principal)
        if rules is None:
            raise Refused("NOT_FOUND", f"no rules of {principal.kind}: {principal.name!r}")
        return rules

    async def page(
        self, namespace: str | None, kind: PrincipalKind, like: str | None, offset: int, limit: int
    ) -> tuple[list[tuple[str, Rules]], int | None, bool]:
        """Return some lists in the order of their names, how many there are, and whether more follow.

        Args:
            like: part of the names; if it is given, how many there are is `None`.
        """
        names = self.lists.names(namespace, kind)
        if like is None:
            count, chosen = len(names), names.page(offset, limit)
        else:
            count, chosen = await self._search(namespace, kind, like, offset, limit)
        # One of them may be gone since it was found.
        found = [(name, self.lists.rules_of(Principal(namespace, kind, name))) for name in chosen]
        rows = [(name, rules) for name, rules in found if rules is not None]
        return rows, count if like is None else None, offset + len(chosen) < count

    async def _search(
        self, namespace: str | None, kind: PrincipalKind, like: str, offset: int, limit: int
    ) -> tuple[int, list[str]]:
        """Return how many names hold a text, and some of them; the loop gets its turn meanwhile."""
        fitting: list[str] = []
        for at, block in enumerate(self.lists.names(namespace, kind).blocks(), 1):
            fitting += [name for name in block if like in name]
            if at % _BLOCKS_A_TURN == 0:
                await asyncio.sleep(0)
        return len(fitting), fitting[offset : offset + limit]

    async def create(self, updates: Mapping[Principal, Rules]) -> None:
        """Store the lists of principals that have none.

        Raises:
            Refused: `ALREADY_EXISTS`: one has, then nothing is stored; and as `replace`.
        """

        async def work() -> None:
            if len(updates) > _MANY:
                await asyncio.to_thread(self._check_absent, updates)
            else:
                self._check_absent(updates)
            await self.commit(updates)

        await self._check(updates)
        await self.run_alone(work)

    async def replace(self, principal: Principal, rules: Rules) -> None:
        """Store the list of a principal whether or not it has one.

        Raises:
            Refused: `BAD_REQUEST`: a rule is wrong or there are too many; `EXCEED_LIMIT`; `NOT_FOUND`: the source is
                not configured.
        """
        await self._check({principal: rules})
        await self.run_alone(lambda: self.commit({principal: rules}))

    async def remove(self, principal: Principal, *, may_be_missing: bool = False) -> None:
        """Delete the list of a principal.

        Raises:
            Refused: `NOT_FOUND`: it has none.
        """

        async def work() -> None:
            if not may_be_missing:
                self.find(principal)
            await self.commit({principal: None})

        await self.run_alone(work)

    async def purge(self, namespace: str | None) -> None:
        """Delete every list of a namespace.

        Raises:
            Refused: `BAD_REQUEST`: the source is enabled; `NOT_FOUND`: it is not configured.
        """

        async def work() -> None:
            if self.source.enable:
                raise Refused("BAD_REQUEST", f"source must be disabled before: {BUILT_IN!r}")
            await self._remove_all([namespace])

        await self.run_alone(work)

    async def purge_all(self) -> None:
        """Delete every list of every namespace, because the source goes."""
        await self.run_alone(lambda: self._remove_all(self.lists.namespaces()))

    async def remove_namespace(self, namespace: str, remove: Callable[[Sequence[Change]], Awaitable[None]]) -> None:
        """Delete every list of a namespace together with the namespace itself.

        Args:
            remove: makes these changes and its own as one transaction.
        """

        async def work() -> None:
            updates = await asyncio.to_thread(self._removal, [namespace])
            await remove(await asyncio.to_thread(self.lists.changes, updates))
            await self._put_in_force(updates)

        await self.run_alone(work)

    async def run_alone(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do something that nobody else may change rules in the middle of; it ends even if its caller is cancelled."""

        async def locked() -> T:
            async with self._lock:
                return await work()

        return await asyncio.shield(asyncio.ensure_future(locked()))

    async def commit(self, updates: Updates) -> None:
        """Store checked lists and put them into force; to be called by the work of `run_alone`.

        Many of them are gone from their dictionary afterwards, so that nobody has to free them at once.

        Raises:
            Refused: `BAD_REQUEST`: a list is too long; `EXCEED_LIMIT`: there would be too many rules; `NOT_FOUND`: the
                source is not configured.
            StoreError: nothing is stored.
        """
        max_rules = self.source.max_rules
        if len(updates) > _MANY:
            await asyncio.to_thread(self._check_sizes, updates, max_rules)
        else:
            self._check_sizes(updates, max_rules)
        await self.store(updates)

    def _check_absent(self, updates: Updates) -> None:
        """Raise what `create` raises; called while the lists cannot change."""
        for principal in updates:
            if self.lists.rules_of(principal) is not None:
                raise Refused("ALREADY_EXISTS", f"{principal.kind} has rules: {principal.name!r}")

    def _check_sizes(self, updates: Updates, max_rules: int) -> None:
        """Raise what `commit` raises; called while the lists cannot change."""
        growth = 0
        for principal, rules in updates.items():
            before = self.lists.rules_of(principal) or ()
            size = len(rules or ())
            growth += size - len(before)
            if size > max(max_rules, len(before)):
                raise Refused(
                    "BAD_REQUEST", f"too many rules of {principal.kind} {principal.name!r}: max_rules {max_rules}"
                )
        if growth > 0 and self.lists.total + growth > self.limit:
            raise Refused("EXCEED_LIMIT", f"too many rules in all: {self.lists.total + growth}, limit {self.limit}")

    async def _remove_all(self, namespaces: Sequence[str | None]) -> None:
        await self.store(await asyncio.to_thread(self._removal, namespaces))

    def _removal(self, namespaces: Sequence[str | None]) -> dict[Principal, Rules | None]:
        """Return updates that remove every list of some namespaces; called while the lists cannot change."""
        return {one: None for namespace in namespaces for one in self.lists.principals_of(namespace)}

    async def store(self, updates: Updates) -> None:
        """Do what `commit` does with lists of which it is known that they are not too long."""
        if len(updates) > _MANY:
            changes = await asyncio.to_thread(self.lists.changes, updates)
        else:
            changes = self.lists.changes(updates)
        await apply_all(self._database, changes)
        await self._put_in_force(updates)

    async def _put_in_force(self, updates: Updates) -> None:
        """Compile lists that are stored, and let go of many that nobody needs any more."""
        await self._compiled.replace(core_lists(updates.items()))
        if len(updates) > _MANY and isinstance(updates, dict):
            await asyncio.to_thread(let_go, updates)

    async def _check(self, updates: Mapping[Principal, Rules]) -> None:
        """Check every rule.

        Raises:
            Refused: `BAD_REQUEST` with the first that is wrong.
        """
        if len(updates) > _MANY or sum(map(len, updates.values())) > _MANY:
            await asyncio.to_thread(check_lists, updates)
        else:
            check_lists(updates)

    def _every(self) -> Iterator[tuple[Principal, Rules]]:
        """Return every list as it is now; they may change while they are gone through."""
        records = tuple(self.lists.records.values())
        return ((Principal(record.namespace, record.kind, record.name), record.rules) for record in records)
