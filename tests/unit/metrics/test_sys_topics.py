"""`$SYS` topics: names, payloads, who is spared the work."""

import asyncio
import json

import pytest

from pybroker import __version__
from pybroker.config.load import load
from pybroker.config.schema import SysTopics
from pybroker.events import Departure, EventBus, Subscribed, Unsubscribed
from pybroker.metrics.counters import Counters
from pybroker.metrics.sys_topics import DESCRIPTION, SysTopicsService
from pybroker.ports import ListenerTraits
from pybroker.types import ClientId, Filter, ListenerId, Mountpoint, Namespace, Username
from tests.support.clock import FakeClock
from tests.support.fake_core import FakeEngine
from tests.support.wire import eventually

BASE = "$SYS/brokers/n@h"


class FakeClient:
    """What `$SYS` reads of a session."""

    def __init__(self, client_id: str = "c", version: int = 5, peer: str = "[::1]:99") -> None:
        self.client_id = ClientId(client_id)
        self.username: Username | None = Username("ann")
        self.namespace: Namespace | None = None
        self.mountpoint = Mountpoint("")
        self.peer = peer
        self.listener = ListenerTraits(id=ListenerId("tcp:default"), port=1883)
        self.slot = 0
        self.version = version
        self.keep_alive_s = 60
        self.expiry_s = 7
        self.is_clean_start = True
        self.connected_at_ms = 5
        self.disconnected_at_ms = 6


class Parts:
    """The service on a fake engine."""

    def __init__(self, settings: SysTopics | None = None, *, has_audience: bool = True) -> None:
        self.engine = FakeEngine()
        self.clock = FakeClock()
        self.events = EventBus()
        self.counters = Counters(self.engine.as_core(), self.events)
        self.service = SysTopicsService(
            self.engine.as_core(), self.counters, self.events, self.clock, "n@h", settings or SysTopics()
        )
        if has_audience:
            self.events.sys_subscribed.emit(FakeClient())

    @property
    def topics(self) -> dict[str, bytes]:
        return {topic: payload for topic, payload, _ in self.engine.published}

    def last(self) -> tuple[str, dict[str, object]]:
        topic, payload, is_retain = self.engine.published[-1]
        assert not is_retain
        return topic, json.loads(payload)


def all_events() -> SysTopics:
    names = ("client_subscribed", "client_unsubscribed")
    return load(sets=[f"sys_topics.sys_event_messages.{name}=true" for name in names]).config.sys_topics


def test_description_is_retained_without_an_audience() -> None:
    parts = Parts(has_audience=False)
    parts.service.publish_description()
    assert parts.engine.published == [
        ("$SYS/brokers", b"n@h", True),
        (f"{BASE}/version", __version__.encode(), True),
        (f"{BASE}/sysdescr", DESCRIPTION.encode(), True),
    ]


def test_heartbeat_tells_uptime_and_time_of_day() -> None:
    parts = Parts()
    parts.clock.advance(61_500)
    parts.service.publish_heartbeat()
    assert parts.topics == {f"{BASE}/uptime": b"61500", f"{BASE}/datetime": b"2026-01-01T00:01:01.500+00:00"}


def test_statistics_have_a_topic_each() -> None:
    parts = Parts()
    parts.engine.levels = {"sessions": 2}
    parts.engine.counts = {"messages.qos1.received": 12}
    parts.service.publish_statistics()
    assert parts.topics[f"{BASE}/stats/connections/count"] == b"2"
    assert parts.topics[f"{BASE}/stats/sessions/max"] == b"2"
    assert parts.topics[f"{BASE}/metrics/messages/qos1/received"] == b"12"
    assert parts.topics[f"{BASE}/metrics/client/connected"] == b"0"
    assert [topic for topic, _, is_retain in parts.engine.published if is_retain] == [
        "$SYS/brokers",
        f"{BASE}/version",
        f"{BASE}/sysdescr",
    ]


