"""What people see of a result: columns that stand under each other, on any terminal and in a pipe."""

import sys

import pytest

from pybroker.ctl.display import print_result

Capture = pytest.CaptureFixture[str]

_ROWS = [{"clientid": "c1", "topic": "a/+/b", "qos": 1}, {"clientid": "long-one", "topic": "#", "qos": None}]


def on_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """Let the standard output be a terminal that is so wide."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))


def test_rows_stand_in_columns(capsys: Capture) -> None:
    print_result(_ROWS, ("clientid", "topic", "qos"))
    assert capsys.readouterr().out == "clientid  topic  qos\nc1        a/+/b  1\nlong-one  #      -\n"


def test_table_of_values_has_no_head(capsys: Capture) -> None:
    print_result({"a": True, "longer": [1]}, ())
    assert capsys.readouterr().out == "a       yes\nlonger  [1]\n"


def test_wide_characters_do_not_shift_what_follows(capsys: Capture) -> None:
    print_result({"\u6c34": "x", "e\u0301e": "y", "abc": "z"}, ())
    assert capsys.readouterr().out == "\u6c34   x\ne\u0301e   y\nabc  z\n"


def test_nothing_is_cut_or_folded_in_a_pipe(capsys: Capture) -> None:
    print_result({"name": "x" * 500}, ())
    assert capsys.readouterr().out == f"name  {'x' * 500}\n"


def test_long_cell_goes_on_below_itself_on_a_terminal(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    on_terminal(monkeypatch, 30)
    print_result([{"id": "a", "text": "0123456789" * 4}, {"id": "b", "text": "\u6c34" * 14}], ())
    head, *cells = capsys.readouterr().out.splitlines()
    assert head == "id  text"
    assert cells == ["a   01234567890123456789012345", "    67890123456789", "b   " + "\u6c34" * 13, "    \u6c34"]


def test_terminal_that_is_far_too_narrow_still_shows_everything(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_terminal(monkeypatch, 1)
    print_result([{"text": "0123456789"}], ())
    assert capsys.readouterr().out.split() == ["text", "01234567", "89"]


def test_control_characters_of_a_cell_are_escaped(capsys: Capture) -> None:
    print_result({"name": "a\x1b[2Jb"}, ())
    assert capsys.readouterr().out == "name  a\\x1b[2Jb\n"


def test_no_library_for_terminals_is_needed(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    # A broker would hold three megabytes of it: the library for logs loads it wherever it is installed.
    for name in [name for name in sys.modules if name.partition(".")[0] == "rich"] or ["rich"]:
        monkeypatch.setitem(sys.modules, name, None)
    print_result({"a": 1}, ())
    assert capsys.readouterr().out == "a  1\n"
