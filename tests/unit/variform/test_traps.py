"""What is easily got wrong in an expression."""

import pytest

from pybroker.variform.compile import Compiler
from pybroker.variform.errors import ExpressionError, Failure

_VALUES = {"text": "a", "name": "x", "nothing": None, "user_property": {"my-key": "found"}, "username": None}


def _result(compiler: Compiler, text: str) -> str:
    found = compiler.compile(text, None).evaluate(_VALUES)
    return f"error: {found.reason}" if isinstance(found, Failure) else found


@pytest.mark.parametrize(("text", "result"), [("iif(false,'T','F')", "T"), ("iif(str_eq('a','b'),'T','F')", "F")])
def test_literal_false_is_a_text_and_a_computed_one_is_not(compiler: Compiler, text: str, result: str) -> None:
    assert _result(compiler, text) == result


@pytest.mark.parametrize(("text", "result"), [("coalesce(text)", "error: coalesce_badarg"), ("coalesce(text,'')", "a")])
def test_coalesce_of_one_text_is_an_error(compiler: Compiler, text: str, result: str) -> None:
    assert _result(compiler, text) == result


def test_concat_takes_one_list_or_two_values(compiler: Compiler) -> None:
    assert _result(compiler, "concat([text,'-',name])") == "a-x"
    assert _result(compiler, "concat(text,name)") == "ax"
    with pytest.raises(ExpressionError):
        compiler.compile("concat(text,'-',name)", None)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("nth(1, split('a,b', ','))", "a"),
        ("nth(0, split('a,b', ','))", "error: exception"),
        ("nth(3, split('a,b', ','))", ""),
        ("substr('abc', 0, 1)", "a"),
        ("substr('abc', 9)", ""),
    ],
)
def test_elements_count_from_one_and_characters_from_zero(compiler: Compiler, text: str, result: str) -> None:
    assert _result(compiler, text) == result


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("join_to_string('_', tokens('a.b-c', '.-'))", "a_b_c"),
        ("join_to_string('_', split('a.b-c', '.-'))", "a.b-c"),
        ("join_to_string('_', tokens('a..b', '.'))", "a_b"),
        ("join_to_string('_', split('a..b', '.'))", "a_b"),
        ("join_to_string('_', split('a..b', '.', 'notrim'))", "a__b"),
    ],
)
def test_tokens_take_characters_and_split_takes_a_text(compiler: Compiler, text: str, result: str) -> None:
    assert _result(compiler, text) == result


def test_names_may_hold_dashes_and_texts_no_escapes(compiler: Compiler) -> None:
    assert _result(compiler, "user_property.my-key") == "found"
    assert _result(compiler, "'a\\n'") == "a\\n"
    with pytest.raises(ExpressionError):
        compiler.compile("'it\\'s'", None)


@pytest.mark.parametrize(
    ("text", "result"),
    [("missing", "error: var_unbound"), ("nothing", ""), ("username", ""), ("cn", "error: var_unbound")],
)
def test_missing_name_is_an_error_and_an_empty_one_is_not(compiler: Compiler, text: str, result: str) -> None:
    assert _result(compiler, text) == result
