"""The values of the language: what they are, when they are empty, and how they become text.

Texts that are not UTF-8 (a decoded base64, a password) travel as `str` with surrogate escapes, so that a text is always
a `str`; only `to_result` judges them. Whatever makes a text longer asks `check_size` first: nothing above the limit is
ever built from two parts that are below it.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias, TypeGuard

from pybroker.variform.errors import Mistake

Value: TypeAlias = "str | int | float | bool | list[Value] | tuple[Value, ...] | Mapping[str, Value] | None"
"""What an expression computes with: the values of JSON."""

Bindings: TypeAlias = Mapping[str, Value]
"""Variables of one evaluation by name; a dotted name is looked up in nested maps."""

MAX_TEXT_BYTES = 1_048_576
"""Longest text that an evaluation may build."""


# Not written as unions, which `isinstance` would build at each call.
_LISTS = (list, tuple)
_NUMBERS = (int, float)


def is_list(value: Value) -> TypeGuard[list[Value] | tuple[Value, ...]]:
    """Whether a value is a list."""
    return isinstance(value, _LISTS)


def is_integer(value: Value) -> TypeGuard[int]:
    """Whether a value is an integer; a boolean is none."""
    return type(value) is int


def is_number(value: Value) -> TypeGuard[int | float]:
    """Whether a value is an integer or float; a boolean is none."""
    return type(value) in _NUMBERS


def is_empty(value: Value) -> bool:
    """Whether a value counts as nothing: null, the empty text, the empty list."""
    return value is None or value == "" or (is_list(value) and not value)


def check_size(length: int) -> None:
    """Refuse to build a text of `length` characters above the limit.

    Raises:
        Mistake: `too_large`.
    """
    if length > MAX_TEXT_BYTES:
        raise Mistake("too_large")


def need_text(value: Value) -> str:
    """Return a value that must be a text.

    Raises:
        Mistake: `badarg` for null, `exception` for anything else.
    """
    if isinstance(value, str):
        return value
    raise Mistake("badarg") if value is None else Mistake("exception", "not a text")


def need_integer(value: Value) -> int:
    """Return a value that must be an integer.

    Raises:
        Mistake: `exception`.
    """
    if is_integer(value):
        return value
    raise Mistake("exception", "not an integer")


def need_list(value: Value) -> Sequence[Value]:
    """Return a value that must be a list.

    Raises:
        Mistake: `exception`.
    """
    if is_list(value):
        return value
    raise Mistake("exception", "not a list")


def need_map(value: Value) -> Mapping[str, Value]:
    """Return a value that must be a map.

    Raises:
        Mistake: `exception`.
    """
    if isinstance(value, Mapping):
        return value
    raise Mistake("exception", "not a map")


def to_text(value: Value) -> str:
    """Return a value as text: numbers in decimal, booleans by name, maps and lists as compact JSON, `[]` as nothing.

    Raises:
        Mistake: `badarg` for null, `exception` for a number without decimal form.
    """
    if isinstance(value, str):
        return value
    if value is None:
        raise Mistake("badarg")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _float_to_text(value)
    return "" if is_empty(value) else to_json(value)


def _float_to_text(value: float) -> str:
    if not math.isfinite(value):
        raise Mistake("exception", "not a finite number")
    text = f"{value:.10f}".rstrip("0")
    return f"{text}0" if text.endswith(".") else text


def to_json(value: Value) -> str:
    """Return a value as compact JSON.

    Raises:
        RecursionError: it is nested too deeply.
        ValueError: a number has no form in JSON.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=dict)


def join(separator: str, parts: Sequence[str]) -> str:
    """Return the parts with the separator between them.

    Raises:
        Mistake: `too_large`.
    """
    check_size(sum(map(len, parts)) + len(separator) * max(len(parts) - 1, 0))
    return separator.join(parts)


def to_bytes(text: str) -> bytes:
    """Return the bytes of a text."""
    return text.encode("utf-8", "surrogateescape")


def from_bytes(data: bytes) -> str:
    """Return bytes as text; those that are not UTF-8 as surrogate escapes."""
    return data.decode("utf-8", "surrogateescape")


def to_result(value: Value) -> str:
    """Return what an expression yields for its last value.

    Raises:
        Mistake: `bad_return` for a list or map and for a text that is not UTF-8; `too_large`.
    """
    if isinstance(value, str):
        text = value
    elif is_empty(value):
        return ""
    elif is_list(value) or isinstance(value, Mapping):
        raise Mistake("bad_return")
    else:
        text = to_text(value)
    if text.isascii():
        check_size(len(text))
        return text
    try:
        data = to_bytes(text)
        check_size(len(data))
        return data.decode()
    except UnicodeError:
        raise Mistake("bad_return", "not UTF-8") from None
