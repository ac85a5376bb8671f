"""The audit log: what operators did, in a table that is only appended to and in a file of JSON lines.

Off unless `log.audit.enable` is set. Records arrive masked (`masking.py`); nothing here knows a secret.
"""

import json
import logging
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path

import msgspec
import structlog

from pybroker.clock import Clock
from pybroker.config.sections.observe import LogAudit
from pybroker.control import audit_chain
from pybroker.control.audit_chain import AuditRecord, AuditVerdict
from pybroker.control.configuration import Configuration
from pybroker.control.timestamp import render_us, zone_of
from pybroker.errors import Refused, StoreError
from pybroker.persistence.sqlite import LARGEST_INTEGER, Database

logger = structlog.get_logger(__name__)


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which records to list; every field that is not `None` must fit. Times are wall microseconds."""

    node: str | None = None
    origin: str | None = None
    source: str | None = None
    source_ip: str | None = None
    operation_id: str | None = None
    operation_type: str | None = None
    operation_result: str | None = None
    http_status_code: int | None = None
    http_method: str | None = None
    gte_duration_ms: int | None = None
    lte_duration_ms: int | None = None
    gte_created_us: int | None = None
    lte_created_us: int | None = None


class AuditPage(msgspec.Struct, frozen=True, kw_only=True):
    """Records, newest first, and how many fit in all."""

    records: list[AuditRecord]
    count: int


class AuditLog:
    """Writer and reader of the log.

    Args:
        database: keeps the table.
        clock: tells the time.
        configuration: says whether and how it is kept.
    """

    def __init__(self, database: Database, clock: Clock, configuration: Configuration) -> None:
        self._database = database
        self._clock = clock
        self._configuration = configuration
        self._file: _AuditFile | None = None

    @property
    def is_enabled(self) -> bool:
        """Whether records are kept."""
        return self._configuration.current.log.audit.enable

    @property
    def ignores_frequent(self) -> bool:
        """Whether requests that come often, such as publishing, are left out."""
        return self._configuration.current.log.audit.ignore_high_frequency_request

    def now_us(self) -> int:
        """Return the wall time for a record."""
        return self._clock.wall_ms() * 1_000

    async def append(self, record: AuditRecord) -> None:
        """Store a record. What it tells has happened already: a failure is logged, not raised."""
        settings = self._configuration.current.log.audit
        try:
            await self._database.write(lambda connection: audit_chain.append(connection, record, settings.cache_size))
        except StoreError as error:
            logger.critical("audit_record_lost", operation=record.operation_id, reason=str(error))
        if self._file is None:
            folder = self._configuration.current.node.data_dir
            path = Path(settings.path) if settings.path else Path(folder, "log", "audit.log")
            self._file = _AuditFile(path, settings)
        self._file.write(record)

    async def append_command(self, words: Sequence[str], duration_ms: int = 0) -> None:
        """Store what was done on the command line; `words` are masked already. Nothing happens while it is off."""
        if self.is_enabled:
            await self.append(
                AuditRecord(
                    created_us=self.now_us(),
                    node=self._configuration.current.node.name,
                    origin="cli",
                    operation_type=words[0] if words else "",
                    duration_ms=duration_ms,
                    args=tuple(words),
                )
            )

    async def page(self, wanted: AuditFilter, page: int, limit: int) -> AuditPage:
        """Return one page of the records that fit, newest first; pages count from 1.

        Raises:
            Refused: `BAD_REQUEST`: the log is off.
        """
        if not self.is_enabled:
            raise Refused("BAD_REQUEST", "Audit is disabled")
        where, values = _condition(wanted)

        def read(connection: sqlite3.Connection) -> AuditPage:
            count = connection.execute(f"SELECT count(*) FROM audit WHERE {where}", values).fetchone()[0]
            rows = connection.execute(
                f"SELECT * FROM audit WHERE {where} ORDER BY seq DESC LIMIT ? OFFSET ?",
                (*values, limit, min((page - 1) * limit, LARGEST_INTEGER)),
            )
            return AuditPage(records=[audit_chain.read(row) for row in rows], count=count)

        return await self._database.read(read)

    async def verify(self) -> AuditVerdict:
        """Check the whole chain; cost grows with the table."""
        return await self._database.read(audit_chain.verify)

    def close(self) -> None:
        """Finish the file."""
        if self._file is not None:
            self._file.close()


class _AuditFile:
    """Lines of JSON, written by a thread; a full disk loses lines here but not in the table."""

    def __init__(self, path: Path, settings: LogAudit) -> None:
        self._thread = ThreadPoolExecutor(1, "audit-file")
        self._path = path
        self._settings = settings
        self._zone = zone_of(settings.time_offset)
        self._handler: RotatingFileHandler | None = None

    def write(self, record: AuditRecord) -> None:
        self._thread.submit(self._write, record)

    def close(self) -> None:
        self._thread.shutdown()
        if self._handler is not None:
            self._handler.close()

    def _write(self, record: AuditRecord) -> None:
        is_epoch = self._settings.timestamp_format == "epoch"
        time = record.created_us if is_epoch else render_us(record.created_us, self._zone)
        fields = msgspec.to_builtins({"time": time, **msgspec.structs.asdict(record)})
        # As in the log: what is not printable ASCII leaves as escapes, so that no name can break or reorder a line.
        line = json.dumps(fields, separators=(",", ":")).replace("\x7f", "\\u007f")
        with suppress(OSError):
            if self._handler is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._handler = RotatingFileHandler(
                    self._path,
                    maxBytes=self._settings.rotation_size or 0,
                    backupCount=self._settings.rotation_count,
                    encoding="utf-8",
                )
            self._handler.emit(logging.makeLogRecord({"msg": line}))


_BOUNDS = {
    "gte_duration_ms": "duration_ms >= ?",
    "lte_duration_ms": "duration_ms <= ?",
    "gte_created_us": "created_us >= ?",
    "lte_created_us": "created_us <= ?",
}


def _condition(wanted: AuditFilter) -> tuple[str, tuple[str | int, ...]]:
    """Return a WHERE clause and its values."""
    given = {name: value for name, value in msgspec.structs.asdict(wanted).items() if value is not None}
    clauses = [_BOUNDS.get(name, f"{name} = ?") for name in given]
    values = (_bounded(value) if isinstance(value, int) else value for value in given.values())
    return " AND ".join(clauses) or "1", tuple(values)


def _bounded(number: int) -> int:
    """Return the nearest number that SQLite takes; no record has one beyond it."""
    return max(-LARGEST_INTEGER, min(number, LARGEST_INTEGER))
