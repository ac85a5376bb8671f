"""A broker's memory over time: samples of its resident set while a load runs."""

import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

SETTLED_S = 60.0
"""Growth counts from here on; a shorter run counts from its first sample."""


class Watch:
    """Looks at the resident set of a process every `step_s` seconds, from entering to leaving."""

    def __init__(self, pid: int, step_s: float) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._step_s = step_s
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._start = time.monotonic()
        self.samples: list[tuple[float, int]] = []
        """(seconds since entering, bytes), in order."""

    def __enter__(self) -> Self:
        self._start = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._is_over.wait(self._step_s):
            text = self._status.read_text(encoding="utf-8")
            self.samples.append((round(time.monotonic() - self._start, 1), resident_bytes(text)))

    def figures(self) -> dict[str, float]:
        """Return what `growth` makes of the samples."""
        return growth(self.samples)


def resident_bytes(status: str) -> int:
    """Read the resident set out of `/proc/PID/status`; 0 if it has none."""
    line = next((line for line in status.splitlines() if line.startswith("VmRSS:")), "VmRSS: 0 kB")
    return int(line.split()[1]) * 1024


def growth(samples: list[tuple[float, int]]) -> dict[str, float]:
    """Return `rss_growth_bytes`: the last sample less the one that ends the first minute; nothing without two."""
    if len(samples) < 2:
        return {}
    settled = next((size for at, size in samples if at >= SETTLED_S - 1), samples[0][1])
    return {"rss_growth_bytes": float(samples[-1][1] - settled)}
