"""The end of the broker: what clients are told, and what it leaves undone."""

import asyncio
from collections.abc import Callable

from tests.support import packets
from tests.support.broker import Broker
from tests.support.packets import Type, Version
from tests.support.wire import Clients


async def test_orderly_stop_tells_clients_and_exits_with_0(broker_factory: Callable[..., Broker], unique: str) -> None:
    broker = broker_factory()
    clients = Clients(broker.address(), unique)
    connected = [await clients.connected(version) for version in Version for _ in range(10)]
    stopping = asyncio.create_task(asyncio.to_thread(broker.stop))
    for client in connected:
        await client.expect_fault(0x8B)
        client.close()
    await stopping
    await clients.aclose()


async def test_orderly_stop_flushes_what_was_taken(broker_factory: Callable[..., Broker], unique: str) -> None:
    broker = broker_factory()
    clients = Clients(broker.address(), unique)
    subscriber = await clients.subscriber(Version.V5, (clients.topic("t"), 0))
    publisher = await clients.connected()
    await publisher.send(b"".join(packets.publish(5, clients.topic("t"), b"x" * 100) for _ in range(200)))
    await publisher.expect_quiet()
    stopping = asyncio.create_task(asyncio.to_thread(broker.stop))
    received = await subscriber.receive_all()
    await clients.aclose()
    await stopping
    assert [packet.type for packet in received] == [Type.PUBLISH] * 200 + [Type.DISCONNECT]
