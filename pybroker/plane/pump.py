"""The event pump: takes events out of the core in batches and hands each to the part that answers it.

The only place of the plane where an unknown error is caught: it costs the one connection whose event it was. The loop
gets its turn after each batch; the descriptor stays readable while events are left.
"""

from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable
from typing import TypeAlias, cast

import structlog

from pybroker._core import (
    CLOSE_KICKED,
    EVENT_AUTH,
    EVENT_AUTHORIZE,
    EVENT_CLOSED,
    EVENT_CONNECT,
    EVENT_LOG,
    EVENT_QUOTA,
    EVENT_SHARD_FAILED,
    EVENT_SUBSCRIBE,
    EVENT_UNSUBSCRIBE,
    EVENT_WITHDRAWN,
    Connect,
    Engine,
)
from pybroker.events import EventBus, QuotaCrossing
from pybroker.plane.connect import IMPLEMENTATION_ERROR, RETURN_CODES, Connector
from pybroker.plane.publish import Publisher
from pybroker.plane.registry import Registry
from pybroker.plane.session import Sessions
from pybroker.plane.subscribe import Subscriber
from pybroker.ports import FilterRequest
from pybroker.types import Namespace, Topic

logger = structlog.get_logger(__name__)
core_logger = structlog.get_logger("pybroker.core")

BATCH = 64
"""Events taken at a time: some 1 ms of connects, for which the API waits, and the first answer of the batch too."""

Event: TypeAlias = tuple[object, ...]


