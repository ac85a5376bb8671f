"""Small tables that are read all the time: every record in memory, every change on disk first.

`RecordTable` is read without waiting. A change is described by `put` and `remove` and made by `apply`, which takes
changes of several tables as one transaction; memory follows the disk, never the other way round. Tables that grow
without bound (audit, history) do not belong here.
"""

import asyncio
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from types import MappingProxyType
from typing import Generic, TypeVar

import msgspec

from pybroker.errors import StoreError
from pybroker.persistence.records import Record
from pybroker.persistence.sqlite import Database
from pybroker.slices import drain

R = TypeVar("R", bound=Record)

_BATCH = 250
"""Changes after which the loop gets its turn, about a millisecond; who reads meanwhile may see a part of more."""


class Change(msgspec.Struct, frozen=True, gc=False):
    """One record that is to be written, or removed if `record` is `None`."""

    table: "RecordTable[Record]"
    key: str
    record: Record | None


class RecordTable(Generic[R]):
    """All records of one kind.

    Args:
        database: where they are kept.
        name: of the table; made by a migration with `record_table`.
        kind: struct of a record.
    """

    def __init__(self, database: Database, name: str, kind: type[R]) -> None:
        self._database = database
        self._name = name
        self._kind = kind
        self._records: dict[str, R] = {}

    @property
    def records(self) -> Mapping[str, R]:
        """Every record by its key, in no order."""
        return MappingProxyType(self._records)

    def get(self, key: str) -> R | None:
        """Return the record of a key; `None`: there is none."""
        return self._records.get(key)

    def __iter__(self) -> Iterator[R]:
        return iter(list(self._records.values()))

    def __len__(self) -> int:
        return len(self._records)

    async def load(self) -> None:
        """Read every record into memory; to be awaited once, before anything else.

        Raises:
            StoreError: a record cannot be read.
        """

        def read(connection: sqlite3.Connection) -> dict[str, R]:
            rows = connection.execute(f"SELECT key, version, body FROM {self._name}")
            return {row["key"]: self._decode(row["key"], row["version"], row["body"]) for row in rows}

        self._records = await self._database.read(read)

    def put(self, key: str, record: R) -> Change:
        """Describe writing one record."""
        return Change(self, key, record)  # type: ignore[arg-type]  # the table is invariant, the change only writes R

    def remove(self, key: str) -> Change:
        """Describe removing one record; a missing one is no error."""
        return Change(self, key, None)  # type: ignore[arg-type]  # see put

    async def refresh(self, key: str, record: R) -> None:
        """Write a record only if its key still exists: one that was removed meanwhile stays removed.

        Raises:
            StoreError: the database refused.
        """
        body = msgspec.json.encode(record)
        await self._database.write(
            lambda connection: connection.execute(f"UPDATE {self._name} SET body = ? WHERE key = ?", (body, key))
        )
        if key in self._records:
            self._records[key] = record

    def write_records(self, connection: sqlite3.Connection, changes: Iterable[Change]) -> None:
        """Write changes that have a record to the open transaction; called by `apply` in the writer thread."""
        encode = msgspec.json.Encoder().encode
        connection.executemany(
            f"INSERT INTO {self._name} VALUES (?, ?, ?) "
            "ON CONFLICT (key) DO UPDATE SET version = excluded.version, body = excluded.body",
            ((one.key, one.record.FORM, encode(one.record)) for one in changes if one.record is not None),
        )

    def delete_records(self, connection: sqlite3.Connection, changes: Iterable[Change]) -> None:
        """Write changes that remove to the open transaction; called by `apply` in the writer thread."""
        connection.executemany(f"DELETE FROM {self._name} WHERE key = ?", ((one.key,) for one in changes))

    def follow(self, key: str, record: R | None) -> None:
        """Take a change over into memory; called by `apply` once it is on disk."""
        if record is None:
            self._records.pop(key, None)
        else:
            self._records[key] = record

    def _decode(self, key: str, form: int, body: bytes) -> R:
        try:
            if form == self._kind.FORM:
                return msgspec.json.decode(body, type=self._kind)
            if form > self._kind.FORM:
                raise StoreError(f"record is of form {form}, this program reads up to {self._kind.FORM}", key)
            return msgspec.convert(self._kind.upgrade(form, msgspec.json.decode(body)), self._kind)
        except msgspec.MsgspecError as error:
            raise StoreError(f"record of table {self._name} cannot be read: {error}", key) from error


async def apply(database: Database, *changes: Change) -> None:
    """Make changes, all or none, in this order. Memory follows also when the caller is cancelled meanwhile.

    Raises:
        StoreError: the database refused; nothing has changed.
    """
    await apply_all(database, list(changes))


async def apply_all(database: Database, changes: list[Change]) -> None:
    """Make many changes as `apply` does; the list is empty afterwards."""
    if changes:
        await asyncio.shield(asyncio.ensure_future(_apply(database, changes)))


async def _apply(database: Database, changes: list[Change]) -> None:
    def write(connection: sqlite3.Connection) -> None:
        for (table, has_record), group in groupby(changes, lambda one: (one.table, one.record is not None)):
            if has_record:
                table.write_records(connection, group)
            else:
                table.delete_records(connection, group)

    await database.write(write)
    for index, change in enumerate(drain(changes), 1):
        change.table.follow(change.key, change.record)
        if index % _BATCH == 0:
            await asyncio.sleep(0)
