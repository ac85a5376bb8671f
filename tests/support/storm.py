"""A program that attacks a listener with broken input: `python -m tests.support.storm KIND HOST PORT COUNT SEED`.

KIND is `tcp`, or `ws` to wrap the input in frames behind a good WebSocket handshake.

Prints one JSON object: how many connections there were, and the names of those that the broker had to end and did not
within `PATIENCE_S`. Runs at the lowest priority, so that what others feel comes from the broker and not from here.
"""

import asyncio
import itertools
import json
import os
import socket
import struct
import sys
from random import Random

from tests.support.broken import Broken, broken_inputs
from tests.support.websocket import BINARY, UPGRADE, frame

__all__: list[str] = []

PATIENCE_S = 10.0
"""How long a fatal input may stay unanswered: the attack itself keeps the machine busy."""

_AT_ONCE = 50
_LINGER_S = 0.05
_RESET = struct.pack("ii", 1, 0)


class Storm:
    """One attack."""

    def __init__(self, kind: str, host: str, port: int, seed: int) -> None:
        self._is_websocket = kind == "ws"
        self._host = host
        self._port = port
        self._random = Random(seed)
        self.survivors: list[str] = []
        self.connections = 0

    async def run(self, inputs: "itertools.islice[Broken]") -> None:
        """Send every input, some at a time."""
        await asyncio.gather(*(self._work(inputs) for _ in range(_AT_ONCE)))

    async def _work(self, inputs: "itertools.islice[Broken]") -> None:
        for one in inputs:
            await self._attack(one)

    async def _attack(self, one: Broken) -> None:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        self.connections += 1
        try:
            await self._send(writer, self._wrap(one.data))
            async with asyncio.timeout(PATIENCE_S if one.is_fatal else _LINGER_S):
                while await reader.read(65_536):
                    pass
        except TimeoutError:
            if one.is_fatal:
                self.survivors.append(one.name)
        except ConnectionError:
            pass  # a reset is an end too
        finally:
            self._leave(writer)

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        """Send in one piece, or cut anywhere."""
        at = self._random.randrange(len(data)) if data and self._random.random() < 0.3 else 0
        for piece in (data[:at], data[at:]):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)

    def _wrap(self, data: bytes) -> bytes:
        if not self._is_websocket:
            return data
        wrapped = bytearray(UPGRADE)
        while data:
            size = self._random.randrange(1, len(data) + 1)
            wrapped += frame(BINARY, data[:size])
            data = data[size:]
        return bytes(wrapped)

    def _leave(self, writer: asyncio.StreamWriter) -> None:
        """Close, or reset every other connection."""
        if self._random.random() < 0.5 and not writer.is_closing():
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.transport.abort()


def main(kind: str, host: str, port: str, count: str, seed: str) -> None:
    """Attack and print the outcome."""
    os.nice(19)
    storm = Storm(kind, host, int(port), int(seed))
    asyncio.run(storm.run(itertools.islice(broken_inputs(int(seed)), int(count))))
    print(json.dumps({"connections": storm.connections, "survivors": sorted(set(storm.survivors))}))


if __name__ == "__main__":
    main(*sys.argv[1:])
