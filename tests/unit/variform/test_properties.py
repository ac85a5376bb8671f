"""Any text and any value: the compiler and the functions neither crash nor hang, and literals mean themselves."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pybroker.variform.compile import Compiler
from pybroker.variform.errors import ExpressionError, Failure, Position
from pybroker.variform.functions import make_tables
from pybroker.variform.surroundings import Surroundings
from pybroker.variform.values import Value
from tests.support.clock import FakeClock

COMPILER = Compiler(FakeClock(), {})
BINDINGS: dict[str, Value] = {"a": "x", "b": ["y", None, 1.5], "c": {"d": "z"}, "e": None, "f": 0, "g": True}

TABLE = make_tables(Surroundings(FakeClock(), {}, bytes))[""]
NAMES = sorted(TABLE)
PIECES = ["(", ")", "[", "]", ",", "'", '"', " ", "-", "+", ".", "1", "2.5", "a", "b", "c.d", "true", "'x'", *NAMES]

TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=8
)


def check_position(text: str, position: Position) -> None:
    before = text[: position.offset].split("\n")
    assert position.offset <= len(text)
    assert (position.line, position.column) == (len(before), len(before[-1]) + 1)


def run(text: str, bindings: dict[str, Value]) -> str | Failure | None:
    try:
        expression = COMPILER.compile(text)
    except ExpressionError as error:
        check_position(text, error.position)
        return None
    result = expression.evaluate(bindings)
    assert isinstance(result, str | Failure)
    return result


@given(st.text(max_size=200))
@settings(deadline=None)
def test_any_text_is_compiled_or_refused(text: str) -> None:
    run(text, BINDINGS)


@given(st.lists(st.sampled_from(PIECES), max_size=60))
@settings(deadline=None)
def test_any_mixture_of_tokens_is_compiled_or_refused(pieces: list[str]) -> None:
    run("".join(pieces), BINDINGS)


@given(st.sampled_from(NAMES), st.lists(VALUES, max_size=4))
@settings(max_examples=400, deadline=None)
def test_any_function_takes_any_values(name: str, values: list[Value]) -> None:
    variables = {f"v{at}": value for at, value in enumerate(values)}
    result = run(f"{name}({', '.join(variables)})", variables)
    if isinstance(result, str):
        result.encode()


@given(TEXTS)
@settings(deadline=None)
def test_text_literal_means_itself(text: str) -> None:
    quote = '"' if "'" in text else "'"
    expected = None if quote in text else text
    assert run(f"{quote}{text}{quote}", {}) == expected


@given(st.integers(min_value=-(10**900), max_value=10**900))
@settings(deadline=None)
def test_integer_literal_means_itself(number: int) -> None:
    assert run(str(number), {}) == str(number)


@given(st.integers(-(10**15), 10**15), st.integers(0, 9_999))
@settings(deadline=None)
def test_float_literal_means_itself(whole: int, fraction: int) -> None:
    number = float(f"{whole}.{fraction:04}")
    result = run(f"{whole}.{fraction:04}", {})
    assert isinstance(result, str)
    assert abs(float(result) - number) <= 1e-10


@given(TEXTS)
@settings(deadline=None)
def test_encodings_lead_back(text: str) -> None:
    for there, back in [("bin2hexstr(v)", "hexstr2bin({})"), ("base64_encode(v)", "base64_decode({})")]:
        assert run(back.format(there), {"v": text}) == text
    for options in ("'urlsafe'", "'no_padding'", "'no_padding', 'urlsafe'"):
        assert run(f"base64_decode(base64_encode(v, {options}), {options})", {"v": text}) == text


@given(TEXTS, st.text(alphabet="ab/,-", min_size=1, max_size=2))
@settings(deadline=None)
def test_what_is_split_can_be_joined_again(text: str, separator: str) -> None:
    for mode in ("notrim", "leading_notrim", "trailing_notrim"):
        expression = f"join_to_string(s, split(v, s, '{mode}'))"
        assert run(expression, {"v": text, "s": separator}) == text


@given(TEXTS)
@settings(deadline=None)
def test_reversing_twice_changes_nothing_in_ascii(text: str) -> None:
    plain = text.encode("ascii", "ignore").decode("ascii").replace("\r", "")
    assert run("reverse(reverse(v))", {"v": plain}) == plain
