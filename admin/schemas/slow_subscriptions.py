"""Slow subscriptions."""

from typing import Self

import msgspec

from pybroker.control.slow_subscriptions import SlowSubscription


class SlowRow(msgspec.Struct, frozen=True, kw_only=True):
    """A client that was late on a topic.

    Args:
        timespan: milliseconds.
        last_update_time: wall milliseconds.
    """

    clientid: str
    node: str
    topic: str
    timespan: int
    last_update_time: int

    @classmethod
    def of(cls, slow: SlowSubscription, node: str) -> Self:
        """Return one as shown."""
        return cls(
            clientid=slow.client_id,
            node=node,
            topic=slow.topic,
            timespan=slow.timespan_ms,
            last_update_time=slow.updated_ms,
        )


class SlowRows(msgspec.Struct, frozen=True, kw_only=True):
    """All of them, slowest first."""

    data: list[SlowRow]
