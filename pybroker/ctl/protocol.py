"""What travels between `pybroker ctl` and the broker: one line of JSON each way, over a Unix socket in the data folder.

A connection carries one request and one reply. JSON has no raw line breaks, so a line is a whole message.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

SOCKET_NAME = "ctl.sock"
"""Name of the socket in the data folder."""

MAX_REQUEST = 1 << 20
"""Bytes of a request; a whole configuration fits."""

MAX_REPLY = 16 << 20
"""Bytes of a reply; a page of 1,000 clients takes 1.5 MB, a retained payload of 1 MiB a third more."""

# Room for the zero byte behind the path in `sockaddr_un`.
_MAX_PATH = 107


class CommandRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A command to run.

    Args:
        command: its name, such as `clients list`.
        arguments: values by the names of its parameters; those that are missing have their defaults.
    """

    command: str
    arguments: dict[str, Any] = {}


class CommandError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a command was not carried out; `message` is an object where the API's is."""

    code: str
    message: Any


class CommandReply(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a command.

    Args:
        result: plain data; `None` where there is nothing to tell.
        error: `None`: it was carried out.
    """

    result: Any = None
    error: CommandError | None = None


@contextmanager
def socket_path(folder: Path) -> Iterator[str]:
    """Give a path of the socket that fits into an address, however long that of the folder is.

    Raises:
        OSError: the folder cannot be opened.
    """
    path = str(folder / SOCKET_NAME)
    if len(os.fsencode(path)) <= _MAX_PATH:
        yield path
        return
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET_NAME}"
    finally:
        os.close(descriptor)
