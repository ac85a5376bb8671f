"""Too much of what is allowed one by one: connections, subscriptions, retained messages, topics, sessions."""

import asyncio
from collections.abc import Callable

import pytest

from tests.robustness.conftest import MEGABYTE, QUIET, Attack, ClientsOf, Footprint, assert_undisturbed
from tests.support.broker import Broker, Settings
from tests.support.canary import Canary
from tests.support.dialer import Dialer, is_served
from tests.support.packets import Property, Version
from tests.support.wire import Address, Clients, SocketStream


async def test_connections_beyond_the_maximum_do_not_touch_those_inside(
    broker_factory: Callable[..., Broker], dial: Dialer, canary_at: Callable[[Address], Canary]
) -> None:
    broker = broker_factory(
        {**QUIET, "listeners.tcp.small.bind": "127.0.0.1:0", "listeners.tcp.small.max_connections": 50}
    )
    address = broker.address("tcp", "small")
    inside = [await dial.connected(address) for _ in range(50)]
    canary = canary_at(broker.address())
    before = Footprint(broker)
    quiet = canary.watch(1.0)
    started = canary.now()
    for _ in range(20):
        assert not any(await asyncio.gather(*(is_served(dial, address) for _ in range(50))))
    flooded = canary.between(started, canary.now())
    assert_undisturbed(quiet, flooded)
    for client in inside:
        await client.expect_quiet()
    await before.expect_files_back()
    for client in inside:
        await client.disconnect()
    assert await is_served(dial, address)


async def test_subscriptions_beyond_the_maximum_are_refused_one_by_one(
    broker_factory: Callable[..., Broker], clients_of: ClientsOf
) -> None:
    clients = clients_of(broker_factory({**QUIET, "mqtt.max_subscriptions": 50}))
    client = await clients.connected()
    codes = await client.subscribe(*((clients.topic(str(number)), 0) for number in range(100)))
    assert codes == (0,) * 50 + (0x97,) * 50
    # The same again is no new one, and one that goes makes room for another.
    assert await client.subscribe((clients.topic("7"), 1)) == (1,)
    assert await client.subscribe((clients.topic("new"), 0)) == (0x97,)
    assert await client.unsubscribe(clients.topic("7")) == (0,)
    assert await client.subscribe((clients.topic("new"), 0)) == (0,)
    old = await clients.connected(Version.V311)
    codes = await old.subscribe(*((clients.topic(str(number)), 0) for number in range(60)))
    assert codes == (0,) * 50 + (0x80,) * 10


async def test_memory_of_subscriptions_comes_back(own_broker: Broker, own_clients: Clients) -> None:
    peak = 0
    before = Footprint(own_broker)
    for wave in range(4):
        client = await own_clients.connected()
        for start in range(0, 40_000, 5_000):
            numbers = range(start, start + 5_000)
            await client.subscribe(*((own_clients.topic(f"{wave}/{number}/+/x"), 0) for number in numbers))
        client.abort()
        await own_clients.connected()
        # The first wave shows what it takes; the others live on what it left.
        if wave == 0:
            peak = before.growth
    assert before.growth < peak + peak // 2 + 4 * MEGABYTE


async def test_retained_messages_beyond_the_maximum_are_refused(
    broker_factory: Callable[..., Broker], clients_of: ClientsOf
) -> None:
    settings: Settings = {**QUIET, "retainer.max_retained_messages": 100, "retainer.max_payload_size": "1KB"}
    clients = clients_of(broker_factory(settings))
    client = await clients.connected()

    async def retain(topic: str, payload: bytes) -> int:
        return (await client.publish_fully(clients.topic(topic), payload, retain=True)).reason

    # Two topics below $SYS are the broker's own and may count.
    reasons = [await retain(f"r/{number}", b"x") for number in range(120)]
    kept = sum(reason < 0x80 for reason in reasons)
    assert 90 <= kept <= 100
    assert set(reasons[kept:]) == {0x97}
    assert await retain("r/0", b"other") < 0x80
    assert await retain("r/new", b"x") == 0x97
    assert await retain("r/1", b"") < 0x80
    assert await retain("r/new", b"x") < 0x80
    assert await retain("r/0", b"y" * 2_000) >= 0x80
    late = await clients.subscriber(Version.V5, (clients.topic("r/#"), 0))
    stored = {(await late.expect_publish(retained=True)).topic for _ in range(kept)}
    assert clients.topic("r/new") in stored
    await late.expect_quiet()


