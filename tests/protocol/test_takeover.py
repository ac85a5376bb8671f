"""A client id that connects again while its older connection is alive."""

import asyncio
import itertools

import pytest

from tests.protocol.versions import every_version
from tests.support import packets
from tests.support.packets import Pairs, Property, Version, Will
from tests.support.spec import spec
from tests.support.wire import PATIENCE_S, Clients

version_pairs = pytest.mark.parametrize(
    ("older", "newer"), list(itertools.product(Version, Version)), ids=lambda version: version.name
)


@spec("MQTT3-3.1.4-2", "MQTT5-3.1.4-3", row=30)
@version_pairs
async def test_newer_connection_ends_the_older_one(clients: Clients, older: Version, newer: Version) -> None:
    old = await clients.connected(older, clients.id())
    new = await clients.connected(newer, clients.id())
    await old.expect_fault(0x8E)
    await new.expect_quiet()


@spec("MQTT3-3.1.4-2", "MQTT5-3.1.4-3", row=30)
@every_version
async def test_taken_over_session_goes_on_with_the_newer_connection(clients: Clients, version: Version) -> None:
    topic = clients.topic("t")
    old, _ = await clients.persistent(version, clients.id())
    await old.subscribe((topic, 1))
    new, connack = await clients.persistent(version, clients.id())
    assert connack.is_session_present == (version is not Version.V31)
    await old.expect_fault(0x8E)
    publisher = await clients.connected(version)
    await publisher.publish_fully(topic, b"x")
    await new.expect_publish(topic, b"x", qos=1)


@spec("MQTT3-3.1.4-2", "MQTT5-3.1.4-3", row=30)
@every_version
async def test_of_many_racing_connections_one_remains(clients: Clients, version: Version) -> None:
    racers = [await clients.open(version) for _ in range(30)]
    for racer in racers:
        await racer.send(packets.connect(version, clients.id()))
    for racer in racers:
        await racer.expect_connack(0)
    ends = {asyncio.create_task(racer.receive_all(10.0)): racer for racer in racers}
    async with asyncio.timeout(PATIENCE_S):
        while len(pending := [end for end in ends if not end.done()]) > 1:
            await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
    (survivor,) = pending
    survivor.cancel()
    await asyncio.wait([survivor])
    await ends[survivor].expect_quiet()
    for end in ends:
        if end is not survivor and version is Version.V5:
            assert [packet.reason for packet in end.result()] == [0x8E]


@spec("MQTT3-3.1.2-8", row=31)
@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("version", [Version.V31, Version.V311], ids=lambda version: version.name)
async def test_take_over_sends_the_will_under_3x(clients: Clients, version: Version, clean: bool) -> None:
    subscriber = await clients.subscriber(version, (clients.topic("will"), 0))
    await clients.connected(version, clients.id(), clean=clean, will=Will(clients.topic("will"), b"gone"))
    await clients.connected(version, clients.id(), clean=clean)
    await subscriber.expect_publish(clients.topic("will"), b"gone")


@spec("MQTT5-3.1.2-8", "MQTT5-3.1.3-9", row=31)
@pytest.mark.parametrize(
    ("delay_s", "expiry_s", "clean", "is_sent"),
    [
        (0, 100, False, True),
        (100, 100, False, False),
        (100, 0, False, True),
        (100, 100, True, True),
        (0, 0, True, True),
    ],
    ids=["no delay", "delayed and resumed", "session ends by expiry", "session ends by clean start", "nothing kept"],
)
async def test_take_over_sends_or_cancels_the_will(
    clients: Clients, delay_s: int, expiry_s: int, clean: bool, is_sent: bool
) -> None:
    subscriber = await clients.subscriber(Version.V5, (clients.topic("#"), 0))
    expiry: Pairs = [(Property.SESSION_EXPIRY, expiry_s)] if expiry_s else ()
    will = Will(clients.topic("will"), b"gone", properties=[(Property.WILL_DELAY, delay_s)])
    old = await clients.connected(client_id=clients.id(), clean=True, properties=expiry, will=will)
    new = await clients.connected(client_id=clients.id(), clean=clean, properties=expiry)
    await old.expect_fault(0x8E)
    if is_sent:
        await subscriber.expect_publish(clients.topic("will"), b"gone")
    await new.publish(clients.topic("end"))
    await subscriber.expect_publish(clients.topic("end"))


@spec("MQTT5-3.1.4-3", row=30)
async def test_take_over_across_many_ids_keeps_them_apart(clients: Clients) -> None:
    ids = [clients.id(f"many{n}") for n in range(50)]
    old = [await clients.connected(client_id=client_id) for client_id in ids]
    new = await asyncio.gather(*(clients.connected(client_id=client_id) for client_id in ids))
    for client in old:
        await client.expect_fault(0x8E)
    for client in new:
        await client.expect_quiet()
