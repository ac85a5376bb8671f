"""Certificates that change on disk: read again when a file looks different, or when the operator says so.

A new file that cannot be used changes nothing: the listener keeps what it has, and the log names the file.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog

from pybroker._core import Engine

logger = structlog.get_logger(__name__)

POLL_S = 2.0
"""Pause between looks at the files: soon enough for a renewal, and a few `stat` calls cost nothing."""

OWN_CERTIFICATE = -1
"""Number under which the certificate of the API is watched; those of the core are never negative."""

_Look = tuple[tuple[int, int, int] | None, ...]


class _Watched(NamedTuple):
    listener: str
    files: tuple[str, ...]
    reload: Callable[[], bool]


class CertificateWatch:
    """The certificate files of the open listeners.

    Args:
        engine: reads them again.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._watched: dict[int, _Watched] = {}
        self._seen: dict[int, _Look] = {}

    def watch(self, number: int, listener: str, files: Sequence[str], reload: Callable[[], bool] | None = None) -> None:
        """Watch the files of a listener that has just been opened with them.

        Args:
            number: of the listener; a negative one is not the core's.
            reload: reads them again and tells whether they had changed; `None`: the core does. `ValueError` of it says
                that they cannot be used.
        """
        self._watched[number] = _Watched(listener, tuple(files), reload or (lambda: self._engine.reload_tls(number)))
        self._seen[number] = _look(files)

    def forget(self, number: int) -> None:
        """Stop watching a listener; one that is not watched is left as it is."""
        self._watched.pop(number, None)
        self._seen.pop(number, None)

    def reload(self) -> None:
        """Read the files of every listener again, whether they look different or not."""
        for number, watched in list(self._watched.items()):
            self._seen[number] = _look(watched.files)
            self._reload(watched)

    def poll(self) -> None:
        """Read the files of those listeners again of which one looks different."""
        for number, watched in list(self._watched.items()):
            look = _look(watched.files)
            if look != self._seen[number]:
                self._seen[number] = look
                self._reload(watched)

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            await asyncio.sleep(POLL_S)
            self.poll()

    def _reload(self, watched: _Watched) -> None:
        try:
            has_changed = watched.reload()
        except ValueError as error:
            logger.error("certificate_not_reloaded", listener=watched.listener, reason=str(error))
            return
        if has_changed:
            logger.info("certificate_reloaded", listener=watched.listener)


def _look(files: Sequence[str]) -> _Look:
    """Return what tells a changed file from an unchanged one; `None` for a file that is not there."""
    looks: list[tuple[int, int, int] | None] = []
    for file in files:
        try:
            status = os.stat(file)
        except OSError:
            looks.append(None)
        else:
            looks.append((status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(looks)
