"""Limits that the broker sets for clients: receive maximum, packet size, topic aliases."""

from collections.abc import Callable

import pytest

from tests.protocol.settings import LIMITED, SMALL_WINDOW
from tests.protocol.versions import every_version, v3_only
from tests.support import packets
from tests.support.broker import Settings
from tests.support.packets import Pairs, Property, Type, Version
from tests.support.spec import spec
from tests.support.wire import Clients


def _alias(number: int) -> Pairs:
    return [(Property.TOPIC_ALIAS, number)]


@spec("MQTT5-3.3.4-7", "MQTT5-§4.9", row=71)
@pytest.mark.parametrize("qos", [1, 2])
async def test_one_publication_above_the_receive_maximum_ends_the_connection(clients: Clients, qos: int) -> None:
    client = await clients.connected()
    for packet_id in range(1, 101):
        await client.publish(clients.topic("t"), qos=2, packet_id=packet_id)
        await client.expect_ack(Type.PUBREC, packet_id, None)
    await client.publish(clients.topic("t"), qos=qos, packet_id=101)
    await client.expect_fault(0x93)


@v3_only
async def test_publications_that_wait_for_pubrel_are_bounded(clients: Clients, version: Version) -> None:
    client = await clients.connected(version)
    for packet_id in range(1, 101):
        await client.publish(clients.topic("t"), qos=2, packet_id=packet_id)
        await client.expect_ack(Type.PUBREC, packet_id)
    publication = packets.publish(version, clients.topic("t"), b"x" * 10_000, qos=2, packet_id=200)
    for _ in range(20):
        await client.send(packets.PINGREQ + publication)
        await client.expect(Type.PINGRESP)
    await client.send(publication * 10)
    await client.expect_fault(0x93)


@spec("MQTT5-3.3.4-7", "MQTT5-§4.9", row=71)
async def test_receive_maximum_is_returned_by_pubcomp_and_puback(clients_with: Callable[[Settings], Clients]) -> None:
    clients = clients_with(SMALL_WINDOW)
    client = await clients.connected()
    for packet_id in (1, 2):
        await client.publish(clients.topic("t"), qos=2, packet_id=packet_id)
        await client.expect_ack(Type.PUBREC, packet_id, None)
    for packet_id in (3, 4, 5):
        await client.publish(clients.topic("t"), qos=1, packet_id=packet_id)
        await client.expect_ack(Type.PUBACK, packet_id, None)
    for packet_id in (1, 2):
        await client.ack(Type.PUBREL, packet_id)
        await client.expect_ack(Type.PUBCOMP, packet_id)
    for packet_id in (6, 7, 8):
        await client.publish(clients.topic("t"), qos=2, packet_id=packet_id)
        await client.expect_ack(Type.PUBREC, packet_id, None)
    await client.expect_quiet()


@spec("MQTT5-§4.9", row=71)
async def test_receive_maximum_is_returned_by_a_refusing_pubrec(
    clients_with: Callable[[Settings], Clients],
) -> None:
    clients = clients_with(SMALL_WINDOW)
    offline, _ = await clients.persistent(Version.V5, clients.id())
    await offline.subscribe((clients.topic("t"), 2))
    await offline.disconnect()
    client = await clients.connected()
    assert (await client.publish_fully(clients.topic("t"), qos=2)).reason == 0
    for packet_id in range(10, 16):
        await client.publish(clients.topic("t"), qos=2, packet_id=packet_id)
        await client.expect_ack(Type.PUBREC, packet_id, 0x97)
    await client.expect_quiet()


@spec("MQTT5-§4.9", row=71)
async def test_duplicates_and_qos_0_do_not_spend_the_receive_maximum(
    clients_with: Callable[[Settings], Clients],
) -> None:
    clients = clients_with(SMALL_WINDOW)
    client = await clients.connected()
    for packet_id in (1, 2, 3):
        await client.publish(clients.topic("t"), qos=2, packet_id=packet_id)
        await client.expect_ack(Type.PUBREC, packet_id, None)
    await client.publish(clients.topic("t"), qos=2, packet_id=3, dup=True)
    await client.expect_ack(Type.PUBREC, 3, None)
    for _ in range(10):
        await client.publish(clients.topic("t"))
    await client.expect_quiet()


@v3_only
async def test_receive_maximum_makes_a_3x_client_wait(
    clients_with: Callable[[Settings], Clients], version: Version
) -> None:
    clients = clients_with(SMALL_WINDOW)
    client = await clients.connected(version)
    await client.send(b"".join(packets.publish(version, clients.topic("t"), qos=2, packet_id=i) for i in range(1, 4)))
    for packet_id in (1, 2, 3):
        await client.expect_ack(Type.PUBREC, packet_id)
    await client.ack(Type.PUBREL, 1)
    await client.expect_ack(Type.PUBCOMP, 1)
    await client.publish(clients.topic("t"), qos=2, packet_id=4)
    await client.expect_ack(Type.PUBREC, 4)


@spec("MQTT5-3.2.2-15", row=72)
@every_version
async def test_too_large_a_packet_is_refused_on_its_header(clients: Clients, version: Version) -> None:
    client = await clients.connected(version)
    await client.send(b"\x30" + packets.varint(1_048_577))
    await client.expect_fault(0x95)