class Pump:
    """The way of every event from the core to its handler.

    Args:
        engine: gives the events.
        registry: names the client in the log when a handler fails.
        connector: answers CONNECT and AUTH.
        subscriber: answers SUBSCRIBE and UNSUBSCRIBE.
        publisher: answers PUBLISH packets that the core cannot judge alone.
        sessions: hears of ended connections.
        events: is told of quotas that were reached in the core.
        on_failure: called with a text when a shard has died; the broker must stop then.
    """

    def __init__(
        self,
        engine: Engine,
        registry: Registry,
        connector: Connector,
        subscriber: Subscriber,
        publisher: Publisher,
        sessions: Sessions,
        events: EventBus,
        on_failure: Callable[[str], None],
    ) -> None:
        self._engine = engine
        self._registry = registry
        self._connector = connector
        self._subscriber = subscriber
        self._publisher = publisher
        self._sessions = sessions
        self._events = events
        self._on_failure = on_failure
        self._loop: AbstractEventLoop | None = None
        self._turn_timer: TimerHandle | None = None
        self._handlers: dict[int, Callable[[Event], None]] = {
            EVENT_CONNECT: self._on_connect,
            EVENT_SUBSCRIBE: self._on_subscribe,
            EVENT_UNSUBSCRIBE: self._on_unsubscribe,
            EVENT_WITHDRAWN: self._on_withdrawn,
            EVENT_CLOSED: self._on_closed,
            EVENT_AUTH: self._on_auth,
            EVENT_AUTHORIZE: self._on_authorize,
            EVENT_LOG: self._on_log,
            EVENT_QUOTA: self._on_quota,
            EVENT_SHARD_FAILED: self._on_shard_failed,
        }

    def start(self, loop: AbstractEventLoop) -> None:
        """Watch the core's descriptors; where no shard is a thread, also drive the one shard from the loop."""
        self._loop = loop
        loop.add_reader(self._engine.event_fd(), self.drain)
        shard_fd = self._engine.shard_fd()
        if shard_fd >= 0:
            loop.add_reader(shard_fd, self._drive)
            self._drive()

    def stop(self) -> None:
        """Watch nothing any more; what waits can still be taken with `drain_all`."""
        if self._loop is None:
            return
        self._loop.remove_reader(self._engine.event_fd())
        if self._turn_timer is not None:
            self._turn_timer.cancel()
        shard_fd = self._engine.shard_fd()
        if shard_fd >= 0:
            self._loop.remove_reader(shard_fd)
        self._loop = None

    def drain(self) -> int:
        """Handle one batch of events; return how many there were.

        The shards are woken once for all answers: one that wakes up for each of them takes the core from this thread
        as often.
        """
        events = self._engine.drain_events(BATCH)
        handlers = self._handlers
        self._engine.gather()
        try:
            for event in events:
                try:
                    handlers[cast("int", event[0])](event)  # the first item of every event is its kind
                except Exception as error:
                    self._on_error(event, error)
        finally:
            self._engine.deliver()
        return len(events)

    def drain_all(self) -> None:
        """Handle batches until no event is left."""
        while self.drain():
            pass

    def _drive(self) -> None:
        """Run one turn of the driven shard and come back when its next timer is due."""
        loop = self._loop
        if loop is None:
            return
        if self._turn_timer is not None:
            self._turn_timer.cancel()
            self._turn_timer = None
        due_ms = self._engine.turn()
        if due_ms is not None:
            self._turn_timer = loop.call_later(due_ms / 1_000, self._drive)

    # One handler per kind. The casts state the shapes that the stub of the core gives for each kind.

    def _on_connect(self, event: Event) -> None:
        _, conn, connect = cast("tuple[int, int, Connect]", event)
        self._connector.on_connect(conn, connect)

    def _on_subscribe(self, event: Event) -> None:
        _, conn, slot, packet_id, _, requests = cast("tuple[int, int, int, int, int, list[FilterRequest]]", event)
        self._subscriber.on_subscribe(conn, slot, packet_id, requests)

    def _on_unsubscribe(self, event: Event) -> None:
        _, conn, slot, packet_id, filters = cast("tuple[int, int, int, int, list[str]]", event)
        self._subscriber.on_unsubscribe(conn, slot, packet_id, filters)

    def _on_withdrawn(self, event: Event) -> None:
        _, conn, slot, filters = cast("tuple[int, int, int, list[str]]", event)
        self._subscriber.on_withdrawn(conn, slot, filters)

    def _on_closed(self, event: Event) -> None:
        _, conn, slot, cause, reason, expiry_s, sends_will = cast("tuple[int, int, int, int, int, int, bool]", event)
        self._connector.on_closed(conn)
        self._sessions.on_closed(conn, slot, cause, reason, expiry_s, sends_will)

    def _on_auth(self, event: Event) -> None:
        _, conn, slot, _, method, data = cast("tuple[int, int, int, int, str, bytes | None]", event)
        self._connector.on_auth(conn, slot, method, data or b"")

    def _on_authorize(self, event: Event) -> None:
        _, conn, slot, chain, step, topic, qos, retain = cast("tuple[int, int, int, int, int, str, int, bool]", event)
        self._publisher.on_authorize(conn, slot, chain, step, Topic(topic), qos, retain)

    def _on_log(self, event: Event) -> None:
        _, level, name, fields = cast("tuple[int, int, str, dict[str, object]]", event)
        core_logger.log(level, name, **fields)

    def _on_quota(self, event: Event) -> None:
        _, namespace, quota, is_exceeded, *_ = cast("tuple[int, Namespace, str, bool, int, int | None]", event)
        self._events.quota_crossed.emit(QuotaCrossing(namespace, quota, is_exceeded))

    def _on_shard_failed(self, event: Event) -> None:
        _, shard, text = cast("tuple[int, int, str]", event)
        self._on_failure(f"shard {shard} has failed: {text}")

    def _on_error(self, event: Event, error: Exception) -> None:
        """Log a handler's failure with its client and end that connection; the others go on."""
        kind, conn = event[0], event[1] if len(event) > 1 else -1
        client_id, listener = self._name_of(event)
        logger.error("event_failed", kind=kind, conn=conn, clientid=client_id, listener=listener, exc_info=error)
        if not isinstance(conn, int):
            return
        if kind == EVENT_CONNECT:
            self._engine.refuse(conn, IMPLEMENTATION_ERROR, RETURN_CODES[IMPLEMENTATION_ERROR])
        elif kind in (EVENT_SUBSCRIBE, EVENT_UNSUBSCRIBE, EVENT_AUTH, EVENT_AUTHORIZE):
            self._engine.disconnect(conn, IMPLEMENTATION_ERROR, CLOSE_KICKED)

    def _name_of(self, event: Event) -> tuple[str, str]:
        """Return client id and listener of an event as far as they are known."""
        if event[0] == EVENT_CONNECT:
            connect = cast("Connect", event[2])  # as the stub says
            return connect.client_id, str(connect.listener)
        slot = event[2] if len(event) > 2 else -1
        session = self._registry.at(slot) if isinstance(slot, int) else None
        return ("", "") if session is None else (session.client_id, session.listener.id)
