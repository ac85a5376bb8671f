"""A raw MQTT client for tests: every byte is the test's own, every wait has a deadline.

`WireClient` is one connection; `Clients` opens them on one broker, names them uniquely and closes them at a test's end.
Nothing here retries, answers or repairs: an acknowledgement goes out only when the test says so.
"""

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, Self, TypedDict, Unpack

from tests.support import packets
from tests.support.packets import Packet, Pairs, Property, Type, Version, Will, WireError

__all__ = [
    "PATIENCE_S",
    "Address",
    "ByteStream",
    "Clients",
    "ConnectOptions",
    "SocketStream",
    "WireClient",
    "eventually",
]

PATIENCE_S = 5.0
"""Longest wait for something that must come; generous, as the machine may be busy."""

SESSION_EXPIRY_S = 300
"""Session expiry of clients that `Clients.persistent` opens: longer than any test."""


@dataclass(frozen=True)
class Address:
    """Where a listener can be reached: host and port, or the path of a Unix socket."""

    host: str = "127.0.0.1"
    port: int = 0
    path: str | None = None


class ByteStream(Protocol):
    """What `WireClient` needs of a transport."""

    async def read(self) -> bytes:
        """Return the next bytes, `b""` at the end."""

    async def write(self, data: bytes) -> None:
        """Send all of `data`."""

    def close(self) -> None:
        """Close in order."""

    def abort(self) -> None:
        """Drop the connection as a network failure would."""

    async def wait_closed(self) -> None:
        """Wait until the local side is released."""


