"""Consumers that do not read, or are away, while thousands of messages come for them."""

import asyncio
import socket
from collections.abc import Callable

import pytest

from tests.robustness.conftest import MEGABYTE, QUIET, Attack, ClientsOf, Footprint, assert_undisturbed
from tests.support.broker import Broker
from tests.support.canary import Canary, Latencies
from tests.support.packets import Property, Type, Version
from tests.support.wire import Address, Clients, SocketStream, WireClient

COUNT = 100_000
SIZE = 200
MAX_GROWTH = 8 * MEGABYTE
"""A queue of 1,000 messages, the output marks and the allocator's slack; the messages themselves are 20 MB."""


class Deaf:
    """A subscriber with small buffers that nobody reads after SUBACK: the stream stops at 8 KiB by itself."""

    def __init__(self, client: WireClient) -> None:
        self.client = client

    @classmethod
    async def subscribe(cls, address: Address, name: str, topic: str, qos: int) -> "Deaf":
        """Connect and subscribe."""
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, (address.host, address.port))
        reader, writer = await asyncio.open_connection(sock=raw, limit=4096)
        client = WireClient(SocketStream(reader, writer), Version.V5, name)
        await client.connect()
        assert await client.subscribe((topic, qos)) == (qos,)
        return cls(client)

    async def aclose(self) -> None:
        """Drop the connection."""
        self.client.abort()
        await self.client.stream.wait_closed()


async def _flood_beside(
    own_broker: Broker, canary: Canary, attack: Attack, qos: int, topic: str
) -> tuple[Latencies, Latencies, dict[str, object]]:
    """Return what a canary measured before and during a flood, and what the flooder was told."""
    quiet = canary.watch(1.5)
    started = canary.now()
    address = own_broker.address()
    report = await attack("flood", address.host, address.port, COUNT, SIZE, qos, topic)
    return quiet, canary.between(started, canary.now()), report


@pytest.mark.parametrize("qos", [0, 1])
async def test_reader_that_stops_reading_costs_bounded_memory_and_nobodys_time(
    own_broker: Broker, canary_at: Callable[[Address], Canary], attack: Attack, unique: str, qos: int
) -> None:
    canary = canary_at(own_broker.address())
    deaf = await Deaf.subscribe(own_broker.address(), f"{unique}deaf", f"{unique}/t", qos)
    before = Footprint(own_broker)
    quiet, busy, report = await _flood_beside(own_broker, canary, attack, qos, f"{unique}/t")
    assert before.growth < MAX_GROWTH
    assert_undisturbed(quiet, busy)
    assert report["reasons"] == ({"0": COUNT} if qos else {})
    await deaf.aclose()


async def test_large_message_stands_in_memory_once_for_all_who_do_not_read(
    own_broker: Broker, own_clients: Clients, unique: str
) -> None:
    topic = f"{unique}/t"
    deaf = [await Deaf.subscribe(own_broker.address(), f"{unique}{number}", topic, 0) for number in range(50)]
    publisher = await own_clients.connected()
    before = Footprint(own_broker)
    # The system takes the first ones.
    for _ in range(10):
        await publisher.publish(topic, b"x" * 900_000)
        await publisher.expect_quiet()
    assert before.growth < MAX_GROWTH
    for one in deaf:
        await one.aclose()


async def test_session_that_is_away_costs_bounded_memory_and_keeps_the_newest(
    own_broker: Broker, own_clients: Clients, canary_at: Callable[[Address], Canary], attack: Attack, unique: str
) -> None:
    away, _ = await own_clients.persistent(Version.V5, own_clients.id("away"))
    await away.subscribe((f"{unique}/t", 1))
    await away.disconnect()
    canary = canary_at(own_broker.address())
    before = Footprint(own_broker)
    quiet, busy, report = await _flood_beside(own_broker, canary, attack, 1, f"{unique}/t")
    assert before.growth < MAX_GROWTH
    assert_undisturbed(quiet, busy)
    assert report["reasons"] == {"0": COUNT}
    back, _ = await own_clients.persistent(Version.V5, own_clients.id("away"))
    for number in range(COUNT - 1000, COUNT):
        received = await back.expect_publish(f"{unique}/t", qos=1)
        assert received.payload.startswith(b"%08d" % number)
        await back.settle(received)
    await back.expect_quiet()


async def test_queue_without_a_count_is_bounded_by_its_bytes(
    broker_factory: Callable[..., Broker], clients_of: ClientsOf, attack: Attack, unique: str
) -> None:
    broker = broker_factory({**QUIET, "mqtt.max_mqueue_len": "infinity", "mqtt.max_mqueue_bytes": "2MB"})
    clients = clients_of(broker)
    away, _ = await clients.persistent(Version.V5, clients.id("away"))
    await away.subscribe((f"{unique}/t", 1))
    await away.disconnect()
    before = Footprint(broker)
    address = broker.address()
    await attack("flood", address.host, address.port, 20_000, 1000, 1, f"{unique}/t")
    assert before.growth < MAX_GROWTH


@pytest.mark.parametrize("qos", [0, 1])
async def test_retained_messages_wait_for_slow_readers_where_they_are(
    own_broker: Broker, canary_at: Callable[[Address], Canary], attack: Attack, unique: str, qos: int
) -> None:
    address = own_broker.address()
    await attack("flood", address.host, address.port, 10_000, 1_000, 1, f"{unique}/r/{{}}", "retain")
    canary = canary_at(address)
    before = Footprint(own_broker)
    quiet = canary.watch(1.0)
    started = canary.now()
    deaf = [await Deaf.subscribe(address, f"{unique}deaf{number}", f"{unique}/r/#", qos) for number in range(20)]
    busy = canary.between(started, canary.now())
    # Each of them would have 10 MB to take; the output mark lets a quarter of a megabyte wait.
    assert before.growth < 20 * MEGABYTE
    assert_undisturbed(quiet, busy)
    for one in deaf:
        await one.aclose()


async def test_slow_reader_gets_what_was_kept_when_it_reads_again(
    own_broker: Broker, own_clients: Clients, attack: Attack, unique: str
) -> None:
    slow = await own_clients.connected(properties=[(Property.RECEIVE_MAXIMUM, 10)])
    await slow.subscribe((f"{unique}/t", 1))
    address = own_broker.address()
    await attack("flood", address.host, address.port, 5_000, SIZE, 1, f"{unique}/t")
    # Ten were on their way; of the others the newest thousand were kept.
    expected = [*range(10), *range(4_000, 5_000)]
    for number in expected:
        received = await slow.receive()
        assert received.type is Type.PUBLISH
        assert received.payload.startswith(b"%08d" % number)
        await slow.settle(received)
    await slow.expect_quiet()


@pytest.mark.soak
async def test_reader_that_takes_nothing_is_ended(own_broker: Broker, attack: Attack, unique: str) -> None:
    deaf = await Deaf.subscribe(own_broker.address(), f"{unique}deaf", f"{unique}/t", 0)
    before = Footprint(own_broker)
    address = own_broker.address()
    await attack("flood", address.host, address.port, 20_000, SIZE, 0, f"{unique}/t")
    await before.expect_files_back(60.0)
    await deaf.aclose()
