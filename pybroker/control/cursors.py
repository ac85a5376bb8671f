"""Pages by number over lists that the core gives behind a cursor.

A page further back is reached by passing over those before it, a slice at a time, so that the loop gets its turn. Where
a caller wants page after page, the cursor of the next one is remembered.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

SLICE = 1_000
"""Rows that are taken from the core before the loop gets its turn: some 2 ms."""

_REMEMBERED = 64

R = TypeVar("R")


class Cursors:
    """Cursors by the number of rows in front of them; valid while the number of rows stays the same."""

    def __init__(self) -> None:
        self._total = -1
        self._by_offset: dict[int, int] = {}

    def of(self, total: int) -> dict[int, int]:
        """Return the cursors that hold for a number of rows."""
        if total != self._total:
            self._total = total
            self._by_offset = {}
        return self._by_offset


async def skip_and_take(
    take: Callable[[int, int], tuple[list[R], int]], remembered: dict[int, int], offset: int, limit: int
) -> tuple[list[R], bool]:
    """Return the rows behind the first `offset` and whether more follow.

    Args:
        take: one slice behind a cursor.
        remembered: cursors by offset; the one of the page behind this one is added.
    """
    start = max((known for known in remembered if known <= offset), default=0)
    cursor, passed = remembered.get(start, 0), start
    while passed < offset and cursor >= 0:
        rows, cursor = take(cursor, min(SLICE, offset - passed))
        passed += len(rows)
        await asyncio.sleep(0)
    found: list[R] = []
    while len(found) < limit and cursor >= 0:
        rows, cursor = take(cursor, min(SLICE, limit - len(found)))
        found += rows
        await asyncio.sleep(0)
    if cursor >= 0:
        remembered.pop(offset + limit, None)
        remembered[offset + limit] = cursor
        if len(remembered) > _REMEMBERED:
            del remembered[next(iter(remembered))]
        # The core may give a cursor behind its last row.
        return found, bool(take(cursor, 1)[0])
    return found, False
