"""A core that only records: the calls of the plane, in order, and no MQTT behind them.

`FakeEngine` stands for `pybroker._core.Engine`, `FakeConnect` and `FakeWill` for what an event carries. Events are put
into `waiting` by the tests. `FakeTimers` stands for the loop's timers and works with `FakeClock`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast

from pybroker._core import AccessSubject, Connack, Connect, Engine, Will
from pybroker.ports import FilterRequest
from pybroker.types import Filter, Topic
from tests.support.clock import FakeClock

Call = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class FakeWill:
    """Will message of a CONNECT."""

    topic: str = "will"
    payload: bytes = b"gone"
    qos: int = 0
    is_retain: bool = False
    delay_s: int = 0
    message_expiry_s: int | None = None


@dataclass(slots=True, kw_only=True)
class FakeConnect:
    """One CONNECT; the defaults are those of a 5.0 client that says as little as it may."""

    version: int = 5
    client_id: str = "c"
    is_clean_start: bool = False
    is_bridge: bool = False
    keep_alive_s: int = 60
    username: str | None = None
    password: bytes | None = None
    will: FakeWill | None = None
    session_expiry_s: int = 0
    receive_maximum: int = 65_535
    max_packet_bytes: int = 0
    topic_alias_maximum: int = 0
    requests_response_information: bool = False
    requests_problem_information: bool = True
    user_properties: list[tuple[str, str]] = field(default_factory=list)
    authentication_method: str | None = None
    authentication_data: bytes | None = None
    listener: int = 1
    peer: tuple[str, int] = ("127.0.0.1", 40_000)
    certificate_common_name: str | None = None
    certificate_subject: str | None = None
    certificate_der: bytes | None = None
    certificate_sans: list[str] = field(default_factory=list)
    server_name: str | None = None
    websocket_path: str | None = None
    websocket_cookie: str | None = None

    def as_core(self) -> Connect:
        """Return itself under the type of the core."""
        return cast("Connect", self)  # has every attribute that the stub names


class FakeEngine:
    """Recorder of calls; answers what the tests put into its attributes."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.waiting: list[tuple[object, ...]] = []
        self.free_slots: list[int] = []
        self.next_slot = 0
        self.held: dict[int, list[str]] = {}
        self.levels: dict[str, int] = {}
        self.counts: dict[str, int] = {}
        self.published: list[tuple[str, bytes, bool]] = []
        self.will_reason = 0
        self.will_namespaces: list[str | None] = []
        self.expired = 3
        self.raises: Exception | None = None
        self.subjects: dict[int, AccessSubject] = {}
        self.is_driven = False
        self.turn_due_ms: int | None = None
        self.gathering_since: int | None = None
        self.deliveries: list[list[Call]] = []

    def as_core(self) -> Engine:
        """Return itself under the type of the core."""
        return cast("Engine", self)  # has every method that the plane calls

    def named(self, *names: str) -> list[Call]:
        """Return the calls of these methods, in order."""
        return [call for call in self.calls if call[0] in names]

    def drain_events(self, limit: int) -> list[tuple[object, ...]]:
        batch, self.waiting = self.waiting[:limit], self.waiting[limit:]
        return batch

    def gather(self) -> None:
        self.gathering_since = len(self.calls)

    def deliver(self) -> None:
        assert self.gathering_since is not None
        self.deliveries.append(self.calls[self.gathering_since :])
        self.gathering_since = None

    def event_fd(self) -> int:
        return 10

    def shard_fd(self) -> int:
        return 11 if self.is_driven else -1

    def turn(self) -> int | None:
        self.calls.append(("turn",))
        return self.turn_due_ms

    def create_session(self, client_id: str, mountpoint: str, namespace: str | None = None) -> int:
        if self.free_slots:
            slot = self.free_slots.pop()
        else:
            slot, self.next_slot = self.next_slot, self.next_slot + 1
        self.calls.append(("create_session", client_id, mountpoint, slot))
        return slot

    def set_subject(self, session: int, subject: AccessSubject) -> None:
        self.subjects[session] = subject

    def subject(self, session: int) -> AccessSubject | None:
        return self.subjects.get(session)

    def authorize(self, conn: int, is_allowed: bool, is_kept: bool) -> None:
        self.calls.append(("authorize", conn, is_allowed, is_kept))

    def set_username(self, session: int, username: str | None) -> None:
        self.calls.append(("set_username", session, username))

    def drop_session(self, session: int) -> None:
        self.free_slots.append(session)
        self.calls.append(("drop_session", session))

    def accept(
        self, conn: int, session: int, is_present: bool, keep_alive_s: int, connack: Connack | None = None
    ) -> None:
        if self.raises is not None:
            raise self.raises
        self.calls.append(("accept", conn, session, is_present, keep_alive_s, connack))

    def refuse(self, conn: int, reason: int, return_code: int, connack: Connack | None = None) -> None:
        self.calls.append(("refuse", conn, reason, return_code))

    def challenge(self, conn: int, reason: int, connack: Connack) -> None:
        self.calls.append(("challenge", conn, reason))

    def grant(self, conn: int, packet_id: int, codes: bytes | None) -> None:
        if self.raises is not None:
            raise self.raises
        self.calls.append(("grant", conn, packet_id, codes))

    def release(self, conn: int, packet_id: int) -> None:
        self.calls.append(("release", conn, packet_id))

    def disconnect(self, conn: int, reason: int, cause: int) -> None:
        self.calls.append(("disconnect", conn, reason, cause))

    def publish_will(
        self, will: Will, session: int, client_id: str, mountpoint: str, namespace: str | None = None
    ) -> int:
        self.will_namespaces.append(namespace)
        self.calls.append(("publish_will", will.topic, session, client_id, mountpoint))
        return self.will_reason

    def publish(
        self, topic: str, payload: bytes, qos: int, is_retain: bool, properties: bytes = b"", expiry_s: int = 0
    ) -> int:
        if "+" in topic or "#" in topic:
            raise ValueError(f"topic holds a wildcard: {topic!r}")
        self.published.append((topic, payload, is_retain))
        return 0

    def session_stats(self, session: int) -> dict[str, int]:
        return {"subscriptions": len(self.held.get(session, []))}

    def subscriptions(self, session: int) -> list[tuple[str, int, int]]:
        return [(filter, 0, 0) for filter in self.held.get(session, [])]

    def metrics(self) -> dict[str, int]:
        return dict(self.counts)

    def stats(self) -> dict[str, int]:
        return dict(self.levels)

    def open_listener(self, spec: dict[str, object]) -> tuple[int, str]:
        if self.raises is not None:
            raise self.raises
        number = sum(call[0] == "open_listener" for call in self.calls) + 1
        self.calls.append(("open_listener", spec))
        return number, str(spec.get("path") or f"{spec['host']}:{spec['port']}")

    def change_listener(self, listener: int, spec: dict[str, object]) -> None:
        if self.raises is not None:
            raise self.raises
        self.calls.append(("change_listener", listener, spec))

    def close_listener(self, listener: int, closes_connections: bool, reason: int) -> None:
        self.calls.append(("close_listener", listener, closes_connections, reason))

    def listener_stats(self, listener: int) -> tuple[int, int, int]:
        return (listener, 2, 3)

    def reload_tls(self, listener: int) -> bool:
        self.calls.append(("reload_tls", listener))
        if self.raises is not None:
            raise self.raises
        return True

    def retained_expire(self) -> int:
        self.calls.append(("retained_expire",))
        return self.expired


