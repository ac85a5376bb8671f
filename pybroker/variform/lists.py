"""Functions on lists and maps, ours and those of the modules `lists` and `maps`."""

from collections.abc import Mapping, Sequence

from pybroker.variform.errors import Mistake
from pybroker.variform.values import Value, is_integer, is_list, is_number, need_list, need_map, need_text, to_bytes

# Longest numeral that is read as a number, far above every real one.
_MAX_DIGITS = 1_000


def nth(position: Value, items: Value) -> Value:
    """Return an item by its position, counted from 1; nothing past the end."""
    at = _to_position(position)
    listed = need_list(items)
    if at < 1:
        raise Mistake("exception", "position below 1")
    return listed[at - 1] if at <= len(listed) else ""


def _to_position(value: Value) -> int:
    if is_integer(value):
        return value
    if isinstance(value, str):
        digits = value[1:] if value[:1] in {"+", "-"} else value
        if digits.isascii() and digits.isdecimal() and len(digits) <= _MAX_DIGITS:
            return int(value)
    raise Mistake("invalid_argument")


def list_nth(position: Value, items: Value) -> Value:
    """Return an item by its position, counted from 1, which must be there."""
    listed = need_list(items)
    if not is_integer(position) or not 1 <= position <= len(listed):
        raise Mistake("exception", "no such position")
    return listed[position - 1]


def list_last(items: Value) -> Value:
    """Return the last item of a list that has one."""
    listed = need_list(items)
    if not listed:
        raise Mistake("exception", "empty list")
    return listed[-1]


def list_sort(items: Value) -> list[Value]:
    """Sort: numbers, then booleans and null, then maps, lists and texts, each among themselves."""
    return sorted(need_list(items), key=_rank)


def _rank(value: Value) -> tuple[int, object]:
    if is_number(value):
        return 0, value
    if value is None or isinstance(value, bool):
        return 1, str(value).lower()
    if isinstance(value, Mapping):
        names = sorted(value)
        return 2, (len(names), names, [_rank(value[name]) for name in names])
    if is_list(value):
        return 3, [_rank(item) for item in value]
    return 4, to_bytes(need_text(value))


def list_reverse(items: Value) -> list[Value]:
    """Return the items in reverse order."""
    return list(reversed(need_list(items)))


def list_sum(items: Value) -> int | float:
    """Return the sum of numbers."""
    return sum(_numbers(need_list(items)))


def _numbers(items: Sequence[Value]) -> list[int | float]:
    numbers = [item for item in items if is_number(item)]
    if len(numbers) != len(items):
        raise Mistake("exception", "not a number")
    return numbers


def map_new() -> dict[str, Value]:
    """Return an empty map."""
    return {}


def map_size(value: Value) -> int:
    """Return the number of keys."""
    return len(need_map(value))


def map_get(name: Value, value: Value, *default: Value) -> Value:
    """Return what stands under a key, else the default; without one the key must be there."""
    entries = need_map(value)
    if isinstance(name, str) and name in entries:
        return entries[name]
    if not default:
        raise Mistake("exception", "no such key")
    return default[0]


def map_keys(value: Value) -> list[Value]:
    """Return the keys in order."""
    return [*sorted(need_map(value))]


def map_values(value: Value) -> list[Value]:
    """Return the values in the order of their keys."""
    entries = need_map(value)
    return [entries[name] for name in sorted(entries)]
