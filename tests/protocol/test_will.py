"""When a will is sent, when it is not, and what it carries."""

import asyncio
import time

import pytest

from tests.protocol.versions import every_version, v3_only
from tests.support import packets
from tests.support.packets import Pairs, Property, PropertyValue, Version, Will
from tests.support.spec import spec
from tests.support.wire import PATIENCE_S, Clients, WireClient

EXPIRY_100: Pairs = [(Property.SESSION_EXPIRY, 100)]


def _will(clients: Clients, delay_s: int | None = None) -> Will:
    properties: Pairs = () if delay_s is None else [(Property.WILL_DELAY, delay_s)]
    return Will(clients.topic("will"), b"gone", properties=properties)


async def _watcher(clients: Clients, version: Version = Version.V5) -> WireClient:
    return await clients.subscriber(version, (clients.topic("#"), 2))


async def _expect_none(clients: Clients, watcher: WireClient) -> None:
    """Prove that no will came: what is published after the fact is the next that the watcher sees."""
    publisher = await clients.connected(watcher.version)
    await publisher.publish_fully(clients.topic("end"))
    await watcher.expect_publish(clients.topic("end"))


@spec("MQTT3-3.1.4-1", "MQTT5-3.1.4-1", row=29)
@every_version
async def test_will_of_a_refused_client_is_not_sent(clients: Clients, version: Version) -> None:
    watcher = await _watcher(clients, version)
    refused = {
        Version.V31: packets.connect(3, "", will=_will(clients)),
        Version.V311: packets.connect(4, "", clean=False, will=_will(clients)),
        Version.V5: packets.connect(5, "x", properties=[(Property.AUTH_METHOD, "none such")], will=_will(clients)),
    }
    client = await clients.open(version)
    await client.send(refused[version])
    await client.expect_refusal(0x8C if version is Version.V5 else 0x02)
    await _expect_none(clients, watcher)


@spec("MQTT3-3.1.2-8", "MQTT5-3.1.2-8", row=54)
@every_version
@pytest.mark.parametrize("end", ["reset", "close", "malformed packet", "protocol error", "take-over"])
async def test_will_is_sent_after_an_unclean_end(clients: Clients, version: Version, end: str) -> None:
    watcher = await _watcher(clients, version)
    client = await clients.connected(version, clients.id(), will=_will(clients))
    if end == "reset":
        client.abort()
    elif end == "close":
        client.close()
    elif end == "malformed packet":
        await client.send(packets.frame(0x36, packets.text("a") + b"\x00\x01"))
    elif end == "protocol error":
        await client.send(packets.publish(version, ""))
    else:
        await clients.connected(version, clients.id())
    await watcher.expect_publish(clients.topic("will"), b"gone")
    await watcher.expect_quiet()


@spec("MQTT3-3.1.2-10", "MQTT3-3.14.4-3", "MQTT5-3.1.2-10", "MQTT5-3.14.4-3", row=55)
@every_version
async def test_disconnect_deletes_the_will(clients: Clients, version: Version) -> None:
    watcher = await _watcher(clients, version)
    client = await clients.connected(version, clients.id(), will=_will(clients))
    await client.disconnect()
    # Neither the close nor a later connection brings it back.
    again = await clients.connected(version, clients.id())
    again.abort()
    await _expect_none(clients, watcher)


@spec("MQTT5-3.1.2-10", row=55)
async def test_disconnect_zero_spelled_out_deletes_the_will(clients: Clients) -> None:
    watcher = await _watcher(clients)
    client = await clients.connected(will=_will(clients))
    await client.disconnect(0, [(Property.REASON_STRING, "bye")])
    await _expect_none(clients, watcher)


@spec("MQTT5-3.1.2-10", "MQTT5-3.14.4-3", row=55)
@pytest.mark.parametrize("reason", [0x04, 0x80, 0x83, 0x97])
async def test_disconnect_with_another_code_sends_the_will(clients: Clients, reason: int) -> None:
    watcher = await _watcher(clients)
    client = await clients.connected(will=_will(clients))
    await client.disconnect(reason)
    await watcher.expect_publish(clients.topic("will"), b"gone")


