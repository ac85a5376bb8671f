"""PUBLISH from clients: what is refused, and how each QoS is acknowledged."""

from collections.abc import Callable

import pytest

from tests.protocol.settings import LIMITED, SMALL_WINDOW
from tests.protocol.versions import every_version, v3_only
from tests.support import packets
from tests.support.broker import Settings
from tests.support.packets import Pairs, Property, Type, Version
from tests.support.spec import spec
from tests.support.wire import Clients


@spec("MQTT3-3.3.1-4", "MQTT5-3.3.1-4", row=60)
@every_version
async def test_qos_3_ends_the_connection(clients: Clients, version: Version) -> None:
    client = await clients.connected(version)
    await client.send(packets.publish(version, "a", qos=3, packet_id=1))
    await client.expect_fault(0x81)


@spec("MQTT3-3.3.1-2", "MQTT5-3.3.1-2", row=61)
@every_version
async def test_dup_at_qos_0_ends_the_connection(clients: Clients, version: Version) -> None:
    client = await clients.connected(version)
    await client.send(packets.publish(version, "a", dup=True))
    await client.expect_fault(0x81)


@spec("MQTT3-3.3.2-2", "MQTT5-3.3.2-2", row=62)
@every_version
@pytest.mark.parametrize("topic", ["a/+", "a/#", "+", "#", "a+b", "a#"])
async def test_wildcard_in_a_topic_name_ends_the_connection(clients: Clients, version: Version, topic: str) -> None:
    client = await clients.connected(version)
    await client.publish(topic, qos=1)
    await client.expect_fault(0x90, 0x81, 0x82)


@spec("MQTT3-4.7.3-1", "MQTT5-§3.3.2.1", row=63)
@every_version
async def test_empty_topic_name_ends_the_connection(clients: Clients, version: Version) -> None:
    client = await clients.connected(version)
    await client.publish("")
    await client.expect_fault(0x82)


@spec("MQTT5-3.2.2-11", row=64)
async def test_qos_above_the_maximum_ends_the_connection(clients_with: Callable[[Settings], Clients]) -> None:
    clients = clients_with(LIMITED)
    client = await clients.connected()
    await client.publish_fully(clients.topic("t"), qos=1)
    await client.publish(clients.topic("t"), qos=2)
    await client.expect_fault(0x9B)


@spec("MQTT5-3.2.2-14", row=65)
async def test_retain_where_it_is_not_available_ends_the_connection(
    clients_with: Callable[[Settings], Clients],
) -> None:
    clients = clients_with(LIMITED)
    client = await clients.connected()
    await client.publish(clients.topic("t"), b"x", retain=True)
    await client.expect_fault(0x9A)


@spec("MQTT5-3.3.4-6", row=69)
async def test_subscription_id_from_a_client_ends_the_connection(clients: Clients) -> None:
    client = await clients.connected()
    await client.publish(clients.topic("t"), properties=[(Property.SUBSCRIPTION_ID, 1)])
    await client.expect_fault(0x82)


@spec("MQTT5-3.3.2-14", row=70)
@pytest.mark.parametrize("response_topic", ["a/+", "#", "a/#"])
async def test_response_topic_with_wildcards_ends_the_connection(clients: Clients, response_topic: str) -> None:
    client = await clients.connected()
    await client.publish(clients.topic("t"), properties=[(Property.RESPONSE_TOPIC, response_topic)])
    await client.expect_fault(0x82)


@spec("MQTT5-§3.4.2.1", "MQTT5-§3.5.2.1", row=73)
@pytest.mark.parametrize("qos", [1, 2])
async def test_publication_that_is_not_allowed_is_answered_with_its_code(clients: Clients, qos: int) -> None:
    # The broker's own topics are closed to publishers whatever the rules say.
    client = await clients.connected()
    topic = f"$SYS/brokers/{clients.name}"
    assert (await client.publish_fully(topic, b"forged", qos=qos)).reason == 0x87
    await client.publish(topic, b"forged")
    await client.expect_quiet()