class FakeJudge:
    """Access control by a list of what is denied; implements `ports.Authorizer`.

    A filter or topic that is in `slow` is answered by a coroutine; to one in `ended` the client has lost its right.
    """

    def __init__(self) -> None:
        self.denied: set[str] = set()
        self.slow: set[str] = set()
        self.ended: set[str] = set()
        self.broken: set[str] = set()
        self.disconnects = False
        self.version = 1
        self.asked: list[tuple[object, ...]] = []

    def _verdict(self, topic: str) -> int | Awaitable[int]:
        reason = 0x87 if topic in self.denied else 0
        return self._later(topic, reason) if topic in self.slow else reason

    async def _later(self, topic: str, reason: int) -> int:
        if topic in self.broken:
            raise RuntimeError(topic)
        return reason

    def judge_subscribe(self, slot: int, filter: Filter, qos: int) -> int | Awaitable[int]:
        self.asked.append(("subscribe", slot, filter, qos))
        return self._verdict(filter)

    async def recheck(self, slot: int, filter: Filter, qos: int) -> bool:
        self.asked.append(("recheck", slot, filter, qos))
        return filter not in self.denied

    def denies(self, slot: int, filter: Filter, qos: int) -> bool:
        return filter in self.ended

    def judge_publish(
        self, slot: int, chain: int, step: int, topic: Topic, qos: int, retain: bool
    ) -> tuple[bool, bool] | Awaitable[tuple[bool, bool]]:
        self.asked.append(("publish", slot, chain, step, topic, qos, retain))
        if topic in self.slow:
            return self._publish_later(topic)
        return topic not in self.denied, True

    async def _publish_later(self, topic: str) -> tuple[bool, bool]:
        return await self._later(topic, 0x87 if topic in self.denied else 0) == 0, True

    def judge_will(self, subject: AccessSubject, will: Will) -> int | Awaitable[int]:
        self.asked.append(("will", subject.client_id, will.topic))
        return self._verdict(will.topic)


class FakeTimer:
    """A timer that was set."""

    def __init__(self, due_ms: int, callback: Callable[[], None]) -> None:
        self.due_ms = due_ms
        self.callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class FakeTimers:
    """The loop's timers, driven by a fake clock.

    Args:
        clock: moved by `advance`.
    """

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.timers: list[FakeTimer] = []
        self.set_count = 0

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> FakeTimer:
        timer = FakeTimer(self.clock.now_ms() + round(delay_s * 1_000), callback)
        self.timers.append(timer)
        self.set_count += 1
        return timer

    @property
    def pending(self) -> list[FakeTimer]:
        """Timers that have neither fired nor been cancelled."""
        return [timer for timer in self.timers if not timer.is_cancelled]

    def advance(self, ms: int) -> None:
        """Move the clock and fire what has become due, earliest first."""
        self.clock.advance(ms)
        while due := [timer for timer in self.pending if timer.due_ms <= self.clock.now_ms()]:
            timer = min(due, key=lambda timer: timer.due_ms)
            self.timers.remove(timer)
            timer.callback()


def request(filter: str, qos: int = 0, reason: int = 0) -> FilterRequest:
    """Return one filter of a SUBSCRIBE as the core would hand it over."""
    kind, inner = 0, filter
    if filter.startswith("$share/"):
        kind, inner = 1, filter.split("/", 2)[2]
    elif filter.startswith("$queue/"):
        kind, inner = 1, filter.removeprefix("$queue/")
    elif filter.startswith("$exclusive/"):
        kind, inner = 2, filter.removeprefix("$exclusive/")
    return (filter, qos, kind, reason, inner, "+" in inner or "#" in inner)
