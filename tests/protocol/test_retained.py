"""Retained messages: keeping, replacing, removing, and when subscribers get them."""

import asyncio
from collections.abc import Callable

import pytest

from tests.protocol.versions import every_version, v3_only
from tests.support.broker import Settings
from tests.support.packets import Packet, Pairs, Property, Version
from tests.support.spec import spec
from tests.support.wire import PATIENCE_S, Clients

RETAIN_AS_PUBLISHED = 0x08
ONLY_IF_NEW = 0x10
NEVER = 0x20


@spec("MQTT3-3.3.1-5", "MQTT3-3.3.1-10", "MQTT3-3.3.1-11", "MQTT5-3.3.1-5", "MQTT5-3.3.1-6", "MQTT5-3.3.1-7", row=81)
@every_version
async def test_retained_message_is_replaced_and_removed(clients: Clients, version: Version) -> None:
    topic = clients.topic("t")
    publisher = await clients.connected(version)
    for payload in (b"old", b"new"):
        await publisher.publish_fully(topic, payload, retain=True)
    present = await clients.subscriber(version, (topic, 1))
    await present.settle(await present.expect_publish(topic, b"new", retained=True))
    await publisher.publish_fully(topic, b"", retain=True)
    await present.settle(await present.expect_publish(topic, b"", retained=False))
    later = await clients.subscriber(version, (topic, 1))
    await later.expect_quiet()


@spec("MQTT3-3.3.1-5", "MQTT5-3.3.1-5", row=81)
@every_version
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_retained_message_keeps_its_qos(clients: Clients, version: Version, qos: int) -> None:
    topic = clients.topic("t")
    publisher = await clients.connected(version)
    if qos:
        await publisher.publish_fully(topic, b"x", qos=qos, retain=True)
    else:
        await publisher.publish(topic, b"x", retain=True)
        await publisher.expect_quiet()
    subscriber = await clients.subscriber(version, (topic, 2))
    await subscriber.expect_publish(topic, b"x", qos=qos, retained=True)
    await publisher.publish(topic, retain=True)


@spec("MQTT3-3.3.1-12", "MQTT5-3.3.1-8", row=82)
@every_version
async def test_plain_publication_leaves_the_retained_one(clients: Clients, version: Version) -> None:
    topic = clients.topic("t")
    publisher = await clients.connected(version)
    await publisher.publish_fully(topic, b"kept", retain=True)
    await publisher.publish_fully(topic, b"passing")
    await publisher.publish_fully(topic, b"")
    subscriber = await clients.subscriber(version, (topic, 0))
    await subscriber.expect_publish(topic, b"kept", retained=True)
    await subscriber.expect_quiet()
    await publisher.publish(topic, retain=True)


@spec("MQTT3-3.3.1-8", "MQTT3-3.3.1-9", "MQTT5-3.3.1-12", "MQTT5-3.3.1-13", row=83)
@every_version
async def test_flag_is_set_for_new_subscriptions_only(clients: Clients, version: Version) -> None:
    topic = clients.topic("t")
    present = await clients.subscriber(version, (topic, 0))
    publisher = await clients.connected(version)
    await publisher.publish_fully(topic, b"x", retain=True)
    await present.expect_publish(topic, b"x", retained=False)
    later = await clients.subscriber(version, (topic, 0))
    await later.expect_publish(topic, b"x", retained=True)
    await publisher.publish(topic, retain=True)


@spec("MQTT5-3.3.1-12", "MQTT5-3.3.1-13", row=83)
async def test_flag_stays_as_published_on_request(clients: Clients) -> None:
    topic = clients.topic("t")
    subscriber = await clients.subscriber(Version.V5, (topic, RETAIN_AS_PUBLISHED))
    publisher = await clients.connected()
    await publisher.publish(topic, b"retained", retain=True)
    await publisher.publish(topic, b"plain")
    await publisher.publish(topic, b"", retain=True)
    await subscriber.expect_publish(topic, b"retained", retained=True)
    await subscriber.expect_publish(topic, b"plain", retained=False)
    await subscriber.expect_publish(topic, b"", retained=True)


@spec("MQTT3-3.8.4-3", row=84)
@v3_only
async def test_subscribing_again_sends_retained_messages_again(clients: Clients, version: Version) -> None:
    topic = clients.topic("t")
    publisher = await clients.connected(version)
    await publisher.publish_fully(topic, b"x", retain=True)
    subscriber = await clients.connected(version)
    for _ in range(2):
        await subscriber.subscribe((topic, 0))
        await subscriber.expect_publish(topic, b"x", retained=True)
    await publisher.publish(topic, retain=True)


@spec("MQTT5-3.3.1-9", "MQTT5-3.3.1-10", "MQTT5-3.3.1-11", "MQTT5-3.8.4-4", row=84)
@pytest.mark.parametrize(
    ("handling", "first", "second"),
    [(0, True, True), (ONLY_IF_NEW, True, False), (NEVER, False, False)],
    ids=["always", "only if new", "never"],
)
async def test_retain_handling_decides_what_a_subscription_gets(
    clients: Clients, handling: int, first: bool, second: bool
) -> None:
    topic = clients.topic("t")
    publisher = await clients.connected()
    await publisher.publish_fully(topic, b"x", retain=True)
    subscriber = await clients.connected()
    for gets_it in (first, second):
        await subscriber.subscribe((topic, handling))
        if gets_it:
            await subscriber.expect_publish(topic, b"x", retained=True)
        await subscriber.expect_quiet()
    await publisher.publish(topic, retain=True)


