"""How sessions begin, last and end, and what waits in them meanwhile."""

import asyncio

import pytest

from tests.protocol.versions import every_version, v3_only, v311_and_v5
from tests.support import packets
from tests.support.packets import Pairs, Property, Version
from tests.support.spec import spec
from tests.support.wire import PATIENCE_S, Clients


@spec("MQTT3-3.1.2-6", "MQTT3-3.2.2-1", "MQTT5-3.1.2-4", "MQTT5-3.2.2-2", row=32)
@v311_and_v5
async def test_clean_start_drops_the_old_session(clients: Clients, version: Version) -> None:
    topic = clients.topic("t")
    old, _ = await clients.persistent(version, clients.id())
    await old.subscribe((topic, 1))
    await old.disconnect()
    publisher = await clients.connected(version)
    await publisher.publish_fully(topic, b"waiting")
    fresh, connack = await clients.persistent(version, clients.id(), clean=True)
    assert not connack.is_session_present
    await publisher.publish_fully(topic, b"later")
    await fresh.expect_quiet()


@spec("MQTT3-3.2.2-2", "MQTT3-3.2.2-3", "MQTT5-3.1.2-5", "MQTT5-3.1.2-6", "MQTT5-3.2.2-3", row=33)
@v311_and_v5
async def test_session_present_tells_whether_state_was_found(clients: Clients, version: Version) -> None:
    first, connack = await clients.persistent(version, clients.id())
    assert not connack.is_session_present
    await first.disconnect()
    second, connack = await clients.persistent(version, clients.id())
    assert connack.is_session_present
    second.abort()
    third, connack = await clients.persistent(version, clients.id())
    assert connack.is_session_present
    await third.expect_quiet()


@spec("MQTT3-3.2.2-2", row=33)
async def test_session_present_does_not_exist_in_31(clients: Clients) -> None:
    topic = clients.topic("t")
    first, _ = await clients.persistent(Version.V31, clients.id())
    await first.subscribe((topic, 1))
    await first.disconnect()
    publisher = await clients.connected(Version.V31)
    await publisher.publish_fully(topic, b"waiting")
    second, connack = await clients.persistent(Version.V31, clients.id())
    assert not connack.is_session_present
    await second.expect_publish(topic, b"waiting", qos=1)


@spec("MQTT3-3.2.0-1", "MQTT5-3.2.0-1", "MQTT5-3.2.0-2", row=35)
@every_version
async def test_connack_comes_before_everything_that_waits(clients: Clients, version: Version) -> None:
    topic = clients.topic("t")
    client, _ = await clients.persistent(version, clients.id())
    await client.subscribe((topic, 1))
    await client.disconnect()
    publisher = await clients.connected(version)
    for payload in (b"1", b"2", b"3"):
        await publisher.publish_fully(topic, payload, retain=True)
    # `connect` fails unless the very first packet is CONNACK.
    again, _ = await clients.persistent(version, clients.id())
    for payload in (b"1", b"2", b"3"):
        await again.settle(await again.expect_publish(topic, payload))


@spec("MQTT5-3.1.2-23", "MQTT5-4.1.0-2", row=45)
async def test_session_without_expiry_ends_with_the_connection(clients: Clients) -> None:
    client = await clients.connected(client_id=clients.id(), clean=False)
    await client.subscribe((clients.topic("t"), 1))
    await client.disconnect()
    again = await clients.open()
    connack = await again.connect(clients.id(), clean=False)
    assert not connack.is_session_present


@spec("MQTT5-3.1.2-23", "MQTT5-4.1.0-2", row=45)
async def test_clean_start_says_nothing_about_the_end(clients: Clients) -> None:
    client, _ = await clients.persistent(Version.V5, clients.id(), clean=True)
    await client.disconnect()
    _, connack = await clients.persistent(Version.V5, clients.id())
    assert connack.is_session_present


@spec("MQTT5-3.1.2-23", "MQTT5-4.1.0-2", row=45)
@pytest.mark.parametrize("by_disconnect", [False, True])
async def test_session_ends_when_its_expiry_has_passed(clients: Clients, by_disconnect: bool) -> None:
    expiry: Pairs = [(Property.SESSION_EXPIRY, 1)]
    opening: Pairs = [(Property.SESSION_EXPIRY, 100)] if by_disconnect else expiry
    client = await clients.connected(client_id=clients.id(), properties=opening)
    await client.subscribe((clients.topic("t"), 1))
    await client.disconnect(0, expiry if by_disconnect else ())
    seen = await _session_is_gone(clients)
    assert seen >= 1, "the session ended at once"


async def _session_is_gone(clients: Clients) -> int:
    """Publish until nobody is there to queue for (0x10); return how often somebody was."""
    publisher = await clients.connected()
    times = 0
    async with asyncio.timeout(PATIENCE_S):
        while (await publisher.publish_fully(clients.topic("t"))).reason == 0:
            times += 1
            await asyncio.sleep(0.05)
    return times


@spec("MQTT3-3.1.2-4", "MQTT3-3.1.2-6", row=46)
@v3_only
async def test_clean_session_ends_at_the_close_and_leaves_nothing(clients: Clients, version: Version) -> None:
    topic = clients.topic("t")
    kept, _ = await clients.persistent(version, clients.id())
    await kept.subscribe((topic, 1))
    await kept.disconnect()
    clean = await clients.connected(version, clients.id(), clean=True)
    await clean.subscribe((clients.topic("clean"), 1))
    await clean.disconnect()
    again, connack = await clients.persistent(version, clients.id())
    assert not connack.is_session_present
    publisher = await clients.connected(version)
    await publisher.publish_fully(topic)
    await publisher.publish_fully(clients.topic("clean"))
    await again.expect_quiet()


