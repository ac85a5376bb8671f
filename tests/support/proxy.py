"""A TCP proxy that can fail on purpose: cut, stall or half-forward a connection between a client and a broker."""

import asyncio
from typing import Self

from tests.support.wire import Address

__all__ = ["CuttingProxy"]


class CuttingProxy:
    """Forwards connections to `target` until it is told to misbehave."""

    def __init__(self, target: Address) -> None:
        self.target = target
        self.address = Address()
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._left: int | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()[:2]
        self.address = Address(host, port)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self._flowing.set()
        self.cut()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def cut(self) -> None:
        """Reset every connection, both sides."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    def cut_after(self, count: int) -> None:
        """Reset everything once `count` more bytes have gone from the clients to the broker."""
        self._left = count

    def stall(self) -> None:
        """Stop forwarding, with the connections open: a half-open network."""
        self._flowing.clear()

    def resume(self) -> None:
        """Forward again, what has waited first."""
        self._flowing.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            upstream, to_broker = await asyncio.open_connection(self.target.host, self.target.port)
        except OSError:
            writer.transport.abort()
            self._writers.discard(writer)
            return
        self._writers.add(to_broker)
        for source, sink, is_upward in ((reader, to_broker, True), (upstream, writer, False)):
            task = asyncio.create_task(self._forward(source, sink, is_upward))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, is_upward: bool) -> None:
        try:
            while data := await source.read(65536):
                await self._flowing.wait()
                if is_upward and self._left is not None:
                    data = data[: self._left]
                    self._left -= len(data)
                sink.write(data)
                await sink.drain()
                if is_upward and self._left == 0:
                    self._left = None
                    self.cut()
                    return
            sink.write_eof()
        except OSError:
            sink.transport.abort()
        finally:
            self._writers.discard(sink)
