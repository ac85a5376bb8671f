"""Clients: listed with filters, looked at, ended, and subscribed by an operator.

A list is read in windows of the registry; between two windows the loop gets its turn, so that no list of any length
keeps a client waiting. Subscriptions on behalf are trusted: access control is not asked, exclusive locks are.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

from pybroker.auth.banned import address_of
from pybroker.config.schema import Config
from pybroker.control.configuration import Configuration
from pybroker.control.plane import Plane
from pybroker.errors import QuotaExceeded, Refused
from pybroker.events import Client, Subscribed, Unsubscribed
from pybroker.plane.registry import Session
from pybroker.types import ClientId, Filter

WINDOW = 2_000
"""Sessions that are looked at before the loop gets its turn: some 2 ms of filtering."""

BATCH = 100
"""Sessions that are described or ended before the loop gets its turn: some 2 ms."""

_GONE_S = 1.0
_EXCLUSIVE = "$exclusive/"
_SHARED = ("$share/", "$queue/")

Test = Callable[[Session], bool]
ConnectionState = Literal["connected", "idle", "disconnected"]


class ClientFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which clients to list: every field that is not empty or `None` must fit. Times are wall milliseconds.

    Args:
        client_ids: any of them.
        usernames: any of them.
        ip_address: without port.
        like_client_id: part of it.
    """

    client_ids: tuple[str, ...] = ()
    usernames: tuple[str, ...] = ()
    ip_address: str | None = None
    state: ConnectionState | None = None
    is_clean_start: bool | None = None
    version: int | None = None
    like_client_id: str | None = None
    like_username: str | None = None
    gte_created_ms: int | None = None
    lte_created_ms: int | None = None
    gte_connected_ms: int | None = None
    lte_connected_ms: int | None = None

    @property
    def is_fuzzy(self) -> bool:
        """Whether it asks for parts of names; what fits is not counted then."""
        return self.like_client_id is not None or self.like_username is not None

    def tests(self) -> list[Test]:
        """Return one test for each field but `client_ids`, which are looked up.

        Raises:
            Refused: `INVALID_PARAMETER`: the address is none.
        """
        tests: list[Test] = []
        if self.usernames:
            names = frozenset(self.usernames)
            tests.append(lambda session: session.username in names)
        if self.ip_address is not None:
            host = _address(self.ip_address)
            tests.append(lambda session: host_of(session.peer) == host)
        if (state := self.state) is not None:
            # Nobody is idle: a session exists from the CONNECT on.
            tests.append(lambda session: state == ("connected" if session.is_online else "disconnected"))
        if (is_clean_start := self.is_clean_start) is not None:
            tests.append(lambda session: bool(session.is_clean_start) == is_clean_start)
        if (version := self.version) is not None:
            tests.append(lambda session: session.version == version)
        if (part := self.like_client_id) is not None:
            tests.append(lambda session: part in session.client_id)
        if (like := self.like_username) is not None:
            tests.append(lambda session: session.username is not None and like in session.username)
        return tests + self._time_tests()

    def _time_tests(self) -> list[Test]:
        tests: list[Test] = []
        if (created := self.gte_created_ms) is not None:
            tests.append(lambda session: session.created_at_ms >= created)
        if (created_end := self.lte_created_ms) is not None:
            tests.append(lambda session: session.created_at_ms <= created_end)
        if (connected := self.gte_connected_ms) is not None:
            tests.append(lambda session: session.connected_at_ms >= connected)
        if (connected_end := self.lte_connected_ms) is not None:
            tests.append(lambda session: session.connected_at_ms <= connected_end)
        return tests


class ClientPage(NamedTuple):
    """Some clients.

    Args:
        total: how many fit; `None`: not known.
    """

    sessions: list[Session]
    total: int | None
    has_next: bool


class ClientView(NamedTuple):
    """One client as it is now.

    Args:
        stats: of its session in the engine.
        config: with the limits that hold for it.
    """

    session: Session
    stats: Mapping[str, int]
    config: Config