class SocketStream:
    """TCP, TLS or Unix socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, address: Address, tls: ssl.SSLContext | None = None, server_name: str | None = None) -> Self:
        """Connect within the usual patience."""
        async with asyncio.timeout(PATIENCE_S):
            if address.path is not None:
                return cls(*await asyncio.open_unix_connection(address.path))
            return cls(*await asyncio.open_connection(address.host, address.port, ssl=tls, server_hostname=server_name))

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The TLS session, if there is one."""
        found: ssl.SSLObject | None = self._writer.get_extra_info("ssl_object")
        return found

    async def read(self) -> bytes:
        """Return the next bytes, `b""` at the end."""
        return await self._reader.read(65536)

    async def write(self, data: bytes) -> None:
        """Send all of `data`; a broker that has closed already is no error."""
        self._writer.write(data)
        try:
            await self._writer.drain()
        except ConnectionError:
            return

    def close(self) -> None:
        """Close in order."""
        self._writer.close()

    def abort(self) -> None:
        """Drop the connection at once."""
        self._writer.transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the local side is released."""
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


class ConnectOptions(TypedDict, total=False):
    """Arguments of `packets.connect` that tests pass on."""

    clean: bool
    keep_alive: int
    username: str | bytes | None
    password: bytes | None
    will: Will | None
    properties: Pairs


class WireClient:
    """One connection that speaks `version`."""

    def __init__(self, stream: ByteStream, version: Version, client_id: str = "") -> None:
        self.stream = stream
        self.version = version
        self.client_id = client_id
        self._buffer = bytearray()
        self._set_aside: deque[Packet] = deque()
        self._last_id = 0

    # Sending

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        await self.stream.write(data)

    async def connect(self, client_id: str | None = None, **options: Unpack[ConnectOptions]) -> Packet:
        """Connect and return the accepting CONNACK."""
        if client_id is not None:
            self.client_id = client_id
        await self.send(packets.connect(self.version, self.client_id, **options))
        return await self.expect_connack(0)

    async def publish(
        self,
        topic: str | bytes,
        payload: bytes = b"",
        *,
        qos: int = 0,
        packet_id: int | None = None,
        retain: bool = False,
        dup: bool = False,
        properties: Pairs = (),
    ) -> int:
        """Send PUBLISH and return its packet id, fresh if none is given; nothing is awaited."""
        if qos and packet_id is None:
            packet_id = self._next_id()
        await self.send(
            packets.publish(
                self.version,
                topic,
                payload,
                qos=qos,
                packet_id=packet_id,
                retain=retain,
                dup=dup,
                properties=properties,
            )
        )
        return packet_id or 0

    async def publish_fully(
        self, topic: str, payload: bytes = b"", *, qos: int = 1, retain: bool = False, properties: Pairs = ()
    ) -> Packet:
        """Publish at QoS 1 or 2, finish the exchange and return PUBACK or PUBREC."""
        packet_id = await self.publish(topic, payload, qos=qos, retain=retain, properties=properties)
        if qos == 1:
            return await self.expect_ack(Type.PUBACK, packet_id, None)
        received = await self.expect_ack(Type.PUBREC, packet_id, None)
        if received.reason < 0x80:
            await self.ack(Type.PUBREL, packet_id)
            await self.expect_ack(Type.PUBCOMP, packet_id)
        return received

    async def subscribe(self, *filters: tuple[str | bytes, int], properties: Pairs = ()) -> tuple[int, ...]:
        """Subscribe, one option byte a filter, and return the codes of SUBACK; publications meanwhile are kept."""
        packet_id = self._next_id()
        await self.send(packets.subscribe(self.version, packet_id, filters, properties))
        suback = await self.pick(Type.SUBACK)
        assert suback.packet_id == packet_id
        assert len(suback.reasons) == len(filters)
        return suback.reasons

    async def unsubscribe(self, *filters: str) -> tuple[int, ...]:
        """Unsubscribe and return the codes of UNSUBACK (none under 3.x); publications meanwhile are kept."""
        packet_id = self._next_id()
        await self.send(packets.unsubscribe(self.version, packet_id, filters))
        unsuback = await self.pick(Type.UNSUBACK)
        assert unsuback.packet_id == packet_id
        assert len(unsuback.reasons) == (len(filters) if self.version >= Version.V5 else 0)
        return unsuback.reasons

    async def ack(self, kind: Type, packet_id: int, reason: int | None = None, properties: Pairs | None = None) -> None:
        """Send PUBACK, PUBREC, PUBREL or PUBCOMP."""
        await self.send(packets.ack(kind, packet_id, reason, properties))

    async def settle(self, received: Packet) -> None:
        """Acknowledge a received publication to its end."""
        if received.qos == 1:
            await self.ack(Type.PUBACK, received.packet_id)
        elif received.qos == 2:
            await self.ack(Type.PUBREC, received.packet_id)
            assert (await self.pick(Type.PUBREL)).packet_id == received.packet_id
            await self.ack(Type.PUBCOMP, received.packet_id)

    async def disconnect(self, reason: int | None = None, properties: Pairs | None = None) -> None:
        """Send DISCONNECT and wait for the broker's close, so that the session is detached when this returns."""
        await self.send(packets.disconnect(reason, properties))
        await self.expect_closed(ignore=(Type.PUBLISH, Type.PUBREL))

    def abort(self) -> None:
        """Fail as a network does."""
        self.stream.abort()

    def close(self) -> None:
        """Close the socket without DISCONNECT."""
        self.stream.close()

    # Receiving

    async def receive(self, patience_s: float = PATIENCE_S) -> Packet:
        """Return the next packet in order of arrival.

        Raises:
            WireError: the broker closed, or sent something that it must not send.
            TimeoutError: nothing came in time.
        """
        if self._set_aside:
            return self._set_aside.popleft()
        return await self._next(patience_s)

    async def expect(self, kind: Type, patience_s: float = PATIENCE_S) -> Packet:
        """Return the next packet, which must be of `kind`."""
        packet = await self.receive(patience_s)
        assert packet.type is kind, f"expected {kind.name}, got {packet}"
        return packet

    async def pick(self, kind: Type) -> Packet:
        """Return the next packet of `kind`; publications before it wait for `receive`."""
        kept: list[Packet] = []
        while True:
            packet = await self.receive()
            if packet.type is kind:
                self._set_aside.extendleft(reversed(kept))
                return packet
            assert packet.type is Type.PUBLISH, f"expected {kind.name}, got {packet}"
            kept.append(packet)

    async def expect_connack(self, *reasons: int) -> Packet:
        """Return CONNACK, which must be the very first packet and carry one of `reasons`."""
        packet = await self.expect(Type.CONNACK)
        assert packet.reason in reasons, f"CONNACK {packet.reason:#x}, expected {_codes(reasons)}"
        return packet

    async def expect_publish(
        self,
        topic: str | None = None,
        payload: bytes | None = None,
        *,
        qos: int | None = None,
        retained: bool | None = None,
        dup: bool | None = None,
        packet_id: int | None = None,
        patience_s: float = PATIENCE_S,
    ) -> Packet:
        """Return the next packet, which must be a publication with everything that is given."""
        packet = await self.expect(Type.PUBLISH, patience_s)
        seen = (packet.topic, packet.payload, packet.qos, packet.is_retained, packet.is_dup, packet.packet_id)
        wanted = (topic, payload, qos, retained, dup, packet_id)
        for want, got in zip(wanted, seen, strict=True):
            assert want is None or want == got, f"expected {wanted}, got {packet}"
        return packet

    async def expect_ack(self, kind: Type, packet_id: int, reason: int | None = 0) -> Packet:
        """Return the next packet, which must be this acknowledgement; `None` takes any reason."""
        packet = await self.expect(kind)
        assert packet.packet_id == packet_id, f"expected id {packet_id}, got {packet}"
        assert reason is None or packet.reason == reason, f"expected reason {reason:#x}, got {packet}"
        return packet

    async def expect_disconnect(self, *reasons: int, patience_s: float = PATIENCE_S) -> Packet:
        """Return the next packet, which must be DISCONNECT with one of `reasons`."""
        packet = await self.expect(Type.DISCONNECT, patience_s)
        assert packet.reason in reasons, f"DISCONNECT {packet.reason:#x}, expected {_codes(reasons)}"
        return packet

    async def expect_closed(self, patience_s: float = PATIENCE_S, ignore: Iterable[Type] = ()) -> None:
        """Wait for the broker's close; before it only packets of the ignored types may come."""
        ignored = tuple(ignore)
        while True:
            packet = await self.receive_or_end(patience_s)
            if packet is None:
                return
            assert packet.type in ignored, f"expected the close, got {packet}"

    async def expect_fault(self, *reasons: int, patience_s: float = PATIENCE_S) -> None:
        """Expect the end of an accepted connection: DISCONNECT with a reason under 5.0, a bare close under 3.x."""
        if self.version >= Version.V5:
            await self.expect_disconnect(*reasons, patience_s=patience_s)
        await self.expect_closed(patience_s)

    async def expect_refusal(self, *reasons: int) -> None:
        """Expect CONNACK with a refusing reason and no session, then the close."""
        packet = await self.expect_connack(*reasons)
        assert not packet.is_session_present
        await self.expect_closed()

    async def receive_or_end(self, patience_s: float = PATIENCE_S) -> Packet | None:
        """Return the next packet that arrives, or `None` when the broker has closed."""
        async with asyncio.timeout(patience_s):
            while True:
                decoded = packets.decode(self._buffer, self.version)
                if decoded is not None:
                    packet, taken = decoded
                    del self._buffer[:taken]
                    return packet
                try:
                    data = await self.stream.read()
                except ConnectionError:
                    data = b""
                if not data:
                    if self._buffer:
                        raise WireError(f"the broker closed inside a packet: {self._buffer.hex()}")
                    return None
                self._buffer += data

    async def receive_all(self, patience_s: float = PATIENCE_S) -> list[Packet]:
        """Return everything that comes until the broker closes."""
        packets_until_end: list[Packet] = []
        while (packet := await self.receive_or_end(patience_s)) is not None:
            packets_until_end.append(packet)
        return packets_until_end

    async def expect_quiet(self) -> None:
        """Prove with a ping that the broker had nothing else to send to this connection."""
        await self.send(packets.PINGREQ)
        await self.expect(Type.PINGRESP)

    async def _next(self, patience_s: float) -> Packet:
        packet = await self.receive_or_end(patience_s)
        if packet is None:
            raise WireError("the broker closed the connection")
        return packet

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id


