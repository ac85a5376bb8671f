"""Single packets that are cheap to send and meant to be dear to read."""

import itertools
from collections.abc import Callable

import pytest

from tests.robustness.conftest import MEGABYTE, QUIET, ClientsOf, Footprint
from tests.support import packets
from tests.support.broker import Broker, Settings
from tests.support.canary import Canary
from tests.support.packets import Property, Type, Version
from tests.support.wire import Address, Clients

LONGEST = 65_535
BOMBS = {
    "longest": "x" * LONGEST,
    "30,000 levels": "/" * 30_000,
    "30,000 pluses": "+/" * 29_999 + "+",
    "all levels": "a/" * 32_767 + "#",
    "shared": "$share/g/" + "/" * 30_000,
    "129 levels": "a/" * 128 + "a",
}
DEEP: Settings = {**QUIET, "mqtt.max_topic_levels": LONGEST}
"""As an operator might set it who does not want to think about levels."""


@pytest.fixture
def clients(broker_with: Callable[[Settings], Broker], clients_of: ClientsOf) -> Clients:
    """Open raw clients on a broker that the bombs share."""
    return clients_of(broker_with(QUIET))


@pytest.mark.parametrize("bomb", [name for name in BOMBS if name != "longest"])
@pytest.mark.parametrize("version", [Version.V311, Version.V5], ids=lambda version: version.name)
async def test_filter_with_too_many_levels_is_refused(clients: Clients, version: Version, bomb: str) -> None:
    client = await clients.connected(version)
    codes = await client.subscribe((BOMBS[bomb], 0), ("harmless", 0))
    assert codes == (0x8F if version is Version.V5 else 0x80, 0)
    await client.expect_quiet()


async def test_longest_filter_and_topic_work(clients: Clients) -> None:
    client = await clients.connected()
    assert await client.subscribe((BOMBS["longest"], 1)) == (1,)
    await client.publish(BOMBS["longest"], b"x")
    await client.expect_publish(BOMBS["longest"], b"x")
    assert await client.unsubscribe(BOMBS["longest"]) == (0,)


async def test_topic_with_too_many_levels_ends_the_connection(clients: Clients) -> None:
    client = await clients.connected()
    await client.publish("/" * 30_000)
    await client.expect_fault(0x90)


@pytest.mark.parametrize("level", ["a", "+", ""], ids=["literal", "plus", "empty"])
async def test_any_depth_that_is_allowed_can_be_subscribed_and_left(
    broker_with: Callable[[Settings], Broker], clients_of: ClientsOf, level: str
) -> None:
    clients = clients_of(broker_with(DEEP))
    filter = "/".join([level] * 32_000)
    topic = "/".join(["a" if level == "+" else level] * 32_000)
    subscriber = await clients.connected()
    assert await subscriber.subscribe((filter, 0), (f"{filter}/#", 0)) == (0, 0)
    publisher = await clients.connected()
    await publisher.publish(topic, b"deep", retain=True)
    await subscriber.expect_publish(topic, b"deep")
    late = await clients.subscriber(Version.V5, (filter, 0))
    await late.expect_publish(topic, b"deep", retained=True)
    await publisher.publish(topic, retain=True)
    await late.expect_publish(topic, b"")
    subscriber.abort()  # its subscriptions go at once, however deep
    assert await late.unsubscribe(filter) == (0,)
    await late.expect_quiet()


async def test_every_mix_of_wildcards_at_once(clients: Clients) -> None:
    client = await clients.connected()
    filters = ["/".join(levels) for levels in itertools.product("a+", repeat=12)]
    assert await client.subscribe(*((filter, 0) for filter in filters)) == (0,) * 4096
    publisher = await clients.connected()
    for _ in range(20):
        await publisher.publish("/".join("a" * 12), b"x")
    for _ in range(20):
        await client.expect_publish("/".join("a" * 12), b"x")
    await client.expect_quiet()


async def test_one_subscribe_may_hold_many_filters(clients: Clients, canary_at: Callable[[Address], Canary]) -> None:
    canary = canary_at(clients.address)
    client = await clients.connected()
    started = canary.now()
    filters = [
        (clients.topic(f"f/{number}" if number % 10 else f"f/+/#/{number}"), number % 3) for number in range(20_000)
    ]
    codes = await client.subscribe(*filters)
    assert codes == tuple(number % 3 if number % 10 else 0x8F for number in range(20_000))
    await client.publish(clients.topic("f/19999"), b"x")
    await client.expect_publish(clients.topic("f/19999"), b"x")
    left = await client.unsubscribe(*(filter for filter, _ in filters[1:10_000]))
    assert left.count(0) == 9_000
    assert canary.between(started, canary.now()).p99 < 500


@pytest.mark.parametrize("packet", ["connect", "publish", "subscribe", "disconnect"])
async def test_megabyte_of_empty_user_properties(
    clients: Clients, canary_at: Callable[[Address], Canary], packet: str
) -> None:
    many = b"\x26\0\0\0\0" * 200_000
    canary = canary_at(clients.address)
    started = canary.now()
    if packet == "connect":
        client = await clients.open()
        await client.connect(properties=many)
        await client.expect_quiet()
    else:
        client = await clients.subscriber(Version.V5, (clients.topic("t"), 0))
        if packet == "publish":
            await client.publish(clients.topic("t"), b"x", properties=many)
            assert len((await client.expect_publish()).properties.all(Property.USER)) == 200_000
        elif packet == "subscribe":
            assert await client.subscribe((clients.topic("u"), 0), properties=many) == (0,)
        else:
            await client.disconnect(0, many)
    assert canary.between(started, canary.now()).p99 < 500


async def test_packet_beyond_the_maximum_is_not_read_in(own_broker: Broker, own_clients: Clients) -> None:
    before = Footprint(own_broker)
    for _ in range(50):
        client = await own_clients.connected()
        await client.send(b"\x30\xff\xff\xff\x7f\0\1a\0" + b"x" * 100_000)
        await client.expect_fault(0x95)
        client.close()
    assert before.growth < 4 * MEGABYTE


async def test_many_almost_whole_packets_cost_what_was_sent(own_broker: Broker, own_clients: Clients) -> None:
    before = Footprint(own_broker)
    # A megabyte is announced a hundred times, a kilobyte of each is sent.
    whole = packets.publish(Version.V5, "a", b"x" * 1_000_000)
    for _ in range(100):
        client = await own_clients.connected()
        await client.send(whole[:1_000])
    await own_clients.connected()
    assert before.growth < 8 * MEGABYTE


async def test_pings_beyond_measure_are_answered_or_end_the_connection(
    own_broker: Broker, own_clients: Clients, canary_at: Callable[[Address], Canary]
) -> None:
    canary = canary_at(own_broker.address())
    before = Footprint(own_broker)
    started = canary.now()
    client = await own_clients.connected()
    await client.send(packets.PINGREQ * 100_000)
    for _ in range(100_000):
        packet = await client.receive()
        assert packet.type is Type.PINGRESP
    assert canary.between(started, canary.now()).p99 < 500
    assert before.growth < 16 * MEGABYTE
