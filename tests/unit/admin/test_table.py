"""The route table as a whole: complete, consistent, and in line with the contract's scopes."""

import msgspec
import pytest

from admin.app import ROWS
from admin.codes import CODES
from admin.table import DENIED, PUBLIC, Access, Row, by_path
from pybroker.control.scopes import ALL

QUESTIONS = ("/authorization/explain", "/authorization/simulate")
"""Routes that change nothing although they have a body: questions about access control."""

_NAMES = [f"{row.method} {row.path}" for row in ROWS]


def test_no_route_stands_twice() -> None:
    assert len(set(_NAMES)) == len(_NAMES)


@pytest.mark.parametrize("row", ROWS, ids=_NAMES)
def test_row_is_complete(row: Row) -> None:
    assert row.path.startswith("/")
    assert row.summary
    assert row.tag
    assert row.scope in (*ALL, PUBLIC, DENIED)
    assert all(code in CODES for code in row.errors)
    assert row.handler.__doc__


@pytest.mark.parametrize("row", ROWS, ids=_NAMES)
def test_everything_but_reading_is_audited(row: Row) -> None:
    assert (row.audit == "never") == (row.method == "GET")


@pytest.mark.parametrize("row", ROWS, ids=_NAMES)
def test_viewers_only_read(row: Row) -> None:
    if row.method != "GET" and row.path not in QUESTIONS:
        assert row.access not in (Access.READER, Access.GLOBAL_READER)


def test_row_without_one_of_its_fields_is_refused() -> None:
    whole = {field.name: getattr(ROWS[0], field.name) for field in msgspec.structs.fields(Row)}
    for field in msgspec.structs.fields(Row):
        if field.required:
            with pytest.raises(TypeError):
                Row(**{name: value for name, value in whole.items() if name != field.name})
    assert sum(field.required for field in msgspec.structs.fields(Row)) == 13


@pytest.mark.parametrize(("path", "rows"), by_path(ROWS), ids=[path for path, _ in by_path(ROWS)])
def test_all_rows_of_a_path_have_one_scope(path: str, rows: tuple[Row, ...]) -> None:
    assert len({row.scope for row in rows}) == 1


def test_literal_segments_are_tried_before_parameters() -> None:
    def row(path: str) -> Row:
        return msgspec.structs.replace(ROWS[0], path=path)

    ordered = [path for path, _ in by_path([row("/sso/:backend"), row("/sso/running"), row("/sso")])]
    assert ordered == ["/sso", "/sso/running", "/sso/:backend"]
