"""Reason strings and user properties from the broker: when they must be left out."""

import pytest

from tests.support import packets
from tests.support.packets import Packet, Pairs, Property, Type, Version
from tests.support.spec import spec
from tests.support.wire import Clients, WireClient

NO_PROBLEM_INFORMATION: Pairs = [(Property.REQUEST_PROBLEM, 0)]
MAY_ALWAYS_EXPLAIN = (Type.PUBLISH, Type.CONNACK, Type.DISCONNECT)


async def _provoke(clients: Clients, client: WireClient) -> list[Packet]:
    """Ask for everything that a broker might want to comment on; return its answers."""
    await client.send(
        packets.subscribe(5, 1, [("a/#/b", 0), (clients.topic("t"), 0)])
        + packets.unsubscribe(5, 2, [clients.topic("never subscribed")])
        + packets.publish(5, clients.topic("nobody"), qos=1, packet_id=3)
        + packets.publish(5, clients.topic("nobody"), qos=2, packet_id=4)
        + packets.ack(Type.PUBREL, 4)
        + packets.ack(Type.PUBREL, 99)
        + packets.ack(Type.PUBREC, 98)
    )
    kinds = (
        Type.SUBACK,
        Type.UNSUBACK,
        Type.PUBACK,
        Type.PUBREC,
        Type.PUBCOMP,
        Type.PUBCOMP,
        Type.PUBREL,
    )
    return [await client.expect(kind) for kind in kinds]


@spec("MQTT5-3.1.2-29", row=43)
async def test_no_explanations_for_who_wants_none(clients: Clients) -> None:
    client = await clients.connected(properties=NO_PROBLEM_INFORMATION)
    for packet in await _provoke(clients, client):
        assert packet.type not in MAY_ALWAYS_EXPLAIN
        assert Property.REASON_STRING not in packet.properties
        assert Property.USER not in packet.properties


@spec("MQTT5-3.1.2-29", row=43)
async def test_user_properties_of_a_publisher_pass_all_the_same(clients: Clients) -> None:
    client = await clients.connected(properties=NO_PROBLEM_INFORMATION)
    await client.subscribe((clients.topic("t"), 0))
    await client.publish(clients.topic("t"), properties=[(Property.USER, ("k", "v"))])
    received = await client.expect_publish(clients.topic("t"))
    assert received.properties.get(Property.USER) == ("k", "v")


@spec("MQTT5-3.2.2-19", "MQTT5-3.2.2-20", row=44)
@pytest.mark.parametrize("limit", [24, 40])
async def test_explanations_stay_within_the_packet_limit(clients: Clients, limit: int) -> None:
    client = await clients.open()
    connack = await client.connect(properties=[(Property.MAXIMUM_PACKET, limit)])
    assert len(connack.raw) <= limit
    for packet in await _provoke(clients, client):
        assert len(packet.raw) <= limit
    await client.send(packets.frame(0x00))
    assert len((await client.expect_disconnect(0x81, 0x82)).raw) <= limit


@spec("MQTT5-3.2.2-19", "MQTT5-3.2.2-20", row=44)
async def test_refusing_connack_stays_within_the_packet_limit(clients: Clients) -> None:
    client = await clients.open(Version.V5)
    limited: Pairs = [(Property.MAXIMUM_PACKET, 16), (Property.AUTH_METHOD, "none such")]
    await client.send(packets.connect(5, client.client_id, properties=limited))
    connack = await client.expect_connack(0x8C)
    assert len(connack.raw) <= 16
    await client.expect_closed()


@spec("MQTT5-3.2.2-19", row=44)
async def test_answers_to_a_repeated_fault_are_the_same(clients: Clients) -> None:
    client = await clients.connected()
    first = await _provoke(clients, client)
    second = await _provoke(clients, client)
    assert [(packet.reason, packet.reasons) for packet in first] == [
        (packet.reason, packet.reasons) for packet in second
    ]
