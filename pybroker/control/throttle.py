"""Counting failures by a key, so that guessing ends: too many in a while, and the key is shut for a while."""

from collections import OrderedDict
from typing import TypeVar

from pybroker.clock import Clock

# Keys come from outside; the oldest are forgotten. At 100 bytes each this is 1 MB.
_MAX_KEYS = 10_000

T = TypeVar("T")


class Throttle:
    """Failures of the last interval by key.

    Args:
        clock: tells the time.
        max_failures: so many within the interval shut the key.
        interval_ms: how long a failure counts.
        shut_ms: how long the key stays shut.
    """

    def __init__(self, clock: Clock, max_failures: int, interval_ms: int, shut_ms: int) -> None:
        self._clock = clock
        self._max_failures = max_failures
        self._interval_ms = interval_ms
        self._shut_ms = shut_ms
        self._failures: OrderedDict[str, list[int]] = OrderedDict()
        self._shut: OrderedDict[str, int] = OrderedDict()

    def is_shut(self, key: str) -> bool:
        """Return whether the key is shut now."""
        until = self._shut.get(key)
        if until is None:
            return False
        if until > self._clock.now_ms():
            return True
        del self._shut[key]
        return False

    def fail(self, key: str) -> bool:
        """Count one failure and return whether it shut the key."""
        now = self._clock.now_ms()
        recent = [at for at in self._failures.pop(key, ()) if at > now - self._interval_ms]
        recent.append(now)
        if len(recent) >= self._max_failures:
            _remember(self._shut, key, now + self._shut_ms)
            return True
        _remember(self._failures, key, recent)
        return False

    def forget(self, key: str) -> None:
        """Open the key and start its count anew."""
        self._failures.pop(key, None)
        self._shut.pop(key, None)


def _remember(table: OrderedDict[str, T], key: str, value: T) -> None:
    table[key] = value
    table.move_to_end(key)
    if len(table) > _MAX_KEYS:
        table.popitem(last=False)
