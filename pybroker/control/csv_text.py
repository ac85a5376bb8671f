"""CSV as RFC 4180 has it, read and written so that a spreadsheet can neither run nor bend a cell.

Cells that stand without quotes are trimmed. A cell that a spreadsheet would take for a formula is written with a quote
in front, and reading takes exactly one such quote off again. What the columns mean is not known here.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

_BLANK = " \t\r"
_CELL = re.compile(
    r'[ \t]*(?:"(?P<quoted>(?>[^"]*(?:""[^"]*)*))"[ \t]*|(?P<bare>(?![ \t]*")[^,\n]*))(?P<end>,|\r?\n|\r?\Z)'
)
_GUARDED = re.compile(r"'+[=+\-@\t\r]")
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_NEEDS_QUOTES = re.compile(r'[",\n\r]|\A[ \t]|[ \t]\Z')


class Row(NamedTuple):
    """One row.

    Args:
        line: physical line on which it begins; the first is 1.
        cells: trimmed, without quotes and guards.
        problem: why it cannot be read; empty if it can.
    """

    line: int
    cells: Sequence[str]
    problem: str = ""


def read_rows(text: str) -> Iterator[Row]:
    """Yield the rows of a text; blank lines are passed over. O(text).

    A quote that is not closed ends the reading with a row that says so.
    """
    at, line, end = 0, 1, len(text)
    while at < end:
        stop = text.find("\n", at)
        stop = end if stop < 0 else stop
        if text.find('"', at, stop) < 0:
            record = text[at:stop]
            if record.strip(_BLANK):
                cells = [cell.strip(_BLANK) for cell in record.split(",")]
                yield Row(line, [*map(_unguard, cells)] if "'" in record else cells)
            at, line = stop + 1, line + 1
            continue
        row, behind = _read_quoted(text, at, line)
        yield row
        line += text.count("\n", at, behind)
        at = behind


def write_row(cells: Iterable[str]) -> str:
    """Return one line, which `read_rows` reads back to the same cells."""
    return ",".join(map(_written, cells)) + "\r\n"


def _read_quoted(text: str, start: int, line: int) -> tuple[Row, int]:
    """Read a row that has quotes; return it and where the next one begins."""
    at, cells = start, []
    while True:
        found = _CELL.match(text, at)
        if found is None:
            return _broken(text, at, line)
        quoted = found["quoted"]
        cells.append(_unguard(found["bare"].strip(_BLANK) if quoted is None else quoted.replace('""', '"')))
        at = found.end()
        if found["end"] != ",":
            return Row(line, cells), at


def _broken(text: str, at: int, line: int) -> tuple[Row, int]:
    """Return the row of a cell that cannot be read, and the line behind it; the end if its quote is never closed."""
    opening = text.index('"', at)
    inside = re.compile(r'[^"]*(?:""[^"]*)*"').match(text, opening + 1)
    if inside is None:
        return Row(line, (), "quote is not closed"), len(text)
    closing = text.find("\n", inside.end())
    return Row(line, (), "something follows a closing quote"), len(text) if closing < 0 else closing + 1


def _unguard(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _GUARDED.match(cell) else cell


def _written(cell: str) -> str:
    guarded = f"'{cell}" if _FORMULA.match(cell) else cell
    return '"' + guarded.replace('"', '""') + '"' if _NEEDS_QUOTES.search(guarded) else guarded
