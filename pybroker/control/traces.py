"""Traces: what an operator follows of a client, a topic or an address, for some time, into a file.

Which ones there are is stored, and they go on after a restart. `TraceRecorder` writes those that run.
"""

import asyncio
import re
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import structlog

from pybroker.clock import Clock
from pybroker.control.caller import Caller
from pybroker.control.clients import check_filter, inner_filter
from pybroker.control.configuration import Configuration
from pybroker.control.plane import Plane
from pybroker.control.trace_file import MAX_READ, Piece, TraceFile, remove_others
from pybroker.control.trace_recorder import TraceKind, TraceRecorder, TraceTarget
from pybroker.errors import Refused
from pybroker.persistence.records import TraceRecord
from pybroker.persistence.sqlite import Database
from pybroker.persistence.table import Change, RecordTable, apply

logger = structlog.get_logger(__name__)

__all__ = ["LogPiece", "TraceRecord", "Traces"]

MAX_NAME_BYTES = 200
"""Of a name, which is a part of the name of a file."""

DEFAULT_SPAN_S = 600
"""How long a trace runs whose end is not given."""

FOLDER = "trace"
"""Where the files are, below the data folder."""

_POLL_S = 0.2
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_POSITION = re.compile(r"(\d{1,18})\.(\d{1,18})")


class LogPiece(NamedTuple):
    """Some text of a trace.

    Args:
        position: where the next piece begins.
        is_last: whether nothing follows now.
        is_over: whether nothing will ever follow.
    """

    text: str
    position: str
    is_last: bool
    is_over: bool