async def test_topics_without_end_do_not_grow_the_caches(
    broker_factory: Callable[..., Broker], clients_of: ClientsOf, attack: Attack, unique: str
) -> None:
    # Each shard has caches of its own; this one is filled first.
    broker = broker_factory({**QUIET, "node.io_threads": 1})
    clients = clients_of(broker)
    await clients.subscriber(Version.V5, (clients.topic("never"), 0), ("+/none/of/these", 0))
    address = broker.address()
    await attack("flood", address.host, address.port, 100_000, 10, 0, f"{unique}/warm/{{}}")
    before = Footprint(broker)
    await attack("flood", address.host, address.port, 200_000, 10, 0, f"{unique}/more/{{}}")
    assert before.growth < 8 * MEGABYTE


async def test_long_topics_do_not_grow_the_caches(own_broker: Broker, attack: Attack) -> None:
    address = own_broker.address()
    before = Footprint(own_broker)
    await attack("flood", address.host, address.port, 1_000, 10, 0, "x" * 60_000 + "{}")
    assert before.growth < 16 * MEGABYTE


async def test_subscribers_times_topics_do_not_grow_the_caches(
    own_broker: Broker, own_clients: Clients, attack: Attack
) -> None:
    subscribers = [await own_clients.subscriber(Version.V311, (own_clients.topic("#"), 0)) for _ in range(300)]
    address = own_broker.address()
    before = Footprint(own_broker)
    await attack("flood", address.host, address.port, 9_000, 0, 0, own_clients.topic("{}"))
    for client in subscribers:
        client.abort()
    # Kept whole, the 2.7 million pairs would be 130 MB; a shard's cache is bounded at 8.
    await before.expect_growth_below(40 * MEGABYTE)


async def test_aliases_of_long_topics_are_bounded(own_broker: Broker, own_clients: Clients) -> None:
    before = Footprint(own_broker)
    client = await own_clients.connected()
    for number in range(1, 1_001):
        topic = "x" * 60_000 + str(number)
        await client.publish(topic, properties=[(Property.TOPIC_ALIAS, number)])
    # 60 MB of topics: the connection is ended at 16 MB of them, which the match cache may have too.
    await client.expect_fault(0x97)
    await before.expect_growth_below(40 * MEGABYTE)


async def test_sessions_that_end_leave_nothing(own_broker: Broker, own_clients: Clients) -> None:
    async def come_and_go(number: int) -> None:
        client = await own_clients.connected(properties=[(Property.SESSION_EXPIRY, number % 2)])
        await client.publish(own_clients.topic(f"{number}/t"), b"x" * 1_000, retain=True)
        await client.subscribe((own_clients.topic(f"{number}/t"), 1))
        await client.expect_publish()
        await client.publish(own_clients.topic(f"{number}/t"), retain=True)
        await client.expect_publish()
        client.abort()

    async def wave(start: int) -> None:
        for first in range(start, start + 2_000, 50):
            await asyncio.gather(*(come_and_go(number) for number in range(first, first + 50)))

    await wave(0)
    before = Footprint(own_broker)
    for start in (2_000, 4_000):
        await wave(start)
    assert before.growth < 6 * MEGABYTE


@pytest.mark.parametrize("kind", ["tcp", "ws"])
async def test_connections_that_say_nothing_and_go_are_forgotten(own_broker: Broker, kind: str) -> None:
    before = Footprint(own_broker)

    async def touch() -> None:
        stream = await SocketStream.open(own_broker.address(kind))
        stream.abort()
        await stream.wait_closed()

    for _ in range(20):
        await asyncio.gather(*(touch() for _ in range(100)))
    await before.expect_files_back()
    assert before.growth < 4 * MEGABYTE
