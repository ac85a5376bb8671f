"""Functions that compare: texts by their bytes after conversion, numbers by value, and `not`."""

import operator
from collections.abc import Callable

from pybroker.variform.errors import Mistake
from pybroker.variform.values import Value, is_empty, is_number, to_bytes, to_text


def negate(value: Value) -> Value:
    """Turn a boolean, or the text of one, into the other of its kind."""
    if isinstance(value, bool):
        return not value
    if value == "true":
        return "false"
    if value == "false":
        return "true"
    raise Mistake("exception", "not a boolean")


def is_empty_value(value: Value) -> bool:
    """Whether a value is null, the empty text or the empty list."""
    return is_empty(value)


def _texts(first: Value, second: Value) -> tuple[bytes, bytes]:
    return to_bytes(to_text(first)), to_bytes(to_text(second))


def _numbers(first: Value, second: Value) -> tuple[int | float, int | float]:
    if is_number(first) and is_number(second):
        return first, second
    raise Mistake("exception", "not a number")


def _order(is_less: bool, is_equal: bool) -> str:
    return "eq" if is_equal else "lt" if is_less else "gt"


def str_comp(first: Value, second: Value) -> str:
    """Return `lt`, `eq` or `gt` for two values as texts."""
    left, right = _texts(first, second)
    return _order(left < right, left == right)


def num_comp(first: Value, second: Value) -> str:
    """Return `lt`, `eq` or `gt` for two numbers."""
    left, right = _numbers(first, second)
    return _order(left < right, left == right)


def text_comparison(judge: Callable[[bytes, bytes], bool]) -> Callable[[Value, Value], bool]:
    """Return a function that compares two values as texts."""
    return lambda first, second: judge(*_texts(first, second))


def number_comparison(judge: Callable[[int | float, int | float], bool]) -> Callable[[Value, Value], bool]:
    """Return a function that compares two numbers."""
    return lambda first, second: judge(*_numbers(first, second))


str_eq, str_neq = text_comparison(operator.eq), text_comparison(operator.ne)
str_lt, str_lte = text_comparison(operator.lt), text_comparison(operator.le)
str_gt, str_gte = text_comparison(operator.gt), text_comparison(operator.ge)
num_eq, num_neq = number_comparison(operator.eq), number_comparison(operator.ne)
num_lt, num_lte = number_comparison(operator.lt), number_comparison(operator.le)
num_gt, num_gte = number_comparison(operator.gt), number_comparison(operator.ge)
