"""SUBSCRIBE and UNSUBSCRIBE: what is refused, what is granted, what then matches."""

import asyncio
from collections.abc import Callable

import pytest

from tests.protocol.settings import EXTRAS
from tests.protocol.versions import every_version, v3_only, v311_and_v5
from tests.support import packets
from tests.support.broker import Settings
from tests.support.packets import Property, Type, Version
from tests.support.spec import spec
from tests.support.wire import Clients, WireClient

NO_LOCAL = 0x04
BUSY_SYS: Settings = {"sys_topics.sys_msg_interval": "1s", "sys_topics.sys_heartbeat_interval": "1s"}


@spec("MQTT3-3.8.3-3", "MQTT3-3.10.3-2", "MQTT5-3.8.3-2", "MQTT5-3.10.3-2", row=87)
@every_version
@pytest.mark.parametrize("kind", ["subscribe", "unsubscribe"])
async def test_packet_without_a_filter_ends_the_connection(clients: Clients, version: Version, kind: str) -> None:
    client = await clients.connected(version)
    await client.send(packets.subscribe(version, 1, []) if kind == "subscribe" else packets.unsubscribe(version, 1, []))
    await client.expect_fault(0x82)


@spec("MQTT3-3.8.3-4", row=88)
@v3_only
@pytest.mark.parametrize("options", [0x03, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x81])
async def test_option_bits_that_3x_reserves_end_the_connection(
    clients: Clients, version: Version, options: int
) -> None:
    client = await clients.connected(version)
    await client.send(packets.subscribe(version, 1, [("a", options)]))
    await client.expect_closed()


@spec("MQTT5-3.8.3-5", "MQTT5-§3.8.3.1", row=88)
@pytest.mark.parametrize("options", [0x03, 0x30, 0x40, 0x80, 0xC1])
async def test_option_bits_that_5_reserves_end_the_connection(clients: Clients, options: int) -> None:
    client = await clients.connected()
    await client.send(packets.subscribe(5, 1, [("a", options)]))
    await client.expect_fault(0x81, 0x82)


@spec("MQTT3-4.7.1-2", "MQTT3-4.7.1-3", "MQTT3-4.7.3-1", "MQTT5-4.7.1-1", "MQTT5-4.7.1-2", "MQTT5-4.7.3-1", row=89)
@every_version
@pytest.mark.parametrize("bad", ["", "a/#/b", "#/a", "a#", "a/b#", "a+", "+a", "a/+b/c", "##", "++"])
async def test_invalid_filter_is_refused(clients: Clients, version: Version, bad: str) -> None:
    client = await clients.connected(version)
    await client.send(packets.subscribe(version, 1, [(bad, 0)]))
    packet = await client.receive_or_end()
    if version is Version.V5:
        assert packet is not None
        assert (packet.type, packet.reasons) == (Type.SUBACK, (0x8F,))
    elif packet is not None:
        # 3.1 has no code for a failure.
        assert (packet.type, packet.reasons) == (Type.SUBACK, (0x80 if version is Version.V311 else 0,))


@spec("MQTT3-3.8.4-5", "MQTT3-3.9.3-1", "MQTT5-3.8.4-6", "MQTT5-3.9.3-1", row=90)
@v311_and_v5
async def test_denied_filter_does_not_spoil_its_neighbours(
    clients_with: Callable[[Settings], Clients], version: Version
) -> None:
    clients = clients_with(EXTRAS)
    client = await clients.connected(version)
    first, last = clients.topic("first"), clients.topic("last")
    denied = 0x87 if version is Version.V5 else 0x80
    assert await client.subscribe((first, 1), ("$SYS/#", 0), (last, 2)) == (1, denied, 2)
    await client.publish(first, b"1")
    await client.publish(last, b"2")
    await client.expect_publish(first, b"1")
    await client.expect_publish(last, b"2")


@spec("MQTT5-3.8.4-6", "MQTT5-3.9.3-1", row=90)
async def test_invalid_filter_does_not_spoil_its_neighbours(clients: Clients) -> None:
    client = await clients.connected()
    first, last = clients.topic("first"), clients.topic("last")
    assert await client.subscribe((first, 0), ("a/#/b", 0), (last, 2)) == (0, 0x8F, 2)
    await client.publish(last)
    await client.expect_publish(last)


