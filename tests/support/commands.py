"""Commands of `pybroker ctl` against a broker in the same process: the real socket, words as an operator types them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pybroker.cli import run
from pybroker.config.schema import Config
from pybroker.ctl.server import CommandServer
from tests.support.admin import Api, open_api

__all__ = ["Console", "open_console"]


class Console:
    """An operator's shell.

    Args:
        api: the broker, with its HTTP API.
        server: the broker's end of the socket.
        folder: its data folder.
    """

    def __init__(self, api: Api, server: CommandServer, folder: Path) -> None:
        self.api = api
        self.server = server
        self.folder = folder

    async def type(self, *words: str) -> int:
        """Run `pybroker ctl` with words and return its exit code; what it prints goes where the test's output goes."""
        return await asyncio.to_thread(run, ["ctl", "--data", str(self.folder), *words])

    async def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Send one request and return the reply."""
        return await self.send(json.dumps({"command": command, "arguments": arguments}).encode() + b"\n")

    async def send(self, line: bytes) -> dict[str, Any]:
        """Send raw bytes and return the reply."""
        reader, writer = await asyncio.open_unix_connection(str(self.folder / "ctl.sock"))
        try:
            writer.write(line)
            await writer.drain()
            reply: dict[str, Any] = json.loads(await reader.read())
        finally:
            writer.close()
        return reply


@asynccontextmanager
async def open_console(config: Config) -> AsyncIterator[Console]:
    """Open a broker over the data folder of a configuration, and its command socket."""
    folder = Path(config.node.data_dir)
    async with open_api(config) as api:
        server = CommandServer(api.control, folder)
        await server.start()
        try:
            yield Console(api, server, folder)
        finally:
            await server.stop()
