"""The queue of a session that is away: its bounds and what happens beyond them; delayed publications."""

import time
from collections.abc import Callable

import pytest

from tests.protocol.settings import EXTRAS
from tests.protocol.versions import every_version
from tests.support.broker import Settings
from tests.support.packets import Property, Version, Will
from tests.support.spec import spec
from tests.support.wire import Clients, WireClient


async def _away(clients: Clients, topic: str, qos: int = 1) -> None:
    client, _ = await clients.persistent(Version.V5, clients.id())
    await client.subscribe((topic, qos))
    await client.disconnect()


async def _expect_waiting(clients: Clients, topic: str, numbers: range) -> WireClient:
    client, connack = await clients.persistent(Version.V5, clients.id())
    assert connack.is_session_present
    for number in numbers:
        await client.settle(await client.expect_publish(topic, b"%d" % number))
    await client.expect_quiet()
    return client


async def _publish(clients: Clients, topic: str, numbers: range) -> list[int]:
    """Publish at QoS 1 and return the reasons."""
    publisher = await clients.connected()
    return [(await publisher.publish_fully(topic, b"%d" % number)).reason for number in numbers]


@pytest.mark.parametrize(
    ("policy", "kept", "last_reason"),
    [("drop_oldest", range(5, 10), 0), ("drop_newest", range(5), 0), ("reject", range(5), 0x97)],
    ids=["drop_oldest", "drop_newest", "reject"],
)
async def test_full_queue_follows_its_policy(
    clients_with: Callable[[Settings], Clients], policy: str, kept: range, last_reason: int
) -> None:
    clients = clients_with({"mqtt.mqueue_overflow": policy, "mqtt.max_mqueue_len": 5})
    topic = clients.topic("t")
    await _away(clients, topic)
    assert await _publish(clients, topic, range(10)) == [0] * 5 + [last_reason] * 5
    await _expect_waiting(clients, topic, kept)


async def test_full_queue_can_disconnect_a_slow_client(clients_with: Callable[[Settings], Clients]) -> None:
    clients = clients_with({"mqtt.mqueue_overflow": "disconnect", "mqtt.max_mqueue_len": 5, "mqtt.max_inflight": 2})
    topic = clients.topic("t")
    slow = await clients.subscriber(Version.V5, (topic, 1))
    await _publish(clients, topic, range(8))
    for number in range(2):
        await slow.expect_publish(topic, b"%d" % number)
    await slow.expect_fault(0x97)


async def test_full_queue_can_disconnect_a_client_that_reads_nothing(
    clients_with: Callable[[Settings], Clients],
) -> None:
    clients = clients_with(
        {"mqtt.mqueue_overflow": "disconnect", "mqtt.max_mqueue_len": 5, "mqtt.max_inflight": 65_535}
    )
    topic, will = clients.topic("t"), clients.topic("will")
    watcher = await clients.subscriber(Version.V5, (will, 0))
    await clients.subscriber(Version.V5, (topic, 1), will=Will(will, b"ended"))
    publisher = await clients.connected()
    for _ in range(300):
        await publisher.publish_fully(topic, b"x" * 50_000)
    await watcher.expect_publish(will, b"ended")


@spec("MQTT5-4.6.0-5", row=115)
async def test_qos0_of_today_does_not_pass_what_is_stored_of_yesterday(clients: Clients) -> None:
    topic = clients.topic("t")
    await _away(clients, topic, qos=0)
    publisher = await clients.connected()
    for number in range(900):
        await publisher.publish(topic, b"%06d" % number + b" " * 20_000)
    await publisher.expect_quiet()
    client, _ = await clients.persistent(Version.V5, clients.id())
    got = []
    for number in range(900, 1400):
        await publisher.publish(topic, b"%06d" % number)
        got.append(int((await client.expect_publish(topic)).payload[:6]))
    while got[-1] < 1399:
        got.append(int((await client.expect_publish(topic)).payload[:6]))
    assert got == sorted(got)
    assert got[:900] == list(range(900))


