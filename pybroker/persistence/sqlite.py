"""The database file: one writer thread, one reader thread, and an awaitable call to each.

The event loop never touches a connection. Every write is one transaction that is on disk (WAL, `synchronous=FULL`)
before its caller goes on. A damaged file is found at the start and stops it; nothing here repairs or overwrites one.
"""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from pybroker.errors import StoreError
from pybroker.persistence.migrate import MIGRATIONS, Migration, migrate

FILE_NAME = "pybroker.db"
"""Name of the database in the data folder."""

LARGEST_INTEGER = (1 << 63) - 1
"""What a column or a parameter of a statement may hold; Python's numbers have no end."""

_BUSY_MS = 5_000
_OWNER_ONLY = 0o600

T = TypeVar("T")


class Database:
    """An open database; made by `open_database`.

    Args:
        path: the file.
        writer: connection that only the writer thread uses.
        reader: connection that only the reader thread uses; it cannot write.
        lock: descriptor that holds the lock of the folder.
    """

    def __init__(self, path: Path, writer: sqlite3.Connection, reader: sqlite3.Connection, lock: int) -> None:
        self.path = path
        self._writer = writer
        self._reader = reader
        self._lock = lock
        self._writing = ThreadPoolExecutor(1, "database-writer")
        self._reading = ThreadPoolExecutor(1, "database-reader")

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in the writer thread as one transaction and return its result; an exception undoes all of it.

        A caller that is cancelled stops waiting; the transaction ends all the same.

        Raises:
            StoreError: the database refused; nothing is stored.
        """
        return await asyncio.get_running_loop().run_in_executor(self._writing, self._transact, work)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in the reader thread; it sees what was committed before.

        Raises:
            StoreError: the database refused.
        """
        return await asyncio.get_running_loop().run_in_executor(self._reading, self._read, work)

    async def back_up(self, target: Path) -> None:
        """Write a consistent copy to `target`, which must not exist; writers wait meanwhile.

        Raises:
            StoreError: the copy could not be written.
        """
        await asyncio.get_running_loop().run_in_executor(self._writing, self._back_up, target)

    def close(self) -> None:
        """Finish what waits, close both connections and give the folder free. Idempotent."""
        self._reading.shutdown()
        self._writing.shutdown()
        self._reader.close()
        self._writer.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            result = work(self._writer)
            self._writer.execute("COMMIT")
        except BaseException as error:
            if self._writer.in_transaction:
                self._writer.rollback()
            if isinstance(error, sqlite3.Error):
                raise StoreError(f"database refused the write: {error}", str(self.path)) from error
            raise
        return result

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return work(self._reader)
        except sqlite3.Error as error:
            raise StoreError(f"database refused the read: {error}", str(self.path)) from error

    def _back_up(self, target: Path) -> None:
        try:
            self._writer.execute("VACUUM INTO ?", (str(target),))
        except sqlite3.Error as error:
            raise StoreError(f"backup failed: {error}", str(target)) from error


def open_database(folder: Path, migrations: Sequence[Migration] = MIGRATIONS) -> Database:
    """Open the database of a data folder, made on first use, check it and bring it to the newest version.

    Blocks for as long as `PRAGMA quick_check` takes, which grows with the file.

    Raises:
        StoreError: another process uses the folder, the file is damaged (with the command that restores a backup), it
            is of a newer version, or it cannot be written.
    """
    path = folder / FILE_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _OWNER_ONLY)
    except OSError as error:
        raise StoreError(f"data folder cannot be used: {(error.strerror or str(error)).lower()}", str(folder)) from None
    opened: list[sqlite3.Connection] = []
    try:
        _take(lock, folder)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _OWNER_ONLY))
        writer = _connect(path)
        opened.append(writer)
        _prepare(writer, path)
        migrate(writer, migrations, str(path))
        reader = _connect(path)
        opened.append(reader)
        reader.execute("PRAGMA query_only = ON")
    except BaseException as error:
        for connection in opened:
            connection.close()
        os.close(lock)
        if isinstance(error, sqlite3.Error):
            raise StoreError(f"database cannot be opened: {error}", str(path)) from error
        if isinstance(error, OSError):
            raise StoreError(
                f"database cannot be opened: {(error.strerror or str(error)).lower()}", str(path)
            ) from None
        raise
    return Database(path, writer, reader, lock)


def _take(lock: int, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise StoreError("data folder is used by another broker", str(folder)) from None


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY_MS / 1_000)
    connection.row_factory = sqlite3.Row
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Check the file before anything is written, then choose how it is written."""
    try:
        found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(3)")]
        connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.DatabaseError as error:
        found = [str(error)]
    if found != ["ok"]:
        raise StoreError(
            f"database is damaged ({'; '.join(found)}); restore a backup with: "
            f"rm -f {path}-wal {path}-shm && cp BACKUP {path}; damaged file",
            str(path),
        )
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
