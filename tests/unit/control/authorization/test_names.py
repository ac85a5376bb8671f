"""Names in their order."""

import random

from pybroker.control.authorization.names import SortedNames


def _names(names: list[str]) -> SortedNames:
    found = SortedNames()
    for name in names:
        found.add(name)
    return found


def test_names_stand_in_their_order_however_they_come() -> None:
    numbers = [f"c{number}" for number in range(5_000)]
    for given in (numbers, numbers[::-1], random.Random(7).sample(numbers, len(numbers))):
        found = _names(given)
        assert list(found) == sorted(numbers)
        assert len(found) == len(numbers)


def test_name_is_there_once() -> None:
    assert list(_names(["b", "a", "b", "a"])) == ["a", "b"]


def test_name_that_was_taken_out_is_gone() -> None:
    numbers = [f"c{number}" for number in range(3_000)]
    found = _names(numbers)
    for name in random.Random(3).sample(numbers, 2_500):
        found.discard(name)
        numbers.remove(name)
    found.discard("no such name")
    found.discard("c")
    assert list(found) == sorted(numbers)
    assert len(found) == 500


def test_empty_set_takes_names_again() -> None:
    found = _names(["a"])
    found.discard("a")
    assert not list(found)
    assert found.page(0, 10) == []
    found.add("b")
    assert list(found) == ["b"]


def test_page_goes_over_blocks() -> None:
    numbers = sorted(f"c{number}" for number in range(2_000))
    found = _names(numbers)
    assert found.page(400, 700) == numbers[400:1_100]
    assert found.page(1_990, 100) == numbers[1_990:]
    assert found.page(2_000, 1) == []


def test_no_block_grows_with_the_names() -> None:
    found = _names([f"c{number}" for number in range(20_000)])
    assert max(map(len, found.blocks())) <= 512


def test_blocks_stay_as_they_were_while_names_change() -> None:
    found = _names(["a", "b"])
    seen = found.blocks()
    found.discard("a")
    assert seen == [["a", "b"]]
