"""Shared subscriptions: groups, strategies, and what happens to messages of a member that leaves."""

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from tests.protocol.versions import every_version, v311_and_v5
from tests.support import packets
from tests.support.broker import Settings
from tests.support.packets import Packet, Property, Type, Version
from tests.support.spec import spec
from tests.support.wire import PATIENCE_S, Clients, WireClient

NO_LOCAL = 0x04


async def _group(clients: Clients, size: int, filter_: str, qos: int = 0) -> list[WireClient]:
    members = [await clients.connected(client_id=clients.id(f"m{number}")) for number in range(size)]
    for member in members:
        assert await member.subscribe((filter_, qos)) == (qos,)
    return members


async def _drain(member: WireClient) -> list[Packet]:
    """Return what the member has, up to the answer of a ping."""
    await member.send(packets.PINGREQ)
    got = []
    while (packet := await member.receive()).type is not Type.PINGRESP:
        got.append(packet)
        if packet.qos == 1:
            await member.ack(Type.PUBACK, packet.packet_id)
    return got


async def _shares(members: list[WireClient], total: int) -> list[list[bytes]]:
    """Return each member's payloads once all `total` messages have arrived."""
    shares: list[list[bytes]] = [[] for _ in members]
    async with asyncio.timeout(PATIENCE_S):
        while sum(map(len, shares)) < total:
            for share, member in zip(shares, members, strict=True):
                share += [packet.payload for packet in await _drain(member)]
    return shares


@spec("MQTT5-3.8.3-4", row=99)
async def test_no_local_on_a_shared_subscription_ends_the_connection(clients: Clients) -> None:
    client = await clients.connected()
    await client.send(packets.subscribe(5, 1, [(f"$share/g/{clients.topic('t')}", NO_LOCAL)]))
    await client.expect_fault(0x82)


@spec("MQTT5-4.8.2-1", "MQTT5-4.8.2-2", row=100)
@every_version
@pytest.mark.parametrize("bad", ["$share//f", "$share/g", "$share/g/", "$share/g+/f", "$share/g#/f", "$share/+/f"])
async def test_invalid_shared_filter_is_refused(clients: Clients, version: Version, bad: str) -> None:
    client = await clients.connected(version)
    await client.send(packets.subscribe(version, 1, [(bad, 0)]))
    packet = await client.receive_or_end()
    if version is Version.V5:
        assert packet is not None
        assert (packet.type, packet.reasons) == (Type.SUBACK, (0x8F,))
    elif packet is not None:
        assert packet.type is Type.SUBACK
        assert version is Version.V31 or packet.reasons == (0x80,)


@every_version
@pytest.mark.parametrize("prefix", ["$share/g/", "$queue/"])
async def test_each_message_goes_to_one_member(clients: Clients, version: Version, prefix: str) -> None:
    topic = clients.topic("t")
    members = [await clients.connected(version, clients.id(f"m{number}")) for number in range(3)]
    for member in members:
        await member.subscribe((prefix + topic, 0))
    publisher = await clients.connected(version)
    for number in range(30):
        await publisher.publish(topic, b"%d" % number)
    shares = await _shares(members, 30)
    assert sorted(payload for share in shares for payload in share) == sorted(b"%d" % n for n in range(30))


@spec("MQTT5-4.8.2-3", row=101)
async def test_shared_message_has_the_qos_of_its_member(clients: Clients) -> None:
    topic = clients.topic("t")
    low = await clients.connected(client_id=clients.id("low"))
    high = await clients.connected(client_id=clients.id("high"))
    await low.subscribe((f"$share/g/{topic}", 0))
    await high.subscribe((f"$share/g/{topic}", 1))
    publisher = await clients.connected()
    for number in range(10):
        await publisher.publish_fully(topic, b"%d" % number, qos=2)
    got_low, got_high = await _drain(low), await _drain(high)
    async with asyncio.timeout(PATIENCE_S):
        while len(got_low) + len(got_high) < 10:
            got_low += await _drain(low)
            got_high += await _drain(high)
    assert {packet.qos for packet in got_low} <= {0}
    assert {packet.qos for packet in got_high} <= {1}
    assert got_low
    assert got_high


