"""Delivery towards clients: their limits, what is forwarded, order and packet ids."""

import asyncio

import pytest

from tests.protocol.versions import every_version
from tests.support import packets
from tests.support.packets import Packet, Pairs, Property, PropertyValue, Type, Version
from tests.support.spec import spec
from tests.support.wire import PATIENCE_S, Clients, WireClient


@spec("MQTT5-3.3.4-9", "MQTT5-4.9.0-1", "MQTT5-4.9.0-2", "MQTT5-4.9.0-3", row=105)
@pytest.mark.parametrize("qos", [1, 2])
async def test_no_more_open_messages_than_the_client_allows(clients: Clients, qos: int) -> None:
    topic = clients.topic("t")
    subscriber = await clients.subscriber(Version.V5, (topic, 2), properties=[(Property.RECEIVE_MAXIMUM, 2)])
    publisher = await clients.connected()
    for number in range(5):
        await publisher.publish_fully(topic, b"%d" % number, qos=qos)
    open_messages = [await subscriber.expect_publish(topic, b"%d" % number, qos=qos) for number in range(2)]
    await subscriber.expect_quiet()
    for number in range(2, 5):
        oldest = open_messages.pop(0)
        if qos == 1:
            await subscriber.ack(Type.PUBACK, oldest.packet_id)
        else:
            await subscriber.ack(Type.PUBREC, oldest.packet_id)
            assert (await subscriber.expect(Type.PUBREL)).packet_id == oldest.packet_id
            await subscriber.expect_quiet()
            await subscriber.ack(Type.PUBCOMP, oldest.packet_id)
        open_messages.append(await subscriber.expect_publish(topic, b"%d" % number, qos=qos))
        await subscriber.expect_quiet()


@spec("MQTT5-3.3.4-9", "MQTT5-4.9.0-1", "MQTT5-4.9.0-2", "MQTT5-4.9.0-3", row=105)
async def test_qos_0_and_acknowledgements_pass_a_full_window(clients: Clients) -> None:
    topic, free = clients.topic("t"), clients.topic("free")
    subscriber = await clients.subscriber(Version.V5, (topic, 1), (free, 0), properties=[(Property.RECEIVE_MAXIMUM, 1)])
    publisher = await clients.connected()
    for _ in range(3):
        await publisher.publish_fully(topic)
    await subscriber.expect_publish(topic, qos=1)
    await publisher.publish(free, b"passes")
    await subscriber.expect_publish(free, b"passes", qos=0)
    await subscriber.publish(clients.topic("own"), qos=1, packet_id=9)
    await subscriber.expect_ack(Type.PUBACK, 9, None)
    await subscriber.expect_quiet()


@spec("MQTT5-4.9.0-1", "MQTT5-4.9.0-2", row=105)
async def test_refusing_acknowledgements_return_the_window(clients: Clients) -> None:
    topic = clients.topic("t")
    subscriber = await clients.subscriber(Version.V5, (topic, 2), properties=[(Property.RECEIVE_MAXIMUM, 1)])
    publisher = await clients.connected()
    for qos in (1, 2, 1):
        await publisher.publish_fully(topic, b"%d" % qos, qos=qos)
    for qos in (1, 2, 1):
        received = await subscriber.expect_publish(topic, b"%d" % qos, qos=qos)
        await subscriber.expect_quiet()
        await subscriber.ack(Type.PUBACK if qos == 1 else Type.PUBREC, received.packet_id, 0x83)


@every_version
async def test_at_most_32_messages_are_open_by_default(clients: Clients, version: Version) -> None:
    topic = clients.topic("t")
    subscriber = await clients.subscriber(version, (topic, 1))
    publisher = await clients.connected(version)
    for number in range(40):
        await publisher.publish_fully(topic, b"%d" % number)
    first = [await subscriber.expect_publish(topic, b"%d" % number) for number in range(32)]
    await subscriber.expect_quiet()
    for packet in first[:8]:
        await subscriber.ack(Type.PUBACK, packet.packet_id)
    for number in range(32, 40):
        await subscriber.expect_publish(topic, b"%d" % number)
    await subscriber.expect_quiet()


