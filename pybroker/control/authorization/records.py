"""Single records: one rule of one principal and topic, as forms and scripts add, change and delete it.

A topic that a list repeats counts as one record: an edit replaces all its entries by one, a deletion removes all.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Literal, NamedTuple

import msgspec

from pybroker.clock import Clock
from pybroker.control.authorization.checks import check_lists
from pybroker.control.authorization.lists import Principal, Rules
from pybroker.control.authorization.rules import RuleBook
from pybroker.errors import Refused
from pybroker.persistence.records import AccessRule, PrincipalKind

KINDS: tuple[PrincipalKind, ...] = ("clientid", "username", "all")


class RuleRecord(NamedTuple):
    """One rule and whose it is."""

    principal: Principal
    rule: AccessRule


class RecordFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which records to list.

    Args:
        kind: `None`: all three.
        like_name: part of the client id or user name, by kind; records of other kinds do not fit.
        like_topic: part of the topic.
    """

    namespace: str | None
    kind: PrincipalKind | None = None
    like_clientid: str | None = None
    like_username: str | None = None
    like_topic: str | None = None

    @property
    def is_searching(self) -> bool:
        """Whether every list must be looked at."""
        return any(text is not None for text in (self.like_clientid, self.like_username, self.like_topic))

    def fits(self, principal: Principal) -> bool:
        """Return whether a list may hold records that fit."""
        wanted = {"clientid": self.like_clientid, "username": self.like_username}
        return all(text is None or (principal.kind == kind and text in principal.name) for kind, text in wanted.items())


class RuleRecords:
    """Reader and changer of single records.

    Args:
        book: the lists.
        clock: tells the time.
    """

    def __init__(self, book: RuleBook, clock: Clock) -> None:
        self._book = book
        self._clock = clock

    async def page(self, wanted: RecordFilter, offset: int, limit: int) -> tuple[list[RuleRecord], int | None, bool]:
        """Return some records, how many there are if nothing is searched, and whether more follow. O(offset)."""
        kinds = KINDS if wanted.kind is None else (wanted.kind,)
        count = None
        if not wanted.is_searching:
            count = sum(self._book.lists.count(wanted.namespace, kind) for kind in kinds)
        rows: list[RuleRecord] = []
        async for principal, every in self._lists(wanted, kinds):
            like = wanted.like_topic
            rules = every if like is None else tuple(rule for rule in every if like in rule.topic)
            if offset >= len(rules):
                offset -= len(rules)
                continue
            rows += [RuleRecord(principal, rule) for rule in rules[offset : offset + limit + 1 - len(rows)]]
            offset = 0
            if len(rows) > limit:
                return rows[:limit], count, True
        return rows, count, False

    async def put(self, principal: Principal, rule: AccessRule) -> Literal["created", "replaced"]:
        """Store one record in the place of the one that the principal has for the topic, else at the end.

        Raises:
            Refused: `BAD_REQUEST`: the rule is wrong, or the list is full; `EXCEED_LIMIT`.
        """
        check_lists({principal: (rule,)})

        async def work() -> Literal["created", "replaced"]:
            before = self._book.lists.rules_of(principal) or ()
            after, is_new = put_rule(before, rule)
            await self._book.commit({principal: after})
            return "created" if is_new else "replaced"

        return await self._book.run_alone(work)

    async def remove(self, principal: Principal, topic: str) -> Rules:
        """Delete what the principal has for a topic and return it; a list that becomes empty goes with it.

        Raises:
            Refused: `NOT_FOUND`.
        """

        async def work() -> Rules:
            before = self._book.find(principal)
            after = tuple(rule for rule in before if rule.topic != topic)
            if len(after) == len(before):
                raise Refused("NOT_FOUND", f"no rule of {principal.kind} {principal.name!r} for topic: {topic!r}")
            await self._book.commit({principal: after or None})
            return tuple(rule for rule in before if rule.topic == topic)

        return await self._book.run_alone(work)

    async def order_all(self, namespace: str | None, topics: Sequence[str]) -> None:
        """Put the rules of all users in the order of these topics; entries of one topic keep theirs.

        Raises:
            Refused: `BAD_REQUEST`: they are not the topics of the list, each once.
        """
        principal = Principal(namespace, "all", "")

        async def work() -> None:
            rules = self._book.lists.rules_of(principal) or ()
            places = {topic: place for place, topic in enumerate(topics)}
            known = {rule.topic for rule in rules}
            repeated = [topic for topic, times in Counter(topics).items() if times > 1]
            wrong = [*repeated, *sorted(known.symmetric_difference(places))]
            if wrong:
                raise Refused("BAD_REQUEST", f"order must name every topic of the list once, see: {wrong[:10]}")
            await self._book.commit({principal: tuple(sorted(rules, key=lambda rule: places[rule.topic]))})

        await self._book.run_alone(work)

    def stamped(self, rule: AccessRule) -> AccessRule:
        """Return a rule as made now."""
        now_ms = self._clock.wall_ms()
        return msgspec.structs.replace(rule, created_ms=now_ms, updated_ms=now_ms)

    async def _lists(
        self, wanted: RecordFilter, kinds: Sequence[PrincipalKind]
    ) -> AsyncIterator[tuple[Principal, Rules]]:
        """Yield the lists that may hold records that fit; the loop gets its turn between some of them."""
        lists = self._book.lists
        for kind in kinds:
            for block in lists.names(wanted.namespace, kind).blocks():
                for name in block:
                    principal = Principal(wanted.namespace, kind, name)
                    # Gone meanwhile, perhaps.
                    rules = lists.rules_of(principal) if wanted.fits(principal) else None
                    if rules is not None:
                        yield principal, rules
                await asyncio.sleep(0)


def put_rule(rules: Rules, rule: AccessRule) -> tuple[Rules, bool]:
    """Return a list with a rule in the place of the first of its topic, the others of it gone, and whether it is new.

    The new one keeps the time at which the old one was made.
    """
    at = next((index for index, old in enumerate(rules) if old.topic == rule.topic), None)
    if at is None:
        return (*rules, rule), True
    kept = msgspec.structs.replace(rule, created_ms=rules[at].created_ms or rule.created_ms)
    rest = tuple(old for old in rules[at + 1 :] if old.topic != rule.topic)
    return (*rules[:at], kept, *rest), False