@spec("MQTT5-3.1.2-8", "MQTT5-§3.1.3.2.2", row=56)
@pytest.mark.parametrize(
    ("delay_s", "expiry_s"), [(1, 100), (100, 1), (1, 1)], ids=["delay ends first", "session ends first", "together"]
)
async def test_delayed_will_waits_for_the_earlier_end(clients: Clients, delay_s: int, expiry_s: int) -> None:
    watcher = await _watcher(clients)
    client = await clients.connected(will=_will(clients, delay_s), properties=[(Property.SESSION_EXPIRY, expiry_s)])
    started = time.monotonic()
    client.abort()
    await watcher.expect_publish(clients.topic("will"), b"gone")
    assert time.monotonic() - started >= 0.9


@spec("MQTT5-3.1.2-8", "MQTT5-§3.1.3.2.2", row=56)
async def test_will_delay_means_nothing_without_a_session(clients: Clients) -> None:
    watcher = await _watcher(clients)
    client = await clients.connected(will=_will(clients, 100))
    client.abort()
    await watcher.expect_publish(clients.topic("will"), b"gone")


@spec("MQTT5-3.1.2-8", row=56)
async def test_expiry_zero_in_disconnect_sends_the_delayed_will_at_once(clients: Clients) -> None:
    watcher = await _watcher(clients)
    client = await clients.connected(will=_will(clients, 100), properties=EXPIRY_100)
    await client.disconnect(0x04, [(Property.SESSION_EXPIRY, 0)])
    await watcher.expect_publish(clients.topic("will"), b"gone")


@spec("MQTT5-3.1.3-9", "MQTT5-3.1.2-8", "MQTT5-§3.1.4", row=57)
@pytest.mark.parametrize("has_new_will", [False, True])
async def test_resuming_within_the_delay_cancels_the_will(clients: Clients, has_new_will: bool) -> None:
    watcher = await _watcher(clients)
    # A witness with the same delay, whose will shows that the time of the other one has passed.
    witness_will = Will(clients.topic("witness"), properties=[(Property.WILL_DELAY, 1)])
    client = await clients.connected(client_id=clients.id(), will=_will(clients, 1), properties=EXPIRY_100)
    client.abort()
    new_will = Will(clients.topic("new")) if has_new_will else None
    again = await clients.connected(client_id=clients.id(), clean=False, will=new_will, properties=EXPIRY_100)
    witness = await clients.connected(client_id=clients.id("w"), will=witness_will, properties=EXPIRY_100)
    witness.abort()
    await watcher.expect_publish(clients.topic("witness"))
    await again.expect_quiet()


@spec("MQTT5-3.1.2-8", "MQTT5-§3.1.4", row=57)
async def test_clean_start_within_the_delay_sends_the_will_at_once(clients: Clients) -> None:
    watcher = await _watcher(clients)
    client = await clients.connected(client_id=clients.id(), will=_will(clients, 100), properties=EXPIRY_100)
    client.abort()
    await clients.connected(client_id=clients.id(), clean=True)
    await watcher.expect_publish(clients.topic("will"), b"gone")


@spec("MQTT3-3.1.2-16", "MQTT3-3.1.2-17", "MQTT5-3.1.2-14", "MQTT5-3.1.2-15", "MQTT5-3.1.3-10", row=58)
@every_version
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_will_has_its_own_qos(clients: Clients, version: Version, qos: int) -> None:
    watcher = await _watcher(clients, version)
    client = await clients.connected(version, will=Will(clients.topic("will"), b"gone", qos=qos))
    client.abort()
    await watcher.expect_publish(clients.topic("will"), b"gone", qos=qos, retained=False)


@spec("MQTT3-3.1.2-16", "MQTT3-3.1.2-17", "MQTT5-3.1.2-14", "MQTT5-3.1.2-15", "MQTT5-3.1.3-10", row=58)
@every_version
async def test_will_can_be_retained(clients: Clients, version: Version) -> None:
    watcher = await _watcher(clients, version)
    topic = clients.topic("will")
    client = await clients.connected(version, will=Will(topic, b"kept", qos=1, retain=True))
    client.abort()
    await watcher.settle(await watcher.expect_publish(topic, b"kept", retained=False))
    later = await clients.subscriber(version, (topic, 1))
    await later.settle(await later.expect_publish(topic, b"kept", qos=1, retained=True))
    await later.publish(topic, retain=True)


