"""What a scenario asks of a client library, whichever it is.

An adapter translates and never repairs: nothing is retried, reordered or acknowledged here that the library would not
do by itself. Every wait has a deadline.
"""

import asyncio
import ssl
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import ClassVar

from tests.support.certificates import KeyPair
from tests.support.packets import Version

__all__ = ["PATIENCE_S", "Client", "Endpoint", "Message", "Options", "Transport"]

PATIENCE_S = 15.0
"""Longest wait for something that must come: some clients are programs that start first."""


class Transport(Enum):
    """How the bytes travel."""

    TCP = "tcp"
    TLS = "tls"
    MUTUAL_TLS = "mutual_tls"
    WEBSOCKET = "websocket"
    WEBSOCKET_TLS = "websocket_tls"
    UNIX = "unix"


@dataclass(frozen=True)
class Endpoint:
    """Where and how a client connects; `path` is the one of the Unix socket."""

    transport: Transport
    host: str = "127.0.0.1"
    port: int = 0
    path: str = ""
    cacertfile: Path | None = None
    pair: KeyPair | None = None

    @property
    def is_websocket(self) -> bool:
        """Whether MQTT travels in WebSocket frames."""
        return self.transport in (Transport.WEBSOCKET, Transport.WEBSOCKET_TLS)

    def tls_context(self) -> ssl.SSLContext | None:
        """Return a context that checks the server, and shows the client's certificate if there is one."""
        if self.cacertfile is None:
            return None
        context = ssl.create_default_context(cafile=str(self.cacertfile))
        if self.pair is not None:
            context.load_cert_chain(str(self.pair.certfile), str(self.pair.keyfile))
        return context


@dataclass(frozen=True)
class Message:
    """A message as a scenario sends and compares it; what is behind `retain` exists under 5.0 only."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    user_properties: tuple[tuple[str, str], ...] = ()
    response_topic: str | None = None
    correlation_data: bytes | None = None
    content_type: str | None = None
    topic_alias: int | None = None


@dataclass(frozen=True)
class Options:
    """How a client introduces itself."""

    client_id: str
    version: Version = Version.V5
    clean: bool = True
    session_expiry_s: int = 0
    will: Message | None = None
    topic_alias_maximum: int = 0


class Client(ABC):
    """One client; connected once, then done.

    Attributes:
        transports: what the library can do.
        versions: protocol versions that it speaks.
        keeps_property_order: whether the library's type for user properties keeps the order of different names.
    """

    name: ClassVar[str]
    transports: ClassVar[tuple[Transport, ...]]
    versions: ClassVar[tuple[Version, ...]] = tuple(Version)
    keeps_property_order: ClassVar[bool] = True

    def __init__(self, endpoint: Endpoint, options: Options) -> None:
        self.endpoint = endpoint
        self.options = options
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._is_open = False

    async def connect(self) -> bool | None:
        """Connect and return whether the session was present; `None` if the library does not tell."""
        self._is_open = True
        return await self._connect()

    async def disconnect(self) -> None:
        """Leave with DISCONNECT."""
        self._is_open = False
        await self._disconnect()

    async def cut(self) -> None:
        """Fail as a network does: the socket ends without DISCONNECT."""
        self._is_open = False
        await self._cut()

    async def aclose(self) -> None:
        """Leave, unless the client has gone already."""
        if self._is_open:
            await self.disconnect()

    @abstractmethod
    async def subscribe(self, filter: str, qos: int) -> None:
        """Subscribe and wait for the grant."""

    async def resume(self, filter: str, qos: int) -> None:
        """Let a resumed session flow; most libraries need nothing for it."""
        return

    @abstractmethod
    async def publish(self, message: Message) -> None:
        """Publish and wait until the library has finished the exchange."""

    @abstractmethod
    async def _connect(self) -> bool | None: ...

    @abstractmethod
    async def _disconnect(self) -> None: ...

    @abstractmethod
    async def _cut(self) -> None: ...

    async def receive(self) -> Message:
        """Return the next message that the library gave to its user."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._inbox.get()

    async def receive_many(self, count: int) -> list[Message]:
        """Return the next `count` messages."""
        return [await self.receive() for _ in range(count)]

    @property
    def waiting(self) -> int:
        """Messages that have come and were not received yet."""
        return self._inbox.qsize()

    def _deliver(self, message: Message) -> None:
        """Take one message, from any thread."""
        self._loop.call_soon_threadsafe(self._inbox.put_nowait, message)
