"""Messages that were published to `$delayed/SECONDS/topic` and wait for their time: listed, read and dropped."""

import asyncio
from typing import NamedTuple

from pybroker.clock import Clock
from pybroker.control.cursors import SLICE
from pybroker.control.origin import Origin
from pybroker.control.plane import Plane
from pybroker.errors import Refused

_ID_DIGITS = 32


class DelayedMessage(NamedTuple):
    """One message.

    Args:
        message_id: 32 hexadecimal digits.
        topic: as it will be routed, behind the delay.
        payload: empty in a list.
        due_ms: wall clock.
        remaining_ms: until then; 0: it is due.
        origin: who published it, and when.
    """

    message_id: str
    topic: str
    qos: int
    payload: bytes
    due_ms: int
    remaining_ms: int
    origin: Origin


class Delayed:
    """The messages that wait.

    Args:
        plane: holds them.
        clock: tells the time.
    """

    def __init__(self, plane: Plane, clock: Clock) -> None:
        self._engine = plane.engine
        self._clock = clock

    async def page(self, offset: int, limit: int) -> tuple[list[DelayedMessage], int]:
        """Return messages behind the first `offset`, those due first first, and how many there are. O(offset)."""
        after: tuple[int, int] | None = None
        kept: list[DelayedMessage] = []
        passed, has_more = 0, True
        while has_more and passed < offset + limit:
            rows, has_more = self._engine.page_delayed(after, min(SLICE, offset + limit - passed))
            if not rows:
                break
            after = rows[-1][0]
            kept += [self._message(row) for row in rows[max(0, offset - passed) :]]
            passed += len(rows)
            await asyncio.sleep(0)
        return kept, self._engine.stats()["delayed"]

    def find(self, message_id: str) -> DelayedMessage:
        """Return one message with its payload.

        Raises:
            Refused: `MESSAGE_ID_SCHEMA_ERROR`: it is no id; `MESSAGE_ID_NOT_FOUND`.
        """
        row = self._engine.delayed_get(_parse(message_id))
        if row is None:
            raise Refused("MESSAGE_ID_NOT_FOUND", f"no delayed message of this id: {message_id!r}")
        return self._message(row)

    def remove(self, message_id: str) -> None:
        """Drop one message.

        Raises:
            Refused: as `find`.
        """
        if not self._engine.delayed_remove(_parse(message_id)):
            raise Refused("MESSAGE_ID_NOT_FOUND", f"no delayed message of this id: {message_id!r}")

    async def remove_topic(self, topic: str) -> None:
        """Drop every message to a topic.

        Raises:
            Refused: `NOT_FOUND`: none is to go there.
        """
        if not await asyncio.to_thread(self._engine.delayed_remove_topic, topic):
            raise Refused("NOT_FOUND", f"no delayed message to: {topic!r}")

    def _message(
        self, row: tuple[tuple[int, int], str, int, bytes, int, tuple[str | None, str | None, int]]
    ) -> DelayedMessage:
        (at_ms, sequence), topic, qos, payload, due_ms, origin = row
        left_ms = max(0, due_ms - self._clock.wall_ms())
        return DelayedMessage(f"{at_ms:016X}{sequence:016X}", topic, qos, payload, due_ms, left_ms, Origin(*origin))


def _parse(message_id: str) -> tuple[int, int]:
    try:
        if len(message_id) != _ID_DIGITS or not message_id.isalnum():
            raise ValueError
        return int(message_id[:16], 16), int(message_id[16:], 16)
    except ValueError:
        raise Refused("MESSAGE_ID_SCHEMA_ERROR", f"a message id is 32 hexadecimal digits: {message_id!r}") from None
