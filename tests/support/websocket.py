"""A WebSocket client for tests that can break the rules: handshakes and frames are built byte by byte.

`WebSocketStream` carries a `WireClient`; each write becomes one binary frame unless a test sends frames itself.
"""

import asyncio
import base64
import hashlib
import os
from typing import Self

from tests.support.packets import WireError
from tests.support.wire import PATIENCE_S, Address, SocketStream

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "PING",
    "PONG",
    "TEXT",
    "UPGRADE",
    "HandshakeError",
    "WebSocketStream",
    "frame",
]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


UPGRADE = (
    b"GET /mqtt HTTP/1.1\r\nHost: broker\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)
"""A good request, for tests that send it in pieces or do not look at the answer."""


class HandshakeError(Exception):
    """The server did not upgrade.

    Attributes:
        status: HTTP status; 0 if it closed without an answer.
    """

    def __init__(self, status: int, head: str) -> None:
        super().__init__(f"status {status}: {head}")
        self.status = status


def frame(opcode: int, payload: bytes, *, is_final: bool = True, is_masked: bool = True, reserved: int = 0) -> bytes:
    """Build one client frame."""
    head = bytes([(0x80 if is_final else 0) | reserved << 4 | opcode])
    mask_bit = 0x80 if is_masked else 0
    size = len(payload)
    if size < 126:
        head += bytes([mask_bit | size])
    elif size < 65_536:
        head += bytes([mask_bit | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([mask_bit | 127]) + size.to_bytes(8, "big")
    if not is_masked:
        return head + payload
    mask = os.urandom(4)
    repeated = (mask * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return head + mask + masked.to_bytes(size, "big")


class WebSocketStream:
    """One upgraded connection."""

    def __init__(self, socket: SocketStream, protocol: str | None, leftover: bytes) -> None:
        self.protocol = protocol
        self.pongs: list[bytes] = []
        self.close_code: int | None = None
        self._socket = socket
        self._buffer = bytearray(leftover)

    @classmethod
    async def open(
        cls,
        address: Address,
        *,
        protocols: str | None = "mqtt",
        path: str = "/mqtt",
        headers: dict[str, str] | None = None,
        behind: bytes = b"",
    ) -> Self:
        """Upgrade a new connection; `behind` goes out in the same write as the request.

        Raises:
            HandshakeError: the server refused.
        """
        key = base64.b64encode(os.urandom(16)).decode()
        fields = {
            "Host": f"{address.host}:{address.port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": key,
            "Sec-WebSocket-Version": "13",
            **({"Sec-WebSocket-Protocol": protocols} if protocols is not None else {}),
            **(headers or {}),
        }
        request = f"GET {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        socket = await SocketStream.open(address)
        await socket.write(request.encode() + b"\r\n" + behind)
        head, leftover = await _read_head(socket)
        lines = head.split("\r\n")
        words = lines[0].split(" ")
        status = int(words[1]) if len(words) > 1 else 0
        if status != 101:
            socket.abort()
            await socket.wait_closed()
            raise HandshakeError(status, head)
        answer = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        accepted = base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()
        if answer.get("sec-websocket-accept") != accepted:
            raise WireError(f"wrong accept key in {head!r}")
        return cls(socket, answer.get("sec-websocket-protocol"), leftover)

    async def write(self, data: bytes) -> None:
        """Send `data` as one binary frame."""
        await self._socket.write(frame(BINARY, data))

    async def write_raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        await self._socket.write(data)

    async def read(self) -> bytes:
        """Return the payload of the next data frame, `b""` at the end; pongs and the close code are noted."""
        while True:
            taken = self._take_frame()
            if taken is None:
                data = await self._socket.read()
                if not data:
                    return b""
                self._buffer += data
                continue
            opcode, payload = taken
            if opcode == PONG:
                self.pongs.append(payload)
            elif opcode == CLOSE:
                self.close_code = int.from_bytes(payload[:2], "big") if payload else None
            elif opcode in (BINARY, CONTINUATION):
                if payload:
                    return payload
            else:
                raise WireError(f"a broker never sends a frame of type {opcode:#x}")

    def close(self) -> None:
        """Close the connection below."""
        self._socket.close()

    def abort(self) -> None:
        """Drop the connection below."""
        self._socket.abort()

    async def wait_closed(self) -> None:
        """Wait until the local side is released."""
        await self._socket.wait_closed()

    def _take_frame(self) -> tuple[int, bytes] | None:
        if len(self._buffer) < 2:
            return None
        if self._buffer[0] & 0x70 or self._buffer[1] & 0x80:
            raise WireError(f"frame from the broker with reserved bits or a mask: {bytes(self._buffer[:2]).hex()}")
        size, at = self._buffer[1], 2
        if size >= 126:
            at += 2 if size == 126 else 8
            if len(self._buffer) < at:
                return None
            size = int.from_bytes(self._buffer[2:at], "big")
        if len(self._buffer) < at + size:
            return None
        opcode = self._buffer[0] & 0x0F
        payload = bytes(self._buffer[at : at + size])
        del self._buffer[: at + size]
        return opcode, payload


async def _read_head(socket: SocketStream) -> tuple[str, bytes]:
    data = b""
    async with asyncio.timeout(PATIENCE_S):
        while b"\r\n\r\n" not in data:
            more = await socket.read()
            if not more:
                return data.decode("latin-1"), b""
            data += more
    head, _, leftover = data.partition(b"\r\n\r\n")
    return head.decode("latin-1"), leftover