@spec("MQTT3-3.8.4-5", "MQTT3-3.9.3-1", row=90)
@every_version
async def test_every_filter_gets_its_code_in_order(clients: Clients, version: Version) -> None:
    client = await clients.connected(version)
    wanted = [(clients.topic(f"t{number}"), number % 3) for number in range(50)]
    assert await client.subscribe(*wanted) == tuple(qos for _, qos in wanted)


@spec("MQTT3-3.9.3-2", row=91)
async def test_refusal_under_311_is_0x80(clients_with: Callable[[Settings], Clients]) -> None:
    client = await clients_with(EXTRAS).connected(Version.V311)
    assert await client.subscribe(("$SYS/#", 1)) == (0x80,)


@spec("MQTT3-3.9.3-2", row=91)
async def test_31_never_gets_a_failure_code(clients_with: Callable[[Settings], Clients]) -> None:
    client = await clients_with(EXTRAS).connected(Version.V31)
    await client.send(packets.subscribe(3, 1, [("$SYS/#", 1)]))
    packet = await client.receive_or_end()
    if packet is not None:
        assert packet.type is Type.SUBACK
        assert packet.reasons[0] in (0, 1, 2)


@spec("MQTT3-3.8.4-3", "MQTT5-3.8.4-3", row=92)
@every_version
async def test_subscribing_again_replaces_the_subscription(clients: Clients, version: Version) -> None:
    topic = clients.topic("t")
    client = await clients.connected(version)
    publisher = await clients.connected(version)
    for qos in (2, 0, 1):
        assert await client.subscribe((topic, qos)) == (qos,)
        await publisher.publish_fully(topic, b"%d" % qos, qos=2)
        await client.settle(await client.expect_publish(topic, b"%d" % qos, qos=qos))
    await client.expect_quiet()


@spec("MQTT5-3.8.4-3", row=92)
async def test_subscribing_again_replaces_options_and_identifier(clients: Clients) -> None:
    topic = clients.topic("t")
    client = await clients.connected()
    await client.subscribe((topic, 0), properties=[(Property.SUBSCRIPTION_ID, 1)])
    await client.subscribe((topic, NO_LOCAL), properties=[(Property.SUBSCRIPTION_ID, 2)])
    await client.publish(topic, b"own")
    await (await clients.connected()).publish(topic, b"other")
    received = await client.expect_publish(topic, b"other")
    assert received.properties.all(Property.SUBSCRIPTION_ID) == [2]
    await client.subscribe((topic, 0))
    await client.publish(topic, b"third")
    received = await client.expect_publish(topic, b"third")
    assert received.properties.all(Property.SUBSCRIPTION_ID) == []


@spec("MQTT3-3.8.4-3", "MQTT5-3.8.4-3", row=92)
@every_version
async def test_subscribing_again_loses_and_doubles_nothing(clients: Clients, version: Version) -> None:
    topic = clients.topic("t")
    client = await clients.subscriber(version, (topic, 1))
    publisher = await clients.connected(version)

    async def publish_all() -> None:
        for number in range(100):
            await publisher.publish_fully(topic, b"%d" % number)

    publishing = asyncio.create_task(publish_all())
    seen: list[bytes] = []
    while len(seen) < 100:
        if len(seen) % 10 == 0:
            await client.subscribe((topic, 1))
        packet = await client.expect_publish(topic)
        seen.append(packet.payload)
        await client.settle(packet)
    await publishing
    await client.expect_quiet()
    assert seen == [b"%d" % number for number in range(100)]


@spec("MQTT3-3.8.4-6", "MQTT5-3.8.4-8", row=93)
@every_version
@pytest.mark.parametrize("granted", [0, 1, 2])
@pytest.mark.parametrize("published", [0, 1, 2])
async def test_delivery_has_the_lower_qos(clients: Clients, version: Version, granted: int, published: int) -> None:
    topic = clients.topic("t")
    subscriber = await clients.subscriber(version, (topic, granted))
    publisher = await clients.connected(version)
    if published:
        await publisher.publish_fully(topic, b"x", qos=published)
    else:
        await publisher.publish(topic, b"x")
    await subscriber.settle(await subscriber.expect_publish(topic, b"x", qos=min(granted, published)))


