"""The time series of the dashboard: a point every few seconds, kept for a week, coarser with age.

A point holds levels as they were, and what the counters have grown by since the point before. The loop only reads
numbers that are kept anyway; the database's own threads write, thin out and read.
"""

import asyncio
import sqlite3
from collections.abc import Iterable, Mapping
from itertools import pairwise

import msgspec

from pybroker.clock import Clock
from pybroker.control.configuration import Configuration
from pybroker.control.nodes import Nodes
from pybroker.control.statistics import Statistics
from pybroker.persistence.sqlite import Database

KEPT_S = 7 * 86_400
"""How long points are kept."""

TIERS = ((3_600, 10), (86_400, 60), (3 * 86_400, 300), (KEPT_S, 600))
"""Up to which age, in seconds, points lie how many seconds apart."""

GROWTH = {
    "received": "messages.received",
    "sent": "messages.sent",
    "dropped": "messages.dropped",
    "persisted": "messages.persisted",
    "validation_succeeded": "messages.validation_succeeded",
    "validation_failed": "messages.validation_failed",
    "transformation_succeeded": "messages.transformation_succeeded",
    "transformation_failed": "messages.transformation_failed",
    "rules_matched": "rules.matched",
    "actions_executed": "actions.executed",
    "actions_messages": "actions.messages",
}
"""What a point tells of each counter: how much it has grown."""

LEVELS = {
    "connections": "connections.count",
    "live_connections": "live_connections.count",
    "topics": "topics.count",
    "subscriptions": "subscriptions.count",
}
"""What a point tells of each level: how high it was."""

_DURABLE = ("subscriptions_durable", "disconnected_durable_sessions")
_THIN_EVERY_S = 60
_SHORT_S = 60

Point = dict[str, int]
"""`time_stamp` in wall milliseconds; alone where nothing is known."""


class Peak(msgspec.Struct, frozen=True, kw_only=True):
    """Most sessions of late: when (wall ms), how many, and how many there are now."""

    peak_time: int
    peak_value: int
    current_value: int


class Current(msgspec.Struct, frozen=True, kw_only=True):
    """What holds now.

    Args:
        rates: growth per second by the names of `GROWTH`.
        levels: by the names of `LEVELS`.
        quota: sessions that are allowed; 0: any number.
    """

    rates: Mapping[str, int]
    levels: Mapping[str, int]
    retained: int
    shared_subscriptions: int
    cluster_sessions: int
    quota: int
    uptime_ms: int
    peak: Peak


class _Look(msgspec.Struct, frozen=True):
    now_ms: int
    counts: dict[str, int]