@spec("MQTT5-3.1.2-24", "MQTT5-3.1.2-25", row=106)
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_message_beyond_the_clients_packet_size_is_dropped(clients: Clients, qos: int) -> None:
    topic = clients.topic("t")
    subscriber = await clients.subscriber(
        Version.V5,
        (topic, 2),
        properties=[(Property.MAXIMUM_PACKET, 200), (Property.RECEIVE_MAXIMUM, 1)],
    )
    room = 200 - len(packets.publish(5, topic, b"x" * 150, qos=qos)) + 150
    publisher = await clients.connected()
    for size in (room + 1, room, room + 1000, room - 1):
        if qos:
            await publisher.publish_fully(topic, b"x" * size, qos=qos)
        else:
            await publisher.publish(topic, b"x" * size)
    for size in (room, room - 1):
        received = await subscriber.expect_publish(topic, b"x" * size, qos=qos)
        assert len(received.raw) <= 200
        await subscriber.settle(received)
    await subscriber.expect_quiet()


@spec("MQTT5-3.1.2-25", row=106)
async def test_dropped_message_does_not_come_back_with_the_session(clients: Clients) -> None:
    topic = clients.topic("t")
    limit: Pairs = [(Property.MAXIMUM_PACKET, 100)]
    client, _ = await clients.persistent(Version.V5, clients.id(), properties=limit)
    await client.subscribe((topic, 1))
    await client.disconnect()
    publisher = await clients.connected()
    await publisher.publish_fully(topic, b"x" * 200)
    await publisher.publish_fully(topic, b"fits")
    again, _ = await clients.persistent(Version.V5, clients.id(), properties=limit)
    await again.settle(await again.expect_publish(topic, b"fits"))
    await again.expect_quiet()


def _resolve(received: Packet, aliases: dict[int, str], maximum: int) -> str:
    """Return the topic of a publication and learn its alias; fail on one that the client cannot know."""
    alias = received.properties.number(Property.TOPIC_ALIAS)
    if alias is None:
        return received.topic
    assert 1 <= alias <= maximum
    if received.topic:
        aliases[alias] = received.topic
    return aliases[alias]


@spec("MQTT5-3.1.2-26", "MQTT5-3.1.2-27", row=107)
@pytest.mark.parametrize("maximum", [0, 1, 3, 65_535])
async def test_aliases_stay_within_the_clients_maximum(clients: Clients, maximum: int) -> None:
    properties: Pairs = [(Property.ALIAS_MAXIMUM, maximum)]
    subscriber = await clients.subscriber(Version.V5, (clients.topic("#"), 1), properties=properties)
    publisher = await clients.connected()
    aliases: dict[int, str] = {}
    for number in range(40):
        topic = clients.topic(f"t{number % 5}")
        await publisher.publish_fully(topic, b"%d" % number, qos=number % 2 + 1)
        received = await subscriber.expect_publish(payload=b"%d" % number)
        assert _resolve(received, aliases, maximum) == topic
        await subscriber.settle(received)
    assert (len(aliases) > 0) == (maximum > 0), "aliases are for clients that ask for them"


@spec("MQTT5-3.1.2-27", row=107)
async def test_no_alias_where_the_client_names_no_maximum(clients: Clients) -> None:
    topic = clients.topic("t")
    subscriber = await clients.subscriber(Version.V5, (topic, 0))
    for _ in range(10):
        await subscriber.publish(topic, properties=[(Property.TOPIC_ALIAS, 1)])
        received = await subscriber.expect_publish(topic)
        assert Property.TOPIC_ALIAS not in received.properties


@spec("MQTT5-3.1.2-26", row=107)
async def test_alias_is_not_used_on_a_resumed_session_before_it_is_set(clients: Clients) -> None:
    topic = clients.topic("t")
    properties: Pairs = [(Property.ALIAS_MAXIMUM, 10)]
    publisher = await clients.connected()
    for number in range(3):
        client, _ = await clients.persistent(Version.V5, clients.id(), properties=properties)
        if number == 0:
            await client.subscribe((topic, 1))
        aliases: dict[int, str] = {}
        for _ in range(3):
            await publisher.publish_fully(topic)
            received = await client.expect_publish()
            assert _resolve(received, aliases, 10) == topic
            await client.settle(received)
        await client.disconnect()


@spec("MQTT5-3.3.2-5", "MQTT5-3.3.2-6", "MQTT5-4.3.3-7", row=108)
async def test_message_that_expired_in_the_queue_is_dropped(clients: Clients) -> None:
    topic = clients.topic("t")
    client, _ = await clients.persistent(Version.V5, clients.id())
    await client.subscribe((topic, 1))
    await client.disconnect()
    publisher = await clients.connected()
    await publisher.publish_fully(topic, b"short", properties=[(Property.MESSAGE_EXPIRY, 1)])
    await publisher.publish_fully(topic, b"long", properties=[(Property.MESSAGE_EXPIRY, 100)])
    await publisher.publish_fully(topic, b"endless")
    await _let_more_than_a_second_pass(clients)
    again, _ = await clients.persistent(Version.V5, clients.id())
    waited = await again.expect_publish(topic, b"long")
    assert waited.properties.number(Property.MESSAGE_EXPIRY) in range(95, 100)
    endless = await again.expect_publish(topic, b"endless")
    assert Property.MESSAGE_EXPIRY not in endless.properties
    await again.expect_quiet()


