"""Pages: the parameters of every paged list, and its reply."""

from typing import Annotated, Generic, Self, TypeVar

import msgspec

MAX_LIMIT = 10_000

T = TypeVar("T")


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which page; pages count from 1. Lists with filters add them in a struct below this one."""

    page: Annotated[int, msgspec.Meta(ge=1)] = 1
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_LIMIT)] = 100

    @property
    def offset(self) -> int:
        """Rows before the page."""
        return (self.page - 1) * self.limit


class PageMeta(msgspec.Struct, frozen=True, kw_only=True):
    """Where the page stands.

    Args:
        count: rows in all; left out where it cannot be had cheaply.
        hasnext: whether there are rows behind it.
    """

    page: int
    limit: int
    count: int | msgspec.UnsetType = msgspec.UNSET
    hasnext: bool | msgspec.UnsetType = msgspec.UNSET


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One page of rows."""

    data: list[T]
    meta: PageMeta

    @classmethod
    def of(cls, query: PageQuery, rows: list[T], count: int) -> Self:
        """Return a page whose total is known."""
        hasnext = query.offset + len(rows) < count
        return cls(data=rows, meta=PageMeta(page=query.page, limit=query.limit, count=count, hasnext=hasnext))

    @classmethod
    def uncounted(cls, query: PageQuery, rows: list[T], *, hasnext: bool) -> Self:
        """Return a page whose total is not known."""
        return cls(data=rows, meta=PageMeta(page=query.page, limit=query.limit, hasnext=hasnext))

    @classmethod
    def cut(cls, query: PageQuery, rows: list[T]) -> Self:
        """Return the page of a list that is at hand as a whole."""
        return cls.of(query, rows[query.offset : query.offset + query.limit], len(rows))
