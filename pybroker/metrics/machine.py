"""What the machine and this process use, as the system tells it; for scrapes, at most a few small files of `/proc`."""

import os
import resource
from pathlib import Path
from typing import NamedTuple

_STAT = Path("/proc/stat")
_FILES = Path("/proc/self/fd")


class Busy(NamedTuple):
    """Use of the processors.

    Args:
        used: per cent of all processors, since the last look or the start of the machine.
        runnable: tasks that run or could.
    """

    used: float
    runnable: int


class Processors:
    """Reader of processor time; per cents are of the time between two looks."""

    def __init__(self, source: Path = _STAT) -> None:
        self._source = source
        self._last = (0, 0)
        self._used = 0.0

    def look(self) -> Busy:
        """Return what holds now; zeros where the system does not say."""
        try:
            lines = self._source.read_text(encoding="ascii").splitlines()
        except OSError:
            return Busy(0.0, 0)
        ticks = [int(word) for word in lines[0].split()[1:9]]
        idle, total = ticks[3] + ticks[4], sum(ticks)
        if total > self._last[1]:
            past_idle, past_total = self._last
            self._used = round(100 * (1 - (idle - past_idle) / (total - past_total)), 2)
            self._last = (idle, total)
        runnable = next((int(line.split()[1]) for line in lines if line.startswith("procs_running ")), 0)
        return Busy(self._used, runnable)


def cpu_seconds() -> float:
    """Return the processor time of this process since its start."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def open_files() -> int:
    """Return the descriptors that this process has open; 0 where the system does not say, as Linux before 6.2.

    O(1): read from the size of the folder, for a scrape must not cost a name per connection.
    """
    try:
        return os.stat(_FILES).st_size
    except OSError:
        return 0