@spec("MQTT5-3.3.2-6", row=108)
async def test_message_expiry_is_forwarded_at_once_unchanged(clients: Clients) -> None:
    topic = clients.topic("t")
    subscriber = await clients.subscriber(Version.V5, (topic, 0))
    await subscriber.publish(topic, properties=[(Property.MESSAGE_EXPIRY, 1000)])
    received = await subscriber.expect_publish(topic)
    assert received.properties.number(Property.MESSAGE_EXPIRY) in (999, 1000)


@spec("MQTT5-4.3.3-7", row=108)
@pytest.mark.parametrize("qos", [1, 2])
async def test_expiry_does_not_touch_what_was_sent(clients: Clients, qos: int) -> None:
    topic = clients.topic("t")
    client, _ = await clients.persistent(Version.V5, clients.id())
    await client.subscribe((topic, 2))
    publisher = await clients.connected()
    await publisher.publish_fully(topic, b"x", qos=qos, properties=[(Property.MESSAGE_EXPIRY, 1)])
    first = await client.expect_publish(topic, b"x")
    await client.disconnect()
    await _let_more_than_a_second_pass(clients)
    again, _ = await clients.persistent(Version.V5, clients.id())
    await again.settle(await again.expect_publish(topic, b"x", dup=True, packet_id=first.packet_id))


async def _let_more_than_a_second_pass(clients: Clients) -> None:
    """Wait until the broker itself has measured one and a half seconds: the keep alive of a silent client."""
    witness = await clients.connected(client_id=clients.id("clock"), keep_alive=1)
    await witness.expect_fault(0x8D)


@spec(
    "MQTT5-3.3.2-4", "MQTT5-3.3.2-15", "MQTT5-3.3.2-16", "MQTT5-3.3.2-17", "MQTT5-3.3.2-18", "MQTT5-3.3.2-20", row=109
)
async def test_properties_are_forwarded_unchanged(clients: Clients) -> None:
    topic = clients.topic("t")
    sent: list[tuple[Property, PropertyValue]] = [
        (Property.USER, ("z", "1")),
        (Property.PAYLOAD_FORMAT, 1),
        (Property.RESPONSE_TOPIC, "answers/\u00e9"),
        (Property.USER, ("a", "")),
        (Property.CORRELATION_DATA, b"\x00\x01\xff"),
        (Property.CONTENT_TYPE, "text/plain; charset=utf-8"),
        (Property.USER, ("z", "1")),
        (Property.TOPIC_ALIAS, 3),
    ]
    subscriber = await clients.subscriber(Version.V5, (topic, 0))
    publisher = await clients.connected()
    await publisher.publish(topic, "\u00e9".encode(), properties=sent)
    received = (await subscriber.expect_publish(topic, "\u00e9".encode())).properties
    for identifier in (
        Property.PAYLOAD_FORMAT,
        Property.RESPONSE_TOPIC,
        Property.CORRELATION_DATA,
        Property.CONTENT_TYPE,
    ):
        assert received.all(identifier) == [value for key, value in sent if key is identifier]
    assert received.all(Property.USER) == [("z", "1"), ("a", ""), ("z", "1")]
    assert Property.TOPIC_ALIAS not in received


@spec("MQTT5-3.3.2-4", "MQTT5-3.3.2-17", row=109)
@pytest.mark.parametrize("qos", [1, 2])
async def test_properties_are_forwarded_through_the_queue(clients: Clients, qos: int) -> None:
    topic = clients.topic("t")
    sent: Pairs = [(Property.PAYLOAD_FORMAT, 0), (Property.USER, ("k", "v")), (Property.USER, ("k", "v"))]
    client, _ = await clients.persistent(Version.V5, clients.id())
    await client.subscribe((topic, 2))
    await client.disconnect()
    publisher = await clients.connected()
    await publisher.publish_fully(topic, b"x", qos=qos, properties=sent)
    again, _ = await clients.persistent(Version.V5, clients.id())
    received = (await again.expect_publish(topic, b"x")).properties
    assert received.get(Property.PAYLOAD_FORMAT) == 0
    assert received.all(Property.USER) == [("k", "v"), ("k", "v")]


