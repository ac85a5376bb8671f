"""Large collections a piece at a time."""

import weakref

from pybroker.slices import drain, let_go


class _Item:
    """Something that can be watched."""


def test_items_come_in_their_order_and_go_one_by_one() -> None:
    items = [_Item() for _ in range(3)]
    watched = [weakref.ref(item) for item in items]
    seen = []
    for item in drain(items):
        seen.append(watched.index(weakref.ref(item)))
        assert len(items) == 3 - len(seen)
    del item
    assert seen == [0, 1, 2]
    assert all(one() is None for one in watched)


def test_what_is_let_go_is_empty() -> None:
    rows, rules = [1, 2], {"a": 1, "b": 2}
    let_go(rows, rules)
    assert (rows, rules) == ([], {})
