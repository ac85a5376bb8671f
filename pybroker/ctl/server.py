"""The broker's end of the socket: who may ask, what a request may be, and the audit record of each command.

The socket has mode 0600, and whoever connects must be the user of the broker, or root: the kernel says so.
"""

import asyncio
import os
import pwd
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import structlog

from pybroker.control.audit_chain import AuditRecord
from pybroker.control.door import Control
from pybroker.control.masking import mask_fields
from pybroker.ctl.commands import BY_NAME
from pybroker.ctl.handlers import HANDLERS
from pybroker.ctl.protocol import (
    MAX_REQUEST,
    SOCKET_NAME,
    CommandError,
    CommandReply,
    CommandRequest,
    socket_path,
)
from pybroker.ctl.table import Command
from pybroker.errors import BrokerError, Refused

logger = structlog.get_logger(__name__)

REQUEST_TIMEOUT_S = 10.0
"""How long a request may take to arrive; a program sends it at once."""

MAX_CONNECTIONS = 16
_BACKLOG = 16
_OWNER_ONLY = 0o600
_PEER = struct.Struct("3i")


class CommandServer:
    """Answers the commands of operators on this machine.

    Args:
        control: carries them out.
        folder: data folder, which this process has to itself.
    """

    def __init__(self, control: Control, folder: Path) -> None:
        self._control = control
        self._folder = folder
        self._server: asyncio.Server | None = None
        self._handling: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen; a socket that a crashed broker has left is replaced.

        Raises:
            BrokerError: the socket cannot be made.
        """
        self._server = await asyncio.start_unix_server(self._on_connection, sock=self._bind(), limit=MAX_REQUEST)

    def _bind(self) -> socket.socket:
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            with socket_path(self._folder) as path:
                Path(path).unlink(missing_ok=True)
                listening.bind(path)
                # Nobody can connect before `listen`, so there is no moment with another mode.
                Path(path).chmod(_OWNER_ONLY)
                listening.listen(_BACKLOG)
        except OSError as error:
            listening.close()
            reason = (error.strerror or str(error)).lower()
            raise BrokerError(f"command socket cannot be made: {reason}: '{self._folder / SOCKET_NAME}'") from None
        return listening

    async def stop(self) -> None:
        """Close the socket and end what is being answered. Idempotent."""
        if self._server is None:
            return
        self._server.close()
        for task in self._handling:
            task.cancel()
        await asyncio.gather(*self._handling, return_exceptions=True)
        (self._folder / SOCKET_NAME).unlink(missing_ok=True)
        self._server = None

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "the server makes a task of each connection"
        self._handling.add(task)
        try:
            if len(self._handling) <= MAX_CONNECTIONS:
                await self._converse(reader, writer)
        except (OSError, asyncio.CancelledError):
            # The other side has gone, or the broker ends: nobody waits for the reply.
            pass
        finally:
            self._handling.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one request and answer it."""
        uid = _peer_uid(writer.get_extra_info("socket"))
        try:
            line = await asyncio.wait_for(reader.readuntil(b"\n"), REQUEST_TIMEOUT_S)
        except asyncio.LimitOverrunError:
            reply = _refusal("PAYLOAD_TOO_LARGE", f"request is larger than {MAX_REQUEST} bytes")
        except (asyncio.IncompleteReadError, TimeoutError):
            return
        else:
            reply = await self._answer(line, uid)
        writer.write(msgspec.json.encode(reply) + b"\n")
        await writer.drain()

    async def _answer(self, line: bytes, uid: int) -> CommandReply:
        if uid not in (0, os.geteuid()):
            logger.warning("command_refused", uid=uid)
            return _refusal("FORBIDDEN", "only the user of the broker and root may give commands")
        try:
            request = msgspec.json.decode(line, type=CommandRequest)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            return _refusal("BAD_REQUEST", f"request cannot be read: {str(error).lower()}")
        command = BY_NAME.get(request.command)
        if command is None:
            return _refusal("NOT_FOUND", f"no such command: {request.command!r}")
        try:
            arguments = command.read(request.arguments)
        except Refused as error:
            return _refusal(error.code, error.message)
        return await self._carry_out(command, arguments, uid)

    async def _carry_out(self, command: Command, arguments: Mapping[str, Any], uid: int) -> CommandReply:
        started, is_change = time.monotonic(), command.changes == "configuration"
        audit, configs = self._control.audit, self._control.configs
        before, was_enabled = configs.show() if is_change else {}, audit.is_enabled
        reply = _refusal("INTERNAL_ERROR", "defect of the broker, see its log")
        try:
            reply = CommandReply(result=await HANDLERS[command.name](self._control, **arguments))
        except Refused as error:
            reply = _refusal(error.code, error.message)
        except BrokerError as error:
            reply = _refusal("INTERNAL_ERROR", str(error))
        finally:
            # A defect is recorded too, and so is switching the log off or on.
            if was_enabled or audit.is_enabled:
                duration_ms = int((time.monotonic() - started) * 1_000)
                change = _difference(before, configs.show()) if is_change else None
                await audit.append(self._record(command.words(arguments), uid, reply, duration_ms, change))
        return reply

    def _record(
        self, words: tuple[str, ...], uid: int, reply: CommandReply, duration_ms: int, change: dict[str, Any] | None
    ) -> AuditRecord:
        return AuditRecord(
            created_us=self._control.audit.now_us(),
            node=self._control.about.node,
            origin="cli",
            source=_user_name(uid),
            operation_type=words[0],
            operation_result="success" if reply.error is None else "failure",
            duration_ms=duration_ms,
            args=words,
            failure="" if reply.error is None else msgspec.to_builtins(reply.error),
            change=change,
        )


def _refusal(code: str, message: object) -> CommandReply:
    return CommandReply(error=CommandError(code=code, message=message))


def _peer_uid(connection: socket.socket) -> int:
    """Return the user at the other end, as the kernel knows him."""
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    uid: int = _PEER.unpack(packed)[1]
    return uid


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the roots of the configuration that differ; `None`: none does."""
    roots = [root for root in after if before.get(root) != after[root]]
    if not roots:
        return None
    return {
        "before": mask_fields({root: before.get(root) for root in roots}),
        "after": mask_fields({root: after[root] for root in roots}),
    }
