"""How many a second: rates of counters that only grow, from samples taken while the broker runs.

`rate` is that of the time since the last sample but one, `rate_last5m` the mean of five minutes, `rate_max` the
highest `rate` that was seen.
"""

from collections import deque

from pybroker.clock import Clock

SAMPLE_S = 5.0
"""Time between two samples."""

_WINDOW = 61
"""Samples that five minutes hold, both ends included."""


class Rates:
    """Rates of counters by name.

    Args:
        clock: tells when a sample was taken.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._samples: dict[str, deque[tuple[int, int]]] = {}
        self._highest: dict[str, float] = {}

    def sample(self, name: str, total: int) -> None:
        """Take note of a counter; to be called every `SAMPLE_S`."""
        samples = self._samples.setdefault(name, deque(maxlen=_WINDOW))
        if samples and samples[-1][1] > total:
            # It was set back.
            self.reset(name)
            samples = self._samples.setdefault(name, deque(maxlen=_WINDOW))
        samples.append((self._clock.now_ms(), total))
        self._highest[name] = max(self._highest.get(name, 0.0), self._rate(name, 2))

    def of(self, name: str, total: int) -> dict[str, float]:
        """Return the rates of a counter that stands at `total` now; zeros before the second sample."""
        if name not in self._samples:
            self.sample(name, total)
        return {
            "rate": self._rate(name, 2),
            "rate_last5m": self._rate(name, _WINDOW),
            "rate_max": self._highest.get(name, 0.0),
        }

    def reset(self, name: str) -> None:
        """Forget a counter's samples."""
        self._samples.pop(name, None)
        self._highest.pop(name, None)

    def _rate(self, name: str, count: int) -> float:
        samples = self._samples.get(name)
        if samples is None or len(samples) < 2:
            return 0.0
        first_ms, first = samples[max(0, len(samples) - count)]
        last_ms, last = samples[-1]
        return round((last - first) * 1_000 / max(1, last_ms - first_ms), 2)