@spec("MQTT5-3.3.1-10", row=84)
async def test_subscription_is_new_again_after_unsubscribing(clients: Clients) -> None:
    topic = clients.topic("t")
    publisher = await clients.connected()
    await publisher.publish_fully(topic, b"x", retain=True)
    subscriber = await clients.connected()
    for _ in range(2):
        await subscriber.subscribe((topic, ONLY_IF_NEW))
        await subscriber.expect_publish(topic, b"x", retained=True)
        await subscriber.unsubscribe(topic)
    await publisher.publish(topic, retain=True)


@spec("MQTT5-3.3.1-10", row=84)
async def test_subscription_of_a_resumed_session_is_not_new(clients: Clients) -> None:
    topic = clients.topic("t")
    publisher = await clients.connected()
    await publisher.publish_fully(topic, b"x", retain=True)
    client, _ = await clients.persistent(Version.V5, clients.id())
    await client.subscribe((topic, NEVER))
    await client.disconnect()
    again, _ = await clients.persistent(Version.V5, clients.id())
    await again.subscribe((topic, ONLY_IF_NEW))
    await again.expect_quiet()
    await publisher.publish(topic, retain=True)


@spec("MQTT5-§4.8.2", row=85)
@pytest.mark.parametrize("share", ["$share/g/", "$queue/"])
async def test_shared_subscription_gets_no_retained_messages(clients: Clients, share: str) -> None:
    topic = clients.topic("t")
    publisher = await clients.connected()
    await publisher.publish_fully(topic, b"x", retain=True)
    subscriber = await clients.subscriber(Version.V5, (share + topic, 1))
    await subscriber.expect_quiet()
    await publisher.publish_fully(topic, b"live", retain=True)
    await subscriber.expect_publish(topic, b"live")
    await publisher.publish(topic, retain=True)


async def _retained(clients: Clients, topic: str) -> Packet | None:
    """Return what a new subscriber gets."""
    subscriber = await clients.subscriber(Version.V5, (topic, 0), (f"{topic}/end", 0))
    await subscriber.publish(f"{topic}/end")
    packet = await subscriber.expect_publish()
    await subscriber.disconnect()
    return packet if packet.topic == topic else None


@spec("MQTT5-3.3.2-5", "MQTT5-3.3.2-6", row=86)
async def test_retained_message_expires(clients: Clients) -> None:
    topic = clients.topic("t")
    publisher = await clients.connected()
    await publisher.publish_fully(topic, b"x", retain=True, properties=[(Property.MESSAGE_EXPIRY, 1)])
    assert await _retained(clients, topic) is not None
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if await _retained(clients, topic) is None:
                return
            await asyncio.sleep(0.1)


@spec("MQTT5-3.3.2-5", "MQTT5-3.3.2-6", row=86)
async def test_retained_message_carries_the_time_that_is_left(clients: Clients) -> None:
    topic = clients.topic("t")
    publisher = await clients.connected()
    await publisher.publish_fully(topic, b"x", retain=True, properties=[(Property.MESSAGE_EXPIRY, 100)])
    left: set[int | None] = set()
    async with asyncio.timeout(PATIENCE_S):
        while not left & {98, 99}:
            packet = await _retained(clients, topic)
            assert packet is not None
            left.add(packet.properties.number(Property.MESSAGE_EXPIRY))
            await asyncio.sleep(0.1)
    assert left <= {98, 99, 100}
    await publisher.publish(topic, retain=True)


@every_version
async def test_wildcard_subscriber_gets_all_matching_retained_messages(clients: Clients, version: Version) -> None:
    publisher = await clients.connected(version)
    topics = {clients.topic(f"room{number}/temperature") for number in range(100)}
    for topic in topics:
        await publisher.publish_fully(topic, b"x", retain=True)
    await publisher.publish_fully(clients.topic("room1/humidity"), b"y", retain=True)
    subscriber = await clients.subscriber(version, (clients.topic("+/temperature"), 1))
    seen = set()
    for _ in topics:
        packet = await subscriber.expect_publish(payload=b"x", retained=True, qos=1)
        seen.add(packet.topic)
        await subscriber.settle(packet)
    await subscriber.expect_quiet()
    assert seen == topics
    for topic in (*topics, clients.topic("room1/humidity")):
        await publisher.publish(topic, retain=True)


async def test_retained_message_keeps_its_properties(clients: Clients) -> None:
    topic = clients.topic("t")
    publisher = await clients.connected()
    sent: Pairs = [(Property.USER, ("k", "v")), (Property.CONTENT_TYPE, "text/plain"), (Property.USER, ("k", "w"))]
    await publisher.publish_fully(topic, b"x", retain=True, properties=sent)
    packet = await _retained(clients, topic)
    assert packet is not None
    assert packet.properties.all(Property.USER) == [("k", "v"), ("k", "w")]
    assert packet.properties.get(Property.CONTENT_TYPE) == "text/plain"
    await publisher.publish(topic, retain=True)


@pytest.mark.parametrize("own_s", [None, 2, 3_600])
async def test_override_is_the_life_of_every_retained_message(
    clients_with: Callable[[Settings], Clients], own_s: int | None
) -> None:
    clients = clients_with({"retainer.msg_expiry_interval_override": "60s"})
    topic = clients.topic(f"t{own_s}")
    publisher = await clients.connected()
    own: Pairs = [] if own_s is None else [(Property.MESSAGE_EXPIRY, own_s)]
    await publisher.publish_fully(topic, b"x", retain=True, properties=own)
    subscriber = await clients.connected()
    await subscriber.subscribe((topic, 0))
    found = await subscriber.expect_publish(topic, b"x", retained=True)
    left_s = found.properties.get(Property.MESSAGE_EXPIRY)
    assert isinstance(left_s, int)
    assert 50 <= left_s <= 60
