"""What traces and the list of slow subscriptions tell of real clients."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.support.broker import Broker
from tests.support.packets import Pairs, Property, Type, Version
from tests.support.rest import Rest, dashboard_settings, free_port
from tests.support.wire import Clients, WireClient, eventually


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Broker, Rest]]:
    port = free_port()
    broker = Broker.start(tmp_path_factory.mktemp("trace"), dashboard_settings(port))
    yield broker, Rest(port)
    broker.stop()


@pytest.fixture
def rest(running: tuple[Broker, Rest]) -> Iterator[Rest]:
    yield running[1]
    running[1].call("DELETE", "/trace")
    running[1].call("PUT", "/slow_subscriptions/settings", {"enable": False})


@pytest.fixture
async def clients(running: tuple[Broker, Rest], unique: str) -> AsyncIterator[Clients]:
    opened = Clients(running[0].address(), unique)
    yield opened
    await opened.aclose()


def trace(rest: Rest, kind: str, value: str, **more: object) -> None:
    rest.call("POST", "/trace", {"name": "t", "type": kind, kind: value, **more})


def lines(rest: Rest) -> list[str]:
    text: str = rest.call("GET", "/trace/t/log?bytes=1000000")["items"]
    return text.splitlines()


async def subscribed(clients: Clients, client_id: str, properties: Pairs = ()) -> WireClient:
    client = await clients.connected(client_id=client_id, properties=properties)
    assert await client.subscribe((clients.topic("t"), 1)) == (1,)
    return client


async def test_traced_client_is_followed_from_connect_to_its_end(clients: Clients, rest: Rest) -> None:
    trace(rest, "clientid", "one")
    one = await clients.connected(client_id="one", username="ann")
    await one.subscribe((clients.topic("in"), 1))
    other = await clients.connected(client_id="two")
    await other.publish_fully(clients.topic("in"), b"to one")
    await one.settle(await one.expect_publish(clients.topic("in")))
    await one.publish_fully(clients.topic("out"), b"from one")
    await one.disconnect()
    await one.expect_closed()
    await eventually(lambda: any("client_disconnected" in line for line in lines(rest)))
    told = [line.partition(" ")[2] for line in lines(rest)]
    for part in (
        "client_connected, username: ann",
        f"msg: subscribed, filter: {clients.topic('in')}",
        "[PUBLISH] one@127.0.0.1",
        f"msg: delivered, qos: 1, retain: 0, dup: 0, packet_id: 1, topic: {clients.topic('in')}",
        f'topic: {clients.topic("out")}, payload: "from one"',
        "[PUBACK] one@127.0.0.1",
        "reason: normal",
    ):
        assert any(part in line for line in told), (part, told)
    assert not any(" two@" in line for line in told)


@pytest.mark.parametrize("version", [Version.V311, Version.V5])
async def test_traced_topic_is_seen_both_ways_also_by_its_alias(clients: Clients, rest: Rest, version: Version) -> None:
    topic = clients.topic("a")
    trace(rest, "topic", clients.topic("+"), payload_encode="hex", formatter="json")
    subscriber = await clients.subscriber(version, (clients.topic("#"), 0))
    publisher = await clients.connected()
    await publisher.publish(topic, b"\x01\x02", properties=[(Property.TOPIC_ALIAS, 1)])
    await publisher.publish("", b"\x03", properties=[(Property.TOPIC_ALIAS, 1)])
    await publisher.publish(clients.topic("b/c"), b"no")
    for _ in range(3):
        await subscriber.expect(Type.PUBLISH)
    await eventually(lambda: len(lines(rest)) >= 4)
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines(rest)]
    assert sorted((row["msg"], row["payload"]) for row in rows if row["tag"] == "PUBLISH") == [
        ("delivered", "0102"),
        ("delivered", "03"),
        ("received", "0102"),
        ("received", "03"),
    ]
    assert {row["topic"] for row in rows} == {topic}


async def test_traced_address_shows_its_clients(clients: Clients, rest: Rest) -> None:
    trace(rest, "ip_address", "127.0.0.1", payload_encode="hidden")
    client = await clients.connected(client_id="here")
    await client.publish_fully(clients.topic("t"), b"secret")
    await eventually(lambda: any("PUBLISH" in line for line in lines(rest)))
    assert any("payload: ******" in line for line in lines(rest))
    assert not any("secret" in line for line in lines(rest))


async def test_stopped_trace_grows_no_more(clients: Clients, rest: Rest) -> None:
    trace(rest, "clientid", "one")
    client = await clients.connected(client_id="one")
    await eventually(lambda: bool(lines(rest)))
    rest.call("PUT", "/trace/t/stop")
    before = len(lines(rest))
    await client.publish_fully(clients.topic("t"), b"x")
    assert len(lines(rest)) == before


async def test_hostile_client_writes_no_lines_of_its_own(clients: Clients, rest: Rest) -> None:
    trace(rest, "ip_address", "127.0.0.1")
    client = await clients.connected(client_id="evil\u0085[FORGED]", username="a\nb")
    await client.publish_fully(clients.topic("t"), b"x\n2026-01-01T00:00:00 [FORGED] line")
    await eventually(lambda: any("PUBLISH" in line for line in lines(rest)))
    assert all(line[:4].isdigit() and "[FORGED]" not in line[:45] for line in lines(rest))


@pytest.mark.parametrize("measure", ["whole", "response"])
async def test_client_that_answers_late_is_listed(clients: Clients, rest: Rest, measure: str) -> None:
    settings = {"enable": True, "threshold": "50ms", "stats_type": measure}
    rest.call("PUT", "/slow_subscriptions/settings", settings)
    slow = await subscribed(clients, "slow")
    quick = await subscribed(clients, "quick")
    publisher = await clients.connected()
    await publisher.publish_fully(clients.topic("t"), b"x")
    late = await slow.expect(Type.PUBLISH)
    await quick.settle(await quick.expect(Type.PUBLISH))
    started = asyncio.get_running_loop().time()
    await eventually(lambda: asyncio.get_running_loop().time() - started > 0.1)
    await slow.settle(late)
    (row,) = rest.wait_for("/slow_subscriptions", lambda reply: bool(reply["data"]))["data"]
    assert (row["clientid"], row["topic"], row["timespan"] >= 100) == ("slow", clients.topic("t"), True)
    rest.call("DELETE", "/slow_subscriptions")
    assert rest.call("GET", "/slow_subscriptions")["data"] == []


async def test_message_that_waits_behind_a_full_window_is_slow_inside(clients: Clients, rest: Rest) -> None:
    settings = {"enable": True, "threshold": "50ms", "stats_type": "internal"}
    rest.call("PUT", "/slow_subscriptions/settings", settings)
    narrow = await subscribed(clients, "narrow", properties=[(Property.RECEIVE_MAXIMUM, 1)])
    publisher = await clients.connected()
    for _ in range(2):
        await publisher.publish_fully(clients.topic("t"), b"x")
    first = await narrow.expect(Type.PUBLISH)
    started = asyncio.get_running_loop().time()
    await eventually(lambda: asyncio.get_running_loop().time() - started > 0.1)
    await narrow.settle(first)
    await narrow.settle(await narrow.expect(Type.PUBLISH))
    (row,) = rest.wait_for("/slow_subscriptions", lambda reply: bool(reply["data"]))["data"]
    assert (row["clientid"], row["timespan"] >= 100) == ("narrow", True)