class Traces:
    """Every trace.

    Args:
        database: keeps what is to be traced.
        plane: is traced.
        clock: tells the time.
        configuration: says how many there may be and how large a file may grow.
    """

    def __init__(self, database: Database, plane: Plane, clock: Clock, configuration: Configuration) -> None:
        self._database = database
        self._plane = plane
        self._clock = clock
        self._configuration = configuration
        self._lock = asyncio.Lock()
        self._full: set[str] = set()
        self._recorder = TraceRecorder(plane, clock, self._full.add)
        self.table = RecordTable(database, "trace", TraceRecord)

    def visible(self, caller: Caller, namespace: str | None = None) -> list[TraceRecord]:
        """Return the traces that a caller may see, newest first; `namespace`: only those of it.

        Raises:
            Refused: `FORBIDDEN`: the namespace is not that of the caller.
        """
        wanted = _namespace(caller, namespace)
        records = [one for one in self.table if wanted is None or one.namespace == wanted]
        return sorted(records, key=lambda one: (-one.created_ms, one.name))

    def find(self, caller: Caller, name: str) -> TraceRecord:
        """Return one trace.

        Raises:
            Refused: `NOT_FOUND`: there is none, or it is of another namespace.
        """
        record = self.table.get(name)
        if record is None or caller.namespace not in (None, record.namespace):
            raise Refused("NOT_FOUND", f"no such trace: {name!r}")
        return record

    def state(self, record: TraceRecord) -> str:
        """Return `waiting`, `running` or `stopped`."""
        now_s = self._clock.wall_s()
        if record.is_stopped or now_s >= record.ends_s:
            return "stopped"
        return "running" if now_s >= record.starts_s else "waiting"

    def file(self, record: TraceRecord) -> TraceFile:
        """Return the file of a trace; it need not exist."""
        folder = Path(self._configuration.current.node.data_dir, FOLDER)
        return TraceFile(folder / f"{record.name}.log")

    async def create(self, caller: Caller, record: TraceRecord) -> TraceRecord:
        """Begin a trace, now or at its time.

        Args:
            record: `starts_s` and `ends_s` of 0: now, and ten minutes later.

        Raises:
            Refused: `ALREADY_EXISTS`, `DUPLICATE_CONDITION`, `INVALID_PARAMS`, `EXCEED_LIMIT`, `BAD_REQUEST`: the name,
                `FORBIDDEN`: the namespace is not that of the caller.
        """
        now_ms = self._clock.wall_ms()
        start_s = max(record.starts_s, now_ms // 1_000)
        made = TraceRecord(
            name=record.name,
            kind=record.kind,
            value=self._checked_value(record.kind, record.value),
            starts_s=start_s,
            ends_s=record.ends_s or start_s + DEFAULT_SPAN_S,
            payload_form=record.payload_form,
            payload_limit=record.payload_limit,
            line_form=record.line_form,
            namespace=_namespace(caller, record.namespace),
            created_ms=now_ms,
        )
        if len(made.name) > MAX_NAME_BYTES or not _NAME.fullmatch(made.name):
            raise Refused("BAD_REQUEST", f"name must match {_NAME.pattern}, up to {MAX_NAME_BYTES} characters")
        if made.ends_s <= made.starts_s:
            raise Refused("INVALID_PARAMS", "end_at must be after start_at and in the future")
        async with self._lock:
            self._check_new(made)
            await self._recorder.run_in_thread(self.file(made).remove)
            await apply(self._database, self.table.put(made.name, made))
        await self.tick()
        return made

    async def stop(self, caller: Caller, name: str) -> None:
        """End a trace and keep its file; one that has ended stays as it is.

        Raises:
            Refused: as `find`.
        """
        self.find(caller, name)
        await self._end(name)

    async def remove(self, caller: Caller, name: str) -> None:
        """Delete a trace and its file.

        Raises:
            Refused: as `find`.
        """
        await self._remove([self.find(caller, name)])

    async def clear(self, caller: Caller) -> None:
        """Delete every trace.

        Raises:
            Refused: `FORBIDDEN`: the caller is of a namespace.
        """
        if caller.namespace is not None:
            raise Refused("FORBIDDEN", "only a global administrator deletes all traces")
        await self._remove(list(self.table))

    async def read(self, record: TraceRecord, position: str, most: int) -> LogPiece:
        """Return a piece of a trace's file.

        Args:
            position: `0` for the first piece; else as returned before.

        Raises:
            Refused: `INVALID_PARAMETER`: the position cannot be read; `STALE_CURSOR`: it is one of another file.
        """
        generation, offset = record.created_ms, 0
        if position != "0":
            match = _POSITION.fullmatch(position)
            if match is None:
                raise Refused("INVALID_PARAMETER", f"position cannot be read: {position!r}")
            generation, offset = int(match[1]), int(match[2])
        is_over = self.state(record) == "stopped"
        await self._recorder.flush()
        piece: Piece | None = await self._recorder.run_in_thread(self.file(record).read, offset, min(most, MAX_READ))
        if piece is None or generation != record.created_ms:
            raise Refused("STALE_CURSOR", f"position is one of a file that is gone: {position!r}")
        return LogPiece(piece.text, f"{record.created_ms}.{piece.end}", piece.is_last, is_over)

    async def pack(self, record: TraceRecord, node: str) -> Path:
        """Write a trace's file into a zip archive and return its path; whoever sends it deletes it.

        Raises:
            Refused: `NOT_FOUND`: nothing has been traced.
        """
        await self._recorder.flush()
        file = self.file(record)
        target = file.path.with_name(f".{record.name}.{self._clock.now_ms()}.zip")
        if not await asyncio.to_thread(file.pack, target, f"{node}-{record.name}.log"):
            raise Refused("NOT_FOUND", f"nothing has been traced: {record.name!r}")
        return target

    async def run(self) -> None:
        """Start and end traces at their times, and write, until cancelled."""
        while True:
            await self.tick()
            await asyncio.sleep(_POLL_S)

    async def tick(self) -> None:
        """Bring what is recorded in line with the time, after writing what was recorded until now."""
        await self._recorder.flush()
        while self._full:
            await self._end(self._full.pop(), is_full=True)
        running = [one for one in self.table if self.state(one) == "running"] if len(self.table) else []
        self._recorder.max_file_bytes = int(self._configuration.current.trace.max_file_size)
        self._recorder.record([self._target(one) for one in running])

    def close(self) -> None:
        """Finish what is being written."""
        self._recorder.close()

    def removing_namespace(self, namespace: str) -> Sequence[Change]:
        """Return the changes that delete the traces of a namespace; `remove_files` takes their files along."""
        return [self.table.remove(one.name) for one in self.table if one.namespace == namespace]

    async def remove_files(self) -> None:
        """Delete the files of traces that there are no more."""
        await self.tick()
        folder = Path(self._configuration.current.node.data_dir, FOLDER)
        kept = {f"{one.name}.log" for one in self.table}
        await self._recorder.run_in_thread(remove_others, folder, kept)

    def _check_new(self, made: TraceRecord) -> None:
        if self.table.get(made.name) is not None:
            raise Refused("ALREADY_EXISTS", f"trace exists already: {made.name!r}")
        for one in self.table:
            # Namespaces see other clients each, and are not told of one another.
            is_same = (one.kind, one.value, one.namespace) == (made.kind, made.value, made.namespace)
            if is_same and self.state(one) != "stopped":
                raise Refused("DUPLICATE_CONDITION", f"is traced already by: {one.name!r}")
        most = self._configuration.current.trace.max_traces
        if len(self.table) >= most:
            raise Refused("EXCEED_LIMIT", f"there may be {most} traces at most")

    def _checked_value(self, kind: TraceKind, value: str) -> str:
        if not value:
            raise Refused("INVALID_PARAMS", f"{kind} must not be empty")
        if kind == "topic":
            check_filter(self._plane, value, "INVALID_PARAMS")
            if inner_filter(value) != value:
                raise Refused("INVALID_PARAMS", f"topic must have no $share, $queue or $exclusive in front: {value!r}")
        if kind == "ip_address":
            try:
                return str(ip_address(value))
            except ValueError:
                raise Refused("INVALID_PARAMS", f"ip_address is no address: {value!r}") from None
        return value

    def _target(self, record: TraceRecord) -> TraceTarget:
        return TraceTarget(
            name=record.name,
            kind=record.kind,
            value=record.value,
            namespace=record.namespace,
            payload_form=record.payload_form,
            payload_limit=record.payload_limit,
            line_form=record.line_form,
            path=self.file(record).path,
        )

    async def _end(self, name: str, *, is_full: bool = False) -> None:
        await self._recorder.flush()
        async with self._lock:
            record = self.table.get(name)
            if record is None or record.is_stopped:
                return
            if is_full:
                logger.warning("trace_file_is_full", trace=name)
            await apply(self._database, self.table.put(name, record.stopped()))
        running = [one for one in self.table if self.state(one) == "running"]
        self._recorder.record([self._target(one) for one in running])

    async def _remove(self, records: Sequence[TraceRecord]) -> None:
        async with self._lock:
            await apply(self._database, *(self.table.remove(one.name) for one in records))
        await self.tick()
        for record in records:
            if self.table.get(record.name) is None:
                await self._recorder.run_in_thread(self.file(record).remove)


def _namespace(caller: Caller, asked: str | None) -> str | None:
    """Return the namespace that a caller acts in.

    Raises:
        Refused: `FORBIDDEN`.
    """
    if caller.namespace is not None and asked not in (None, caller.namespace):
        raise Refused("FORBIDDEN", "the namespace is not that of the caller")
    return caller.namespace or asked
