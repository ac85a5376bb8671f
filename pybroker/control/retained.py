"""Retained messages: listed, read and deleted, one or by filter."""

import asyncio
from typing import NamedTuple

from pybroker.control.clients import check_filter
from pybroker.control.cursors import SLICE, Cursors, skip_and_take
from pybroker.control.origin import Origin
from pybroker.control.plane import Plane
from pybroker.errors import Refused

_OWN = "$SYS/"
"""Messages of the broker itself; they are not cleared with the others."""


class RetainedMessage(NamedTuple):
    """One message.

    Args:
        topic: as routed.
        origin: who published it, and when.
    """

    topic: str
    payload: bytes
    qos: int
    origin: Origin


class RetainedPage(NamedTuple):
    """Some messages.

    Args:
        total: how many there are; `None`: not known.
    """

    messages: list[RetainedMessage]
    total: int | None
    has_next: bool


class Retained:
    """The retained messages.

    Args:
        plane: holds them.
    """

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._engine = plane.engine
        self._cursors = Cursors()

    async def page(self, filter: str | None, offset: int, limit: int) -> RetainedPage:
        """Return messages behind the first `offset`, all or those that match.

        Raises:
            Refused: `BAD_REQUEST`: the filter is not valid.
        """
        if filter is not None:
            check_filter(self._plane, filter, "BAD_REQUEST")
            rows, following = self._engine.page_retained(filter, offset, limit)
            return RetainedPage([_message(row) for row in rows], None, following >= 0)

        def take(cursor: int, most: int) -> tuple[list[RetainedMessage], int]:
            taken, behind = self._engine.page_retained(None, cursor, most)
            return [_message(row) for row in taken], behind

        total = self._engine.stats()["retained"]
        messages, has_next = await skip_and_take(take, self._cursors.of(total), offset, limit)
        return RetainedPage(messages, total, has_next)

    def find(self, topic: str) -> RetainedMessage:
        """Return the message of a topic, or one that matches a filter.

        Raises:
            Refused: `NOT_FOUND`: there is none; `BAD_REQUEST`: the topic is not valid.
        """
        check_filter(self._plane, topic, "BAD_REQUEST")
        rows, _ = self._engine.page_retained(topic, 0, 1)
        if not rows:
            raise Refused("NOT_FOUND", f"no retained message on: {topic!r}")
        return _message(rows[0])

    async def remove(self, topic: str) -> None:
        """Delete the message of a topic, or all that match a filter.

        Raises:
            Refused: as `find`.
        """
        self.find(topic)
        await asyncio.to_thread(self._engine.retained_delete, topic)

    async def clear(self) -> None:
        """Delete every message but those of the broker itself."""
        await asyncio.to_thread(self._engine.retained_delete, "#")
        cursor = 0
        while cursor >= 0:
            rows, cursor = self._engine.page_retained(None, cursor, SLICE)
            for topic in [row[0] for row in rows if not row[0].startswith(_OWN)]:
                self._engine.retained_delete(topic)
            await asyncio.sleep(0)


def _message(row: tuple[str, bytes, int, int, tuple[str | None, str | None, int]]) -> RetainedMessage:
    topic, payload, qos, _, origin = row
    return RetainedMessage(topic, payload, qos, Origin(*origin))