def test_nothing_but_the_description_is_published_to_nobody() -> None:
    parts = Parts(all_events(), has_audience=False)
    client = FakeClient()
    parts.service.publish_heartbeat()
    parts.service.publish_statistics()
    parts.events.client_connected.emit(client)
    parts.events.client_disconnected.emit(Departure(client, "normal", 0))
    parts.events.client_subscribed.emit(Subscribed(client, Filter("a"), 0))
    parts.events.client_unsubscribed.emit(Unsubscribed(client, Filter("a")))
    assert all(is_retain for _, _, is_retain in parts.engine.published)


def test_connected_client_is_described() -> None:
    parts = Parts()
    parts.events.client_connected.emit(FakeClient())
    assert parts.last() == (
        f"{BASE}/clients/c/connected",
        {
            "clientid": "c",
            "username": "ann",
            "ipaddress": "::1",
            "sockport": 1883,
            "proto_name": "MQTT",
            "proto_ver": 5,
            "keepalive": 60,
            "expiry_interval": 7,
            "connected_at": 5,
            "connack": 0,
            "clean_start": True,
            "ts": parts.clock.wall_ms(),
        },
    )


def test_departed_client_is_described() -> None:
    parts = Parts()
    parts.events.client_disconnected.emit(Departure(FakeClient(version=3, peer="192.0.2.7:1"), "keepalive_timeout", 0))
    topic, payload = parts.last()
    assert topic == f"{BASE}/clients/c/disconnected"
    assert (payload["reason"], payload["proto_name"], payload["proto_ver"]) == ("keepalive_timeout", "MQIsdp", 3)
    assert (payload["ipaddress"], payload["disconnected_at"]) == ("192.0.2.7", 6)


def test_subscriptions_are_described_when_asked_for() -> None:
    parts = Parts(all_events())
    parts.events.client_subscribed.emit(Subscribed(FakeClient(), Filter("a/#"), 0x2E))
    topic, payload = parts.last()
    assert topic == f"{BASE}/clients/c/subscribed"
    assert (payload["topic"], payload["subopts"]) == ("a/#", {"qos": 2, "nl": 1, "rap": 1, "rh": 2})
    parts.events.client_unsubscribed.emit(Unsubscribed(FakeClient(), Filter("a/#")))
    topic, payload = parts.last()
    assert (topic, payload["topic"]) == (f"{BASE}/clients/c/unsubscribed", "a/#")


def test_events_that_are_off_are_not_listened_to() -> None:
    off = load(
        sets=[
            "sys_topics.sys_event_messages.client_connected=false",
            "sys_topics.sys_event_messages.client_disconnected=false",
        ]
    ).config.sys_topics
    parts = Parts(off)
    parts.events.client_connected.emit(FakeClient())
    parts.events.client_disconnected.emit(Departure(FakeClient(), "normal", 0))
    assert parts.engine.published == []
    assert not parts.events.client_subscribed


def test_client_id_with_a_wildcard_is_left_out() -> None:
    parts = Parts()
    parts.events.client_connected.emit(FakeClient("a+#"))
    parts.events.client_connected.emit(FakeClient("a/b"))
    assert list(parts.topics) == [f"{BASE}/clients/a/b/connected"]


@pytest.mark.parametrize("which", ["run_heartbeat", "run_statistics"])
async def test_intervals_are_kept_and_may_be_off(which: str) -> None:
    fast = load(
        sets=['sys_topics.sys_msg_interval="100ms"', 'sys_topics.sys_heartbeat_interval="100ms"']
    ).config.sys_topics
    parts = Parts(fast)
    task = asyncio.create_task(getattr(parts.service, which)())
    await eventually(lambda: bool(parts.engine.published))
    task.cancel()
    off = load(
        sets=['sys_topics.sys_msg_interval="disabled"', 'sys_topics.sys_heartbeat_interval="disabled"']
    ).config.sys_topics
    silent = Parts(off)
    task = asyncio.create_task(getattr(silent.service, which)())
    await asyncio.sleep(0)
    assert silent.engine.published == []
    assert not task.done()
    task.cancel()
