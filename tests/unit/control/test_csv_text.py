"""CSV: RFC 4180, trimming, physical lines and guards against spreadsheets."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybroker.control.csv_text import Row, read_rows, write_row


def cells(text: str) -> list[list[str]]:
    return [list(row.cells) for row in read_rows(text)]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a,b\nc,d", [["a", "b"], ["c", "d"]]),
        ("a,b\r\nc,d\r\n", [["a", "b"], ["c", "d"]]),
        (" a ,\tb\t\n", [["a", "b"]]),
        ('" a ","b"\n', [[" a ", "b"]]),
        (' "a" , "b" \n', [["a", "b"]]),
        ('"a,b","c""d"\n', [["a,b", 'c"d']]),
        ('"a\nb",c\nd,e', [["a\nb", "c"], ["d", "e"]]),
        ('a"b,c\n', [['a"b', "c"]]),
        ('"",\n', [["", ""]]),
        ('x,""', [["x", ""]]),
        ('x,"y",', [["x", "y", ""]]),
        ("\n \r\n\t\na\n\n", [["a"]]),
        (",\n", [["", ""]]),
        ("", []),
        ("'=x,'+y,'-z,'@w\n", [["=x", "+y", "-z", "@w"]]),
        ("'a,''=x,'\n", [["'a", "'=x", "'"]]),
        ("=x,+y\n", [["=x", "+y"]]),
    ],
)
def test_rows_are_read(text: str, rows: list[list[str]]) -> None:
    assert cells(text) == rows


def test_rows_know_their_physical_line() -> None:
    text = 'h\n\na\n"b\nb\n",c\n\r\nd\n'
    assert [row.line for row in read_rows(text)] == [1, 3, 4, 8]


def test_text_behind_a_closing_quote_spoils_its_row_only() -> None:
    rows = list(read_rows('a\n"b\nb"x,"c"\nd\n'))
    assert rows == [Row(1, ["a"]), Row(2, (), "something follows a closing quote"), Row(4, ["d"])]


def test_quote_that_is_not_closed_ends_the_reading() -> None:
    rows = list(read_rows('a\n"b\nc\nd\n'))
    assert rows == [Row(1, ["a"]), Row(2, (), "quote is not closed")]


def test_many_stray_quotes_cost_no_more_than_their_text() -> None:
    started = time.process_time()
    assert sum(1 for _ in read_rows('"a"b\n' * 100_000)) == 100_000
    assert sum(1 for _ in read_rows('"' + 'a""' * 300_000)) == 1
    assert time.process_time() - started < 10


@pytest.mark.parametrize("cell", ["=1+1", "+/x", "-1", "@a", "\tx", "\rx"])
def test_no_cell_is_written_that_a_spreadsheet_would_run(cell: str) -> None:
    written = write_row([cell])
    assert written.lstrip('"').startswith("'")
    assert cells(written) == [[cell]]


@given(st.lists(st.text(alphabet=st.sampled_from("ab'\"=+-@,\t\r\n é$"), max_size=6), min_size=2, max_size=4))
def test_what_is_written_is_read_back(row: list[str]) -> None:
    assert cells(write_row(["x", *row])) == [["x", *row]]
