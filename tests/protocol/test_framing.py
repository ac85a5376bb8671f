"""Fixed header and packet boundaries: lengths, flags, types, packet ids."""

import struct

import pytest

from tests.protocol.versions import every_version, v3_only
from tests.support import packets
from tests.support.packets import Property, Type, Version
from tests.support.spec import spec
from tests.support.wire import Clients

FIVE_LENGTH_BYTES = b"\xff\xff\xff\xff\x01"


@spec("MQTT3-§2.2.3", "MQTT5-§1.5.5", row=1)
@every_version
async def test_fifth_length_byte_ends_the_connection_at_once(clients: Clients, version: Version) -> None:
    client = await clients.connected(version)
    await client.send(b"\x30" + FIVE_LENGTH_BYTES)
    await client.expect_fault(0x81)


@spec("MQTT3-§2.2.3", "MQTT5-§1.5.5", row=1)
@every_version
async def test_fifth_length_byte_in_the_first_packet_closes(clients: Clients, version: Version) -> None:
    client = await clients.open(version)
    await client.send(b"\x10" + FIVE_LENGTH_BYTES)
    await client.expect_closed()


@spec("MQTT5-1.5.5-1", row=2)
@pytest.mark.parametrize("size", [0, 1, 100, 110, 127, 128, 16_000, 16_383, 16_384])
async def test_lengths_from_the_broker_are_as_short_as_possible(clients: Clients, size: int) -> None:
    # The reader of `packets` refuses longer forms; this walks it over the sizes where the form changes.
    client = await clients.subscriber(Version.V5, (clients.topic("t"), 0))
    user = [(Property.USER, ("k", "v" * size))]
    await client.publish(clients.topic("t"), b"x" * size, properties=user)
    received = await client.expect_publish(clients.topic("t"), b"x" * size)
    assert received.properties.get(Property.USER) == ("k", "v" * size)


def _well_formed(version: Version) -> dict[Type, bytes]:
    found = {
        Type.SUBSCRIBE: packets.subscribe(version, 1, [("a/b", 0)]),
        Type.UNSUBSCRIBE: packets.unsubscribe(version, 1, ["a/b"]),
        Type.PUBACK: packets.ack(Type.PUBACK, 1),
        Type.PUBREC: packets.ack(Type.PUBREC, 1),
        Type.PUBREL: packets.ack(Type.PUBREL, 1),
        Type.PUBCOMP: packets.ack(Type.PUBCOMP, 1),
        Type.PINGREQ: packets.PINGREQ,
        Type.DISCONNECT: packets.disconnect(),
    }
    if version is Version.V5:
        found[Type.AUTH] = packets.auth(0x19, [(Property.AUTH_METHOD, "m")])
    return found


@spec(
    "MQTT3-2.2.2-2",
    "MQTT3-3.6.1-1",
    "MQTT3-3.8.1-1",
    "MQTT3-3.10.1-1",
    "MQTT3-3.14.1-1",
    "MQTT5-2.1.3-1",
    "MQTT5-3.6.1-1",
    "MQTT5-3.8.1-1",
    "MQTT5-3.10.1-1",
    row=3,
)
@every_version
async def test_wrong_header_flags_end_the_connection(clients: Clients, version: Version) -> None:
    for kind, packet in _well_formed(version).items():
        right = packet[0] & 0x0F
        for flags in {0x0, 0x1, 0x2, 0x8, 0xF} - {right}:
            client = await clients.connected(version)
            await client.send(bytes([kind << 4 | flags]) + packet[1:])
            await client.expect_fault(0x81)


@spec(
    "MQTT3-2.2.2-2",
    "MQTT3-3.6.1-1",
    "MQTT3-3.8.1-1",
    "MQTT3-3.10.1-1",
    "MQTT3-3.14.1-1",
    "MQTT5-2.1.3-1",
    "MQTT5-3.6.1-1",
    "MQTT5-3.8.1-1",
    "MQTT5-3.10.1-1",
    row=3,
)
@every_version
async def test_connect_with_header_flags_is_not_accepted(clients: Clients, version: Version) -> None:
    client = await clients.open(version)
    await client.send(b"\x11" + packets.connect(version, client.client_id)[1:])
    # The version stands behind the header, so even a 5.0 client may get no more than the close.
    await client.expect_closed()


@spec("MQTT3-§2.2.1", "MQTT5-§2.1.2", row=4)
@every_version
async def test_packet_type_zero_ends_the_connection(clients: Clients, version: Version) -> None:
    client = await clients.connected(version)
    await client.send(b"\x00\x00")
    await client.expect_fault(0x81, 0x82)


@spec("MQTT3-§2.2.1", row=4)
@v3_only
async def test_packet_type_fifteen_is_unknown_to_3x(clients: Clients, version: Version) -> None:
    client = await clients.connected(version)
    await client.send(b"\xf0\x00")
    await client.expect_closed()


