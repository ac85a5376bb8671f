"""A token bucket: how fast clients of one namespace may connect, how often all namespaces are scraped."""


class TokenBucket:
    """A bucket of `count` tokens that fills in `period_ms`. `is_exceeded` is for the user: what was said last.

    Args:
        count: at least 1.
        period_ms: at least 1.
        now_ms: monotonic.
    """

    __slots__ = ("_at_ms", "_left", "count", "is_exceeded", "period_ms")

    def __init__(self, count: int, period_ms: int, now_ms: int) -> None:
        self.count = count
        self.period_ms = period_ms
        self.is_exceeded = False
        # In tokens times `period_ms`, so that whole numbers do.
        self._left = count * period_ms
        self._at_ms = now_ms

    def has(self, now_ms: int) -> bool:
        """Return whether there is a token."""
        full = self.count * self.period_ms
        self._left = min(full, self._left + (now_ms - self._at_ms) * self.count)
        self._at_ms = now_ms
        return self._left >= self.period_ms

    def take(self, now_ms: int) -> bool:
        """Take a token; false if there is none."""
        if not self.has(now_ms):
            return False
        self._left -= self.period_ms
        return True
