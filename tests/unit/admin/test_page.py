"""Pages of lists."""

import msgspec
import pytest

from admin.schemas.page import Page, PageQuery


def _plain(page: Page[int]) -> object:
    return msgspec.to_builtins(page)


@pytest.mark.parametrize(
    ("page", "data", "hasnext"), [(1, [0, 1], True), (2, [2, 3], True), (3, [4], False), (4, [], False)]
)
def test_list_at_hand_is_cut(page: int, data: list[int], hasnext: bool) -> None:
    query = PageQuery(page=page, limit=2)
    meta = {"page": page, "limit": 2, "count": 5, "hasnext": hasnext}
    assert _plain(Page[int].cut(query, list(range(5)))) == {"data": data, "meta": meta}


def test_unknown_total_is_left_out() -> None:
    page = Page[int].uncounted(PageQuery(), [1], hasnext=True)
    assert _plain(page) == {"data": [1], "meta": {"page": 1, "limit": 100, "hasnext": True}}
