"""Topics below `$SYS` in EMQX's names: what the broker is, what it counts, who comes and goes.

What describes the broker is retained; statistics, metrics and events are not, and are published only once somebody
has subscribed below `$SYS`. Who may do that is asked elsewhere.
"""

import asyncio
from datetime import UTC, datetime

import msgspec
import structlog

from pybroker import __version__
from pybroker._core import Engine
from pybroker.clock import Clock
from pybroker.config.schema import SysTopics
from pybroker.events import Client, Departure, EventBus, Subscribed, Unsubscribed
from pybroker.metrics.counters import Counters

logger = structlog.get_logger(__name__)

DESCRIPTION = "pybroker MQTT broker"
"""Payload of `sysdescr`."""

_DISABLED_S = 10.0

_PROTOCOL_NAMES = {3: "MQIsdp", 4: "MQTT", 5: "MQTT"}


class SysTopicsService:
    """Publisher of everything below `$SYS`.

    Args:
        engine: publishes.
        counters: gives statistics and metrics.
        events: tells of clients; listened to from now on.
        clock: tells the time; the broker's uptime counts from now.
        node: name in the topics.
        settings: intervals, which may be replaced while running, and which events are published.
    """

    def __init__(
        self,
        engine: Engine,
        counters: Counters,
        events: EventBus,
        clock: Clock,
        node: str,
        settings: SysTopics,
    ) -> None:
        self._engine = engine
        self._counters = counters
        self._clock = clock
        self._node = node
        self._prefix = f"$SYS/brokers/{node}"
        self.settings = settings
        self._started_ms = clock.now_ms()
        self._has_audience = False
        events.sys_subscribed.listen(self._on_sys_subscribed)
        wanted = settings.sys_event_messages
        if wanted.client_connected:
            events.client_connected.listen(self._on_connected)
        if wanted.client_disconnected:
            events.client_disconnected.listen(self._on_disconnected)
        if wanted.client_subscribed:
            events.client_subscribed.listen(self._on_subscribed)
        if wanted.client_unsubscribed:
            events.client_unsubscribed.listen(self._on_unsubscribed)

    def publish_description(self) -> None:
        """Publish what the broker is, retained."""
        self._publish("$SYS/brokers", self._node, is_retain=True)
        self._publish(f"{self._prefix}/version", __version__, is_retain=True)
        self._publish(f"{self._prefix}/sysdescr", DESCRIPTION, is_retain=True)

    def publish_heartbeat(self) -> None:
        """Publish uptime (ms) and time of day, if somebody may hear it."""
        if not self._has_audience:
            return
        now = datetime.fromtimestamp(self._clock.wall_ms() / 1_000, UTC)
        self._publish(f"{self._prefix}/uptime", str(self._clock.now_ms() - self._started_ms))
        self._publish(f"{self._prefix}/datetime", now.isoformat(timespec="milliseconds"))

    def publish_statistics(self) -> None:
        """Publish the description again, and every level and counter in a topic of its own, if somebody may hear it."""
        # Levels are looked at in any case: their maxima rest on it.
        stats = self._counters.stats()
        self.publish_description()
        if not self._has_audience:
            return
        for kind, values in (("stats", stats), ("metrics", self._counters.metrics())):
            for name, value in values.items():
                self._publish(f"{self._prefix}/{kind}/{name.replace('.', '/')}", str(value))

    async def run_heartbeat(self) -> None:
        """Publish the heartbeat at its interval until cancelled; look again after a while if it is disabled."""
        while True:
            interval_ms = self.settings.sys_heartbeat_interval
            await asyncio.sleep(_DISABLED_S if interval_ms is None else interval_ms / 1_000)
            if interval_ms is not None:
                self.publish_heartbeat()

    async def run_statistics(self) -> None:
        """Publish the statistics at their interval until cancelled; look again after a while if they are disabled."""
        while True:
            interval_ms = self.settings.sys_msg_interval
            await asyncio.sleep(_DISABLED_S if interval_ms is None else interval_ms / 1_000)
            if interval_ms is not None:
                self.publish_statistics()

    def _on_sys_subscribed(self, client: Client) -> None:
        self._has_audience = True

    def _on_connected(self, client: Client) -> None:
        if not self._has_audience:
            return
        payload = {
            **self._identity(client),
            "keepalive": client.keep_alive_s,
            "expiry_interval": client.expiry_s,
            "connected_at": client.connected_at_ms,
            "connack": 0,
            "clean_start": client.is_clean_start,
        }
        self._publish_event(client, "connected", payload)

    def _on_disconnected(self, departure: Departure) -> None:
        if not self._has_audience:
            return
        client = departure.client
        payload = {
            **self._identity(client),
            "reason": departure.cause,
            "connected_at": client.connected_at_ms,
            "disconnected_at": client.disconnected_at_ms,
        }
        self._publish_event(client, "disconnected", payload)

    def _on_subscribed(self, subscribed: Subscribed) -> None:
        if not self._has_audience:
            return
        options = subscribed.options
        subopts = {"qos": options & 3, "nl": options >> 2 & 1, "rap": options >> 3 & 1, "rh": options >> 4 & 3}
        payload = {**self._interest(subscribed.client, subscribed.filter), "subopts": subopts}
        self._publish_event(subscribed.client, "subscribed", payload)

    def _on_unsubscribed(self, unsubscribed: Unsubscribed) -> None:
        if self._has_audience:
            client = unsubscribed.client
            self._publish_event(client, "unsubscribed", self._interest(client, unsubscribed.filter))

    def _identity(self, client: Client) -> dict[str, object]:
        return {
            "clientid": client.client_id,
            "username": client.username,
            "ipaddress": client.peer.rpartition(":")[0].strip("[]"),
            "sockport": client.listener.port,
            "proto_name": _PROTOCOL_NAMES[client.version],
            "proto_ver": client.version,
            "ts": self._clock.wall_ms(),
        }

    def _interest(self, client: Client, filter: str) -> dict[str, object]:
        return {
            "clientid": client.client_id,
            "username": client.username,
            "topic": filter,
            "protocol": "mqtt",
            "ts": self._clock.wall_ms(),
        }

    def _publish_event(self, client: Client, event: str, payload: dict[str, object]) -> None:
        text = msgspec.json.encode(payload)
        self._publish(f"{self._prefix}/clients/{client.client_id}/{event}", text)

    def _publish(self, topic: str, payload: str | bytes, *, is_retain: bool = False) -> None:
        data = payload.encode() if isinstance(payload, str) else payload
        try:
            self._engine.publish(topic, data, 0, is_retain)
        except ValueError:
            # A client id may hold what a topic may not: a wildcard, or too much of anything.
            logger.debug("sys_topic_not_valid", topic=topic)
