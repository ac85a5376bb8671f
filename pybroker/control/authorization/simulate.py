"""What other rules or another mode would do to the subscriptions that clients have now. Nothing takes effect.

Judged are live and stored sessions with the facts that they have now, by the chain as it would be. A subscription that
only a remote source could decide is told as undecided: it is not asked.
"""

import asyncio
from collections.abc import Mapping
from typing import Literal

import msgspec

from pybroker._core import AccessChain
from pybroker.control.authorization.checks import check_lists
from pybroker.control.authorization.lists import Principal, Rules, core_lists
from pybroker.control.authorization.rules import BUILT_IN, RuleBook
from pybroker.control.authorization.settings import Mode
from pybroker.control.plane import Plane

Change = Literal["lost", "gained", "undecided"]

_Found = tuple[int, str, int, Change]
"""Session, filter, granted QoS and what would come of it."""

_SLICE = 1_000
"""Sessions that are judged at a time."""

_NO_MATCH: Mapping[Mode, Literal["allow", "deny"]] = {"blacklist": "allow", "whitelist": "deny"}


class Affected(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription whose right would be another one.

    Args:
        topic: filter as the client would write it.
    """

    clientid: str
    username: str | None
    namespace: str | None
    connected: bool
    topic: str
    qos: int
    change: Change


class Simulator:
    """Tries rules and modes.

    Args:
        plane: has the chain and the sessions.
        book: the built-in rules.
    """

    def __init__(self, plane: Plane, book: RuleBook) -> None:
        self._plane = plane
        self._book = book

    async def run(
        self,
        lists: Mapping[Principal, Rules],
        mode: Mode | None,
        offset: int,
        limit: int,
        *,
        replaces_all: bool = False,
        namespace: str | None = None,
        is_whole: bool = True,
    ) -> tuple[list[Affected], bool]:
        """Return some of the subscriptions that would be affected, by session, and whether more follow.

        Args:
            lists: in the place of those of the same principals.
            mode: `None`: as it is.
            replaces_all: whether all other lists of the namespace would go.
            namespace: whose clients and lists are looked at unless `is_whole`.

        Raises:
            Refused: `BAD_REQUEST`: a rule is wrong.
        """
        await asyncio.to_thread(check_lists, lists)
        chain = await self._chain(lists, mode, namespace, replaces_all=replaces_all)
        rows: list[Affected] = []
        cursor = 0
        while cursor >= 0 and len(rows) <= offset + limit:
            found, cursor = await asyncio.to_thread(self._judge, cursor, chain)
            shown = (self._row(one) for one in found)
            rows += [row for row in shown if row is not None and (is_whole or row.namespace == namespace)]
        return rows[offset : offset + limit], len(rows) > offset + limit

    async def _chain(
        self, lists: Mapping[Principal, Rules], mode: Mode | None, namespace: str | None, *, replaces_all: bool
    ) -> AccessChain:
        authorizer = self._plane.authorizer
        whole: dict[Principal, Rules | None] = {}
        if replaces_all:
            whole = dict.fromkeys(self._book.lists.principals_of(namespace))
        whole.update(lists)
        rules = await asyncio.to_thread(lambda: authorizer.built_in.rules.replace(core_lists(whole.items())))
        reading = rules.reading(authorizer.settings.subscribe_match)
        steps = [step._replace(rules=reading) if step.source.type == BUILT_IN else step for step in authorizer.steps]
        return authorizer.chain_of(steps, None if mode is None else _NO_MATCH[mode])

    def _judge(self, cursor: int, chain: AccessChain) -> tuple[list[_Found], int]:
        """Judge some sessions by the chain in force and by another one, in a thread."""
        engine = self._plane.engine
        before, _ = engine.recheck_access(cursor, _SLICE)
        after, following = engine.recheck_access(cursor, _SLICE, chain)
        denied = {(slot, filter): qos for slot, filter, qos, answer in before if answer == "deny"}
        found: list[_Found] = []
        for slot, filter, qos, answer in after:
            was_denied = denied.pop((slot, filter), None) is not None
            if answer == "ask":
                found.append((slot, filter, qos, "undecided"))
            elif not was_denied:
                found.append((slot, filter, qos, "lost"))
        found += [(slot, filter, qos, "gained") for (slot, filter), qos in denied.items()]
        return found, following

    def _row(self, found: _Found) -> Affected | None:
        slot, filter, qos, change = found
        session = self._plane.registry.at(slot)
        if session is None:
            return None
        return Affected(
            clientid=session.client_id,
            username=session.username,
            namespace=session.namespace,
            connected=session.is_online,
            topic=filter,
            qos=qos,
            change=change,
        )
