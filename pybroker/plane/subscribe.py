"""SUBSCRIBE and UNSUBSCRIBE: the policy for each filter, then the core.

The core has judged the syntax and does the work; here a filter is only granted, lowered or refused. A SUBSCRIBE of
which nothing is refused costs one call with no list. A refused filter leaves an older subscription as it was.
"""

from collections.abc import Awaitable, Callable, Coroutine, Sequence

from pybroker._core import CLOSE_NOT_AUTHORIZED, Engine
from pybroker.events import EventBus, Subscribed, Unsubscribed
from pybroker.plane.registry import Registry, Session
from pybroker.plane.settings import SubscribeSettings
from pybroker.ports import Authorizer, FilterRequest
from pybroker.types import Filter

NOT_AUTHORIZED = 0x87
FILTER_NOT_VALID = 0x8F
QUOTA_EXCEEDED = 0x97
SHARED_NOT_SUPPORTED = 0x9E
WILDCARDS_NOT_SUPPORTED = 0xA2

_SHARED = 1
_EXCLUSIVE = 2
_EXCLUSIVE_PREFIX = "$exclusive/"


class ExclusiveLocks:
    """Who holds which `$exclusive` topic. The lock is on the mounted topic, so tenants do not meet."""

    __slots__ = ("_by_slot", "_holders")

    def __init__(self) -> None:
        self._holders: dict[str, int] = {}
        self._by_slot: dict[int, set[str]] = {}

    def take(self, session: Session, topic: str) -> bool:
        """Take a topic (not mounted) for a session; false if another holds it, true again for the holder."""
        mounted = session.mountpoint + topic
        holder = self._holders.setdefault(mounted, session.slot)
        if holder != session.slot:
            return False
        self._by_slot.setdefault(holder, set()).add(mounted)
        return True

    def is_open_to(self, session: Session, topic: str) -> bool:
        """Whether no other session holds a topic (not mounted)."""
        return self._holders.get(session.mountpoint + topic, session.slot) == session.slot

    def release(self, session: Session, topic: str) -> None:
        """Give a topic (not mounted) back; nothing happens if the session does not hold it."""
        mounted = session.mountpoint + topic
        held = self._by_slot.get(session.slot)
        if held is None or mounted not in held:
            return
        held.discard(mounted)
        del self._holders[mounted]
        if not held:
            del self._by_slot[session.slot]

    def release_all(self, session: Session) -> None:
        """Give back everything that a session holds; called when it ends."""
        for mounted in self._by_slot.pop(session.slot, ()):
            del self._holders[mounted]