async def test_groups_and_plain_subscribers_get_a_copy_each(clients: Clients) -> None:
    topic = clients.topic("t")
    one, two = await clients.connected(), await clients.connected()
    plain = await clients.subscriber(Version.V5, (topic, 0))
    await one.subscribe((f"$share/one/{topic}", 0))
    await two.subscribe((f"$share/two/{topic}", 0))
    await plain.publish(topic, b"x")
    for client in (one, two, plain):
        await client.expect_publish(topic, b"x")


async def test_shared_and_plain_filter_of_one_client_both_count(clients: Clients) -> None:
    topic = clients.topic("t")
    client = await clients.connected()
    await client.subscribe((topic, 0), (f"$share/g/{topic}", 0))
    await client.publish(topic, b"x")
    await client.expect_publish(topic, b"x")
    await client.expect_publish(topic, b"x")
    await client.expect_quiet()


@spec("MQTT5-4.8.2-4", row=101)
async def test_shared_qos_2_in_flight_waits_for_its_member(clients: Clients) -> None:
    topic = clients.topic("t")
    member, _ = await clients.persistent(Version.V5, clients.id("member"))
    await member.subscribe((f"$share/g/{topic}", 2))
    publisher = await clients.connected()
    await publisher.publish_fully(topic, b"x", qos=2)
    first = await member.expect_publish(topic, b"x", qos=2)
    (other,) = await _group(clients, 1, f"$share/g/{topic}", 2)
    await member.disconnect()
    await other.expect_quiet()
    again, _ = await clients.persistent(Version.V5, clients.id("member"))
    await again.settle(await again.expect_publish(topic, b"x", qos=2, dup=True, packet_id=first.packet_id))
    await other.expect_quiet()


@spec("MQTT5-4.8.2-5", row=101)
async def test_shared_qos_2_in_flight_is_dropped_with_its_session(clients: Clients) -> None:
    topic = clients.topic("t")
    member, _ = await clients.persistent(Version.V5, clients.id("member"))
    await member.subscribe((f"$share/g/{topic}", 2))
    publisher = await clients.connected()
    await publisher.publish_fully(topic, b"dropped", qos=2)
    await member.expect_publish(topic, b"dropped", qos=2)
    (other,) = await _group(clients, 1, f"$share/g/{topic}", 2)
    await member.disconnect(0, [(Property.SESSION_EXPIRY, 0)])
    await publisher.publish_fully(topic, b"next", qos=2)
    await other.settle(await other.expect_publish(topic, b"next"))
    await other.expect_quiet()


async def test_unacknowledged_qos_1_of_a_vanished_member_goes_to_another(clients: Clients) -> None:
    topic = clients.topic("t")
    (member,) = await _group(clients, 1, f"$share/g/{topic}", 1)
    publisher = await clients.connected()
    await publisher.publish_fully(topic, b"x", qos=1)
    await member.expect_publish(topic, b"x", qos=1)
    other = await clients.connected(client_id=clients.id("other"))
    await other.subscribe((f"$share/g/{topic}", 1))
    member.abort()
    await other.settle(await other.expect_publish(topic, b"x", qos=1))


@spec("MQTT5-4.8.2-6", row=102)
@pytest.mark.parametrize("qos", [1, 2])
async def test_refused_shared_message_is_offered_to_nobody_else(clients: Clients, qos: int) -> None:
    topic = clients.topic("t")
    members = await _group(clients, 2, f"$share/g/{topic}", 2)
    publisher = await clients.connected()
    sentinel = clients.topic("end")
    for member in members:
        await member.subscribe((sentinel, 0))
    await publisher.publish_fully(topic, b"x", qos=qos)
    tasks = {asyncio.create_task(member.expect_publish(topic, b"x")): member for member in members}
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE_S)
    (winner,) = done
    for task in pending:
        task.cancel()
    await asyncio.wait(pending)
    refuse = Type.PUBACK if qos == 1 else Type.PUBREC
    await tasks[winner].ack(refuse, winner.result().packet_id, 0x97)
    await tasks[winner].expect_quiet()
    await publisher.publish(sentinel)
    for member in members:
        await member.expect_publish(sentinel)


async def test_offline_members_are_skipped(clients: Clients) -> None:
    topic = clients.topic("t")
    away, _ = await clients.persistent(Version.V5, clients.id("away"))
    await away.subscribe((f"$share/g/{topic}", 1))
    await away.disconnect()
    (present,) = await _group(clients, 1, f"$share/g/{topic}", 1)
    publisher = await clients.connected()
    for number in range(10):
        await publisher.publish_fully(topic, b"%d" % number)
    (share,) = await _shares([present], 10)
    assert share == [b"%d" % number for number in range(10)]


