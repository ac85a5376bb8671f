"""Keep alive, server keep alive and pings.

Traffic in these tests is spread over real time, as the broker's clock cannot be moved from outside.
"""

import asyncio
import time
from collections.abc import Callable

from tests.protocol.versions import every_version
from tests.support import packets
from tests.support.broker import Settings
from tests.support.packets import Property, Type, Version, Will
from tests.support.spec import spec
from tests.support.wire import Clients

# One and a half keep alives of one second, and what timers and a busy machine may add.
SHORTEST_S = 1.4
LONGEST_S = 8.0


@spec("MQTT3-3.1.2-24", "MQTT5-3.1.2-22", row=51)
@every_version
async def test_silence_ends_the_connection_and_sends_the_will(clients: Clients, version: Version) -> None:
    subscriber = await clients.subscriber(version, (clients.topic("will"), 0))
    started = time.monotonic()
    silent = await clients.connected(version, keep_alive=1, will=Will(clients.topic("will"), b"silent"))
    await silent.expect_fault(0x8D, patience_s=LONGEST_S)
    assert time.monotonic() - started >= SHORTEST_S
    await subscriber.expect_publish(clients.topic("will"), b"silent")


@spec("MQTT3-3.1.2-24", "MQTT5-3.1.2-22", row=51)
async def test_keep_alive_zero_is_off(clients: Clients) -> None:
    off = [await clients.connected(version, keep_alive=0) for version in Version]
    silent = await clients.connected(keep_alive=1)
    await silent.expect_fault(0x8D, patience_s=LONGEST_S)
    for client in off:
        await client.expect_quiet()


@spec("MQTT3-3.1.2-24", "MQTT5-3.1.2-22", row=51)
async def test_a_packet_begun_but_not_ended_does_not_keep_alive(clients: Clients) -> None:
    opened = [await clients.connected(version, keep_alive=1) for version in Version]
    for client in opened:
        await client.send(packets.publish(client.version, clients.topic("t"), b"x")[:-1])
    for client in opened:
        await client.expect_fault(0x8D, patience_s=LONGEST_S)


@spec("MQTT3-§3.1.2.10", "MQTT5-§3.1.2.10", row=52)
async def test_any_packet_keeps_alive(clients: Clients) -> None:
    sending = [
        (await clients.connected(version, keep_alive=1), packet)
        for version in Version
        for packet in (
            packets.PINGREQ,
            packets.publish(version, clients.topic("t")),
            packets.publish(version, clients.topic("t"), qos=2),
            packets.subscribe(version, 1, [(clients.topic("t"), 0)]),
            packets.ack(Type.PUBACK, 1),
        )
    ]
    for _ in range(4):
        await asyncio.sleep(0.5)
        for client, packet in sending:
            await client.send(packet)
    for client, _ in sending:
        await client.send(packets.PINGREQ + packets.disconnect())
        answers = await client.receive_all()
        assert answers[-1].type is Type.PINGRESP


@spec("MQTT3-§3.1.2.10", "MQTT5-§3.1.2.10", row=52)
async def test_what_the_broker_sends_does_not_keep_alive(clients: Clients) -> None:
    listeners = [await clients.connected(version, keep_alive=1) for version in Version]
    for listener in listeners:
        await listener.subscribe((clients.topic("t"), 0))
    publisher = await clients.connected()
    ends = asyncio.gather(*(listener.receive_all(LONGEST_S) for listener in listeners))
    deadline = time.monotonic() + LONGEST_S
    while not ends.done() and time.monotonic() < deadline:
        await publisher.publish(clients.topic("t"), b"tick")
        await asyncio.wait({ends}, timeout=0.2)
    assert ends.done(), "the broker's own packets kept a connection"
    for received in await ends:
        assert {packet.type for packet in received} <= {Type.PUBLISH, Type.DISCONNECT}


@spec("MQTT3-3.12.4-1", "MQTT5-3.12.4-1", "MQTT5-4.9.0-3", row=53)
@every_version
async def test_ping_is_answered_while_the_window_is_full(clients: Clients, version: Version) -> None:
    topic = clients.topic("t")
    subscriber = await clients.subscriber(version, (topic, 1))
    publisher = await clients.connected(version)
    for _ in range(40):
        await publisher.publish_fully(topic)
    for _ in range(32):
        await subscriber.expect_publish(topic, qos=1)
    await subscriber.expect_quiet()


@spec("MQTT5-3.12.4-1", "MQTT5-4.9.0-3", row=53)
async def test_ping_is_answered_while_the_broker_waits_for_releases(clients: Clients) -> None:
    client = await clients.connected()
    for packet_id in range(1, 101):
        await client.publish(clients.topic("t"), qos=2, packet_id=packet_id)
        await client.expect_ack(Type.PUBREC, packet_id, None)
    await client.expect_quiet()


@spec("MQTT3-3.12.4-1", row=53)
async def test_pings_are_answered_one_by_one(clients: Clients) -> None:
    client = await clients.connected(Version.V311)
    await client.send(packets.PINGREQ * 5)
    for _ in range(5):
        await client.expect(Type.PINGRESP)
    await client.expect_quiet()


@spec("MQTT5-3.2.2-21", "MQTT5-3.2.2-22", row=38)
async def test_server_keep_alive_is_told_and_used(clients_with: Callable[[Settings], Clients]) -> None:
    clients = clients_with({"mqtt.server_keepalive": "1s"})
    opened = [await clients.open(), await clients.open()]
    started = time.monotonic()
    for client, asked in zip(opened, (0, 600), strict=True):
        connack = await client.connect(keep_alive=asked)
        assert connack.properties.get(Property.SERVER_KEEP_ALIVE) == 1
    for client in opened:
        await client.expect_fault(0x8D, patience_s=LONGEST_S)
    assert time.monotonic() - started >= SHORTEST_S


@spec("MQTT5-3.2.2-21", "MQTT5-3.2.2-22", row=38)
async def test_server_keep_alive_is_not_told_unless_set(clients: Clients) -> None:
    connack = await (await clients.open()).connect(keep_alive=17)
    assert Property.SERVER_KEEP_ALIVE not in connack.properties
