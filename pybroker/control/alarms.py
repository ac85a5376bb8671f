"""Alarms: what is wrong now, and what has been; both outlive the process."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Coroutine
from typing import NamedTuple

import msgspec

from pybroker.clock import Clock
from pybroker.control.configuration import Configuration
from pybroker.errors import Refused
from pybroker.persistence.records import AlarmRecord
from pybroker.persistence.sqlite import LARGEST_INTEGER, Database
from pybroker.persistence.table import RecordTable, apply


class Alarm(NamedTuple):
    """One alarm.

    Args:
        deactivated_ms: wall time; `None`: it is still raised.
        duration_ms: how long it was raised, or has been until now.
    """

    name: str
    message: str
    details: dict[str, object]
    activated_ms: int
    deactivated_ms: int | None
    duration_ms: int


class AlarmPage(NamedTuple):
    """Some alarms and how many there are in all, newest first."""

    alarms: list[Alarm]
    total: int


class Alarms:
    """Every alarm of the node.

    Args:
        database: keeps them.
        clock: tells the time.
        configuration: says how many past ones are kept, and how long.
    """

    def __init__(self, database: Database, clock: Clock, configuration: Configuration) -> None:
        self._database = database
        self._clock = clock
        self._configuration = configuration
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self.table = RecordTable(database, "alarm", AlarmRecord)

    async def activate(self, name: str, message: str, details: dict[str, object]) -> None:
        """Raise an alarm; one that is raised already stays as it is."""
        async with self._lock:
            if self.table.get(name) is None:
                record = AlarmRecord(name=name, message=message, details=details, activated_ms=self._clock.wall_ms())
                await apply(self._database, self.table.put(name, record))

    async def deactivate(self, name: str) -> None:
        """Clear an alarm and keep it in the history.

        Raises:
            Refused: `NOT_FOUND`: it is not raised.
        """
        async with self._lock:
            record = self.table.get(name)
            if record is None:
                raise Refused("NOT_FOUND", f"no such alarm is active: {name!r}")
            ended_ms, limit = self._clock.wall_ms(), self._configuration.current.alarm.size_limit

            def keep(connection: sqlite3.Connection) -> None:
                connection.execute(
                    "INSERT INTO alarm_history (name, message, details, activated_ms, deactivated_ms) "
                    "VALUES (?, ?, ?, ?, ?)",
                    (name, record.message, msgspec.json.encode(record.details), record.activated_ms, ended_ms),
                )
                connection.execute(
                    "DELETE FROM alarm_history WHERE id NOT IN "
                    "(SELECT id FROM alarm_history ORDER BY deactivated_ms DESC, id DESC LIMIT ?)",
                    (limit,),
                )

            await self._database.write(keep)
            # Written after the history: a crash in between leaves the alarm raised, never unrecorded.
            await apply(self._database, self.table.remove(name))

    def raise_soon(self, name: str, message: str, details: dict[str, object]) -> None:
        """Raise an alarm without waiting."""
        self._spawn(self.activate(name, message, details))

    def clear_soon(self, name: str) -> None:
        """Clear an alarm without waiting; one that is not raised is no error."""
        if self.table.get(name) is not None:
            self._spawn(self.deactivate(name))

    def follow_soon(self, name: str, is_raised: bool, message: str, details: dict[str, object]) -> None:
        """Raise or clear an alarm without waiting; calls take effect in their order."""
        self._spawn(self._follow(name, is_raised, message, details))

    async def _follow(self, name: str, is_raised: bool, message: str, details: dict[str, object]) -> None:
        if is_raised:
            await self.activate(name, message, details)
            return
        with contextlib.suppress(Refused):
            await self.deactivate(name)

    def active(self, offset: int, limit: int) -> AlarmPage:
        """Return alarms that are raised."""
        now_ms = self._clock.wall_ms()
        records = sorted(self.table, key=lambda record: (-record.activated_ms, record.name))
        alarms = [
            Alarm(one.name, one.message, one.details, one.activated_ms, None, now_ms - one.activated_ms)
            for one in records[offset : offset + limit]
        ]
        return AlarmPage(alarms, len(records))

    async def past(self, offset: int, limit: int) -> AlarmPage:
        """Return alarms that were raised and cleared, and are not too old."""
        since_ms = self._clock.wall_ms() - int(self._configuration.current.alarm.validity_period)

        def read(connection: sqlite3.Connection) -> AlarmPage:
            rows = connection.execute(
                "SELECT * FROM alarm_history WHERE deactivated_ms >= ? ORDER BY deactivated_ms DESC, id DESC "
                "LIMIT ? OFFSET ?",
                (since_ms, limit, min(offset, LARGEST_INTEGER)),
            ).fetchall()
            total = connection.execute(
                "SELECT count(*) FROM alarm_history WHERE deactivated_ms >= ?", (since_ms,)
            ).fetchone()[0]
            return AlarmPage([_past(row) for row in rows], int(total))

        return await self._database.read(read)

    async def clear_history(self) -> None:
        """Forget every past alarm."""
        await self._database.write(lambda connection: connection.execute("DELETE FROM alarm_history"))

    async def sweep(self) -> None:
        """Forget past alarms that are too old."""
        since_ms = self._clock.wall_ms() - int(self._configuration.current.alarm.validity_period)
        await self._database.write(
            lambda connection: connection.execute("DELETE FROM alarm_history WHERE deactivated_ms < ?", (since_ms,))
        )

    async def settle(self) -> None:
        """Wait until what was to be done without waiting is done."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _past(row: sqlite3.Row) -> Alarm:
    return Alarm(
        name=row["name"],
        message=row["message"],
        details=msgspec.json.decode(row["details"]),
        activated_ms=row["activated_ms"],
        deactivated_ms=row["deactivated_ms"],
        duration_ms=row["deactivated_ms"] - row["activated_ms"],
    )
