"""Results of commands: tables for people, JSON for programs. Text of clients cannot move the cursor of a terminal."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from pybroker.log import escape

# Wide enough that nothing is cut where no terminal says its width.
_UNBOUNDED = 10_000


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
    # Loaded here, so that programs that ask for JSON do not wait for it.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else _UNBOUNDED, highlight=False, emoji=False, markup=False)
    table = Table(box=None, show_header=names is not None, pad_edge=False)
    for name in names or ("", ""):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(escape(cell)) for cell in row))
    with console.capture() as captured:
        console.print(table)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


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
