"""Tables in memory over the database."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pybroker.errors import StoreError
from pybroker.persistence.migrate import Migration, record_table
from pybroker.persistence.records import Record
from pybroker.persistence.sqlite import Database, open_database
from pybroker.persistence.table import RecordTable, apply


class _Thing(Record, frozen=True, kw_only=True):
    name: str


class _NewThing(Record, frozen=True, kw_only=True):
    FORM: ClassVar[int] = 2
    title: str

    @classmethod
    def upgrade(cls, form: int, body: dict[str, Any]) -> dict[str, Any]:
        return {"title": body["name"]}


_TABLES = (Migration(1, (record_table("a"), record_table("b"))),)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = open_database(tmp_path, _TABLES)
    yield opened
    opened.close()


async def _reloaded(database: Database, name: str) -> dict[str, str]:
    table = RecordTable(database, name, _Thing)
    await table.load()
    return {key: record.name for key, record in table.records.items()}


async def test_changes_of_two_tables_are_one(database: Database) -> None:
    a, b = RecordTable(database, "a", _Thing), RecordTable(database, "b", _Thing)
    await apply(database, a.put("k", _Thing(name="one")), b.put("k", _Thing(name="two")))
    await apply(database, a.put("k", _Thing(name="three")), b.remove("k"), b.remove("missing"))
    assert await _reloaded(database, "a") == {"k": "three"}
    assert await _reloaded(database, "b") == {}
    assert (a.get("k"), len(b)) == (_Thing(name="three"), 0)


async def test_memory_does_not_run_ahead_of_the_disk(database: Database) -> None:
    a, missing = RecordTable(database, "a", _Thing), RecordTable(database, "no_such_table", _Thing)
    with pytest.raises(StoreError):
        await apply(database, a.put("k", _Thing(name="one")), missing.put("k", _Thing(name="two")))
    assert a.get("k") is None
    assert await _reloaded(database, "a") == {}


async def test_memory_follows_although_the_caller_is_cancelled(database: Database) -> None:
    table = RecordTable(database, "a", _Thing)
    task = asyncio.create_task(apply(database, table.put("k", _Thing(name="one"))))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await database.write(lambda _: None)
    await asyncio.sleep(0)
    assert table.get("k") == _Thing(name="one")
    assert await _reloaded(database, "a") == {"k": "one"}


async def test_refresh_does_not_bring_back_what_was_removed(database: Database) -> None:
    table = RecordTable(database, "a", _Thing)
    await apply(database, table.put("k", _Thing(name="one")))
    await asyncio.gather(apply(database, table.remove("k")), table.refresh("k", _Thing(name="two")))
    assert table.get("k") is None
    assert await _reloaded(database, "a") == {}


async def test_refresh_replaces_what_is_there(database: Database) -> None:
    table = RecordTable(database, "a", _Thing)
    await apply(database, table.put("k", _Thing(name="one")))
    await table.refresh("k", _Thing(name="two"))
    assert await _reloaded(database, "a") == {"k": "two"}


async def test_older_form_is_read(database: Database) -> None:
    old = RecordTable(database, "a", _Thing)
    await apply(database, old.put("k", _Thing(name="one")))
    new = RecordTable(database, "a", _NewThing)
    await new.load()
    assert new.get("k") == _NewThing(title="one")


async def test_newer_form_is_refused(database: Database) -> None:
    new = RecordTable(database, "a", _NewThing)
    await apply(database, new.put("k", _NewThing(title="one")))
    with pytest.raises(StoreError, match="record is of form 2, this program reads up to 1"):
        await RecordTable(database, "a", _Thing).load()


async def test_record_that_cannot_be_read_names_its_table(database: Database) -> None:
    await database.write(lambda connection: connection.execute("INSERT INTO a VALUES ('k', 1, x'7b7d')"))
    with pytest.raises(StoreError, match="record of table a cannot be read"):
        await RecordTable(database, "a", _Thing).load()
