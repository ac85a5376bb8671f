"""The connection quota in the words of EMQX's licence: limit, watermarks, alarm and the history of peaks.

No key is ever needed. The quota itself is a configuration key; the watermarks may also be set by the API, and what was
set there outlives a restart.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

import msgspec

from pybroker.clock import Clock
from pybroker.config.schema import Percent
from pybroker.control.configuration import Configuration
from pybroker.control.timestamp import render_s, zone_of
from pybroker.errors import Refused
from pybroker.persistence.records import SettingRecord
from pybroker.persistence.sqlite import Database
from pybroker.persistence.table import RecordTable, apply

CHECK_S = 5.0
"""Pause between two counts."""

ALARM = "license_quota"

_SETTINGS = "licence_settings"
_PEAKS = "licence_peaks"
_KEPT = {"daily": 30, "monthly": 24}
_FREE_KEY = "default"

Period = Literal["daily", "monthly"]


class Watermarks(msgspec.Struct, frozen=True, kw_only=True):
    """Where the alarm begins and ends, in per cent of the quota."""

    low: float
    high: float


class Peak(msgspec.Struct, frozen=True, kw_only=True):
    """Most sessions of a day or month.

    Args:
        period: `2026-11-24` or `2026-11`.
        observed_s: wall time.
    """

    period: str
    sessions: int
    observed_s: int


class Licence:
    """Quota, watermarks and peaks.

    Args:
        database: keeps watermarks and peaks.
        settings: table of single values.
        clock: tells the time.
        configuration: says the quota.
    """

    def __init__(
        self, database: Database, settings: RecordTable[SettingRecord], clock: Clock, configuration: Configuration
    ) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        self._configuration = configuration
        self._count: Callable[[], int] = lambda: 0
        self._raise_alarm: Callable[[str, str, dict[str, object]], None] = lambda name, message, details: None
        self._clear_alarm: Callable[[str], None] = lambda name: None
        self._is_raised = False

    def attach(
        self,
        count: Callable[[], int],
        raise_alarm: Callable[[str, str, dict[str, object]], None] | None = None,
        clear_alarm: Callable[[str], None] | None = None,
    ) -> None:
        """Connect what starts later.

        Args:
            count: sessions now, connected or not.
            raise_alarm: takes name, message and details; called once until it is cleared.
            clear_alarm: takes the name.
        """
        self._count = count
        self._raise_alarm = raise_alarm or self._raise_alarm
        self._clear_alarm = clear_alarm or self._clear_alarm

    @property
    def quota(self) -> int:
        """Sessions at which the quota is used up; 0: there is none."""
        return self._configuration.current.license.connection_quota

    @property
    def watermarks(self) -> Watermarks:
        """What holds now."""
        stored = self._settings.get(_SETTINGS)
        if stored is not None:
            return msgspec.convert(stored.value, Watermarks)
        configured = self._configuration.current.license
        return Watermarks(low=configured.connection_low_watermark, high=configured.connection_high_watermark)

    @property
    def timezone(self) -> str:
        """Where days and months of the peaks begin, as configured."""
        return self._configuration.current.license.high_watermark_timezone

    def use_key(self, key: str) -> None:
        """Take a licence key; there is only one, and it changes nothing.

        Raises:
            Refused: `BAD_REQUEST`: any other.
        """
        if key != _FREE_KEY:
            raise Refused("BAD_REQUEST", "no licence key is needed; the only one that is accepted is: 'default'")

    async def set_watermarks(self, low: str, high: str) -> Watermarks:
        """Store both and return them.

        Raises:
            Refused: `BAD_REQUEST`: one is no percentage, or the low one is not below the high one.
        """
        try:
            marks = Watermarks(low=float(Percent.parse(low)), high=float(Percent.parse(high)))
        except ValueError as error:
            raise Refused("BAD_REQUEST", str(error)) from None
        if marks.low >= marks.high:
            raise Refused("BAD_REQUEST", "connection_low_watermark must be below connection_high_watermark")
        await apply(self._database, self._settings.put(_SETTINGS, SettingRecord(value=msgspec.to_builtins(marks))))
        return marks

    def peaks(self, period: Period, limit: int | None = None) -> list[Peak]:
        """Return the peaks of days or months, newest first; `None`: as many as are kept."""
        stored = self._settings.get(_PEAKS)
        peaks = msgspec.convert(stored.value if stored else {}, dict[str, list[Peak]])
        return peaks.get(period, [])[::-1][:limit]

    async def run(self) -> None:
        """Count until cancelled."""
        while True:
            await asyncio.sleep(CHECK_S)
            await self.check()

    async def check(self) -> None:
        """Count once: raise or clear the alarm, and keep a new peak."""
        count, quota, marks = self._count(), self.quota, self.watermarks
        if quota and count > quota * marks.high / 100 and not self._is_raised:
            self._is_raised = True
            message = f"sessions are above {marks.high:g}% of the quota"
            self._raise_alarm(ALARM, message, {"high_watermark": f"{marks.high:g}%"})
        elif self._is_raised and (not quota or count < quota * marks.low / 100):
            self._is_raised = False
            self._clear_alarm(ALARM)
        await self._keep_peak(count)

    async def _keep_peak(self, count: int) -> None:
        now_s = self._clock.wall_s()
        day = render_s(now_s, zone_of(self.timezone))[:10]
        changed: dict[str, list[Peak]] = {}
        is_new = False
        names: dict[Period, str] = {"daily": day, "monthly": day[:7]}
        for period, name in names.items():
            peaks = self.peaks(period)[::-1]
            last = peaks[-1] if peaks else None
            if last is None or last.period != name or last.sessions < count:
                kept = [peak for peak in peaks if peak.period != name]
                peaks = [*kept, Peak(period=name, sessions=count, observed_s=now_s)][-_KEPT[period] :]
                is_new = True
            changed[period] = peaks
        if is_new:
            await apply(self._database, self._settings.put(_PEAKS, SettingRecord(value=msgspec.to_builtins(changed))))


def far_date() -> str:
    """Return the date at which the licence that is none ends."""
    return datetime(9999, 12, 31, tzinfo=UTC).date().isoformat()
