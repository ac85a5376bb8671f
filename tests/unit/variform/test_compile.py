"""Checks when an expression is saved: positions, notices, sizes."""

import pytest

from pybroker.errors import BrokerError
from pybroker.variform import contexts
from pybroker.variform.compile import MAX_DEPTH, MAX_DIGITS, MAX_EXPRESSION_BYTES, Compiler
from pybroker.variform.errors import ExpressionError, Position
from pybroker.variform.functions import COALESCE


def refuse(compiler: Compiler, text: str) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        compiler.compile(text)
    return caught.value


@pytest.mark.parametrize(
    ("text", "message", "position"),
    [
        ("concat('a',)", "unexpected ')'", (11, 1, 12)),
        ("concat('a',\n  -)", "unexpected character: '-'", (14, 2, 3)),
        ("concat('a\nb',\n é)", "unexpected character: 'é'", (15, 3, 2)),
        ("concat('a', 'b", "text has no end", (12, 1, 13)),
        ("concat('a'", "expression ends too early", (10, 1, 11)),
        ("concat('a'\n", "expression ends too early", (11, 2, 1)),
        (" ", "expression is empty", (1, 1, 2)),
        ("upper(nope(1))", "function does not exist: 'nope'", (6, 1, 7)),
        ("upper(\n lower('a', 'b'))", "function 'lower' does not take this number of arguments: 2", (8, 2, 2)),
        ("upper(os.cmd('x'))", "module is not allowed: 'os'", (6, 1, 7)),
        ("upper(x.y('x'))", "module does not exist: 'x'", (6, 1, 7)),
        ("upper(a.b.c('x'))", "function may have one module in front: 'a.b.c'", (6, 1, 7)),
        ("concat(['a', 1.0e999])", "number is too large", (13, 1, 14)),
        ("'\ud800'", "character is not valid in UTF-8", (1, 1, 2)),
    ],
)
def test_error_says_what_and_where(compiler: Compiler, text: str, message: str, position: tuple[int, int, int]) -> None:
    error = refuse(compiler, text)
    assert (error.message, error.position) == (message, Position(*position))
    assert str(error) == f"{message}: at line {position[1]}, column {position[2]}"
    assert isinstance(error, BrokerError)


def test_unknown_function_is_refused_where_it_would_never_run(compiler: Compiler) -> None:
    assert refuse(compiler, "coalesce('a', nope())").reason == "unknown_variform_function"


def test_expression_may_be_as_long_as_the_limit(compiler: Compiler) -> None:
    longest = f"'{'é' * ((MAX_EXPRESSION_BYTES - 2) // 2)}'"
    assert compiler.compile(longest).text == longest
    assert refuse(compiler, f"{longest} ").message == f"expression must have at most {MAX_EXPRESSION_BYTES} bytes"


def test_number_may_be_as_long_as_the_limit(compiler: Compiler) -> None:
    longest = "9" * MAX_DIGITS
    assert compiler.compile(longest).evaluate({}) == longest
    assert refuse(compiler, f"{longest}9").message == f"number has more than {MAX_DIGITS} characters"


def nest(levels: int) -> str:
    return "upper(" * levels + "'a'" + ")" * levels


def test_calls_may_be_nested_to_the_limit(compiler: Compiler) -> None:
    assert compiler.compile(nest(MAX_DEPTH + 1)).evaluate({}) == "A"
    assert "nested deeper" in refuse(compiler, nest(MAX_DEPTH + 2)).message


@pytest.mark.parametrize("opening", ["upper(", "concat([", "coalesce([", "coalesce(", "iif(", "["])
def test_nesting_without_end_is_refused(compiler: Compiler, opening: str) -> None:
    count = MAX_EXPRESSION_BYTES // 2 // len(opening)
    text = opening * count + "'a'" + "".join({"(": ")", "[": "]"}[c] for c in reversed(opening * count) if c in "([")
    assert refuse(compiler, text).reason in {"syntax_error", "unknown_variform_function"}


def test_known_names_earn_no_notice(compiler: Compiler) -> None:
    text = "concat([username, client_attrs.tns, client_attrs..x, cn, sockport])"
    assert compiler.compile(text, contexts.CLIENTID_OVERRIDE).notices == ()


def test_unknown_names_earn_a_notice_each_in_order(compiler: Compiler) -> None:
    expression = compiler.compile("concat([usrname,\n password])", contexts.CLIENTID_OVERRIDE)
    assert [(notice.message, notice.position) for notice in expression.notices] == [
        ("variable is not known here: 'usrname'", Position(8, 1, 9)),
        ("variable is not known here: 'password'", Position(18, 2, 2)),
    ]


def test_without_context_no_name_is_unknown(compiler: Compiler) -> None:
    assert compiler.compile("usrname").notices == ()


def test_broken_literal_pattern_earns_a_notice(compiler: Compiler) -> None:
    (notice,) = compiler.compile("regex_match(clientid, '(a')").notices
    assert notice.message == "pattern is not valid: unclosed group"
    assert notice.position.column == 23


def test_pattern_of_a_variable_earns_no_notice(compiler: Compiler) -> None:
    assert compiler.compile("regex_match(clientid, username)").notices == ()


def test_literal_pattern_may_be_larger_than_a_computed_one(compiler: Compiler) -> None:
    assert compiler.compile(r"regex_match('abc', '^\w{1,64}$')").evaluate({}) == "true"
    assert compiler.compile(r"regex_match('abc', concat('^\w{1,64}', '$'))").evaluate({}) == (
        "exception",
        "regex_match: pattern is not valid",
    )


def test_form_that_chooses_its_arguments_cannot_be_called() -> None:
    with pytest.raises(TypeError):
        COALESCE.make()
