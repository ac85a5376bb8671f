"""Who published a message, as operators are shown it wherever the message stands, also when the publisher has gone."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from datetime import datetime

import pytest

from tests.support.broker import Broker
from tests.support.packets import Property, Type, Version
from tests.support.rest import Rest, dashboard_settings, free_port
from tests.support.wire import Clients


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Broker, Rest]]:
    port = free_port()
    broker = Broker.start(tmp_path_factory.mktemp("origin"), dashboard_settings(port))
    yield broker, Rest(port)
    broker.stop()


@pytest.fixture
def rest(running: tuple[Broker, Rest]) -> Rest:
    return running[1]


@pytest.fixture
async def clients(running: tuple[Broker, Rest], unique: str) -> AsyncIterator[Clients]:
    opened = Clients(running[0].address(), unique)
    yield opened
    await opened.aclose()


def is_recent(publish_at: int | str) -> bool:
    ms = publish_at if isinstance(publish_at, int) else datetime.fromisoformat(publish_at).timestamp() * 1_000
    return abs(time.time() * 1_000 - ms) < 10_000


@pytest.mark.parametrize("kind", ["mqueue", "inflight"])
async def test_held_message_names_its_publisher(clients: Clients, rest: Rest, kind: str) -> None:
    subscriber, _ = await clients.persistent(Version.V5, "sub")
    await subscriber.subscribe((clients.topic("t"), 1))
    if kind == "mqueue":
        await subscriber.disconnect()
        await subscriber.expect_closed()
    publisher = await clients.connected(client_id="pub", username="ann")
    await publisher.publish_fully(clients.topic("t"), b"x")
    await publisher.disconnect()
    await publisher.expect_closed()
    (row,) = rest.wait_for(f"/clients/sub/{kind}_messages", lambda page: bool(page["data"]))["data"]
    assert (row["from_clientid"], row["from_username"]) == ("pub", "ann")
    assert is_recent(row["publish_at"])
    rest.call("DELETE", "/clients/sub")


async def test_retained_message_names_its_publisher(clients: Clients, rest: Rest) -> None:
    publisher = await clients.connected(client_id="anonymous")
    await publisher.publish_fully(clients.topic("kept"), b"x", retain=True)
    publisher.abort()
    encoded = clients.topic("kept").replace("/", "%2F")
    row = rest.call("GET", f"/mqtt/retainer/message/{encoded}")
    assert (row["from_clientid"], row["from_username"]) == ("anonymous", None)
    assert is_recent(row["publish_at"])
    listed = rest.call("GET", f"/mqtt/retainer/messages?topic={encoded}")["data"]
    assert [one["from_clientid"] for one in listed] == ["anonymous"]


async def test_new_name_of_a_client_is_not_put_on_older_messages(clients: Clients, rest: Rest) -> None:
    for name in ("ann", "bob"):
        publisher = await clients.connected(
            client_id="renamed", clean=False, username=name, properties=[(Property.SESSION_EXPIRY, 60)]
        )
        await publisher.publish_fully(clients.topic(name), b"x", retain=True)
        publisher.abort()
    for name in ("ann", "bob"):
        topic = clients.topic(name).replace("/", "%2F")
        assert rest.call("GET", f"/mqtt/retainer/message/{topic}")["from_username"] == name


async def test_delayed_messages_are_listed_and_dropped(clients: Clients, rest: Rest) -> None:
    publisher = await clients.connected(client_id="later", username="ann")
    for number in range(3):
        await publisher.publish_fully(f"$delayed/{600 + number}/{clients.topic(str(number))}", b"x%d" % number)
    page = rest.call("GET", "/mqtt/delayed/messages?limit=2")
    assert [row["topic"] for row in page["data"]] == [clients.topic("0"), clients.topic("1")]
    assert page["meta"] == {"page": 1, "limit": 2, "count": 3, "hasnext": True}
    first = page["data"][0]
    assert (first["from_clientid"], first["from_username"], first["delayed_interval"]) == ("later", "ann", 600)
    assert 590 < first["delayed_remaining"] <= 600
    one = f"/mqtt/delayed/messages/{first['node']}/{first['msgid']}"
    assert rest.call("GET", one)["payload"] == "eDA="
    rest.call("DELETE", one, status=204)
    assert rest.call("GET", one, status=404)["code"] == "MESSAGE_ID_NOT_FOUND"
    topic = clients.topic("1").replace("/", "%2F")
    rest.call("DELETE", f"/mqtt/delayed/messages/{topic}", status=204)
    rest.call("DELETE", f"/mqtt/delayed/messages/{topic}", status=404)
    (left,) = rest.call("GET", "/mqtt/delayed/messages")["data"]
    rest.call("DELETE", f"/mqtt/delayed/messages/{left['node']}/{left['msgid']}", status=204)


async def test_operator_delays_a_message_too(clients: Clients, rest: Rest) -> None:
    subscriber = await clients.subscriber(Version.V5, (clients.topic("#"), 1))
    body = {"topic": f"$delayed/1/{clients.topic('t')}", "payload": "x"}
    rest.call("POST", "/publish", body, status=200)
    (row,) = rest.call("GET", "/mqtt/delayed/messages")["data"]
    assert (row["topic"], row["from_clientid"]) == (clients.topic("t"), None)
    await subscriber.expect_publish(clients.topic("t"))


async def test_changed_keep_alive_ends_a_silent_client(clients: Clients, rest: Rest) -> None:
    client = await clients.connected(client_id="silent", keep_alive=600)
    reply = rest.call("PUT", "/clients/silent/keepalive", {"interval": 1}, status=200)
    assert reply["keepalive"] == 1
    await client.expect_disconnect(0x8D)


async def test_position_of_a_message_that_has_left_is_not_the_beginning(clients: Clients, rest: Rest) -> None:
    subscriber, _ = await clients.persistent(Version.V5, "window")
    await subscriber.subscribe((clients.topic("t"), 1))
    publisher = await clients.connected()
    for number in range(4):
        await publisher.publish_fully(clients.topic("t"), b"%d" % number)
    path = "/clients/window/inflight_messages?payload=plain"
    rest.wait_for(path, lambda page: len(page["data"]) == 4)
    first = rest.call("GET", f"{path}&limit=2")
    assert [row["payload"] for row in first["data"]] == ["0", "1"]
    for _ in range(2):
        await subscriber.settle(await subscriber.expect(Type.PUBLISH))
    rest.wait_for(path, lambda page: len(page["data"]) == 2)
    rest_of_it = rest.call("GET", f"{path}&limit=2&position={first['meta']['position']}")
    assert [row["payload"] for row in rest_of_it["data"]] == ["2", "3"]
    rest.call("DELETE", "/clients/window")


@pytest.mark.parametrize(
    ("body", "path", "code"),
    [
        ({"interval": 65_536}, "/clients/x/keepalive", (400, "BAD_REQUEST")),
        ({"interval": 1}, "/clients/x/keepalive", (404, "CLIENTID_NOT_FOUND")),
    ],
)
async def test_keep_alive_that_cannot_be_is_refused(rest: Rest, body: object, path: str, code: tuple[int, str]) -> None:
    assert rest.call("PUT", path, body, status=code[0])["code"] == code[1]


async def test_malformed_id_of_a_delayed_message_is_told(rest: Rest) -> None:
    node = rest.call("GET", "/nodes")[0]["node"]
    reply = await asyncio.to_thread(rest.call, "GET", f"/mqtt/delayed/messages/{node}/xyz", None, 400)
    assert reply["code"] == "MESSAGE_ID_SCHEMA_ERROR"