class Monitor:
    """Sampler and reader of the series.

    Args:
        database: keeps the points.
        statistics: gives the numbers.
        nodes: this node.
        clock: tells the time.
        configuration: says how often, and how long the peak is remembered.
    """

    def __init__(
        self,
        database: Database,
        statistics: Statistics,
        nodes: Nodes,
        clock: Clock,
        configuration: Configuration,
    ) -> None:
        self._database = database
        self._statistics = statistics
        self._nodes = nodes
        self._clock = clock
        self._configuration = configuration
        first = self._look()
        self._sampled = first.counts
        self._looks = [first]
        self._peak_ms, self._peak = 0, -1

    @property
    def interval_s(self) -> int:
        """Seconds between two points."""
        return max(1, int(self._configuration.current.dashboard.sample_interval) // 1_000)

    async def run(self) -> None:
        """Sample until cancelled, at whole multiples of the interval."""
        await self.load_peak()
        while True:
            interval_ms = self.interval_s * 1_000
            await asyncio.sleep((interval_ms - self._clock.wall_ms() % interval_ms) / 1_000)
            await self.sample()

    async def sample(self) -> None:
        """Store one point; once a minute, thin out what is old."""
        look, levels = self._look(), self._levels()
        growth = {name: max(0, look.counts[name] - self._sampled[name]) for name in GROWTH}
        self._sampled = look.counts
        self._looks = [self._looks[-1], look]
        self._note_peak(levels["connections"])
        time_s = self._clock.wall_s() // self.interval_s * self.interval_s
        point = {**levels, **dict.fromkeys(_DURABLE, 0), **growth}
        is_minute = time_s % _THIN_EVERY_S < self.interval_s

        def write(connection: sqlite3.Connection) -> None:
            _store(connection, time_s, point)
            if is_minute:
                thin(connection, time_s)

        await self._database.write(write)

    async def series(self, latest_s: int | None = None) -> list[Point]:
        """Return the points of the last seconds, oldest first, gaps filled; `None`: of the whole time."""
        now_s = self._clock.wall_s()
        since_s = now_s - (KEPT_S if latest_s is None else min(latest_s, KEPT_S))
        step_s = self._step_s(now_s - since_s)
        rows = await self._database.read(
            lambda connection: connection.execute(
                "SELECT time_s, body FROM sample WHERE time_s >= ? ORDER BY time_s", (since_s,)
            ).fetchall()
        )
        if not rows:
            return []
        return await asyncio.to_thread(_filled, [(row["time_s"], row["body"]) for row in rows], step_s)

    async def clear(self) -> None:
        """Forget every point."""
        await self._database.write(lambda connection: connection.execute("DELETE FROM sample"))
        self._peak_ms, self._peak = 0, -1

    def current(self) -> Current:
        """Return what holds now; rates are those since the last point that is a second old at least."""
        look, stats = self._look(), self._statistics.stats()
        before = next((one for one in reversed(self._looks) if look.now_ms - one.now_ms >= 1_000), self._looks[0])
        seconds = max(1.0, (look.now_ms - before.now_ms) / 1_000)
        levels = self._levels()
        self._note_peak(levels["connections"])
        return Current(
            rates={name: max(0, round((look.counts[name] - before.counts[name]) / seconds)) for name in GROWTH},
            levels=levels,
            retained=stats["retained.count"],
            shared_subscriptions=stats["subscriptions.shared.count"],
            cluster_sessions=stats["cluster_sessions.count"],
            quota=self._configuration.current.license.connection_quota,
            uptime_ms=self._nodes.uptime_ms,
            peak=Peak(peak_time=self._peak_ms, peak_value=self._peak, current_value=levels["connections"]),
        )

    async def load_peak(self) -> None:
        """Read the peak of the time for which it is remembered."""
        since_s = (self._clock.wall_ms() - self._remembered_ms) // 1_000
        rows = await self._database.read(
            lambda connection: connection.execute(
                "SELECT time_s, body FROM sample WHERE time_s >= ?", (since_s,)
            ).fetchall()
        )
        for row in rows:
            sessions = msgspec.json.decode(row["body"], type=Point).get("connections", 0)
            if sessions > self._peak:
                self._peak, self._peak_ms = sessions, row["time_s"] * 1_000

    @property
    def _remembered_ms(self) -> int:
        return int(self._configuration.current.dashboard.hwmark_expire_time)

    def _note_peak(self, sessions: int) -> None:
        now_ms = self._clock.wall_ms()
        if sessions >= self._peak or now_ms - self._peak_ms > self._remembered_ms:
            self._peak, self._peak_ms = sessions, now_ms

    def _step_s(self, span_s: int) -> int:
        """Return how far apart the points of an answer lie."""
        if span_s <= _SHORT_S:
            return 1
        return max(self.interval_s, next((step_s for age_s, step_s in TIERS if span_s <= age_s), TIERS[-1][1]))

    def _look(self) -> _Look:
        metrics = self._statistics.metrics()
        return _Look(self._clock.now_ms(), {name: metrics[source] for name, source in GROWTH.items()})

    def _levels(self) -> dict[str, int]:
        stats = self._statistics.stats()
        return {name: stats[source] for name, source in LEVELS.items()}


def thin(connection: sqlite3.Connection, now_s: int) -> None:
    """Put points together where they lie closer than their age allows, and remove those that are too old."""
    connection.execute("DELETE FROM sample WHERE time_s < ?", (now_s - KEPT_S,))
    for (young_s, _), (old_s, step_s) in pairwise(TIERS):
        crowded = connection.execute(
            "SELECT time_s / :step AS place FROM sample WHERE time_s >= :old AND time_s < :young "
            "GROUP BY place HAVING count(*) > 1 OR min(time_s) % :step != 0",
            {"step": step_s, "old": now_s - old_s, "young": (now_s - young_s) // step_s * step_s},
        ).fetchall()
        for row in crowded:
            start_s = row["place"] * step_s
            within = (start_s, start_s + step_s)
            rows = connection.execute(
                "SELECT body FROM sample WHERE time_s >= ? AND time_s < ? ORDER BY time_s", within
            ).fetchall()
            connection.execute("DELETE FROM sample WHERE time_s >= ? AND time_s < ?", within)
            _store(connection, start_s, merge(msgspec.json.decode(one["body"], type=Point) for one in rows))


def merge(points: Iterable[Point]) -> Point:
    """Return one point for several that follow each other: growth adds up, the newest level stays."""
    merged: Point = {}
    for point in points:
        growth = {name: merged.get(name, 0) + point.get(name, 0) for name in GROWTH}
        merged = {**merged, **point, **growth}
    return merged


def _store(connection: sqlite3.Connection, time_s: int, point: Point) -> None:
    """Write a point; one of the same time, from before a restart or a change of the clock, is put together with it."""
    there = connection.execute("SELECT body FROM sample WHERE time_s = ?", (time_s,)).fetchone()
    if there is not None:
        point = merge((msgspec.json.decode(there["body"], type=Point), point))
    connection.execute("INSERT OR REPLACE INTO sample VALUES (?, ?)", (time_s, msgspec.json.encode(point)))


def _filled(rows: list[tuple[int, bytes]], step_s: int) -> list[Point]:
    """Return one point for every step from the first row to the last one."""
    by_place: dict[int, list[Point]] = {}
    for time_s, body in rows:
        by_place.setdefault(time_s // step_s, []).append(msgspec.json.decode(body, type=Point))
    points = []
    for place in range(rows[0][0] // step_s, rows[-1][0] // step_s + 1):
        known = by_place.get(place)
        points.append({"time_stamp": place * step_s * 1_000, **(merge(known) if known else {})})
    return points