@spec("MQTT3-3.3.5-1", "MQTT5-3.3.4-2", row=94)
@every_version
async def test_overlapping_filters_give_one_copy_at_the_highest_qos(clients: Clients, version: Version) -> None:
    topic = clients.topic("a/b")
    subscriber = await clients.subscriber(
        version, (topic, 0), (clients.topic("+/b"), 2), (clients.topic("#"), 1), (clients.topic("a/#"), 0)
    )
    publisher = await clients.connected(version)
    await publisher.publish_fully(topic, b"x", qos=2)
    await subscriber.settle(await subscriber.expect_publish(topic, b"x", qos=2))
    await subscriber.expect_quiet()


@spec("MQTT5-3.3.4-3", "MQTT5-3.3.4-4", row=95)
async def test_one_copy_has_all_matching_identifiers(clients: Clients) -> None:
    topic = clients.topic("a/b")
    subscriber = await clients.connected()
    for number, matching in ((3, topic), (200, clients.topic("+/b")), (70_000, clients.topic("#"))):
        await subscriber.subscribe((matching, 0), properties=[(Property.SUBSCRIPTION_ID, number)])
    await subscriber.subscribe((clients.topic("a/+"), 0))
    await subscriber.subscribe((clients.topic("other"), 0), properties=[(Property.SUBSCRIPTION_ID, 9)])
    await subscriber.publish(topic, b"x")
    received = await subscriber.expect_publish(topic, b"x")
    assert set(received.properties.all(Property.SUBSCRIPTION_ID)) == {3, 200, 70_000}
    assert len(received.properties.all(Property.SUBSCRIPTION_ID)) == 3
    await subscriber.expect_quiet()


@spec("MQTT5-3.3.4-3", row=95)
async def test_identifier_belongs_to_every_filter_of_its_packet(clients: Clients) -> None:
    subscriber = await clients.connected()
    await subscriber.subscribe(
        (clients.topic("a"), 0), (clients.topic("b"), 0), properties=[(Property.SUBSCRIPTION_ID, 5)]
    )
    for topic in (clients.topic("a"), clients.topic("b")):
        await subscriber.publish(topic)
        received = await subscriber.expect_publish(topic)
        assert received.properties.all(Property.SUBSCRIPTION_ID) == [5]


@spec("MQTT5-3.3.4-3", "MQTT5-3.3.4-4", row=95)
async def test_identifiers_survive_the_session(clients: Clients) -> None:
    topic = clients.topic("t")
    client, _ = await clients.persistent(Version.V5, clients.id())
    await client.subscribe((topic, 1), properties=[(Property.SUBSCRIPTION_ID, 42)])
    await client.disconnect()
    publisher = await clients.connected()
    await publisher.publish_fully(topic, b"x")
    again, _ = await clients.persistent(Version.V5, clients.id())
    received = await again.expect_publish(topic, b"x")
    assert received.properties.all(Property.SUBSCRIPTION_ID) == [42]


@spec("MQTT3-4.7.2-1", "MQTT5-4.7.2-1", row=96)
@every_version
async def test_leading_wildcard_does_not_match_dollar_topics(clients: Clients, version: Version) -> None:
    dollar = f"${clients.name}"
    wild = await clients.subscriber(version, ("#", 0), ("+/x", 0), ("+/#", 0), (clients.topic("end"), 0))
    named = await clients.subscriber(version, (f"{dollar}/#", 0))
    plus = await clients.subscriber(version, (f"{dollar}/+", 0))
    publisher = await clients.connected(version)
    await publisher.publish(f"{dollar}/x", b"hidden")
    await publisher.publish(clients.topic("end"))
    await named.expect_publish(f"{dollar}/x", b"hidden")
    await plus.expect_publish(f"{dollar}/x", b"hidden")
    while (packet := await wild.expect_publish()).topic != clients.topic("end"):
        assert not packet.topic.startswith("$")


@spec("MQTT3-4.7.2-1", "MQTT5-4.7.2-1", row=96)
@every_version
async def test_sys_topics_need_a_filter_that_names_them(
    clients_with: Callable[[Settings], Clients], version: Version
) -> None:
    clients = clients_with(BUSY_SYS)
    wild = await clients.subscriber(version, ("#", 0), ("+/brokers/#", 0))
    named = await clients.subscriber(version, ("$SYS/#", 0))
    plus = await clients.subscriber(version, ("$SYS/+/+/uptime", 0))
    assert (await named.expect_publish()).topic.startswith("$SYS/")
    assert (await plus.expect_publish()).topic.startswith("$SYS/brokers/")
    await wild.publish(clients.topic("end"))
    while (packet := await wild.expect_publish()).topic != clients.topic("end"):
        assert not packet.topic.startswith("$")