async def test_group_without_a_present_member_keeps_messages(clients: Clients) -> None:
    topic = clients.topic("t")
    away, _ = await clients.persistent(Version.V5, clients.id("away"))
    await away.subscribe((f"$share/g/{topic}", 1))
    await away.disconnect()
    publisher = await clients.connected()
    await publisher.publish_fully(topic, b"x")
    back, _ = await clients.persistent(Version.V5, clients.id("away"))
    await back.expect_publish(topic, b"x", qos=1)


@v311_and_v5
async def test_leaving_a_group_is_by_its_full_filter(clients: Clients, version: Version) -> None:
    topic = clients.topic("t")
    client = await clients.connected(version)
    await client.subscribe((f"$share/g/{topic}", 0))
    other = await clients.connected(version)
    await other.subscribe((f"$share/g/{topic}", 0))
    await client.unsubscribe(topic, f"$share/h/{topic}")
    codes = await client.unsubscribe(f"$share/g/{topic}")
    assert codes == ((0,) if version is Version.V5 else ())
    for number in range(4):
        await other.publish(topic, b"%d" % number)
        await other.expect_publish(topic, b"%d" % number)
    await client.expect_quiet()


STRATEGIES = ["random", "round_robin", "round_robin_per_group", "sticky", "local", "hash_clientid", "hash_topic"]


async def _published(
    clients: Clients, members: list[WireClient], topics: list[str], publishers: int
) -> Counter[tuple[int, str, bytes]]:
    """Publish to each topic from each publisher; count (member, topic, publisher's number)."""
    senders = [await clients.connected(client_id=clients.id(f"p{number}")) for number in range(publishers)]
    for _ in range(4):
        for number, sender in enumerate(senders):
            for topic in topics:
                await sender.publish_fully(topic, b"%d" % number)
    seen: Counter[tuple[int, str, bytes]] = Counter()
    async with asyncio.timeout(PATIENCE_S):
        while sum(seen.values()) < 4 * publishers * len(topics):
            for index, member in enumerate(members):
                for packet in await _drain(member):
                    seen[index, packet.topic, packet.payload] += 1
    return seen


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_strategy_chooses_the_member(clients_with: Callable[[Settings], Clients], strategy: str) -> None:
    settings: Settings = {"mqtt.shared_subscription_strategy": strategy}
    clients = clients_with(settings)
    members = await _group(clients, 3, f"$share/g/{clients.topic('+')}", 1)
    topics = [clients.topic(f"t{number}") for number in range(8)]
    seen = await _published(clients, members, topics, publishers=8)
    assert sum(seen.values()) == 4 * 8 * 8
    used = {member for member, _, _ in seen}
    if strategy == "hash_topic":
        assert len({(member, topic) for member, topic, _ in seen}) == len(topics)
    elif strategy in ("hash_clientid", "sticky"):
        assert len({(member, sender) for member, _, sender in seen}) == 8
    elif strategy == "round_robin_per_group":
        per_member = Counter(member for member, _, _ in seen.elements())
        assert max(per_member.values()) - min(per_member.values()) <= 1
    elif strategy in ("random", "round_robin", "local"):
        assert used == {0, 1, 2}


async def test_round_robin_takes_turns(clients: Clients) -> None:
    topic = clients.topic("t")
    members = await _group(clients, 3, f"$share/g/{topic}")
    publisher = await clients.connected()
    for number in range(9):
        await publisher.publish(topic, b"%d" % number)
    shares = await _shares(members, 9)
    assert [len(share) for share in shares] == [3, 3, 3]


@spec("MQTT5-3.3.4-3", row=95)
@pytest.mark.parametrize("qos", [0, 1])
async def test_members_of_two_groups_get_their_own_subscription_identifiers(clients: Clients, qos: int) -> None:
    topic = clients.topic("t")
    members = [await clients.connected(client_id=clients.id(f"m{number}")) for number in (7, 9)]
    for member, number in zip(members, (7, 9), strict=True):
        await member.subscribe((f"$share/g{number}/{topic}", 1), properties=[(Property.SUBSCRIPTION_ID, number)])
    await (await clients.connected()).publish(topic, qos=qos)
    got = [await member.expect_publish(topic, qos=qos) for member in members]
    assert [packet.properties.all(Property.SUBSCRIPTION_ID) for packet in got] == [[7], [9]]
