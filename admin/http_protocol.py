"""Limits on what arrives before a request is one, its size and its time, and on how long a reply waits to be taken.

uvicorn bounds none of them; without them one client could fill the memory or hold connections for ever.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 65_536
"""Request line and headers. Tokens and cookies are small; browsers send a few kB."""

HEAD_TIMEOUT_S = 5.0
"""From the connection, or from the first byte of a later request, to the end of the headers: they are a few kB."""

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class LimitedProtocol(HttpToolsProtocol):
    """One connection of the HTTP server."""

    send_timeout_s = 10.0
    """How long a client may take nothing of what waits to be sent to it; see `protocol_with`."""

    _unsent_bytes = 0
    _send_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _field_bytes = 0
    _is_in_head = True
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Give the first request its time."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._close)
        self._watch_sending()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self._stop_timer()
        if self._send_timer is not None:
            self._send_timer.cancel()
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        """Note that the client takes what is sent."""
        self._unsent_bytes = 0
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a head and end the connection when it is too much."""
        if self._is_in_head:
            self._head_bytes += len(data)
            if self._head_timer is None:
                self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._close)
        super().data_received(data)
        # A read holds at most 256 KiB; within it the parser had its chance to find the end of the head.
        if self._is_in_head and self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self._close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count fields behind the body too, which belong to no head."""
        self._field_bytes += len(name) + len(value)
        if self._field_bytes > MAX_HEAD_BYTES:
            self._close()
        else:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Stop the time."""
        self._is_in_head = False
        self._head_bytes = 0
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Expect the next head."""
        self._is_in_head = True
        self._field_bytes = 0
        super().on_message_complete()

    def _watch_sending(self) -> None:
        """Look again and again whether less waits than before; a connection where it does not is cut off."""
        unsent = self.transport.get_write_buffer_size()
        if unsent and 0 < self._unsent_bytes <= unsent:
            # Closing would wait for the client to take the rest.
            self.transport.abort()
            return
        self._unsent_bytes = unsent
        self._send_timer = self.loop.call_later(self.send_timeout_s, self._watch_sending)

    def _close(self) -> None:
        self._stop_timer()
        if not self.transport.is_closing():
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def protocol_with(send_timeout_s: float) -> type[LimitedProtocol]:
    """Return the protocol with a time of its own for what clients do not take; uvicorn makes one per connection."""
    return type("LimitedProtocol", (LimitedProtocol,), {"send_timeout_s": send_timeout_s})
