"""The only reader of time in the Python part.

Parts get a `Clock` in their constructor, so that tests move time by hand. Intervals are measured with `now_ms`, which
never jumps; `cpu_ms` is for limits on work, which a busy machine must not change; `wall_ms` is for people and for what
is stored, and may jump when the machine's clock is set.
"""

import time


class Clock:
    """Time of this process."""

    __slots__ = ()

    def now_ms(self) -> int:
        """Return monotonic milliseconds since an unknown start; comparable within one process only."""
        return time.monotonic_ns() // 1_000_000

    def cpu_ms(self) -> int:
        """Return milliseconds of processor time that this thread has used; waiting does not count."""
        return time.thread_time_ns() // 1_000_000

    def wall_ms(self) -> int:
        """Return milliseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1_000_000

    def wall_s(self) -> int:
        """Return whole seconds since 1970-01-01 UTC."""
        return self.wall_ms() // 1_000
