"""The rows of the audit log and the chain that ties them: each hash covers its row and the hash before it.

`audit_ends` holds the newest hash and the one at which retention cut, so that a row that was altered, removed or added
anywhere shows. Whoever may write the file can of course make a new chain; a copy of the newest hash kept elsewhere
guards against that.
"""

import hashlib
import sqlite3
from typing import Any

import msgspec

_COLUMNS = (
    "created_us",
    "node",
    "origin",
    "source",
    "source_ip",
    "operation_id",
    "operation_type",
    "operation_result",
    "http_status_code",
    "http_method",
    "duration_ms",
    "body",
)
"""Columns that the hash covers, in this order, behind the number of the row."""


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that an operator did, or tried.

    Args:
        created_us: wall time in microseconds.
        origin: `dashboard`, `rest_api`, `cli` or the backend of a sign-on.
        source: user name or key as claimed; empty if none was.
        source_ip: address as claimed by the proxies, else the peer's.
        operation_id: template of the route, or the command.
        operation_type: first segment of the path, or the command.
        operation_result: `success` or `failure`; empty for commands.
        http_status_code: `None` for commands.
        args: words of a command; `None` for requests.
        failure: code and message of the answer; empty on success.
        http_request: method, headers, bindings and body, masked; `None` for commands.
        change: what it looked like before and after, masked, where configuration changed.
    """

    created_us: int
    node: str
    origin: str
    source: str = ""
    source_ip: str = ""
    operation_id: str = ""
    operation_type: str = ""
    operation_result: str = ""
    http_status_code: int | None = None
    http_method: str = ""
    duration_ms: int = 0
    args: tuple[str, ...] | None = None
    failure: Any = ""
    http_request: dict[str, Any] | None = None
    change: dict[str, Any] | None = None


class _Body(msgspec.Struct, frozen=True, kw_only=True):
    args: tuple[str, ...] | None = None
    failure: Any = ""
    http_request: dict[str, Any] | None = None
    change: dict[str, Any] | None = None


class AuditVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a check of the whole chain found.

    Args:
        is_intact: nothing was altered, removed or added.
        records: rows that were read.
        bad_seq: number of the first row that does not fit; `None`: all do.
        message: what is wrong, in words.
    """

    is_intact: bool
    records: int
    bad_seq: int | None = None
    message: str = "audit log is intact"


def append(connection: sqlite3.Connection, record: AuditRecord, keep: int) -> None:
    """Write a record behind the newest one and drop what exceeds `keep`; inside the caller's transaction."""
    ends = connection.execute("SELECT * FROM audit_ends").fetchone()
    seq = ends["last_seq"] + 1
    body = msgspec.json.encode(
        _Body(args=record.args, failure=record.failure, http_request=record.http_request, change=record.change)
    )
    values = (*(getattr(record, name) for name in _COLUMNS[:-1]), body)
    digest = _hash(ends["last_hash"], seq, values)
    marks = ", ".join("?" * (len(values) + 2))
    connection.execute(f"INSERT INTO audit (seq, {', '.join(_COLUMNS)}, hash) VALUES ({marks})", (seq, *values, digest))
    connection.execute("UPDATE audit_ends SET last_seq = ?, last_hash = ?", (seq, digest))
    first = seq - keep
    if first > ends["first_seq"]:
        cut = connection.execute("SELECT hash FROM audit WHERE seq = ?", (first,)).fetchone()
        if cut is not None:
            connection.execute("UPDATE audit_ends SET first_seq = ?, first_hash = ?", (first, cut["hash"]))
            connection.execute("DELETE FROM audit WHERE seq <= ?", (first,))


def read(row: sqlite3.Row) -> AuditRecord:
    """Return the record of a row."""
    body = msgspec.json.decode(row["body"], type=_Body)
    return AuditRecord(
        **{name: row[name] for name in _COLUMNS[:-1]},
        args=body.args,
        failure=body.failure,
        http_request=body.http_request,
        change=body.change,
    )


def verify(connection: sqlite3.Connection) -> AuditVerdict:
    """Read the whole chain and return what is wrong with it; works on a read-only connection with `sqlite3.Row`."""
    ends = connection.execute("SELECT * FROM audit_ends").fetchone()
    seq, digest, count = ends["first_seq"], ends["first_hash"], 0
    for row in connection.execute(f"SELECT seq, {', '.join(_COLUMNS)}, hash FROM audit ORDER BY seq"):
        if row["seq"] != seq + 1:
            return AuditVerdict(is_intact=False, records=count, bad_seq=seq + 1, message=f"record {seq + 1} is missing")
        seq, count = row["seq"], count + 1
        digest = _hash(digest, seq, tuple(row[name] for name in _COLUMNS))
        if digest != row["hash"]:
            return AuditVerdict(is_intact=False, records=count, bad_seq=seq, message=f"record {seq} was altered")
    if (seq, digest) != (ends["last_seq"], ends["last_hash"]):
        return AuditVerdict(
            is_intact=False,
            records=count,
            bad_seq=seq + 1,
            message=f"the newest records are missing: found {seq}, expected {ends['last_seq']}",
        )
    return AuditVerdict(is_intact=True, records=count)


def _hash(before: bytes, seq: int, values: tuple[Any, ...]) -> bytes:
    return hashlib.sha256(before + msgspec.json.encode((seq, *values))).digest()
