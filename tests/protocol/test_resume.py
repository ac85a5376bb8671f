"""A session that comes back: what is sent again, with which id, in which order."""

import pytest

from tests.protocol.versions import every_version
from tests.support.packets import Packet, Property, Type, Version
from tests.support.spec import spec
from tests.support.wire import Clients, WireClient


async def _member(clients: Clients, version: Version, topic: str) -> WireClient:
    client, _ = await clients.persistent(version, clients.id())
    await client.subscribe((topic, 2))
    return client


async def _back(clients: Clients, version: Version) -> WireClient:
    client, _ = await clients.persistent(version, clients.id())
    return client


@spec("MQTT3-4.4.0-1", "MQTT3-3.3.1-1", "MQTT3-4.6.0-1", "MQTT5-4.4.0-1", "MQTT5-4.6.0-1", row=110)
@every_version
@pytest.mark.parametrize("is_clean_end", [False, True], ids=["cut", "disconnected"])
async def test_unfinished_messages_come_again_first_and_in_order(
    clients: Clients, version: Version, is_clean_end: bool
) -> None:
    topic = clients.topic("t")
    client = await _member(clients, version, topic)
    publisher = await clients.connected(version)
    for number, qos in enumerate((1, 2, 1, 2)):
        await publisher.publish_fully(topic, b"%d" % number, qos=qos)
    sent = [await client.expect_publish(topic, b"%d" % number, dup=False) for number in range(4)]
    await client.settle(sent[0])
    await client.ack(Type.PUBREC, sent[1].packet_id)
    await client.expect_ack(Type.PUBREL, sent[1].packet_id)
    if is_clean_end:
        await client.disconnect()
    else:
        client.abort()
        await (await clients.connected(version, clients.id("other"))).expect_quiet()
    await publisher.publish_fully(topic, b"newer")
    again = await _back(clients, version)
    got = [await again.receive() for _ in range(4)]
    assert [packet.type for packet in got if packet.type is Type.PUBREL] == [Type.PUBREL]
    released = next(packet for packet in got if packet.type is Type.PUBREL)
    assert released.packet_id == sent[1].packet_id
    published = [packet for packet in got if packet.type is Type.PUBLISH]
    assert [packet.payload for packet in published] == [b"2", b"3", b"newer"]
    assert [packet.packet_id for packet in published[:2]] == [sent[2].packet_id, sent[3].packet_id]
    assert [packet.is_dup for packet in published[:2]] == [True, True]
    assert got[-1].payload == b"newer"
    await again.ack(Type.PUBCOMP, released.packet_id)
    for packet in published:
        await again.settle(packet)
    await again.expect_quiet()


@spec("MQTT3-4.4.0-1", "MQTT5-4.4.0-1", row=110)
async def test_nothing_is_sent_again_on_a_live_connection(clients: Clients) -> None:
    topic = clients.topic("t")
    opened = [await clients.subscriber(version, (topic, 1)) for version in Version]
    publisher = await clients.connected()
    await publisher.publish_fully(topic, b"x")
    for client in opened:
        await client.expect_publish(topic, b"x")
    silent = await clients.connected(keep_alive=1)
    await silent.expect_fault(0x8D)
    for client in opened:
        await client.expect_quiet()


@spec("MQTT3-4.4.0-1", "MQTT5-4.4.0-1", row=110)
@every_version
async def test_finished_messages_do_not_come_again(clients: Clients, version: Version) -> None:
    topic = clients.topic("t")
    client = await _member(clients, version, topic)
    publisher = await clients.connected(version)
    for qos in (1, 2):
        await publisher.publish_fully(topic, qos=qos)
        await client.settle(await client.expect_publish(topic, qos=qos))
    await client.disconnect()
    again = await _back(clients, version)
    await again.expect_quiet()


@spec("MQTT3-4.4.0-1", "MQTT5-4.4.0-1", row=110)
@every_version
async def test_message_comes_again_as_often_as_needed(clients: Clients, version: Version) -> None:
    topic = clients.topic("t")
    client = await _member(clients, version, topic)
    publisher = await clients.connected(version)
    await publisher.publish_fully(topic, b"x", qos=2)
    first = await client.expect_publish(topic, b"x", dup=False)
    for _ in range(3):
        client.abort()
        client = await _back(clients, version)
        await client.expect_publish(topic, b"x", dup=True, packet_id=first.packet_id)
    await client.settle(first)
    await client.expect_quiet()