@spec("MQTT3-3.3.5-2", row=73)
@v3_only
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_publication_that_is_not_allowed_is_dropped(clients: Clients, version: Version, qos: int) -> None:
    topic = f"$SYS/brokers/{clients.name}"
    subscriber = await clients.subscriber(version, (topic, 2), (clients.topic("end"), 0))
    publisher = await clients.connected(version)
    if qos:
        await publisher.publish_fully(topic, b"forged", qos=qos)
    else:
        await publisher.publish(topic, b"forged")
    await publisher.publish(clients.topic("end"))
    await subscriber.expect_publish(clients.topic("end"))


@spec("MQTT5-§3.4.2.1", row=74)
@pytest.mark.parametrize("qos", [1, 2])
async def test_publication_without_subscribers_says_so(clients: Clients, qos: int) -> None:
    client = await clients.connected()
    assert (await client.publish_fully(clients.topic("t"), qos=qos)).reason == 0x10
    await clients.subscriber(Version.V5, (clients.topic("t"), 0))
    assert (await client.publish_fully(clients.topic("t"), qos=qos)).reason == 0x00


@spec("MQTT5-§3.3.2.3.2", row=75)
async def test_payload_that_is_not_the_promised_text(clients: Clients) -> None:
    subscriber = await clients.subscriber(Version.V5, (clients.topic("t"), 1))
    publisher = await clients.connected()
    promised: Pairs = [(Property.PAYLOAD_FORMAT, 1)]
    answer = await publisher.publish_fully(clients.topic("t"), b"\xff\xfe", properties=promised)
    assert answer.reason in (0x00, 0x99)
    if answer.reason == 0x00:
        received = await subscriber.expect_publish(clients.topic("t"), b"\xff\xfe")
        assert received.properties.get(Property.PAYLOAD_FORMAT) == 1
    await publisher.publish_fully(clients.topic("t"), "\u00e9".encode(), properties=promised)
    await subscriber.expect_publish(clients.topic("t"), "\u00e9".encode())


@spec("MQTT3-2.3.1-6", "MQTT3-4.3.2-2", "MQTT3-4.6.0-2", "MQTT5-2.2.1-5", "MQTT5-4.3.2-4", "MQTT5-4.6.0-2", row=76)
@every_version
@pytest.mark.parametrize("qos", [1, 2])
async def test_acknowledgements_follow_the_order_of_arrival(clients: Clients, version: Version, qos: int) -> None:
    ids = [7, 3, 65_535, 1, 4096, 2, 8, 5]
    client = await clients.connected(version)
    await client.send(b"".join(packets.publish(version, clients.topic("t"), qos=qos, packet_id=i) for i in ids))
    kind = Type.PUBACK if qos == 1 else Type.PUBREC
    for packet_id in ids:
        await client.expect_ack(kind, packet_id, None)
    if qos == 2:
        await client.send(b"".join(packets.ack(Type.PUBREL, i) for i in ids))
        for packet_id in ids:
            await client.expect_ack(Type.PUBCOMP, packet_id)


@spec("MQTT3-4.3.2-2", "MQTT5-4.3.2-4", row=76)
@every_version
async def test_qos_1_sent_twice_is_acknowledged_twice(clients: Clients, version: Version) -> None:
    subscriber = await clients.subscriber(version, (clients.topic("t"), 1))
    client = await clients.connected(version)
    for dup in (False, True):
        await client.publish(clients.topic("t"), qos=1, packet_id=9, dup=dup)
        await client.expect_ack(Type.PUBACK, 9)
    for _ in range(2):
        await subscriber.expect_publish(clients.topic("t"))


@spec("MQTT3-4.3.3-2", "MQTT5-4.3.3-10", row=77)
@every_version
async def test_qos_2_duplicate_is_delivered_once(clients: Clients, version: Version) -> None:
    topic = clients.topic("t")
    subscriber = await clients.subscriber(version, (topic, 0))
    client, _ = await clients.persistent(version, clients.id())
    for dup in (False, True, True):
        await client.publish(topic, b"once", qos=2, packet_id=9, dup=dup)
        await client.expect_ack(Type.PUBREC, 9)
    client.abort()
    again, _ = await clients.persistent(version, clients.id())
    await again.publish(topic, b"once", qos=2, packet_id=9, dup=True)
    await again.expect_ack(Type.PUBREC, 9)
    await again.ack(Type.PUBREL, 9)
    await again.expect_ack(Type.PUBCOMP, 9)
    await again.publish(topic, b"end")
    await subscriber.expect_publish(topic, b"once")
    await subscriber.expect_publish(topic, b"end")


