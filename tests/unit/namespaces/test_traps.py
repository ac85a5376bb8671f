"""Every trap of the namespaces, and every decision about them, has its tests."""

import ast
import re
from functools import cache
from pathlib import Path

import msgspec
import pytest

from pybroker.config.schema import Config
from tests.support.admin_traps import Trap
from tests.support.namespace_traps import ABSENT, DECISIONS, TRAPS

_TESTS = Path(__file__).parents[2]
_ALL = [*((f"trap {number}", trap) for number, trap in TRAPS.items())]
_ALL += [(f"decision {number}", trap) for number, trap in DECISIONS.items()]


@cache
def _functions(file: str) -> frozenset[str]:
    text = (_TESTS / file).read_text(encoding="utf-8")
    if file.endswith(".rs"):
        return frozenset(re.findall(r"#\[test\]\s+fn (\w+)", text))
    tree = ast.parse(text)
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize(("label", "trap"), _ALL, ids=[label for label, _ in _ALL])
def test_trap_has_its_tests(label: str, trap: Trap) -> None:
    assert trap.tests
    for test in trap.tests:
        file, _, name = test.partition("::")
        assert name in _functions(file), f"{label}: no such test: {test}"


def test_traps_and_decisions_are_numbered_without_a_gap() -> None:
    assert sorted(TRAPS) == list(range(1, 46))
    assert sorted([*DECISIONS, *ABSENT]) == list(range(1, 17))


def test_parts_that_are_to_come_are_not_there_yet() -> None:
    keys = {field.name for field in msgspec.structs.fields(Config)}
    keys |= {field.name for field in msgspec.structs.fields(type(Config().mqtt))}
    assert not keys & set(ABSENT.values()), "a new part has the decisions about it tested"
