"""The database file: threads, transactions, durability, damage, versions."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pybroker.errors import StoreError
from pybroker.persistence.migrate import MIGRATIONS, Migration, record_table
from pybroker.persistence.sqlite import FILE_NAME, open_database

_VERSION_1 = (Migration(1, ("CREATE TABLE t (x INTEGER NOT NULL) STRICT", "INSERT INTO t VALUES (1)")),)
_VERSION_2 = (*_VERSION_1, Migration(2, ("ALTER TABLE t ADD COLUMN y INTEGER", "UPDATE t SET y = x + 1")))


def _run(statement: str, *values: object) -> Callable[[sqlite3.Connection], Any]:
    return lambda connection: [tuple(row) for row in connection.execute(statement, values)]


async def test_writing_and_reading_happen_in_threads_of_their_own(tmp_path: Path) -> None:
    database = open_database(tmp_path, _VERSION_1)
    names = {
        await database.write(lambda _: threading.current_thread().name),
        await database.read(lambda _: threading.current_thread().name),
    }
    database.close()
    assert len(names) == 2
    assert threading.current_thread().name not in names


async def test_settings_that_durability_rests_on(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    assert await database.write(_run("PRAGMA synchronous")) == [(2,)]
    assert await database.write(_run("PRAGMA journal_mode")) == [("wal",)]
    database.close()
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600


async def test_error_undoes_the_whole_transaction(tmp_path: Path) -> None:
    database = open_database(tmp_path, _VERSION_1)

    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO t VALUES (2)")
        raise KeyError("x")

    with pytest.raises(KeyError):
        await database.write(fail)
    with pytest.raises(StoreError, match="database refused the write"):
        await database.write(_run("INSERT INTO t VALUES (?)", "text"))
    assert await database.read(_run("SELECT x FROM t")) == [(1,)]
    database.close()


async def test_reader_cannot_write(tmp_path: Path) -> None:
    database = open_database(tmp_path, _VERSION_1)
    with pytest.raises(StoreError, match="database refused the read"):
        await database.read(_run("INSERT INTO t VALUES (2)"))
    database.close()


async def test_cancelled_caller_does_not_undo_its_write(tmp_path: Path) -> None:
    database = open_database(tmp_path, _VERSION_1)
    began, may_end = threading.Event(), threading.Event()

    def write(connection: sqlite3.Connection) -> None:
        began.set()
        may_end.wait(10)
        connection.execute("INSERT INTO t VALUES (2)")

    task = asyncio.create_task(database.write(write))
    await asyncio.to_thread(began.wait, 10)
    task.cancel()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await database.write(_run("SELECT count(*) FROM t")) == [(2,)]
    database.close()


async def test_copy_is_a_whole_database(tmp_path: Path) -> None:
    database = open_database(tmp_path / "a", _VERSION_1)
    (tmp_path / "b").mkdir()
    await database.back_up(tmp_path / "b" / FILE_NAME)
    with pytest.raises(StoreError, match="backup failed"):
        await database.back_up(tmp_path / "b" / FILE_NAME)
    database.close()
    copy = open_database(tmp_path / "b", _VERSION_1)
    assert await copy.read(_run("SELECT x FROM t")) == [(1,)]
    copy.close()


def test_folder_is_used_by_one_broker_only(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    with pytest.raises(StoreError, match="data folder is used by another broker"):
        open_database(tmp_path)
    database.close()
    database.close()
    open_database(tmp_path).close()


@pytest.mark.parametrize("damage", ["head", "middle", "text"])
def test_damaged_file_stops_the_start_and_names_the_way_back(tmp_path: Path, damage: str) -> None:
    many = Migration(1, ("CREATE TABLE t (x TEXT)", *(f"INSERT INTO t VALUES ('{'x' * 900}')" for _ in range(50))))
    open_database(tmp_path, (many,)).close()
    file = tmp_path / FILE_NAME
    content = bytearray(file.read_bytes())
    if damage == "head":
        content[:16] = b"\0" * 16
    elif damage == "middle":
        content[8_192:12_288] = b"\xaa" * 4_096
    else:
        content = bytearray(b"not a database at all" * 100)
    file.write_bytes(content)
    with pytest.raises(StoreError, match=r"database is damaged .* restore a backup with: rm -f .* && cp BACKUP "):
        open_database(tmp_path, (many,))
    assert file.read_bytes() == content


async def test_older_database_keeps_its_rows_through_every_step(tmp_path: Path) -> None:
    open_database(tmp_path, _VERSION_1).close()
    database = open_database(tmp_path, _VERSION_2)
    assert await database.read(_run("SELECT x, y FROM t")) == [(1, 2)]
    assert await database.read(_run("PRAGMA user_version")) == [(2,)]
    database.close()


def test_newer_database_is_refused(tmp_path: Path) -> None:
    open_database(tmp_path, _VERSION_2).close()
    with pytest.raises(StoreError, match="database is of version 2, this program reads up to 1"):
        open_database(tmp_path, _VERSION_1)


async def test_failing_step_leaves_the_version_before(tmp_path: Path) -> None:
    broken = (*_VERSION_1, Migration(2, ("INSERT INTO t VALUES (5)", "NONSENSE")))
    open_database(tmp_path, _VERSION_1).close()
    with pytest.raises(StoreError, match="database cannot be opened"):
        open_database(tmp_path, broken)
    database = open_database(tmp_path, _VERSION_1)
    assert await database.read(_run("SELECT x FROM t")) == [(1,)]
    database.close()


def test_versions_have_no_gap() -> None:
    assert [step.version for step in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS) + 1))
async def test_every_released_version_opens(tmp_path: Path, version: int) -> None:
    old = open_database(tmp_path, MIGRATIONS[:version])
    row = b'{"username":"old","description":"kept"}'
    await old.write(_run("INSERT INTO user VALUES (?, ?, ?)", "local:old", 1, row))
    old.close()
    database = open_database(tmp_path)
    assert await database.read(_run("SELECT key, body FROM user")) == [("local:old", row)]
    database.close()


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="data folder cannot be used"):
        open_database(tmp_path / "file" / "data")


def test_record_table_is_strict() -> None:
    assert record_table("thing").endswith("STRICT, WITHOUT ROWID")
