"""Every numbered behaviour, and every statement that it rests on, has a test."""

import pytest

from tests.support.spec_report import render, tagged_tests
from tests.support.spec_rows import ROWS

TESTS = tagged_tests()


@pytest.mark.parametrize("number", ROWS)
def test_behaviour_has_a_test_for_each_of_its_statements(number: int) -> None:
    tests = [test for test in TESTS if number in test.rows]
    assert tests, f"no test for row {number}: {ROWS[number].title}"
    tagged = {statement for test in tests for statement in test.statements}
    missing = set(ROWS[number].statements) - tagged
    assert not missing, f"row {number}: no test for {sorted(missing)}"


def test_rows_are_numbered_without_a_gap() -> None:
    assert list(ROWS) == list(range(1, 122))


def test_tags_name_rows_and_statements_that_exist() -> None:
    for test in TESTS:
        for number in test.rows:
            assert number in ROWS, test
        known = {statement for number in test.rows for statement in ROWS[number].statements}
        assert set(test.statements) <= known, test


def test_report_lists_every_behaviour_and_statement() -> None:
    page = render(TESTS, {})
    for number, row in ROWS.items():
        assert f"| {number} | {row.title} |" in page
        for statement in row.statements:
            assert f"| {statement} |" in page