@every_version
async def test_messages_cross_protocol_versions(clients: Clients, version: Version) -> None:
    topic = clients.topic("t")
    subscribers = [await clients.subscriber(other, (topic, 1)) for other in Version]
    publisher = await clients.connected(version)
    await publisher.publish_fully(topic, b"x")
    for subscriber in subscribers:
        received = await subscriber.expect_publish(topic, b"x", qos=1)
        assert received.properties.pairs == ()


@spec("MQTT3-3.3.1-3", "MQTT5-3.3.1-3", row=111)
@every_version
@pytest.mark.parametrize("qos", [1, 2])
async def test_dup_of_the_publisher_is_not_copied(clients: Clients, version: Version, qos: int) -> None:
    topic = clients.topic("t")
    subscriber = await clients.subscriber(version, (topic, 2))
    publisher = await clients.connected(version)
    await publisher.publish(topic, b"x", qos=qos, packet_id=1, dup=True)
    await publisher.expect_ack(Type.PUBACK if qos == 1 else Type.PUBREC, 1)
    if qos == 2:
        await publisher.ack(Type.PUBREL, 1)
    await subscriber.expect_publish(topic, b"x", qos=qos, dup=False)


@spec("MQTT5-§3.6.2.1", row=114)
async def test_pubrec_for_an_unknown_id_is_told_so(clients: Clients) -> None:
    client = await clients.connected()
    await client.ack(Type.PUBREC, 99)
    await client.expect_ack(Type.PUBREL, 99, 0x92)
    await client.ack(Type.PUBCOMP, 99, 0x92)
    await client.expect_quiet()


@every_version
async def test_puback_and_pubcomp_for_unknown_ids_are_ignored(clients: Clients, version: Version) -> None:
    client = await clients.connected(version)
    await client.ack(Type.PUBACK, 99)
    await client.ack(Type.PUBCOMP, 99)
    await client.expect_quiet()


@spec("MQTT3-4.6.0-5", "MQTT3-4.6.0-6", "MQTT5-4.6.0-5", "MQTT5-4.6.0-6", row=115)
@every_version
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_order_of_a_live_stream(clients: Clients, version: Version, qos: int) -> None:
    topic = clients.topic("t")
    subscriber = await clients.subscriber(version, (topic, qos))
    publisher = await clients.connected(version)
    publishing = asyncio.create_task(_publish_numbers(publisher, topic, qos, range(200)))
    await _expect_numbers(subscriber, topic, range(200))
    await publishing


@spec("MQTT3-4.6.0-5", "MQTT3-4.6.0-6", "MQTT5-4.6.0-5", "MQTT5-4.6.0-6", row=115)
@every_version
@pytest.mark.parametrize("qos", [1, 2])
async def test_order_across_queueing(clients: Clients, version: Version, qos: int) -> None:
    topic = clients.topic("t")
    client, _ = await clients.persistent(version, clients.id())
    await client.subscribe((topic, qos))
    await client.disconnect()
    publisher = await clients.connected(version)
    await _publish_numbers(publisher, topic, qos, range(100))
    again, _ = await clients.persistent(version, clients.id())
    publishing = asyncio.create_task(_publish_numbers(publisher, topic, qos, range(100, 200)))
    await _expect_numbers(again, topic, range(200))
    await publishing


async def _publish_numbers(publisher: WireClient, topic: str, qos: int, numbers: range) -> None:
    for number in numbers:
        if qos:
            await publisher.publish_fully(topic, b"%d" % number, qos=qos)
        else:
            await publisher.publish(topic, b"%d" % number)


async def _expect_numbers(subscriber: WireClient, topic: str, numbers: range) -> None:
    for number in numbers:
        await subscriber.settle(await subscriber.expect_publish(topic, b"%d" % number))


@spec("MQTT5-§3.4.2", "MQTT5-§3.14.2", row=116)
@pytest.mark.parametrize("form", ["id", "code", "properties", "reason string"])
async def test_acknowledgements_of_every_length_mean_the_same(clients: Clients, form: str) -> None:
    reason = None if form == "id" else 0
    properties: Pairs | None = {"properties": (), "reason string": [(Property.REASON_STRING, "fine")]}.get(form)
    topic = clients.topic("t")
    subscriber = await clients.subscriber(Version.V5, (topic, 2), properties=[(Property.RECEIVE_MAXIMUM, 1)])
    publisher = await clients.connected()
    for qos in (1, 2, 1):
        await publisher.publish_fully(topic, b"x", qos=qos)
    for qos in (1, 2, 1):
        received = await subscriber.expect_publish(topic, b"x", qos=qos)
        if qos == 1:
            await subscriber.ack(Type.PUBACK, received.packet_id, reason, properties)
        else:
            await subscriber.ack(Type.PUBREC, received.packet_id, reason, properties)
            await subscriber.expect_ack(Type.PUBREL, received.packet_id)
            await subscriber.ack(Type.PUBCOMP, received.packet_id, reason, properties)
    await publisher.publish(topic, qos=2, packet_id=50)
    await publisher.expect_ack(Type.PUBREC, 50)
    await publisher.ack(Type.PUBREL, 50, reason, properties)
    await publisher.expect_ack(Type.PUBCOMP, 50)
    await subscriber.expect_publish(topic, qos=2)