class Interest(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription that an operator asks for, in the words of the API."""

    topic: str
    qos: int = 0
    nl: int = 0
    rap: int = 0
    rh: int = 0

    @property
    def options(self) -> int:
        """Options byte of SUBSCRIBE."""
        return self.qos | self.nl << 2 | self.rap << 3 | self.rh << 4

    @property
    def exclusive_topic(self) -> str | None:
        """Return the topic that nobody else may subscribe to; `None`: it is not asked for that."""
        return self.topic.removeprefix(_EXCLUSIVE) if self.topic.startswith(_EXCLUSIVE) else None


class Clients:
    """Every session of the broker, connected or not.

    Args:
        plane: has them.
        configuration: says their limits.
    """

    def __init__(self, plane: Plane, configuration: Configuration) -> None:
        self._plane = plane
        self._configuration = configuration
        self._ending: dict[int, asyncio.Future[None]] = {}
        plane.events.session_terminated.listen(self._on_ended)
        plane.events.session_discarded.listen(self._on_ended)

    def find(self, client_id: str) -> Session:
        """Return the session of a client.

        Raises:
            Refused: `CLIENTID_NOT_FOUND`.
        """
        session = self._plane.registry.find(ClientId(client_id))
        if session is None:
            raise Refused("CLIENTID_NOT_FOUND", f"no such client: {client_id!r}")
        return session

    def view(self, session: Session) -> ClientView:
        """Return a session with its counters; one that has ended meanwhile has none."""
        return ClientView(session, self._plane.engine.session_stats(session.slot), self._configuration.current)

    async def page(self, wanted: ClientFilter, offset: int, limit: int) -> ClientPage:
        """Return the clients that fit behind the first `offset`.

        Without a filter a page costs O(offset) in C; with one it costs a look at every session, unless client ids are
        given.

        Raises:
            Refused: `INVALID_PARAMETER`.
        """
        registry, tests = self._plane.registry, wanted.tests()
        if wanted.client_ids:
            found = _passing(self._named(wanted.client_ids), tests)
            count = None if wanted.is_fuzzy else len(found)
            return ClientPage(found[offset : offset + limit], count, len(found) > offset + limit)
        if not tests:
            count = len(registry)
            return ClientPage(registry.page(min(offset, count), limit), count, offset + limit < count)
        kept: list[Session] = []
        seen, end = 0, offset + limit
        for slot in range(0, registry.slots, WINDOW):
            fitting = _passing(registry.window(slot, WINDOW), tests)
            kept += fitting[max(0, offset - seen) : max(0, end - seen)]
            seen += len(fitting)
            if wanted.is_fuzzy and seen > end:
                break
            await asyncio.sleep(0)
        return ClientPage(kept, None if wanted.is_fuzzy else seen, seen > end)

    async def after(self, wanted: ClientFilter, cursor: int, limit: int) -> tuple[list[Session], int | None]:
        """Return up to `limit` clients that fit from a cursor on, and the next cursor; `None`: that was all.

        Args:
            cursor: 0 for the first; else as returned before, so it stays valid while clients come and go.

        Raises:
            Refused: `INVALID_PARAMETER`.
        """
        registry, tests = self._plane.registry, wanted.tests()
        if wanted.client_ids:
            names = frozenset(wanted.client_ids)
            tests.insert(0, lambda session: session.client_id in names)
        kept: list[Session] = []
        width = WINDOW if tests else limit
        for slot in range(cursor, registry.slots, width):
            kept += _passing(registry.window(slot, width), tests)
            if len(kept) > limit or (len(kept) == limit and slot + width < registry.slots):
                return kept[:limit], kept[limit - 1].slot + 1
            await asyncio.sleep(0)
        return kept, None

    async def count_since(self, since_ms: int) -> int:
        """Return how many clients are connected, or have been at or after a time of the wall clock."""
        registry, count = self._plane.registry, 0
        for slot in range(0, registry.slots, WINDOW):
            window = registry.window(slot, WINDOW)
            count += sum(session.is_online or session.disconnected_at_ms >= since_ms for session in window)
            await asyncio.sleep(0)
        return count

    async def kick(self, client_id: str) -> None:
        """End a client's connection and session; returns once it is gone.

        Raises:
            Refused: `CLIENTID_NOT_FOUND`.
        """
        await self._end([self.find(client_id)])

    async def kick_many(self, client_ids: Sequence[str]) -> None:
        """End clients as `kick` does; names that nobody has are passed over."""
        await self._end(self._named(client_ids))

    def change_keep_alive(self, client_id: str, keep_alive_s: int) -> Session:
        """Change the keep alive of a client and return its session; the next CONNECT sets another one.

        Raises:
            Refused: `CLIENTID_NOT_FOUND`.
        """
        session = self.find(client_id)
        session.keep_alive_s = keep_alive_s
        if session.is_online:
            self._plane.engine.set_keep_alive(session.conn, keep_alive_s)
        return session

    async def subscribe(self, client_id: str, interests: Sequence[Interest]) -> None:
        """Subscribe a client to every filter, or to none if one cannot be.

        In the hardened profile access control is asked as for a subscription of the client's own.

        Raises:
            Refused: `CLIENTID_NOT_FOUND`; `INVALID_PARAMETER`: a filter is not valid, or a shared one asks for
                No Local [MQTT5-3.8.3-4]; `FORBIDDEN`: access control denies one; `CONFLICT`: another client holds an
                exclusive topic.
            QuotaExceeded: the namespace has no room for all of them.
        """
        session, plane = self.find(client_id), self._plane
        for interest in interests:
            self._check(interest)
        if plane.authorizer.profile == "hardened":
            await self._ask_access_control(session, interests)
        for interest in interests:
            topic = interest.exclusive_topic
            if topic is not None and not plane.locks.is_open_to(session, topic):
                raise Refused("CONFLICT", f"topic is held by another client: {interest.topic!r}")
        self._subscribe_all(session, interests)
        for interest in interests:
            if interest.exclusive_topic is not None:
                plane.locks.take(session, interest.exclusive_topic)
            if plane.events.client_subscribed:
                plane.events.client_subscribed.emit(Subscribed(session, Filter(interest.topic), interest.options))

    def _subscribe_all(self, session: Session, interests: Sequence[Interest]) -> None:
        """Subscribe a session to all filters; to none of those that are new to it if its namespace has no room left.

        Raises:
            QuotaExceeded: it has none.
        """
        engine = self._plane.engine
        new: list[str] = []
        for interest in interests:
            try:
                is_new = engine.subscribe(session.slot, interest.topic, interest.options)
            except QuotaExceeded:
                for topic in new:
                    engine.unsubscribe(session.slot, topic)
                raise
            if is_new:
                new.append(interest.topic)

    async def _ask_access_control(self, session: Session, interests: Sequence[Interest]) -> None:
        """Ask as for a SUBSCRIBE of the client, and again if the rules changed while a remote source was asked."""
        authorizer = self._plane.authorizer
        version = authorizer.version
        for interest in interests:
            reason = authorizer.judge_subscribe(session.slot, Filter(interest.topic), interest.qos)
            if (reason if isinstance(reason, int) else await reason) != 0:
                raise Refused("FORBIDDEN", f"client may not subscribe: {interest.topic!r}")
        while version != authorizer.version:
            version = authorizer.version
            for interest in interests:
                if not await authorizer.recheck(session.slot, Filter(interest.topic), interest.qos):
                    raise Refused("FORBIDDEN", f"client may not subscribe: {interest.topic!r}")
        for interest in interests:
            if authorizer.denies(session.slot, Filter(interest.topic), interest.qos):
                raise Refused("FORBIDDEN", f"client may not subscribe: {interest.topic!r}")
        if self.find(session.client_id) is not session:
            # Somebody else has the client id by now.
            raise Refused("CLIENTID_NOT_FOUND", f"client has gone: {session.client_id!r}")

    def unsubscribe(self, client_id: str, filters: Sequence[str]) -> None:
        """Unsubscribe a client; filters that it does not have are passed over.

        Raises:
            Refused: `CLIENTID_NOT_FOUND`.
        """
        session, plane = self.find(client_id), self._plane
        for topic in filters:
            plane.engine.unsubscribe(session.slot, topic)
            plane.locks.release(session, topic.removeprefix(_EXCLUSIVE))
            if plane.events.client_unsubscribed:
                plane.events.client_unsubscribed.emit(Unsubscribed(session, Filter(topic)))

    def _check(self, interest: Interest) -> None:
        """Check one filter without subscribing it."""
        if interest.nl and interest.topic.startswith(_SHARED):
            raise Refused("INVALID_PARAMETER", f"no local is not allowed for a shared subscription: {interest.topic!r}")
        check_filter(self._plane, interest.topic)

    def _named(self, client_ids: Sequence[str]) -> list[Session]:
        found = (self._plane.registry.find(ClientId(client_id)) for client_id in dict.fromkeys(client_ids))
        return [session for session in found if session is not None]

    async def _end(self, sessions: Sequence[Session]) -> None:
        """Kick sessions and wait until they have ended, a second at most: shards close their connections."""
        plane, loop = self._plane, asyncio.get_running_loop()
        for index, session in enumerate(sessions, 1):
            self._ending[session.slot] = loop.create_future()
            plane.sessions.kick(session.client_id)
            if index % BATCH == 0:
                await asyncio.sleep(0)
        waiting = [self._ending[session.slot] for session in sessions if session.slot in self._ending]
        if waiting:
            await asyncio.wait(waiting, timeout=_GONE_S)
        for session in sessions:
            self._ending.pop(session.slot, None)

    def _on_ended(self, client: Client) -> None:
        if (waiting := self._ending.pop(client.slot, None)) is not None and not waiting.done():
            waiting.set_result(None)


def check_filter(plane: Plane, filter: str, code: str = "INVALID_PARAMETER") -> None:
    """Check the syntax of a filter as a client would write it.

    Raises:
        Refused: with `code`.
    """
    inner = inner_filter(filter)
    try:
        if inner is None:
            raise ValueError("share group or filter is missing")
        # The core judges; a page of nothing is the cheapest question that takes a filter.
        plane.engine.page_retained(inner, 0, 0)
    except ValueError as error:
        raise Refused(code, f"topic filter is not valid: {filter!r} ({error})") from None


def inner_filter(filter: str) -> str | None:
    """Return a filter without `$share/g/`, `$queue/` or `$exclusive/`; `None` if the prefix is not complete."""
    if filter.startswith("$share/"):
        group, _, inner = filter.removeprefix("$share/").partition("/")
        return inner if group and inner and not {"+", "#"} & set(group) else None
    for prefix in ("$queue/", _EXCLUSIVE):
        if filter.startswith(prefix):
            return filter.removeprefix(prefix)
    return filter


def host_of(peer: str) -> str:
    """Return the address of `address:port`, without brackets."""
    return peer.rpartition(":")[0].strip("[]")


def _address(text: str) -> str:
    try:
        return str(address_of(text))
    except ValueError:
        raise Refused("INVALID_PARAMETER", f"ip_address is no address: {text!r}") from None


def _passing(sessions: list[Session], tests: Sequence[Test]) -> list[Session]:
    for test in tests:
        sessions = [session for session in sessions if test(session)]
    return sessions
