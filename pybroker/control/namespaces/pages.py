"""Pages behind a cursor that is the item itself: byte order, whatever comes and goes between two pages."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from pybroker.errors import Refused


class Cursor(NamedTuple):
    """Where a page begins.

    Args:
        last: last item of the page before; empty: the first page.
        first: first item of this page; `None`: `last` counts.
    """

    last: str
    first: str | None
    limit: int

    @property
    def start(self) -> str:
        """Return the item at which, or behind which, the page begins."""
        return self.last if self.first is None else self.first


class KeyPage(NamedTuple):
    """One page.

    Args:
        items: in byte order.
        next: cursor of the page behind it, in the manner of the one asked for; `None`: there is none.
    """

    items: list[str]
    next: str | None


def cursor_of(kind: str, last: str | None, first: str | None, limit: int) -> Cursor:
    """Return the cursor that a request names; `kind` is `ns` or `clientid`.

    Raises:
        Refused: `BAD_REQUEST`: there are two.
    """
    if last is not None and first is not None:
        raise Refused("BAD_REQUEST", f"`last_{kind}` and `first_{kind}` are mutually exclusive; use at most one.")
    return Cursor(last or "", first, limit)


def page_of(items: Sequence[str], cursor: Cursor) -> KeyPage:
    """Return a page of sorted items; O(log n)."""
    at = bisect_right(items, cursor.last) if cursor.first is None else bisect_left(items, cursor.first)
    return cut(list(items[at : at + cursor.limit + 1]), cursor)


def cut(found: list[str], cursor: Cursor) -> KeyPage:
    """Return a page of up to `limit` + 1 items that were found at its beginning."""
    items = found[: cursor.limit]
    if len(found) <= cursor.limit:
        return KeyPage(items, None)
    return KeyPage(items, items[-1] if cursor.first is None else found[cursor.limit])
