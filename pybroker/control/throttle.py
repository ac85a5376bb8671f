"""Counting failures by a key, so that guessing ends: too many in a while, and the key is shut for a while."""

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from pybroker.clock import Clock

# Keys come from outside; the oldest are forgotten. At 100 bytes each this is 1 MB.
_MAX_KEYS = 10_000

T = TypeVar("T")


class Limits(NamedTuple):
    """When a key is shut.

    Args:
        max_failures: so many within the interval shut it.
        interval_ms: how long a failure counts.
        shut_ms: how long it stays shut.
    """

    max_failures: int
    interval_ms: int
    shut_ms: int


class Throttle:
    """Failures of the last interval by key.

    Args:
        clock: tells the time.
        limits: asked at each failure, so that a changed configuration holds at once.
    """

    def __init__(self, clock: Clock, limits: Callable[[], Limits]) -> None:
        self._clock = clock
        self._limits = limits
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
        now, limits = self._clock.now_ms(), self._limits()
        recent = [at for at in self._failures.pop(key, ()) if at > now - limits.interval_ms]
        recent.append(now)
        if len(recent) >= limits.max_failures:
            _remember(self._shut, key, now + limits.shut_ms)
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
