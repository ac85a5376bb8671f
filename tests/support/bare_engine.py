"""The core on its own, from socket to socket: an engine whose questions are answered in the simplest way.

For behaviour that lives in the core and is asked for by calls of Python. A client id `n1:a` belongs to the namespace
`n1`; every CONNECT, SUBSCRIBE and UNSUBSCRIBE is granted. No test logic here.
"""

import asyncio
from typing import Any, Self

from pybroker._core import (
    EVENT_CONNECT,
    EVENT_QUOTA,
    EVENT_SUBSCRIBE,
    EVENT_UNSUBSCRIBE,
    Connect,
    Engine,
)
from tests.support.wire import Address, Clients

__all__ = ["BareEngine"]


class BareEngine:
    """A running engine, and what it told of quotas."""

    def __init__(self, io_threads: int, listener: dict[str, object]) -> None:
        self.core = Engine(io_threads, "n@127.0.0.1")
        self.core.start()
        self.quota_events: list[tuple[Any, ...]] = []
        self.sessions: dict[str, int] = {}
        _, address = self.core.open_listener({"kind": "tcp", "name": "tcp:test", **listener})
        host, _, port = address.rpartition(":")
        self.clients = Clients(Address(host=host, port=int(port)), "t")

    async def __aenter__(self) -> Self:
        asyncio.get_running_loop().add_reader(self.core.event_fd(), self._answer)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.clients.aclose()
        asyncio.get_running_loop().remove_reader(self.core.event_fd())
        self.core.shutdown(0x8B, 100)

    def _answer(self) -> None:
        for kind, *rest in self.core.drain_events(100):
            fields: list[Any] = rest
            if kind == EVENT_CONNECT:
                self._accept(fields[0], fields[1])
            elif kind == EVENT_SUBSCRIBE:
                self.core.grant(fields[0], fields[2])
            elif kind == EVENT_UNSUBSCRIBE:
                self.core.release(fields[0], fields[2])
            elif kind == EVENT_QUOTA:
                self.quota_events.append(tuple(fields))

    def _accept(self, conn: int, asked: Connect) -> None:
        known = self.sessions.get(asked.client_id)
        if known is not None and asked.is_clean_start:
            self.core.drop_session(known)
            known = None
        if known is None:
            namespace = asked.client_id.partition(":")[0] if ":" in asked.client_id else None
            self.sessions[asked.client_id] = self.core.create_session(asked.client_id, "", namespace)
        self.core.accept(conn, self.sessions[asked.client_id], known is not None, asked.keep_alive_s)
