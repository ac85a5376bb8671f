"""Every trap of access control has its tests, and the examples of the contract are all there."""

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.property.test_acl_reference import cases
from tests.support.access_traps import TRAPS

_TESTS = Path(__file__).parents[2]


@cache
def _functions(file: str) -> frozenset[str]:
    tree = ast.parse((_TESTS / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("number", TRAPS)
def test_trap_has_its_tests(number: int) -> None:
    assert TRAPS[number].tests
    for test in TRAPS[number].tests:
        file, _, name = test.partition("::")
        assert name in _functions(file), f"trap {number}: no such test: {test}"


def test_traps_are_numbered_without_a_gap() -> None:
    assert list(TRAPS) == list(range(1, 49))


def test_worked_examples_stand_first() -> None:
    pairs = {(case["filter"], case["rule"]) for case in cases("filters.toml")[:30]}
    assert len(pairs) == 30
    assert {("a/#", "a/+"), ("#", "+/#"), ("$SYS/#", "$SYS/+"), ("x/1", "eq x/#"), ("#", "eq #")} <= pairs