class Clients:
    """Opens connections to one listener for one test."""

    def __init__(self, address: Address, name: str) -> None:
        self.address = address
        self.name = name
        self._opened: list[WireClient] = []

    def id(self, suffix: str = "") -> str:
        """Return a client id of this test."""
        return f"{self.name}{suffix}"

    def topic(self, suffix: str) -> str:
        """Return a topic below this test's own first level."""
        return f"{self.name}/{suffix}"

    async def open(self, version: Version = Version.V5) -> WireClient:
        """Open a connection and send nothing; the client gets an id for a later `connect`."""
        client = WireClient(await SocketStream.open(self.address), version, self.id(f"c{len(self._opened)}"))
        self._opened.append(client)
        return client

    async def connected(
        self, version: Version = Version.V5, client_id: str | None = None, **options: Unpack[ConnectOptions]
    ) -> WireClient:
        """Open a connection and have it accepted."""
        client = await self.open(version)
        await client.connect(client_id, **options)
        return client

    async def persistent(
        self, version: Version, client_id: str, *, clean: bool = False, properties: Pairs = (), will: Will | None = None
    ) -> tuple[WireClient, Packet]:
        """Connect with a session that outlives the connection; return client and CONNACK."""
        client = await self.open(version)
        assert not isinstance(properties, bytes)
        if version >= Version.V5:
            properties = [(Property.SESSION_EXPIRY, SESSION_EXPIRY_S), *properties]
        connack = await client.connect(client_id, clean=clean, properties=properties, will=will)
        return client, connack

    async def subscriber(
        self, version: Version, *filters: tuple[str, int], **options: Unpack[ConnectOptions]
    ) -> WireClient:
        """Return a connected client whose subscriptions are granted as asked."""
        client = await self.connected(version, **options)
        codes = await client.subscribe(*filters)
        assert codes == tuple(asked & 3 for _, asked in filters)
        return client

    async def aclose(self) -> None:
        """Drop every connection that is still open."""
        for client in self._opened:
            client.abort()
        for client in self._opened:
            await client.stream.wait_closed()


async def eventually(is_true: Callable[[], bool], patience_s: float = PATIENCE_S, interval_s: float = 0.02) -> None:
    """Wait until `is_true` holds; for state that no packet announces."""
    async with asyncio.timeout(patience_s):
        while True:
            if is_true():
                return
            await asyncio.sleep(interval_s)


def _codes(reasons: Iterable[int]) -> str:
    return " or ".join(f"{reason:#x}" for reason in reasons)
