"""The schema of the database, version by version.

A released migration is never edited: a change is a new row with the next number. Each runs in one transaction with the
number it leads to, so a crash in between leaves the version before.
"""

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from pybroker.errors import StoreError


class Migration(NamedTuple):
    """One step of the schema.

    Args:
        version: number after the step; the first is 1, without gaps.
        statements: SQL, run in this order.
    """

    version: int
    statements: tuple[str, ...]


def record_table(name: str) -> str:
    """Return the statement that makes a table for `RecordTable`."""
    columns = "key TEXT PRIMARY KEY, version INTEGER NOT NULL, body BLOB NOT NULL"
    return f"CREATE TABLE {name} ({columns}) STRICT, WITHOUT ROWID"


_AUDIT = """
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    created_us INTEGER NOT NULL,
    node TEXT NOT NULL,
    origin TEXT NOT NULL,
    source TEXT NOT NULL,
    source_ip TEXT NOT NULL,
    operation_id TEXT NOT NULL,
    operation_type TEXT NOT NULL,
    operation_result TEXT NOT NULL,
    http_status_code INTEGER,
    http_method TEXT NOT NULL,
    duration_ms INTEGER NOT NULL,
    body BLOB NOT NULL,
    hash BLOB NOT NULL
) STRICT"""

# One row: the newest record, and the newest one that retention removed. The chain between them has no gap.
_AUDIT_ENDS = """
CREATE TABLE audit_ends (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    first_seq INTEGER NOT NULL,
    first_hash BLOB NOT NULL,
    last_seq INTEGER NOT NULL,
    last_hash BLOB NOT NULL
) STRICT"""

_AUDIT_IS_NOT_CHANGED = """
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'audit records are not changed'); END"""

_AUDIT_IS_NOT_CUT = """
CREATE TRIGGER audit_is_not_cut BEFORE DELETE ON audit
WHEN OLD.seq > (SELECT first_seq FROM audit_ends)
BEGIN SELECT RAISE(ABORT, 'audit records are removed by retention only'); END"""

_ALARM_HISTORY = """
CREATE TABLE alarm_history (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    message TEXT NOT NULL,
    details BLOB NOT NULL,
    activated_ms INTEGER NOT NULL,
    deactivated_ms INTEGER NOT NULL
) STRICT"""

MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        1,
        (
            *map(record_table, ("user", "token", "api_key", "namespace", "setting")),
            _AUDIT,
            "CREATE INDEX audit_by_time ON audit (created_us)",
            _AUDIT_ENDS,
            "INSERT INTO audit_ends VALUES (1, 0, zeroblob(32), 0, zeroblob(32))",
            _AUDIT_IS_NOT_CHANGED,
            _AUDIT_IS_NOT_CUT,
        ),
    ),
    Migration(
        2,
        (
            *map(record_table, ("ban", "alarm")),
            _ALARM_HISTORY,
            "CREATE INDEX alarm_history_by_end ON alarm_history (deactivated_ms)",
            "CREATE TABLE sample (time_s INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT",
        ),
    ),
    Migration(3, (record_table("access_list"),)),
    Migration(4, tuple(map(record_table, ("mqtt_user", "scram_user")))),
    Migration(5, (record_table("trace"),)),
)
"""Every step from an empty file to the newest version."""


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration], path: str) -> None:
    """Bring the schema to the newest version; what is there already is left alone.

    Raises:
        StoreError: the file is of a newer version than this program knows.
        sqlite3.Error: a statement failed; the version before it stays.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    newest = migrations[-1].version
    if version > newest:
        raise StoreError(f"database is of version {version}, this program reads up to {newest}", path)
    for step in migrations:
        if step.version <= version:
            continue
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in step.statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {step.version:d}")
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise
