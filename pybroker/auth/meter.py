"""What one authenticator has done: outcomes, and how many requests a second.

Rates are computed when they are read, from counts by second of the last five minutes; counting costs one look at the
clock.
"""

from typing import Literal

from pybroker.clock import Clock

Outcome = Literal["success", "failed", "nomatch"]

_WINDOW_S = 300


class Meter:
    """Counters of one authenticator; `total` is their sum.

    Args:
        clock: tells the second.
    """

    __slots__ = ("_clock", "_highest", "_outcomes", "_second", "_seconds", "total")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self.total = 0
        self._outcomes: dict[Outcome, int] = {"success": 0, "failed": 0, "nomatch": 0}
        self._seconds = [0] * _WINDOW_S
        self._second = self._clock.now_ms() // 1_000
        self._highest = 0

    def count(self, outcome: Outcome) -> None:
        """Count one request."""
        self._roll()
        self.total += 1
        self._outcomes[outcome] += 1
        self._seconds[self._second % _WINDOW_S] += 1

    def read(self) -> dict[str, int | float]:
        """Return the counters and rates by EMQX's names; `rate` is that of the last whole second."""
        self._roll()
        last = self._seconds[(self._second - 1) % _WINDOW_S]
        highest = max(self._highest, self._seconds[self._second % _WINDOW_S])
        return {
            "total": self.total,
            "success": self._outcomes["success"],
            "failed": self._outcomes["failed"],
            "nomatch": self._outcomes["nomatch"],
            "rate": float(last),
            "rate_last5m": round(sum(self._seconds) / _WINDOW_S, 2),
            "rate_max": float(highest),
        }

    def _roll(self) -> None:
        """Go on to the present second; those in between had no request."""
        now = self._clock.now_ms() // 1_000
        passed = now - self._second
        if passed <= 0:
            return
        self._highest = max(self._highest, self._seconds[self._second % _WINDOW_S])
        for second in range(self._second + 1, self._second + 1 + min(passed, _WINDOW_S)):
            self._seconds[second % _WINDOW_S] = 0
        self._second = now
