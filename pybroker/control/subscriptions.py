"""Subscriptions and topics of the whole broker, page by page.

The core gives them behind a cursor; a page further back is reached by passing over those before it, a slice at a time,
so that the loop gets its turn. Where the caller wants page after page, the cursor of the next one is remembered.
"""

import asyncio
from typing import Generic, NamedTuple, TypeVar

import msgspec

from pybroker.control.clients import Clients, check_filter, inner_filter
from pybroker.control.cursors import SLICE, Cursors, skip_and_take
from pybroker.control.plane import Plane
from pybroker.errors import Refused

_JUDGED = 250
"""Subscriptions whose filters are judged before the loop gets its turn: some 2 ms of the dearest judgement."""

R = TypeVar("R")


class Subscription(NamedTuple):
    """One subscription.

    Args:
        filter: as routed, with its group in front.
        options: options byte of SUBSCRIBE.
        mountpoint: prefix of the client's topics; empty for none.
    """

    client_id: str
    filter: str
    options: int
    mountpoint: str = ""

    @property
    def client_filter(self) -> str:
        """Return the filter as the client knows it, its group in front."""
        inner = inner_filter(self.filter) or self.filter
        return self.filter.removesuffix(inner) + inner.removeprefix(self.mountpoint)


class SubscriptionFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which subscriptions to list; every field that is not `None` must fit.

    Args:
        client_id: of the subscriber.
        topic: the filter itself.
        match_topic: a filter that matches the subscription's one, read as a name.
        share_group: of shared ones.
    """

    client_id: str | None = None
    qos: int | None = None
    topic: str | None = None
    match_topic: str | None = None
    share_group: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether everything fits."""
        return self == SubscriptionFilter()

    def fits(self, subscription: Subscription) -> bool:
        """Return whether one subscription fits, its client apart."""
        filter = subscription.filter
        return (
            (self.qos is None or subscription.options & 3 == self.qos)
            and (self.topic is None or filter == self.topic)
            and (self.share_group is None or filter.startswith(f"$share/{self.share_group}/"))
            and (self.match_topic is None or matches(inner_filter(filter) or filter, self.match_topic))
        )


class Found(NamedTuple, Generic[R]):
    """Some rows.

    Args:
        total: how many there are; `None`: not known.
    """

    rows: list[R]
    total: int | None
    has_next: bool


class Subscriptions:
    """Reader of the subscriptions.

    Args:
        plane: holds them.
        clients: finds the subscriber.
    """

    def __init__(self, plane: Plane, clients: Clients) -> None:
        self._plane = plane
        self._clients = clients
        self._cursors = Cursors()
        self._topic_cursors = Cursors()

    def of_client(self, client_id: str) -> list[Subscription]:
        """Return the subscriptions of a client.

        Raises:
            Refused: `CLIENTID_NOT_FOUND`.
        """
        session = self._clients.find(client_id)
        listed = self._plane.engine.subscriptions(session.slot)
        return [Subscription(session.client_id, filter, options, session.mountpoint) for filter, options, _ in listed]

    async def page(self, wanted: SubscriptionFilter, offset: int, limit: int) -> Found[Subscription]:
        """Return the subscriptions that fit behind the first `offset`.

        Raises:
            Refused: `INVALID_PARAMETER`: `match_topic` is no filter, or a shared one.
        """
        if wanted.match_topic is not None:
            if wanted.match_topic.startswith(("$share/", "$queue/")):
                raise Refused("INVALID_PARAMETER", f"match_topic must not be shared: {wanted.match_topic!r}")
            check_filter(self._plane, wanted.match_topic)
        if wanted.client_id is not None:
            return self._page_of_client(wanted, wanted.client_id, offset, limit)
        if wanted.is_empty:
            return await self._page_of_all(offset, limit)
        return await self._page_of_some(wanted, offset, limit)

    async def page_topics(self, offset: int, limit: int) -> Found[str]:
        """Return the distinct filters that somebody subscribes to, without groups, behind the first `offset`."""
        engine = self._plane.engine
        total = engine.stats()["topics"]
        rows, has_next = await skip_and_take(engine.page_topics, self._topic_cursors.of(total), offset, limit)
        return Found([inner_filter(filter) or filter for filter in rows], total, has_next)

    async def topics_like(self, topic: str) -> list[str]:
        """Return a filter if somebody subscribes to it, in a group or not; O(topics), in slices.

        Raises:
            Refused: `INVALID_PARAMTER`: it is no filter.
        """
        check_filter(self._plane, topic, "INVALID_PARAMTER")
        found: list[str] = []
        cursor = 0
        while cursor >= 0:
            rows, cursor = self._plane.engine.page_topics(cursor, SLICE)
            found += [topic for filter in rows if (inner_filter(filter) or filter) == topic]
            await asyncio.sleep(0)
        return found

    def _page_of_client(
        self, wanted: SubscriptionFilter, client_id: str, offset: int, limit: int
    ) -> Found[Subscription]:
        try:
            rows = [one for one in self.of_client(client_id) if wanted.fits(one)]
        except Refused:
            rows = []
        count = None if wanted.match_topic is not None else len(rows)
        return Found(rows[offset : offset + limit], count, len(rows) > offset + limit)

    async def _page_of_all(self, offset: int, limit: int) -> Found[Subscription]:
        engine = self._plane.engine
        total = engine.stats()["subscriptions"]
        rows, has_next = await skip_and_take(engine.page_subscriptions, self._cursors.of(total), offset, limit)
        named: list[Subscription] = []
        for start in range(0, len(rows), SLICE):
            named += self._named(rows[start : start + SLICE])
            await asyncio.sleep(0)
        return Found(named, total, has_next)

    async def _page_of_some(self, wanted: SubscriptionFilter, offset: int, limit: int) -> Found[Subscription]:
        """Look at every subscription; only until the page is full where the total is not told."""
        is_fuzzy = wanted.match_topic is not None
        kept: list[Subscription] = []
        seen, cursor, end = 0, 0, offset + limit
        while cursor >= 0 and not (is_fuzzy and seen > end):
            listed, cursor = self._plane.engine.page_subscriptions(cursor, _JUDGED)
            fitting = [one for one in self._named(listed) if wanted.fits(one)]
            kept += fitting[max(0, offset - seen) : max(0, end - seen)]
            seen += len(fitting)
            await asyncio.sleep(0)
        return Found(kept, None if is_fuzzy else seen, seen > end)

    def _named(self, listed: list[tuple[int, str, int, int]]) -> list[Subscription]:
        """Return rows of the core with client ids; those of a session that has just ended are left out."""
        at = self._plane.registry.at
        return [
            Subscription(session.client_id, filter, options, session.mountpoint)
            for slot, filter, options, _ in listed
            if (session := at(slot)) is not None
        ]


def matches(name: str, filter: str) -> bool:
    """Return whether a filter matches a name; wildcards of the name are letters like others.

    Spec: [MQTT5-4.7.1-1] to [MQTT5-4.7.2-1]
    """
    names, filters = name.split("/"), filter.split("/")
    if name.startswith("$") and filters[0] in ("+", "#"):
        return False
    for index, level in enumerate(filters):
        if level == "#":
            return True
        if index >= len(names) or level not in ("+", names[index]):
            return False
    return len(names) == len(filters)