MATCHES = [
    ("a/#", "a", True),
    ("a/#", "a/", True),
    ("a/#", "a/b/c", True),
    ("a/#", "ab", False),
    ("a/+", "a", False),
    ("a/+", "a/", True),
    ("a/+", "a/b", True),
    ("a/+", "a/b/c", False),
    ("a/+/c", "a//c", True),
    ("a/+/#", "a", False),
    ("a/+/#", "a/b", True),
    ("a/", "a", False),
    ("a", "a/", False),
    ("a//b", "a/b", False),
    ("+/b", "a/b", True),
    ("a/b", "A/b", False),
    ("#", "a/b", True),
]


@spec("MQTT3-§4.7.1", "MQTT5-§4.7.1", row=97)
@every_version
async def test_levels_and_wildcards(clients: Clients, version: Version) -> None:
    publisher = await clients.connected(version)
    for number, (pattern, topic, matches) in enumerate(MATCHES):
        base = clients.topic(f"case{number}")
        subscriber = await clients.subscriber(version, (f"{base}/{pattern}", 0), (clients.topic("end"), 0))
        await publisher.publish(f"{base}/{topic}", b"x")
        await publisher.publish(clients.topic("end"))
        first = await subscriber.expect_publish()
        assert (first.topic == f"{base}/{topic}") == matches, (pattern, topic)
        subscriber.close()


@spec("MQTT3-§4.7.1", "MQTT5-§4.7.1", row=97)
@every_version
async def test_leading_slash_makes_another_topic(clients: Clients, version: Version) -> None:
    name = clients.name
    subscriber = await clients.subscriber(version, (f"/{name}", 0), (f"+/{name}/+", 0))
    publisher = await clients.connected(version)
    for topic in (name, f"/{name}", f"/{name}/", f"x/{name}/y"):
        await publisher.publish(topic)
    for topic in (f"/{name}", f"/{name}/", f"x/{name}/y"):
        await subscriber.expect_publish(topic)
    await subscriber.expect_quiet()


@spec("MQTT5-3.8.3-3", row=98)
async def test_no_local_keeps_own_publications_away(clients: Clients) -> None:
    topic = clients.topic("t")
    client = await clients.connected()
    await client.subscribe((topic, 1 | NO_LOCAL))
    other = await clients.subscriber(Version.V5, (topic, 0))
    await client.publish_fully(topic, b"own")
    await other.expect_publish(topic, b"own")
    await client.expect_quiet()
    await other.publish(topic, b"other")
    await client.expect_publish(topic, b"other")


@spec("MQTT5-3.8.3-3", row=98)
async def test_no_local_looks_at_the_client_id(clients: Clients) -> None:
    topic = clients.topic("t")
    client, _ = await clients.persistent(Version.V5, clients.id())
    await client.subscribe((topic, 1 | NO_LOCAL))
    await client.disconnect()
    again, _ = await clients.persistent(Version.V5, clients.id())
    await again.publish_fully(topic, b"own")
    await again.expect_quiet()


@spec("MQTT3-3.10.4-5", "MQTT5-3.10.4-4", "MQTT5-3.10.4-5", "MQTT5-3.11.3-1", row=103)
@every_version
async def test_every_unsubscribe_is_answered(clients: Clients, version: Version) -> None:
    topic = clients.topic("t")
    client = await clients.subscriber(version, (topic, 0))
    codes = await client.unsubscribe(clients.topic("never"), topic, topic)
    assert codes == ((0x11, 0x00, 0x11) if version is Version.V5 else ())


