"""A clock that tests move by hand."""

from pybroker.clock import Clock


class FakeClock(Clock):
    """Time that stands still until `advance` is called.

    Args:
        now_ms: monotonic start.
        wall_ms: wall start; the default is 2026-01-01T00:00:00Z.
    """

    __slots__ = ("_now_ms", "_wall_ms")

    def __init__(self, now_ms: int = 1_000, wall_ms: int = 1_767_225_600_000) -> None:
        self._now_ms = now_ms
        self._wall_ms = wall_ms

    def now_ms(self) -> int:
        """Return the monotonic time that was set."""
        return self._now_ms

    def cpu_ms(self) -> int:
        """Return the monotonic time: the thread never waits, unless a test says so."""
        return self._now_ms

    def wall_ms(self) -> int:
        """Return the wall time that was set."""
        return self._wall_ms

    def advance(self, ms: int) -> None:
        """Move both times forward by `ms` milliseconds."""
        self._now_ms += ms
        self._wall_ms += ms

    def set_wall(self, wall_ms: int) -> None:
        """Let the wall clock jump, as an administrator who sets it does; the monotonic time stays."""
        self._wall_ms = wall_ms