@spec("MQTT5-§3.14.2", row=116)
@pytest.mark.parametrize(
    "packet", [packets.disconnect(), packets.disconnect(0), packets.disconnect(0, ())], ids=["empty", "code", "full"]
)
async def test_disconnects_of_every_length_mean_the_same(clients: Clients, packet: bytes) -> None:
    watcher = await clients.subscriber(Version.V5, (clients.topic("#"), 0))
    client = await clients.connected(will=packets.Will(clients.topic("will")))
    await client.send(packet)
    await client.expect_closed()
    await watcher.publish(clients.topic("end"))
    await watcher.expect_publish(clients.topic("end"))


@spec("MQTT5-§3.4.2.2", row=117)
async def test_acknowledgements_from_the_broker_are_short(clients: Clients) -> None:
    topic = clients.topic("t")
    await clients.subscriber(Version.V5, (topic, 0))
    publisher = await clients.connected()
    assert (await publisher.publish_fully(topic, qos=1)).raw == packets.ack(Type.PUBACK, 1)
    await publisher.publish(topic, qos=2, packet_id=2)
    assert (await publisher.expect(Type.PUBREC)).raw == packets.ack(Type.PUBREC, 2)
    await publisher.ack(Type.PUBREL, 2)
    assert (await publisher.expect(Type.PUBCOMP)).raw == packets.ack(Type.PUBCOMP, 2)
    nobody = await publisher.publish_fully(clients.topic("nobody"), qos=1)
    assert nobody.raw == packets.ack(Type.PUBACK, nobody.packet_id, 0x10)


@every_version
async def test_packet_ids_of_a_session_count_from_one(clients: Clients, version: Version) -> None:
    topic = clients.topic("t")
    publisher = await clients.connected(version)
    client, _ = await clients.persistent(version, clients.id())
    await client.subscribe((topic, 2))
    expected = 1
    for _ in range(2):
        for qos in (1, 2, 1):
            await publisher.publish_fully(topic, qos=qos)
            await client.settle(await client.expect_publish(topic, packet_id=expected))
            expected += 1
        await client.disconnect()
        client, _ = await clients.persistent(version, clients.id())
    other = await clients.subscriber(version, (topic, 1))
    await publisher.publish_fully(topic)
    await other.expect_publish(topic, packet_id=1)


@spec("MQTT3-2.3.1-4", "MQTT5-2.2.1-4", row=118)
async def test_packet_ids_wrap_around_what_is_in_flight(clients: Clients) -> None:
    topic = clients.topic("t")
    subscriber = await clients.subscriber(Version.V311, (topic, 1))
    publisher = await clients.connected(Version.V311)
    batch = b"".join(packets.publish(4, topic, qos=1, packet_id=number) for number in range(1, 401))
    # All these publications have the same length, and the id ends each, so that no packet needs to be read in full.
    length = len(packets.publish(4, topic, qos=1))
    ids: list[int] = []
    while len(ids) < 65_600:
        await publisher.send(batch)
        await _take_and_acknowledge(subscriber, length, len(ids) + 400, ids)
        await _read_exactly(publisher, 400 * len(packets.ack(Type.PUBACK, 1)))
    assert ids[:65_535] == list(range(1, 65_536))
    # Id 0 does not exist, and id 1 is still open.
    assert ids[65_535:65_600] == list(range(2, 67))


async def _read_exactly(client: WireClient, count: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while count:
            count -= len(await client.stream.read())
            assert count >= 0


async def _take_and_acknowledge(subscriber: WireClient, length: int, until: int, ids: list[int]) -> None:
    """Append ids of publications until there are `until`; acknowledge all but the very first."""
    waiting = b""
    async with asyncio.timeout(PATIENCE_S):
        while len(ids) < until:
            waiting += await subscriber.stream.read()
            whole = len(waiting) // length
            new = [int.from_bytes(waiting[n * length - 2 : n * length], "big") for n in range(1, whole + 1)]
            waiting = waiting[whole * length :]
            open_ids = new if ids else new[1:]
            await subscriber.send(b"".join(packets.ack(Type.PUBACK, number) for number in open_ids))
            ids += new
