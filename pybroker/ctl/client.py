"""The operator's end of the socket, and what can be done without a broker."""

import socket
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from pybroker.ctl.protocol import MAX_REPLY, MAX_REQUEST, SOCKET_NAME, CommandReply, CommandRequest, socket_path
from pybroker.errors import BrokerError, Refused, StoreError

# Retained messages by the million take seconds to delete.
TIMEOUT_S = 60.0

_DATABASE = "pybroker.db"
_PART = 1 << 16


class Unreachable(BrokerError):
    """No broker answers in a data folder."""


def ask(folder: Path, command: str, arguments: Mapping[str, Any]) -> Any:
    """Let the broker of a data folder carry out a command and return what came of it.

    Raises:
        Unreachable: no broker runs there, or it does not answer.
        Refused: it does not carry out the command.
    """
    request = msgspec.json.encode(CommandRequest(command=command, arguments=dict(arguments))) + b"\n"
    if len(request) > MAX_REQUEST:
        raise Refused("PAYLOAD_TOO_LARGE", f"command is larger than {MAX_REQUEST} bytes")
    try:
        reply = msgspec.json.decode(_exchange(folder, request), type=CommandReply)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        raise Unreachable(f"no broker runs in the data folder: {str(folder.absolute())!r}") from None
    except PermissionError:
        raise Unreachable(f"only the user of the broker and root may use: '{folder / SOCKET_NAME}'") from None
    except TimeoutError:
        raise Unreachable(f"broker does not answer within {TIMEOUT_S:g} s: '{folder / SOCKET_NAME}'") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise Unreachable(f"broker gave no reply that can be read: {error}") from None
    if reply.error is not None:
        raise Refused(reply.error.code, reply.error.message)
    return reply.result


def verify_stopped(folder: Path) -> dict[str, Any]:
    """Check the audit log of a data folder that no broker uses.

    Raises:
        StoreError: there is no database, or it cannot be read.
    """
    # Loaded here: no other command needs it.
    from pybroker.control import audit_chain

    path = folder / _DATABASE
    if not path.is_file():
        raise StoreError("there is no database", str(path))
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            connection.row_factory = sqlite3.Row
            verdict: dict[str, Any] = msgspec.to_builtins(audit_chain.verify(connection))
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StoreError(f"audit log cannot be read: {error}", str(path)) from None
    return verdict


def _exchange(folder: Path, request: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(TIMEOUT_S)
        with socket_path(folder) as path:
            connection.connect(path)
        connection.sendall(request)
        reply = bytearray()
        while part := connection.recv(_PART):
            reply += part
            if len(reply) > MAX_REPLY:
                raise OSError(f"reply is larger than {MAX_REPLY} bytes")
        return bytes(reply)