@spec("MQTT3-4.8.0-1", "MQTT5-§4.13.1", row=5)
@every_version
@pytest.mark.parametrize("kind", [Type.CONNACK, Type.SUBACK, Type.UNSUBACK, Type.PINGRESP], ids=lambda kind: kind.name)
async def test_packets_of_a_broker_are_refused_from_a_client(clients: Clients, version: Version, kind: Type) -> None:
    is_v5 = version is Version.V5
    bodies = {
        Type.CONNACK: b"\x00\x00\x00" if is_v5 else b"\x00\x00",
        Type.SUBACK: b"\x00\x01\x00\x00" if is_v5 else b"\x00\x01\x00",
        Type.UNSUBACK: b"\x00\x01\x00\x00" if is_v5 else b"\x00\x01",
        Type.PINGRESP: b"",
    }
    client = await clients.connected(version)
    await client.send(packets.frame(kind << 4, bodies[kind]))
    await client.expect_fault(0x82)


def _misfit(version: Version) -> dict[str, bytes]:
    """Packets whose parts do not add up to their remaining length."""
    none = b"\x00" if version is Version.V5 else b""
    short_field = struct.pack("!H", 40) + b"abc"
    found = {
        "publish: topic runs past the end": packets.frame(0x30, short_field),
        "publish: no topic length": packets.frame(0x30, b"\x00"),
        "publish: no packet id": packets.frame(0x32, packets.text("a")),
        "subscribe: filter runs past the end": packets.frame(0x82, b"\x00\x01" + none + short_field),
        "subscribe: no options": packets.frame(0x82, b"\x00\x01" + none + packets.text("a")),
        "subscribe: half a packet id": packets.frame(0x82, b"\x00"),
        "unsubscribe: filter runs past the end": packets.frame(0xA2, b"\x00\x01" + none + short_field),
        "unsubscribe: byte left over": packets.frame(0xA2, b"\x00\x01" + none + packets.text("a") + b"\x00"),
        "puback: no packet id": packets.frame(0x40),
        "puback: half a packet id": packets.frame(0x40, b"\x01"),
        "pubrel: half a packet id": packets.frame(0x62, b"\x01"),
        "pingreq: byte left over": packets.frame(0xC0, b"\x00"),
    }
    if version is Version.V5:
        return found | {
            "publish: properties run past the end": packets.frame(0x30, packets.text("a") + b"\x7f\x01\x00"),
            "puback: byte left over": packets.frame(0x40, b"\x00\x01\x00\x00\x00"),
            "puback: properties run past the end": packets.frame(0x40, b"\x00\x01\x00\x05"),
            "disconnect: byte left over": packets.frame(0xE0, b"\x00\x00\x00"),
            "disconnect: string runs past the end": packets.frame(0xE0, b"\x00\x05\x1f\x00\x0aab"),
            "publish: property cut by its section": packets.frame(0x30, packets.text("a") + b"\x02\x02\x00"),
        }
    return found | {
        "puback: byte left over": packets.frame(0x40, b"\x00\x01\x00"),
        "disconnect: byte left over": packets.frame(0xE0, b"\x00"),
    }


@spec("MQTT3-3.1.4-1", "MQTT5-§1.2", row=10)
@every_version
async def test_lengths_that_do_not_fit_end_the_connection(clients: Clients, version: Version) -> None:
    for what, packet in _misfit(version).items():
        client = await clients.connected(version)
        await client.send(packet)
        try:
            await client.expect_fault(0x81)
        except (AssertionError, TimeoutError) as error:
            error.add_note(what)
            raise


@spec("MQTT3-3.1.4-1", "MQTT5-§1.2", row=10)
@every_version
@pytest.mark.parametrize("change", ["left over", "cut"])
async def test_connect_of_the_wrong_length_is_refused(clients: Clients, version: Version, change: str) -> None:
    whole = packets.connect(version, clients.id())
    body = whole[2:] + b"\x00" if change == "left over" else whole[2:-1]
    client = await clients.open(version)
    await client.send(packets.frame(0x10, body))
    if version is Version.V5:
        await client.expect_refusal(0x81)
    else:
        await client.expect_closed()


@spec("MQTT3-2.3.1-1", "MQTT5-2.2.1-3", row=11)
@every_version
@pytest.mark.parametrize("kind", ["publish 1", "publish 2", "subscribe", "unsubscribe"])
async def test_packet_id_zero_ends_the_connection(clients: Clients, version: Version, kind: str) -> None:
    packet = {
        "publish 1": packets.publish(version, "a", qos=1, packet_id=0),
        "publish 2": packets.publish(version, "a", qos=2, packet_id=0),
        "subscribe": packets.subscribe(version, 0, [("a", 0)]),
        "unsubscribe": packets.unsubscribe(version, 0, ["a"]),
    }[kind]
    client = await clients.connected(version)
    await client.send(packet)
    await client.expect_fault(0x81, 0x82)