@spec("MQTT5-4.3.3-12", row=78)
@every_version
async def test_packet_id_is_free_after_pubcomp(clients: Clients, version: Version) -> None:
    topic = clients.topic("t")
    subscriber = await clients.subscriber(version, (topic, 0))
    client = await clients.connected(version)
    for payload in (b"1", b"2", b"3"):
        await client.publish(topic, payload, qos=2, packet_id=5)
        await client.expect_ack(Type.PUBREC, 5)
        await client.ack(Type.PUBREL, 5)
        await client.expect_ack(Type.PUBCOMP, 5)
        await subscriber.expect_publish(topic, payload)


@spec("MQTT5-4.3.3-9", row=78)
async def test_packet_id_is_free_after_a_refusing_pubrec(clients_with: Callable[[Settings], Clients]) -> None:
    clients = clients_with(SMALL_WINDOW)
    topic = clients.topic("t")
    offline, _ = await clients.persistent(Version.V5, clients.id())
    await offline.subscribe((topic, 2))
    await offline.disconnect()
    publisher = await clients.connected()
    assert (await publisher.publish_fully(topic, b"fits", qos=2)).reason == 0x00
    await publisher.publish(topic, b"too many", qos=2, packet_id=9)
    await publisher.expect_ack(Type.PUBREC, 9, 0x97)
    back, _ = await clients.persistent(Version.V5, clients.id())
    await back.settle(await back.expect_publish(topic, b"fits"))
    await publisher.publish(topic, b"new", qos=2, packet_id=9)
    await publisher.expect_ack(Type.PUBREC, 9, 0x00)
    await back.expect_publish(topic, b"new")


@spec("MQTT3-4.3.3-2", "MQTT5-4.3.3-11", "MQTT5-§3.7.2.1", row=79)
@every_version
async def test_release_of_an_unknown_id_is_completed(clients: Clients, version: Version) -> None:
    client = await clients.connected(version)
    await client.ack(Type.PUBREL, 77)
    await client.expect_ack(Type.PUBCOMP, 77, 0x92 if version is Version.V5 else 0)


@spec("MQTT3-4.3.3-2", "MQTT5-4.3.3-11", row=79)
@every_version
async def test_repeated_release_is_completed_again(clients: Clients, version: Version) -> None:
    client = await clients.connected(version)
    await client.publish(clients.topic("t"), qos=2, packet_id=3)
    await client.expect_ack(Type.PUBREC, 3, None)
    await client.send(packets.ack(Type.PUBREL, 3) * 2)
    await client.expect_ack(Type.PUBCOMP, 3, 0)
    await client.expect_ack(Type.PUBCOMP, 3, 0x92 if version is Version.V5 else 0)


@spec("MQTT3-§2.3.1", "MQTT5-§2.2.1", row=80)
@every_version
async def test_both_directions_may_use_the_same_packet_id(clients: Clients, version: Version) -> None:
    topic = clients.topic("t")
    client = await clients.subscriber(version, (topic, 2))
    publisher = await clients.connected(version)
    await publisher.publish_fully(topic, b"to the client", qos=2)
    outgoing = await client.expect_publish(topic, b"to the client", qos=2)
    await client.publish(topic, b"from the client", qos=2, packet_id=outgoing.packet_id)
    assert (await client.pick(Type.PUBREC)).packet_id == outgoing.packet_id
    await client.ack(Type.PUBREL, outgoing.packet_id)
    assert (await client.pick(Type.PUBCOMP)).packet_id == outgoing.packet_id
    await client.settle(outgoing)
    await client.settle(await client.expect_publish(topic, b"from the client", qos=2))
    await client.expect_quiet()


@every_version
@pytest.mark.parametrize("size", [0, 1, 127, 128, 65_536, 1_000_000])
async def test_payloads_of_every_size_arrive_whole(clients: Clients, version: Version, size: int) -> None:
    payload = bytes(range(256)) * (size // 256 + 1)
    subscriber = await clients.subscriber(version, (clients.topic("t"), 1))
    publisher = await clients.connected(version)
    await publisher.publish_fully(clients.topic("t"), payload[:size])
    await subscriber.expect_publish(clients.topic("t"), payload[:size])
