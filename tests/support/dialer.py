"""Raw connections over any stream transport: TCP, TLS, Unix sockets, with or without bytes in front.

For tests of what lies below MQTT.
"""

import asyncio
import json
import ssl
from collections.abc import Mapping
from contextlib import suppress
from typing import Self

from tests.support.packets import Version, WireError
from tests.support.websocket import WebSocketStream
from tests.support.wire import PATIENCE_S, Address, SocketStream, WireClient

__all__ = ["Arrivals", "Dialer", "is_served"]


class Dialer:
    """Opens connections and ends them all with the test."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._opened: list[WireClient] = []

    async def __call__(
        self,
        address: Address,
        tls: ssl.SSLContext | None = None,
        *,
        ahead: bytes = b"",
        version: Version = Version.V5,
    ) -> WireClient:
        """Open a connection; `ahead` goes out first, in front of the TLS handshake if there is one.

        Raises:
            OSError: refused; `ssl.SSLError` is one.
        """
        if ahead and tls is not None:
            stream = await _behind_header(address, tls, ahead)
        else:
            stream = await SocketStream.open(address, tls)
            await stream.write(ahead)
        client = WireClient(stream, version, f"{self.name}d{len(self._opened)}")
        self._opened.append(client)
        return client

    async def websocket(self, address: Address, path: str = "/mqtt") -> tuple[WireClient, WebSocketStream]:
        """Upgrade a new connection; returns the client and the stream below it.

        Raises:
            HandshakeError: the server refused.
        """
        stream = await WebSocketStream.open(address, path=path)
        client = WireClient(stream, Version.V5, f"{self.name}d{len(self._opened)}")
        self._opened.append(client)
        return client, stream

    async def connected(
        self, address: Address, tls: ssl.SSLContext | None = None, *, ahead: bytes = b"", version: Version = Version.V5
    ) -> WireClient:
        """Open a connection and have its CONNECT accepted."""
        client = await self(address, tls, ahead=ahead, version=version)
        await client.connect()
        return client

    async def aclose(self) -> None:
        """Drop every connection that is still open."""
        for client in self._opened:
            client.abort()
        for client in self._opened:
            await client.stream.wait_closed()


class Arrivals:
    """What the broker says of clients that connect, by its `$SYS` events."""

    def __init__(self, observer: WireClient) -> None:
        self._observer = observer

    @classmethod
    async def watch(cls, dial: Dialer, address: Address) -> Self:
        """Listen from now on."""
        observer = await dial.connected(address)
        assert await observer.subscribe(("$SYS/brokers/+/clients/+/connected", 0)) == (0,)
        return cls(observer)

    async def of(self, client_id: str) -> Mapping[str, object]:
        """Return the event of one client; those of others are passed over."""
        while True:
            packet = await self._observer.expect_publish()
            event: dict[str, object] = json.loads(packet.payload)
            if event["clientid"] == client_id:
                return event


async def is_served(dial: Dialer, address: Address, tls: ssl.SSLContext | None = None, *, ahead: bytes = b"") -> bool:
    """Tell whether a client gets its CONNACK there; under TLS 1.3 a refusal may show only after the handshake."""
    with suppress(OSError, WireError):
        await dial.connected(address, tls, ahead=ahead)
        return True
    return False


async def _behind_header(address: Address, tls: ssl.SSLContext, header: bytes) -> SocketStream:
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(header)
        await writer.start_tls(tls, server_hostname=address.host)
        return SocketStream(reader, writer)