async def test_default_queue_keeps_the_newest_thousand(clients: Clients) -> None:
    topic = clients.topic("t")
    await _away(clients, topic)
    await _publish(clients, topic, range(1010))
    await _expect_waiting(clients, topic, range(10, 1010))


async def test_queue_can_be_bounded_by_bytes(clients_with: Callable[[Settings], Clients]) -> None:
    clients = clients_with(EXTRAS)
    topic = clients.topic("t")
    await _away(clients, topic)
    publisher = await clients.connected()
    for number in range(40):
        await publisher.publish_fully(topic, b"%d" % number + b" " * 1000)
    client, _ = await clients.persistent(Version.V5, clients.id())
    first = await client.expect_publish(topic)
    await client.settle(first)
    kept_from = int(first.payload)
    assert 19 <= kept_from <= 25
    for number in range(kept_from + 1, 40):
        received = await client.expect_publish(topic)
        assert int(received.payload) == number
        await client.settle(received)
    await client.expect_quiet()


async def test_qos_0_can_be_left_out_of_the_queue(clients_with: Callable[[Settings], Clients]) -> None:
    clients = clients_with(EXTRAS)
    topic = clients.topic("t")
    await _away(clients, topic)
    publisher = await clients.connected()
    await publisher.publish(topic, b"dropped")
    await publisher.publish_fully(topic, b"0")
    await _expect_waiting(clients, topic, range(1))


@spec("MQTT5-4.5.0-1", row=50)
async def test_qos_1_is_said_to_be_taken_while_its_subscriber_is_away(clients: Clients) -> None:
    topic = clients.topic("t")
    await _away(clients, topic)
    assert await _publish(clients, topic, range(1)) == [0]


@every_version
async def test_delayed_publication_comes_after_its_time(
    clients_with: Callable[[Settings], Clients], version: Version
) -> None:
    clients = clients_with(EXTRAS)
    topic = clients.topic("t")
    subscriber = await clients.subscriber(version, (topic, 1))
    publisher = await clients.connected(version)
    started = time.monotonic()
    await publisher.publish_fully(f"$delayed/1/{topic}", b"later")
    await publisher.publish_fully(topic, b"at once")
    await subscriber.settle(await subscriber.expect_publish(topic, b"at once"))
    await subscriber.settle(await subscriber.expect_publish(topic, b"later", qos=1))
    assert time.monotonic() - started >= 0.9


async def test_delayed_publication_can_be_retained_and_carries_properties(
    clients_with: Callable[[Settings], Clients],
) -> None:
    clients = clients_with(EXTRAS)
    topic = clients.topic("t")
    publisher = await clients.subscriber(Version.V5, (topic, 0))
    await publisher.publish_fully(
        f"$delayed/1/{topic}", b"later", retain=True, properties=[(Property.USER, ("k", "v"))]
    )
    await publisher.expect_publish(topic, b"later", retained=False)
    later = await clients.subscriber(Version.V5, (topic, 0))
    received = await later.expect_publish(topic, b"later", retained=True)
    assert received.properties.get(Property.USER) == ("k", "v")
    await later.publish(topic, retain=True)


async def test_delayed_publication_of_an_ended_session_is_nobodys_own(
    clients_with: Callable[[Settings], Clients],
) -> None:
    clients = clients_with(EXTRAS)
    topic, no_local = clients.topic("t"), 0x04
    publisher = await clients.connected()
    await publisher.publish_fully(f"$delayed/1/{topic}", b"later")
    await publisher.disconnect()
    # One of them has the number in the broker that was the publisher's.
    subscribers = [await clients.subscriber(Version.V5, (topic, no_local)) for _ in range(3)]
    for subscriber in subscribers:
        await subscriber.expect_publish(topic, b"later")


async def test_delayed_publications_come_in_the_order_of_their_times(
    clients_with: Callable[[Settings], Clients],
) -> None:
    clients = clients_with(EXTRAS)
    topic = clients.topic("t")
    client = await clients.subscriber(Version.V5, (topic, 0))
    for seconds in (2, 1):
        await client.publish_fully(f"$delayed/{seconds}/{topic}", b"%d" % seconds)
    await client.expect_publish(topic, b"1")
    await client.expect_publish(topic, b"2")