@spec("MQTT3-3.1.2-4", row=46)
@v3_only
async def test_kept_session_continues_subscriptions(clients: Clients, version: Version) -> None:
    topic = clients.topic("t")
    first, _ = await clients.persistent(version, clients.id())
    await first.subscribe((topic, 1))
    await first.disconnect()
    second, _ = await clients.persistent(version, clients.id())
    publisher = await clients.connected(version)
    await publisher.publish_fully(topic, b"x")
    await second.expect_publish(topic, b"x", qos=1)


@spec("MQTT3-3.1.2-6", row=46)
async def test_clean_session_cut_by_the_network_is_not_found_again(clients: Clients) -> None:
    kept, _ = await clients.persistent(Version.V311, clients.id())
    await kept.disconnect()
    clean = await clients.connected(Version.V311, clients.id(), clean=True)
    await clean.subscribe((clients.topic("t"), 1))
    clean.abort()
    # Whether the broker has seen the cut or takes the connection over: the clean session is no more.
    _, connack = await clients.persistent(Version.V311, clients.id())
    assert not connack.is_session_present


@spec("MQTT5-§3.14.2.2.2", row=47)
async def test_disconnect_may_not_invent_an_expiry(clients: Clients) -> None:
    client = await clients.connected(client_id=clients.id())
    await client.send(packets.disconnect(0, [(Property.SESSION_EXPIRY, 10)]))
    await client.expect_fault(0x82)
    connack = await (await clients.open()).connect(clients.id(), clean=False)
    assert not connack.is_session_present


@spec("MQTT5-§3.14.2.2.2", row=47)
async def test_disconnect_may_end_the_session_at_once(clients: Clients) -> None:
    client, _ = await clients.persistent(Version.V5, clients.id())
    await client.disconnect(0, [(Property.SESSION_EXPIRY, 0)])
    _, connack = await clients.persistent(Version.V5, clients.id())
    assert not connack.is_session_present


@spec("MQTT5-§3.14.2.2.2", row=47)
async def test_disconnect_may_prolong_the_session(clients: Clients) -> None:
    client = await clients.connected(client_id=clients.id(), properties=[(Property.SESSION_EXPIRY, 1)])
    other = await clients.connected(client_id=clients.id("o"), properties=[(Property.SESSION_EXPIRY, 1)])
    await other.subscribe((clients.topic("t"), 1))
    await client.disconnect(0, [(Property.SESSION_EXPIRY, 100)])
    await other.disconnect()
    await _session_is_gone(clients)
    _, connack = await clients.persistent(Version.V5, clients.id())
    assert connack.is_session_present


@spec("MQTT5-3.14.2-2", row=48)
async def test_disconnect_from_the_broker_has_no_expiry(clients: Clients) -> None:
    # The reader refuses it in any DISCONNECT; here are three kinds of them, from sessions that have one.
    taken, _ = await clients.persistent(Version.V5, clients.id())
    faulty, _ = await clients.persistent(Version.V5, clients.id())
    taken_over = await taken.expect_disconnect(0x8E)
    await faulty.send(packets.frame(0x00))
    broken = await faulty.expect_disconnect(0x81, 0x82)
    for packet in (taken_over, broken):
        assert Property.SESSION_EXPIRY not in packet.properties


@spec("MQTT3-3.1.2-7", "MQTT5-§4.1", row=49)
@every_version
async def test_retained_message_outlives_its_publisher(clients: Clients, version: Version) -> None:
    topic = clients.topic("t")
    publisher = await clients.connected(version, clients.id(), clean=True)
    await publisher.publish_fully(topic, b"stays", retain=True)
    await publisher.disconnect()
    fresh = await clients.connected(version, clients.id(), clean=True)
    await fresh.subscribe((topic, 0))
    await fresh.expect_publish(topic, b"stays", retained=True)
    await fresh.publish(topic, retain=True)


@spec("MQTT3-3.1.2-5", "MQTT5-4.5.0-1", row=50)
@every_version
@pytest.mark.parametrize("qos", [1, 2])
async def test_messages_wait_for_an_offline_subscriber(clients: Clients, version: Version, qos: int) -> None:
    topic = clients.topic("t")
    client, _ = await clients.persistent(version, clients.id())
    await client.subscribe((topic, 2))
    await client.disconnect()
    publisher = await clients.connected(version)
    for number in range(5):
        await publisher.publish_fully(topic, b"%d" % number, qos=qos)
    again, _ = await clients.persistent(version, clients.id())
    for number in range(5):
        received = await again.expect_publish(topic, b"%d" % number, qos=qos, dup=False)
        await again.settle(received)
    await again.expect_quiet()


@spec("MQTT5-4.1.0-2", row=45)
async def test_expiry_of_all_ones_never_ends(clients: Clients) -> None:
    client = await clients.connected(client_id=clients.id(), properties=[(Property.SESSION_EXPIRY, 0xFFFF_FFFF)])
    await client.disconnect()
    again = await clients.open()
    assert (await again.connect(clients.id(), clean=False)).is_session_present
    await again.disconnect(0, [(Property.SESSION_EXPIRY, 0)])


@v311_and_v5
async def test_session_follows_its_client_to_another_version(clients: Clients, version: Version) -> None:
    topic = clients.topic("t")
    other = Version.V5 if version is Version.V311 else Version.V311
    first, _ = await clients.persistent(version, clients.id())
    await first.subscribe((topic, 1))
    await first.disconnect()
    publisher = await clients.connected(version)
    await publisher.publish_fully(topic, b"x")
    second, connack = await clients.persistent(other, clients.id())
    assert connack.is_session_present
    await second.expect_publish(topic, b"x", qos=1)
