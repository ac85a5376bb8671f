"""The shared vectors: every expression and template in `tests/vectors/variform`."""

import tomllib
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from pybroker.variform.compile import Compiler
from pybroker.variform.errors import ExpressionError, Failure
from pybroker.variform.functions import make_tables
from pybroker.variform.surroundings import Surroundings
from pybroker.variform.template import MOUNTPOINT, Missing, Template, TemplateValues
from pybroker.variform.values import Value
from tests.support.clock import FakeClock

FOLDER = Path(__file__).parents[2] / "vectors" / "variform"


class Case(msgspec.Struct, forbid_unknown_fields=True):
    expression: str
    result: str | None = None
    error: str | None = None


class Cases(msgspec.Struct):
    case: list[Case]


class TemplateCase(msgspec.Struct, forbid_unknown_fields=True):
    template: str
    result: str
    missing: str | None = None
    unknown: list[str] = []
    partial: list[int] = []


class TemplateCases(msgspec.Struct, forbid_unknown_fields=True):
    values: dict[str, str]
    attributes: dict[str, str]
    case: list[TemplateCase]


class Outcome(NamedTuple):
    result: str | None
    error: str | None


def load_bindings() -> dict[str, Value]:
    content = tomllib.loads((FOLDER / "bindings.toml").read_text(encoding="utf-8"))
    return {**content["bindings"], **dict.fromkeys(content["nulls"])}


def load_cases() -> list[Case]:
    files = [FOLDER / f"{name}.toml" for name in ("examples", "syntax", "functions")]
    return [case for file in files for case in msgspec.toml.decode(file.read_bytes(), type=Cases).case]


CASES = load_cases()
TEMPLATES = msgspec.toml.decode((FOLDER / "templates.toml").read_bytes(), type=TemplateCases)


def run(compiler: Compiler, text: str) -> Outcome:
    try:
        result = compiler.compile(text).evaluate(load_bindings())
    except ExpressionError as error:
        return Outcome(None, error.reason)
    return Outcome(None, result.reason) if isinstance(result, Failure) else Outcome(result, None)


@pytest.mark.parametrize("case", CASES, ids=[case.expression for case in CASES])
def test_expression_yields_what_the_vector_says(compiler: Compiler, case: Case) -> None:
    assert run(compiler, case.expression) == (case.result, case.error)


def test_every_function_stands_in_a_vector() -> None:
    tables = make_tables(Surroundings(FakeClock(), {}, bytes))
    names = [*tables[""], *(f"{module}.{name}" for module in ("lists", "maps") for name in tables[module])]
    texts = [case.expression for case in CASES]
    assert [name for name in names if not any(f"{name}(" in text for text in texts)] == []


@pytest.mark.parametrize("case", TEMPLATES.case, ids=[case.template for case in TEMPLATES.case])
def test_template_renders_what_the_vector_says(case: TemplateCase) -> None:
    template = Template(case.template, MOUNTPOINT)
    values = TemplateValues(TEMPLATES.values, TEMPLATES.attributes)
    assert template.render(values) == case.result
    assert template.render_all(values) == (case.result if case.missing is None else Missing(case.missing))
    assert (template.unknown, template.partial_levels) == (tuple(case.unknown), tuple(case.partial))