class Subscriber:
    """Answers every SUBSCRIBE and UNSUBSCRIBE.

    Args:
        engine: subscribes and answers.
        registry: finds the session.
        locks: exclusive topics.
        authorizer: access control.
        events: is told what was granted.
        spawn: starts a supervised task, for filters that a remote source must judge.
        settings: of zones that have none of their own in `zones`; both may be replaced while running, and hold for
            the next packet.
    """

    def __init__(
        self,
        engine: Engine,
        registry: Registry,
        locks: ExclusiveLocks,
        authorizer: Authorizer,
        events: EventBus,
        spawn: Callable[[str, Coroutine[object, object, object]], object],
        settings: SubscribeSettings,
    ) -> None:
        self.settings = settings
        self.zones: dict[str, SubscribeSettings] = {}
        self._engine = engine
        self._registry = registry
        self._locks = locks
        self._authorizer = authorizer
        self._events = events
        self._spawn = spawn

    def on_subscribe(self, conn: int, slot: int, packet_id: int, requests: Sequence[FilterRequest]) -> None:
        """Grant or refuse the filters of one SUBSCRIBE, each for itself.

        Spec: [MQTT5-3.8.4-6] [MQTT3-3.8.4-5]
        """
        session = self._registry.connected_at(slot, conn)
        if session is None:
            return
        reasons = bytearray(len(requests))
        version = self._authorizer.version
        awaited: list[tuple[int, Awaitable[int]]] | None = None
        for index, request in enumerate(requests):
            reason = self._judge(session, request)
            if isinstance(reason, int):
                reasons[index] = reason
            else:
                awaited = awaited or []
                awaited.append((index, reason))
        if awaited is None:
            self._answer(conn, session, packet_id, requests, reasons)
        else:
            self._spawn("authorize", self._finish(conn, slot, packet_id, requests, reasons, awaited, version))

    async def _finish(
        self,
        conn: int,
        slot: int,
        packet_id: int,
        requests: Sequence[FilterRequest],
        reasons: bytearray,
        awaited: Sequence[tuple[int, Awaitable[int]]],
        version: int,
    ) -> None:
        """Wait for the verdicts on some filters and answer; one that cannot be had refuses its filter.

        Args:
            version: of the rules by which the other filters have been judged.
        """
        for index, _ in awaited:
            reasons[index] = NOT_AUTHORIZED
        try:
            for index, verdict in awaited:
                reasons[index] = await verdict
            await self._judge_again(slot, requests, reasons, version)
        finally:
            session = self._registry.connected_at(slot, conn)
            if session is not None:
                self._answer(conn, session, packet_id, requests, reasons)

    async def _judge_again(
        self, slot: int, requests: Sequence[FilterRequest], reasons: bytearray, version: int
    ) -> None:
        """Take back what rules or rights granted that are others by now: who revokes subscriptions came too early."""
        while version != self._authorizer.version:
            version = self._authorizer.version
            for index, request in enumerate(requests):
                if reasons[index] == 0:
                    reasons[index] = NOT_AUTHORIZED
                    if await self._authorizer.recheck(slot, Filter(request[4]), request[1] & 3):
                        reasons[index] = 0
        for index, request in enumerate(requests):
            # Rights that have ended meanwhile are no change of the rules.
            if reasons[index] == 0 and self._authorizer.denies(slot, Filter(request[4]), request[1] & 3):
                reasons[index] = NOT_AUTHORIZED

    def _answer(
        self, conn: int, session: Session, packet_id: int, requests: Sequence[FilterRequest], reasons: bytearray
    ) -> None:
        """Grant what access control and settings allow, as far as there is room and no lock is in the way."""
        for reason in reasons:
            if reason == NOT_AUTHORIZED:
                self._events.subscription_denied.emit(session)
        if NOT_AUTHORIZED in reasons and self._authorizer.disconnects:
            self._engine.disconnect(conn, NOT_AUTHORIZED, CLOSE_NOT_AUTHORIZED)
            return
        codes: bytearray | None = None
        room = self._room_of(session, requests)
        for index, request in enumerate(requests):
            reason = reasons[index]
            if reason == 0 and room is not None and not room.admits(request[0]):
                reason = QUOTA_EXCEEDED
            if reason == 0 and request[2] == _EXCLUSIVE:
                # Last, so that a lock is taken only for a filter that is granted.
                reason = 0 if self._locks.take(session, request[4]) else QUOTA_EXCEEDED
            if reason:
                if codes is None:
                    codes = self._granted(session, requests)
                codes[index] = reason
        self._engine.grant(conn, packet_id, None if codes is None else bytes(codes))
        self._tell(session, requests, codes)

    def on_unsubscribe(self, conn: int, slot: int, packet_id: int, filters: Sequence[str]) -> None:
        """Let an UNSUBSCRIBE take effect; it is never refused."""
        session = self._registry.connected_at(slot, conn)
        if session is None:
            return
        self._engine.release(conn, packet_id)
        self._forget(session, filters)

    def on_withdrawn(self, conn: int, slot: int, filters: Sequence[str]) -> None:
        """Take back what was granted and then refused by the core, because the namespace has no room for it."""
        session = self._registry.connected_at(slot, conn)
        if session is not None:
            self._forget(session, filters)

    def _forget(self, session: Session, filters: Sequence[str]) -> None:
        """Give back the locks of filters that are not subscribed any more, and tell."""
        for filter in filters:
            # The subscription is listed without the prefix, and may be given up by either name.
            self._locks.release(session, filter.removeprefix(_EXCLUSIVE_PREFIX))
            if self._events.client_unsubscribed:
                self._events.client_unsubscribed.emit(Unsubscribed(session, Filter(filter)))

    def _judge(self, session: Session, request: FilterRequest) -> int | Awaitable[int]:
        """Return 0 or the reason code that refuses a filter, room and locks apart."""
        _, options, kind, reason, inner, has_wildcard = request
        settings = self._settings_of(session)
        if reason:
            return reason
        if kind == _EXCLUSIVE and not settings.allows_exclusive:
            return FILTER_NOT_VALID
        if kind == _SHARED and not settings.allows_shared:
            return SHARED_NOT_SUPPORTED
        if has_wildcard and not settings.allows_wildcards:
            return WILDCARDS_NOT_SUPPORTED
        return self._authorizer.judge_subscribe(session.slot, Filter(inner), options & 3)

    def _room_of(self, session: Session, requests: Sequence[FilterRequest]) -> "_Room | None":
        """Return what a session may still subscribe; `None` where no limit is near. O(its subscriptions) if one is."""
        most = self._settings_of(session).max_subscriptions
        if not most:
            return None
        held = self._engine.session_stats(session.slot).get("subscriptions", 0)
        if held + len(requests) <= most:
            return None
        return _Room({entry[0] for entry in self._engine.subscriptions(session.slot)}, session.mountpoint, most)

    def _settings_of(self, session: Session) -> SubscribeSettings:
        return self.zones.get(session.zone, self.settings) if self.zones else self.settings

    def _granted(self, session: Session, requests: Sequence[FilterRequest]) -> bytearray:
        """Return the codes of a SUBSCRIBE of which every filter is granted."""
        most = self._settings_of(session).max_qos
        return bytearray(min(request[1] & 3, most) for request in requests)

    def _tell(self, session: Session, requests: Sequence[FilterRequest], codes: bytearray | None) -> None:
        events = self._events
        is_heard = bool(events.client_subscribed)
        for index, request in enumerate(requests):
            if codes is not None and codes[index] >= 0x80:
                continue
            if request[4].startswith("$SYS"):
                events.sys_subscribed.emit(session)
            if is_heard:
                qos = min(request[1] & 3, self._settings_of(session).max_qos)
                events.client_subscribed.emit(Subscribed(session, Filter(request[0]), (request[1] & ~3) | qos))


class _Room:
    """The subscriptions that one session has and gets while a SUBSCRIBE is judged."""

    __slots__ = ("_filters", "_most", "_mountpoint")

    def __init__(self, filters: set[str], mountpoint: str, most: int) -> None:
        self._filters = filters
        self._mountpoint = mountpoint
        self._most = most

    def admits(self, filter: str) -> bool:
        """Whether a filter as written is one more within the limit, or replaces one that is there."""
        routed = _routed(filter, self._mountpoint)
        if routed in self._filters:
            return True
        if len(self._filters) >= self._most:
            return False
        self._filters.add(routed)
        return True


def _routed(filter: str, mountpoint: str) -> str:
    """Return a filter as the engine lists it: the prefix behind the markers, `$queue` as its share group."""
    if filter.startswith(_EXCLUSIVE_PREFIX):
        return mountpoint + filter[len(_EXCLUSIVE_PREFIX) :]
    if filter.startswith("$queue/"):
        return f"$share/$queue/{mountpoint}{filter[len('$queue/') :]}"
    if filter.startswith("$share/"):
        _, group, inner = filter.split("/", 2)
        return f"$share/{group}/{mountpoint}{inner}"
    return mountpoint + filter
