"""Results of commands: tables for people, JSON for programs. Text of clients cannot move the cursor of a terminal."""

import json
import shutil
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from pybroker.log import escape

_GAP = "  "
_NARROWEST = 8


def print_json(result: object) -> None:
    """Print JSON; everything beyond ASCII is escaped."""
    sys.stdout.write(json.dumps("ok" if result is None else result, indent=2).replace("\x7f", "\\u007f") + "\n")


def print_result(result: object, columns: Sequence[str]) -> None:
    """Print a result for people.

    Args:
        result: `None`: `ok`; rows, a page of rows, or a table of names and values.
        columns: of rows; empty: all that the first one has.
    """
    if result is None:
        sys.stdout.write("ok\n")
    elif isinstance(result, Mapping) and set(result) == {"data", "meta"}:
        _print_rows(result["data"], columns)
        _print_place(result["meta"])
    elif isinstance(result, Mapping):
        _print_table(None, [[name, _shown(value)] for name, value in result.items()])
    elif isinstance(result, list):
        _print_rows(result, columns)
    else:
        for line in str(result).split("\n"):
            sys.stdout.write(f"{escape(line)}\n")


def _print_rows(rows: Sequence[Any], columns: Sequence[str]) -> None:
    if not rows:
        sys.stdout.write("none\n")
    elif isinstance(rows[0], Mapping):
        names = columns or list(rows[0])
        _print_table(names, [[_shown(row.get(name)) for name in names] for row in rows])
    else:
        for row in rows:
            sys.stdout.write(f"{escape(str(row))}\n")


def _print_table(names: Sequence[str] | None, rows: Sequence[Sequence[str]]) -> None:
    """Print columns, two spaces apart; on a terminal, long cells go on in the next line of their column."""
    lines = [[escape(cell) for cell in row] for row in ([names, *rows] if names else rows)]
    widths = [max(_width(cell) for cell in column) for column in zip(*lines, strict=True)]
    if sys.stdout.isatty():
        widths = _narrowed(widths, shutil.get_terminal_size().columns - len(_GAP) * (len(widths) - 1))
    for line in lines:
        folded = [_folded(cell, width) for cell, width in zip(line, widths, strict=True)]
        for parts in zip_longest(*folded, fillvalue=""):
            cells = (part + " " * (width - _width(part)) for part, width in zip(parts, widths, strict=True))
            sys.stdout.write(_GAP.join(cells).rstrip() + "\n")


def _width(text: str) -> int:
    """Return how many places of a terminal a text takes: characters of East Asia take two, marks on others none."""
    return sum(_places(character) for character in text)


def _places(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _narrowed(widths: Sequence[int], room: int) -> list[int]:
    """Take from the widest columns until all of them have room; none gets narrower than a short word."""
    narrowed = list(widths)
    while sum(narrowed) > room and (widest := max(narrowed)) > _NARROWEST:
        narrowed[narrowed.index(widest)] -= 1
    return narrowed


def _folded(text: str, width: int) -> list[str]:
    """Cut a text into parts of at most `width` places, of at least one part."""
    parts, used = [""], 0
    for character in text:
        places = _places(character)
        if used + places > width:
            parts.append("")
            used = 0
        parts[-1] += character
        used += places
    return parts


def _print_place(meta: Mapping[str, Any]) -> None:
    count = "" if meta.get("count") is None else f" of {meta['count']}"
    if meta.get("hasnext"):
        sys.stdout.write(f"page {meta['page']}, {meta['limit']} rows{count}; next: --page {meta['page'] + 1}\n")


def _shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping | list):
        return json.dumps(value)
    return str(value)
