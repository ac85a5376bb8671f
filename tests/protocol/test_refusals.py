"""Publishers over the limits of their namespace: read in batches, and still told or counted to the last message."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from tests.protocol.versions import v311_and_v5
from tests.support import packets
from tests.support.bare_engine import BareEngine
from tests.support.certificates import Authority
from tests.support.packets import Type, Version
from tests.support.websocket import WebSocketStream
from tests.support.wire import ByteStream, SocketStream, WireClient, eventually

PAUSE_MS = 8
HOUR_MS = 3_600_000
LISTENERS: dict[str, dict[str, object]] = {"tcp": {}, "ssl": {}, "ws": {"kind": "ws", "websocket": {}}}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(params=LISTENERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def engine(kind: str, authority: Authority) -> AsyncIterator[BareEngine]:
    listener = dict(LISTENERS[kind])
    if kind == "ssl":
        pair = authority.server()
        listener = {"kind": "ssl", "tls": {"certfile": str(pair.certfile), "keyfile": str(pair.keyfile)}}
    async with BareEngine(2, listener) as running:
        yield running


async def connect(engine: BareEngine, kind: str, authority: Authority, client_id: str) -> WireClient:
    address = engine.clients.address
    stream: ByteStream
    if kind == "ws":
        stream = await WebSocketStream.open(address)
    else:
        stream = await SocketStream.open(address, authority.client_context() if kind == "ssl" else None)
    client = WireClient(stream, Version.V5, client_id)
    await client.connect()
    return client


async def test_every_refused_message_is_answered_and_reads_are_few(
    engine: BareEngine, kind: str, authority: Authority
) -> None:
    engine.core.set_namespace("n1", cast("Any", {"client": {"messages": {"rate": (1, HOUR_MS)}}}))
    client = await connect(engine, kind, authority, "n1:a")
    loop = asyncio.get_running_loop()
    started, before = loop.time(), engine.core.session_stats(engine.sessions["n1:a"])["recv_cnt"]
    reasons = []
    for _ in range(5):
        ids = [await client.publish("t", qos=1) for _ in range(90)]
        reasons += [(await client.expect_ack(Type.PUBACK, packet_id, None)).reason for packet_id in ids]
    elapsed_ms = (loop.time() - started) * 1_000
    assert reasons == [0x10] + [0x97] * 449
    reads = engine.core.session_stats(engine.sessions["n1:a"])["recv_cnt"] - before
    assert reads <= 2 + elapsed_ms / PAUSE_MS
    client.abort()
    await client.stream.wait_closed()


@pytest.mark.parametrize("kind", ["tcp"], indirect=True)
async def test_all_abusers_of_a_tenant_are_counted_on_every_shard(engine: BareEngine) -> None:
    engine.core.set_namespace("n1", cast("Any", {"tenant": {"messages": {"rate": (10, HOUR_MS)}}}))
    clients = [await engine.clients.connected(client_id=f"n1:{number}") for number in range(4)]
    for client in clients:
        await client.send(packets.publish(client.version, "t", b"x") * 1_000)
    await eventually(lambda: engine.core.metrics()["messages.dropped.quota_exceeded"] == 3_990)


@v311_and_v5
@pytest.mark.parametrize("kind", ["tcp"], indirect=True)
async def test_a_publisher_over_its_limit_is_served_in_everything_else(engine: BareEngine, version: Version) -> None:
    engine.core.set_namespace("n1", cast("Any", {"client": {"messages": {"rate": (1, HOUR_MS)}}}))
    client = await engine.clients.connected(version, client_id="n1:a", keep_alive=1)
    assert await client.subscribe(("in", 1)) == (1,)
    publisher = await engine.clients.connected(client_id="p")
    for number in range(20):
        await client.publish("t", b"over")
        await publisher.publish_fully("in", bytes([number]))
        received = await client.expect_publish("in")
        assert received.payload[0] == number
        await client.settle(received)
        await client.expect_quiet()
    assert await client.subscribe(("more", 0)) == (0,)
    await client.disconnect()
    assert engine.core.metrics()["messages.dropped.quota_exceeded"] == 19
