"""MQTT inside WebSocket: handshake, subprotocol, and frames that do not line up with packets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.protocol.settings import EXTRAS
from tests.protocol.versions import every_version
from tests.support import packets, websocket
from tests.support.broker import Broker, RunningBroker, Settings
from tests.support.packets import Type, Version, Will
from tests.support.spec import spec
from tests.support.websocket import HandshakeError, WebSocketStream
from tests.support.wire import PATIENCE_S, Address, Clients, WireClient

Dial = Callable[..., Awaitable[WebSocketStream]]


@pytest.fixture
async def dial(broker: RunningBroker) -> AsyncIterator[Dial]:
    """Open WebSocket connections to the shared broker; arguments are those of `WebSocketStream.open`."""
    opened: list[WebSocketStream] = []

    async def open_one(address: Address | None = None, **options: object) -> WebSocketStream:
        stream = await WebSocketStream.open(address or broker.address("ws"), **options)  # type: ignore[arg-type] # passed on
        opened.append(stream)
        return stream

    yield open_one
    for stream in opened:
        stream.abort()
        await stream.wait_closed()


async def _connected(dial: Dial, clients: Clients, version: Version, suffix: str = "ws") -> WireClient:
    client = WireClient(await dial(), version, clients.id(suffix))
    await client.connect()
    return client


async def _expect_end(stream: WebSocketStream) -> None:
    """Wait for the close; nothing but control frames may come before it."""
    async with asyncio.timeout(PATIENCE_S):
        assert await stream.read() == b""


@spec("MQTT3-6.0.0-1", "MQTT5-6.0.0-1", row=119)
@every_version
@pytest.mark.parametrize("when", ["before CONNECT", "after CONNECT"])
async def test_text_frame_closes_the_connection(dial: Dial, clients: Clients, version: Version, when: str) -> None:
    stream = await dial()
    if when == "after CONNECT":
        await WireClient(stream, version, clients.id()).connect()
        await stream.write_raw(websocket.frame(websocket.TEXT, packets.PINGREQ))
    else:
        await stream.write_raw(websocket.frame(websocket.TEXT, packets.connect(version, clients.id())))
    await _expect_end(stream)
    assert stream.close_code in (None, 1003)


@spec("MQTT3-6.0.0-2", "MQTT5-6.0.0-2", row=120)
@every_version
async def test_one_frame_may_hold_many_packets(dial: Dial, clients: Clients, version: Version) -> None:
    topic = clients.topic("t")
    client = WireClient(await dial(), version, clients.id())
    await client.send(
        packets.connect(version, clients.id())
        + packets.subscribe(version, 1, [(topic, 0)])
        + packets.publish(version, topic, b"1")
        + packets.publish(version, topic, b"2")
    )
    await client.expect_connack(0)
    await client.expect(Type.SUBACK)
    await client.expect_publish(topic, b"1")
    await client.expect_publish(topic, b"2")


@spec("MQTT3-6.0.0-2", "MQTT5-6.0.0-2", row=120)
@every_version
@pytest.mark.parametrize("piece", [1, 3, 7])
async def test_one_packet_may_span_many_frames(dial: Dial, clients: Clients, version: Version, piece: int) -> None:
    topic = clients.topic("t")
    client = WireClient(await dial(), version, clients.id())
    whole = packets.connect(version, clients.id()) + packets.subscribe(version, 1, [(topic, 0)])
    whole += packets.publish(version, topic, b"x" * 300) + packets.PINGREQ
    for at in range(0, len(whole), piece):
        await client.send(whole[at : at + piece])
    await client.expect_connack(0)
    await client.expect(Type.SUBACK)
    await client.expect_publish(topic, b"x" * 300)
    await client.expect(Type.PINGRESP)


@spec("MQTT3-6.0.0-2", "MQTT5-6.0.0-2", row=120)
@every_version
async def test_fragmented_message_with_a_ping_in_between(dial: Dial, clients: Clients, version: Version) -> None:
    topic = clients.topic("t")
    stream = await dial()
    client = WireClient(stream, version, clients.id())
    await client.connect()
    await client.subscribe((topic, 0))
    whole = packets.publish(version, topic, b"x" * 200)
    await stream.write_raw(
        websocket.frame(websocket.BINARY, whole[:5], is_final=False)
        + websocket.frame(websocket.PING, b"alive?")
        + websocket.frame(websocket.CONTINUATION, whole[5:90], is_final=False)
        + websocket.frame(websocket.CONTINUATION, whole[90:])
    )
    await client.expect_publish(topic, b"x" * 200)
    assert stream.pongs == [b"alive?"]


@spec("MQTT3-6.0.0-2", "MQTT5-6.0.0-2", row=120)
@every_version
@pytest.mark.parametrize("size", [125, 126, 65_535, 65_536, 300_000])
async def test_frames_of_every_length_form(dial: Dial, clients: Clients, version: Version, size: int) -> None:
    topic = clients.topic("t")
    client = await _connected(dial, clients, version)
    await client.subscribe((topic, 1))
    await client.publish(topic, b"x" * size, qos=1, packet_id=9)
    received = [await client.receive(), await client.receive()]
    assert {packet.type for packet in received} == {Type.PUBLISH, Type.PUBACK}
    assert next(packet.payload for packet in received if packet.type is Type.PUBLISH) == b"x" * size


@spec("MQTT5-6.0.0-4", row=121)
@pytest.mark.parametrize(
    ("offered", "chosen"),
    [("mqtt", "mqtt"), ("mqttv3.1", "mqttv3.1"), ("chat, mqtt", "mqtt"), ("mqttv3.1,mqtt", None)],
)
async def test_subprotocol_is_chosen_and_echoed(dial: Dial, offered: str, chosen: str | None) -> None:
    stream = await dial(protocols=offered)
    assert stream.protocol in ((chosen,) if chosen else ("mqtt", "mqttv3.1"))


@spec("MQTT3-6.0.0-4", "MQTT5-6.0.0-4", row=121)
@pytest.mark.parametrize("offered", ["chat", "mqttx", ""])
async def test_foreign_subprotocol_is_never_echoed(dial: Dial, offered: str) -> None:
    with pytest.raises(HandshakeError) as error:
        await dial(protocols=offered)
    assert error.value.status == 400


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"path": "/other"}, 404),
        ({"path": "/mqtt/deeper"}, 404),
        ({"headers": {"Sec-WebSocket-Version": "12"}}, 426),
        ({"headers": {"Upgrade": "h2c"}}, 400),
    ],
    ids=["path", "deeper path", "version", "upgrade"],
)
async def test_wrong_handshake_gets_its_status(dial: Dial, options: dict[str, object], status: int) -> None:
    with pytest.raises(HandshakeError) as error:
        await dial(**options)
    assert error.value.status == status


async def test_packets_right_behind_the_handshake_are_read(dial: Dial, clients: Clients) -> None:
    behind = websocket.frame(websocket.BINARY, packets.connect(5, clients.id()))
    client = WireClient(await dial(behind=behind), Version.V5, clients.id())
    await client.expect_connack(0)
    await client.expect_quiet()


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        (websocket.frame(websocket.BINARY, packets.PINGREQ, is_masked=False), 1002),
        (websocket.frame(websocket.BINARY, packets.PINGREQ, reserved=4), 1002),
        (websocket.frame(0x3, b"x"), 1002),
        (websocket.frame(websocket.PING, b"x" * 126), 1002),
        (websocket.frame(websocket.PING, b"x", is_final=False), 1002),
        (websocket.frame(websocket.CONTINUATION, b"x"), 1002),
    ],
    ids=["unmasked", "reserved bit", "unknown type", "long ping", "fragmented ping", "continuation of nothing"],
)
async def test_broken_frame_closes_the_connection(dial: Dial, clients: Clients, broken: bytes, code: int) -> None:
    stream = await dial()
    await WireClient(stream, Version.V5, clients.id()).connect()
    await stream.write_raw(broken)
    await _expect_end(stream)
    assert stream.close_code in (None, code)


async def test_close_frame_is_answered(dial: Dial, clients: Clients) -> None:
    watcher = await clients.subscriber(Version.V5, (clients.topic("will"), 0))
    stream = await dial()
    await WireClient(stream, Version.V5, clients.id()).connect(will=packets.Will(clients.topic("will"), b"gone"))
    await stream.write_raw(websocket.frame(websocket.CLOSE, (1000).to_bytes(2, "big")))
    await _expect_end(stream)
    assert stream.close_code == 1000
    # A close of the transport is no DISCONNECT.
    await watcher.expect_publish(clients.topic("will"), b"gone")


async def test_fault_of_mqtt_is_told_through_websocket(dial: Dial, clients: Clients) -> None:
    client = await _connected(dial, clients, Version.V5)
    await client.send(packets.frame(0x36, packets.text("a") + b"\x00\x01"))
    await client.expect_fault(0x81)


async def test_tcp_and_websocket_clients_meet(dial: Dial, clients: Clients) -> None:
    topic = clients.topic("t")
    over_websocket = await _connected(dial, clients, Version.V5)
    over_tcp = await clients.subscriber(Version.V311, (topic, 0))
    await over_websocket.subscribe((topic, 0))
    await over_websocket.publish(topic, b"1")
    await over_tcp.expect_publish(topic, b"1")
    await over_websocket.expect_publish(topic, b"1")
    await over_tcp.publish(topic, b"2")
    await over_websocket.expect_publish(topic, b"2")


async def test_what_was_sent_before_the_close_is_carried_out(dial: Dial, clients: Clients) -> None:
    topic, will = clients.topic("t"), clients.topic("will")
    watcher = await clients.subscriber(Version.V5, (topic, 0), (will, 0))
    stream = await dial()
    client = WireClient(stream, Version.V311, clients.id("ws"))
    await client.connect(will=Will(will, b"it was no end in order"))
    # The broker's loop is asked about the first packet, so what follows waits in the connection.
    last = packets.subscribe(Version.V311, 1, [("a", 0)]) + packets.publish(Version.V311, topic, b"last")
    last += packets.disconnect()
    await stream.write_raw(websocket.frame(websocket.BINARY, last) + websocket.frame(websocket.CLOSE, b"\x03\xe8"))
    await _expect_end(stream)
    await watcher.expect_publish(topic, b"last")
    await watcher.expect_quiet()


async def test_who_sends_pings_and_does_not_read_the_pongs_is_not_read(dial: Dial) -> None:
    stream = await dial()
    pings = websocket.frame(websocket.PING, b"x" * 125) * 1_000_000
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(stream.write_raw(pings), 2)


async def test_half_a_handshake_is_closed_in_time(
    broker_with: Callable[[Settings], Broker], clients_with: Callable[[Settings], Clients]
) -> None:
    clients = clients_with(EXTRAS)
    clients.address = broker_with(EXTRAS).address("ws")
    client = await clients.open()
    await client.send(b"GET /mqtt HTTP/1.1\r\nHost: x\r\n")
    async with asyncio.timeout(PATIENCE_S):
        while await client.stream.read():
            pass


@pytest.mark.parametrize(("origin", "is_allowed"), [("https://good.test", True), ("https://evil.test", False)])
async def test_origin_can_be_checked(
    dial: Dial, broker_with: Callable[[Settings], Broker], origin: str, is_allowed: bool
) -> None:
    address = broker_with(EXTRAS).address("ws")
    if is_allowed:
        await dial(address, headers={"Origin": origin})
    else:
        with pytest.raises(HandshakeError) as error:
            await dial(address, headers={"Origin": origin})
        assert error.value.status == 403