@spec(
    "MQTT3-3.10.4-1", "MQTT3-3.10.4-2", "MQTT3-3.10.4-3", "MQTT5-3.10.4-1", "MQTT5-3.10.4-2", "MQTT5-3.10.4-3", row=104
)
@every_version
async def test_unsubscribing_compares_filters_as_text(clients: Clients, version: Version) -> None:
    topic = clients.topic("a/b")
    client = await clients.subscriber(version, (clients.topic("a/+"), 0))
    await client.unsubscribe(topic, clients.topic("+/b"), clients.topic("#"), clients.topic("a/#"))
    publisher = await clients.connected(version)
    await publisher.publish(topic, b"still")
    await client.expect_publish(topic, b"still")
    await client.unsubscribe(clients.topic("a/+"))
    await publisher.publish(topic, b"no more")
    await publisher.expect_quiet()
    await client.publish(topic, b"nor this")
    await client.expect_quiet()


@spec(
    "MQTT3-3.10.4-1", "MQTT3-3.10.4-2", "MQTT3-3.10.4-3", "MQTT5-3.10.4-1", "MQTT5-3.10.4-2", "MQTT5-3.10.4-3", row=104
)
@every_version
@pytest.mark.parametrize("qos", [1, 2])
async def test_what_is_in_flight_is_finished_after_unsubscribing(clients: Clients, version: Version, qos: int) -> None:
    topic = clients.topic("t")
    client, _ = await clients.persistent(version, clients.id())
    await client.subscribe((topic, 2))
    publisher = await clients.connected(version)
    await publisher.publish_fully(topic, b"x", qos=qos)
    received = await client.expect_publish(topic, b"x", qos=qos)
    await client.unsubscribe(topic)
    if qos == 2:
        await client.ack(Type.PUBREC, received.packet_id)
        assert (await client.expect(Type.PUBREL)).packet_id == received.packet_id
    client.abort()
    again, _ = await clients.persistent(version, clients.id())
    if qos == 2:
        assert (await again.expect(Type.PUBREL)).packet_id == received.packet_id
        await again.ack(Type.PUBCOMP, received.packet_id)
    else:
        await again.expect_publish(topic, b"x", qos=1, dup=True, packet_id=received.packet_id)
        await again.ack(Type.PUBACK, received.packet_id)
    await again.expect_quiet()


@pytest.mark.parametrize("levels", [129, 30_000])
@every_version
async def test_filter_of_too_many_levels_is_refused(clients: Clients, version: Version, levels: int) -> None:
    client = await clients.connected(version)
    await client.send(packets.subscribe(version, 1, [("/".join(["+"] * levels), 0)]))
    packet = await client.receive_or_end()
    if packet is not None and packet.type is Type.SUBACK:
        assert version is Version.V31 or packet.reasons[0] >= 0x80
    witness = await clients.connected(version)
    await witness.expect_quiet()


async def _subscribed_to_exclusive(clients: Clients, version: Version, filter_: str) -> tuple[WireClient, int]:
    client = await clients.connected(version)
    return client, (await client.subscribe((filter_, 1)))[0]


@v311_and_v5
async def test_exclusive_filter_has_one_holder(clients_with: Callable[[Settings], Clients], version: Version) -> None:
    clients = clients_with(EXTRAS)
    topic = clients.topic("t")
    holder, code = await _subscribed_to_exclusive(clients, version, f"$exclusive/{topic}")
    assert code == 1
    other, code = await _subscribed_to_exclusive(clients, version, f"$exclusive/{topic}")
    assert code == (0x97 if version is Version.V5 else 0x80)
    await other.publish(topic, b"x")
    await holder.expect_publish(topic, b"x")
    assert await other.subscribe((topic, 0)) == (0,), "a plain subscription needs no lock"
    await holder.unsubscribe(f"$exclusive/{topic}")
    assert await other.subscribe((f"$exclusive/{topic}", 2)) == (2,)


async def test_exclusive_filter_is_free_when_its_holder_has_gone(
    clients_with: Callable[[Settings], Clients],
) -> None:
    clients = clients_with(EXTRAS)
    exclusive = f"$exclusive/{clients.topic('t')}"
    holder, _ = await _subscribed_to_exclusive(clients, Version.V5, exclusive)
    await holder.disconnect()
    _, code = await _subscribed_to_exclusive(clients, Version.V5, exclusive)
    assert code == 1


async def test_exclusive_filter_is_refused_where_it_is_off(clients: Clients) -> None:
    client = await clients.connected()
    (code,) = await client.subscribe((f"$exclusive/{clients.topic('t')}", 1))
    assert code >= 0x80