@spec("MQTT3-4.3.3-1", "MQTT5-4.3.3-4", "MQTT5-4.3.3-6", row=112)
@every_version
async def test_after_pubrec_only_the_release_comes_again(clients: Clients, version: Version) -> None:
    topic = clients.topic("t")
    client = await _member(clients, version, topic)
    publisher = await clients.connected(version)
    await publisher.publish_fully(topic, b"x", qos=2)
    received = await client.expect_publish(topic, b"x", qos=2)
    await client.ack(Type.PUBREC, received.packet_id)
    await client.expect_ack(Type.PUBREL, received.packet_id)
    for _ in range(2):
        client.abort()
        client = await _back(clients, version)
        await client.expect_ack(Type.PUBREL, received.packet_id)
        await client.expect_quiet()
    await client.ack(Type.PUBREC, received.packet_id)
    assert (await client.expect(Type.PUBREL)).packet_id == received.packet_id
    await client.ack(Type.PUBCOMP, received.packet_id)
    await client.disconnect()
    client = await _back(clients, version)
    await client.expect_quiet()


@spec("MQTT5-4.4.0-2", row=113)
@pytest.mark.parametrize(
    ("qos", "kind"), [(1, Type.PUBACK), (2, Type.PUBREC)], ids=lambda value: value.name if value > 2 else None
)
async def test_refusing_acknowledgement_ends_the_exchange(clients: Clients, qos: int, kind: Type) -> None:
    topic = clients.topic("t")
    client = await _member(clients, Version.V5, topic)
    publisher = await clients.connected()
    await publisher.publish_fully(topic, b"x", qos=qos)
    received = await client.expect_publish(topic, b"x", qos=qos)
    await client.ack(kind, received.packet_id, 0x80, [(Property.REASON_STRING, "no")])
    await client.expect_quiet()
    await client.disconnect()
    again = await _back(clients, Version.V5)
    await again.expect_quiet()


@every_version
async def test_smaller_receive_maximum_after_resuming_is_kept(clients: Clients, version: Version) -> None:
    topic = clients.topic("t")
    client = await _member(clients, version, topic)
    publisher = await clients.connected(version)
    for number in range(6):
        await publisher.publish_fully(topic, b"%d" % number)
    for number in range(6):
        await client.expect_publish(topic, b"%d" % number)
    client.abort()
    again = await clients.open(Version.V5)
    await again.connect(
        clients.id(),
        clean=False,
        properties=[(Property.RECEIVE_MAXIMUM, 2), (Property.SESSION_EXPIRY, 300)],
    )
    got: list[Packet] = []
    for number in range(6):
        got.append(await again.expect_publish(topic, b"%d" % number, dup=True))
        if number % 2:
            await again.expect_quiet()
            for packet in got:
                await again.settle(packet)
            got.clear()
    await again.expect_quiet()


@every_version
async def test_qos_0_kept_for_an_offline_session_keeps_its_place(clients: Clients, version: Version) -> None:
    topic = clients.topic("t")
    client = await _member(clients, version, topic)
    await client.disconnect()
    publisher = await clients.connected(version)
    for number, qos in enumerate((1, 0, 2, 0)):
        if qos:
            await publisher.publish_fully(topic, b"%d" % number, qos=qos)
        else:
            await publisher.publish(topic, b"%d" % number)
    await publisher.expect_quiet()
    again = await _back(clients, version)
    for number in range(4):
        await again.settle(await again.expect_publish(topic, b"%d" % number))
    await again.expect_quiet()


@spec("MQTT5-3.1.2-25", row=106)
@pytest.mark.parametrize("receive_maximum", [1, 10])
async def test_unfinished_message_that_has_become_too_large_counts_as_finished(
    clients: Clients, receive_maximum: int
) -> None:
    topic = clients.topic("t")
    client = await _member(clients, Version.V5, topic)
    publisher = await clients.connected()
    for qos in (1, 2):
        await publisher.publish_fully(topic, b"x" * 500, qos=qos)
        await client.expect_publish(topic)
    await client.disconnect()
    limits = [(Property.MAXIMUM_PACKET, 100), (Property.RECEIVE_MAXIMUM, receive_maximum)]
    again, _ = await clients.persistent(Version.V5, clients.id(), properties=limits)
    await publisher.publish_fully(topic, b"small")
    await again.settle(await again.expect_publish(topic, b"small"))
    await again.disconnect()
    await (await _back(clients, Version.V5)).expect_quiet()
