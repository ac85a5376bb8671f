"""The file of a trace."""

import zipfile
from pathlib import Path

import pytest

from pybroker.control.trace_file import TraceFile


@pytest.fixture
def file(tmp_path: Path) -> TraceFile:
    return TraceFile(tmp_path / "trace" / "t.log")


def test_lines_are_appended_and_only_the_owner_reads_them(file: TraceFile) -> None:
    assert file.append(["one\n"], 100)
    assert file.append(["two\n"], 100)
    assert file.path.read_text() == "one\ntwo\n"
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert file.changed_s > 0


def test_whole_lines_are_kept_up_to_the_size(file: TraceFile) -> None:
    assert not file.append(["1234\n", "5678\n", "9\n"], 11)
    assert file.path.read_text() == "1234\n5678\n"
    assert not file.append(["next\n"], 11)


def test_pieces_end_at_the_end(file: TraceFile) -> None:
    file.append(["hello world\n"], 100)
    piece = file.read(0, 5)
    assert piece is not None
    assert (piece.text, piece.end, piece.is_last) == ("hello", 5, False)
    rest = file.read(piece.end, 100)
    assert rest is not None
    assert (rest.text, rest.end, rest.is_last) == (" world\n", 12, True)
    assert file.read(13, 1) is None


@pytest.mark.parametrize("text", ["äöü€😀x", "€€€€", "😀😀😀"])
@pytest.mark.parametrize("most", [1, 4, 5, 6, 7])
def test_characters_are_never_cut(file: TraceFile, text: str, most: int) -> None:
    file.append([text], 100)
    found, at = "", 0
    for _ in range(100):
        piece = file.read(at, most)
        assert piece is not None
        found, at = found + piece.text, piece.end
        if piece.is_last:
            break
    assert found == text


def test_file_that_is_not_there_is_empty(file: TraceFile, tmp_path: Path) -> None:
    piece = file.read(0, 10)
    assert piece is not None
    assert (piece.text, piece.is_last, file.size, file.changed_s) == ("", True, 0, 0)
    assert not file.pack(tmp_path / "x.zip", "n")
    file.remove()


def test_archive_holds_the_file_under_its_name(file: TraceFile, tmp_path: Path) -> None:
    file.append(["line\n"], 100)
    assert file.pack(tmp_path / "x.zip", "node-t.log")
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert archive.read("node-t.log") == b"line\n"