@spec("MQTT5-3.2.2-15", row=72)
@every_version
async def test_packet_of_the_maximum_size_is_taken(
    clients_with: Callable[[Settings], Clients], version: Version
) -> None:
    clients = clients_with(LIMITED)
    topic = clients.topic("t")
    subscriber = await clients.subscriber(version, (topic, 0))
    client = await clients.connected(version)
    room = 1024 - len(packets.publish(version, topic, b"x" * 900)) + 900
    await client.publish(topic, b"x" * room)
    await subscriber.expect_publish(topic, b"x" * room)
    await client.publish(topic, b"x" * (room + 1))
    await client.expect_fault(0x95)


@spec("MQTT5-3.2.2-15", row=72)
async def test_too_large_a_connect_is_refused(clients_with: Callable[[Settings], Clients]) -> None:
    client = await clients_with(LIMITED).open()
    await client.send(packets.connect(5, "x" * 2000)[:3])
    await client.expect_closed()


@spec("MQTT5-3.3.2-8", row=66)
async def test_alias_zero_ends_the_connection(clients: Clients) -> None:
    client = await clients.connected()
    await client.publish(clients.topic("t"), properties=_alias(0))
    await client.expect_fault(0x94)


@spec("MQTT5-3.3.2-8", "MQTT5-3.3.2-9", row=66)
@pytest.mark.parametrize("alias", [11, 65_535])
async def test_alias_above_the_maximum_ends_the_connection(
    clients_with: Callable[[Settings], Clients], alias: int
) -> None:
    clients = clients_with(LIMITED)
    client = await clients.connected()
    await client.publish(clients.topic("t"), properties=_alias(10))
    await client.expect_quiet()
    await client.publish(clients.topic("t"), properties=_alias(alias))
    await client.expect_fault(0x94)


@spec("MQTT5-3.3.2-8", "MQTT5-3.3.2-9", row=66)
async def test_no_alias_is_allowed_where_the_maximum_is_zero(clients_with: Callable[[Settings], Clients]) -> None:
    clients = clients_with(SMALL_WINDOW)
    client = await clients.open()
    connack = await client.connect()
    assert connack.properties.get(Property.ALIAS_MAXIMUM) in (None, 0)
    await client.publish(clients.topic("t"), properties=_alias(1))
    await client.expect_fault(0x94)


@spec("MQTT5-3.3.2-7", "MQTT5-§3.3.4", row=67)
async def test_alias_that_was_never_set_ends_the_connection(clients: Clients) -> None:
    client = await clients.connected()
    await client.publish("", properties=_alias(5))
    await client.expect_fault(0x82, 0x94)


@spec("MQTT5-3.3.2-7", "MQTT5-§3.3.4", row=67)
async def test_aliases_die_with_the_connection(clients: Clients) -> None:
    client, _ = await clients.persistent(Version.V5, clients.id())
    await client.publish(clients.topic("t"), properties=_alias(5))
    await client.disconnect()
    again, connack = await clients.persistent(Version.V5, clients.id())
    assert connack.is_session_present
    await again.publish("", properties=_alias(5))
    await again.expect_fault(0x82, 0x94)


@spec("MQTT5-3.3.2-12", row=68)
async def test_alias_stands_for_its_topic_and_can_be_moved(clients: Clients) -> None:
    first, second = clients.topic("first"), clients.topic("second")
    subscriber = await clients.subscriber(Version.V5, (clients.topic("+"), 1))
    publisher = await clients.connected()
    for topic, payload in ((first, b"1"), ("", b"2"), (second, b"3"), ("", b"4")):
        await publisher.publish(topic, payload, properties=_alias(7))
    for topic, payload in ((first, b"1"), (first, b"2"), (second, b"3"), (second, b"4")):
        received = await subscriber.expect_publish(topic, payload)
        assert Property.TOPIC_ALIAS not in received.properties


@spec("MQTT5-3.3.2-12", row=68)
async def test_every_alias_up_to_the_maximum_works(clients: Clients) -> None:
    subscriber = await clients.subscriber(Version.V5, (clients.topic("#"), 0))
    publisher = await clients.connected()
    aliases = (1, 2, 127, 128, 255, 256, 32_767, 32_768, 65_534, 65_535)
    for alias in aliases:
        await publisher.publish(clients.topic(f"a{alias}"), properties=_alias(alias))
    for alias in aliases:
        await subscriber.expect_publish(clients.topic(f"a{alias}"))
    for alias in reversed(aliases):
        await publisher.publish("", b"again", properties=_alias(alias))
    for alias in reversed(aliases):
        await subscriber.expect_publish(clients.topic(f"a{alias}"), b"again")


@spec("MQTT5-3.3.2-12", row=68)
@pytest.mark.parametrize("qos", [1, 2])
async def test_alias_works_at_every_qos(clients: Clients, qos: int) -> None:
    topic = clients.topic("t")
    subscriber = await clients.subscriber(Version.V5, (topic, 0))
    publisher = await clients.connected()
    await publisher.publish_fully(topic, b"1", qos=qos, properties=_alias(3))
    await publisher.publish_fully("", b"2", qos=qos, properties=_alias(3))
    await subscriber.expect_publish(topic, b"1")
    await subscriber.expect_publish(topic, b"2")


@spec("MQTT5-§3.3.4", row=67)
async def test_aliases_of_two_publishers_are_apart(clients: Clients) -> None:
    subscriber = await clients.subscriber(Version.V5, (clients.topic("+"), 0))
    one, two = await clients.connected(), await clients.connected()
    await one.publish(clients.topic("one"), properties=_alias(1))
    await subscriber.expect_publish(clients.topic("one"))
    await two.publish(clients.topic("two"), properties=_alias(1))
    await subscriber.expect_publish(clients.topic("two"))
    await one.publish("", properties=_alias(1))
    await subscriber.expect_publish(clients.topic("one"))