@spec("MQTT3-3.1.2-16", row=58)
@v3_only
async def test_will_without_retain_is_not_kept(clients: Clients, version: Version) -> None:
    watcher = await _watcher(clients, version)
    client = await clients.connected(version, will=Will(clients.topic("will"), b"gone"))
    client.abort()
    await watcher.expect_publish(clients.topic("will"), b"gone")
    later = await clients.subscriber(version, (clients.topic("will"), 1))
    await later.expect_quiet()


@spec("MQTT5-3.1.3-10", row=58)
async def test_will_carries_its_properties_in_order(clients: Clients) -> None:
    watcher = await _watcher(clients)
    properties: list[tuple[Property, PropertyValue]] = [
        (Property.PAYLOAD_FORMAT, 1),
        (Property.CONTENT_TYPE, "text/plain"),
        (Property.RESPONSE_TOPIC, "answers"),
        (Property.CORRELATION_DATA, b"\x00\xff"),
        (Property.USER, ("b", "1")),
        (Property.USER, ("a", "2")),
        (Property.USER, ("b", "1")),
    ]
    client = await clients.connected(will=Will(clients.topic("will"), b"gone", properties=properties))
    client.abort()
    received = await watcher.expect_publish(clients.topic("will"), b"gone")
    assert received.properties.all(Property.USER) == [("b", "1"), ("a", "2"), ("b", "1")]
    for identifier, value in properties[:4]:
        assert received.properties.get(identifier) == value
    assert Property.WILL_DELAY not in received.properties


@spec("MQTT5-3.1.2-14", "MQTT5-3.1.2-15", row=58)
async def test_message_expiry_of_a_will_begins_with_its_sending(clients: Clients) -> None:
    watcher = await _watcher(clients)
    will = Will(clients.topic("will"), b"gone", properties=[(Property.WILL_DELAY, 2), (Property.MESSAGE_EXPIRY, 60)])
    client = await clients.connected(will=will, properties=EXPIRY_100)
    client.abort()
    received = await watcher.expect_publish(clients.topic("will"), b"gone")
    assert received.properties.get(Property.MESSAGE_EXPIRY) == 60


@spec("MQTT3-3.1.3-10", "MQTT3-4.7.3-1", "MQTT5-3.1.3-11", "MQTT5-4.7.3-1", row=59)
@every_version
@pytest.mark.parametrize("topic", ["", "a/+", "a/#", "#", "a+b"])
async def test_will_topic_must_be_a_topic_name(clients: Clients, version: Version, topic: str) -> None:
    client = await clients.open(version)
    await client.send(packets.connect(version, client.client_id, will=Will(topic, b"x")))
    if version is Version.V5:
        await client.expect_refusal(0x82, 0x90)
    else:
        await client.expect_closed()


@spec("MQTT3-3.1.3-10", "MQTT5-3.1.3-11", row=59)
@every_version
async def test_will_may_be_empty(clients: Clients, version: Version) -> None:
    watcher = await _watcher(clients, version)
    client = await clients.connected(version, will=Will(clients.topic("will"), b""))
    client.abort()
    await watcher.expect_publish(clients.topic("will"), b"")


@spec("MQTT3-3.1.2-10", row=55)
async def test_wills_of_many_clients_are_all_sent(clients: Clients) -> None:
    watcher = await _watcher(clients, Version.V311)
    dying = [
        await clients.connected(Version.V311, will=Will(clients.topic(f"will{number}"), b"gone"))
        for number in range(30)
    ]
    for client in dying:
        client.abort()
    async with asyncio.timeout(PATIENCE_S):
        seen = {(await watcher.expect_publish(payload=b"gone")).topic for _ in dying}
    assert len(seen) == len(dying)
