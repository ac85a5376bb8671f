"""Evaluation: limits, failures that hide values, what functions see of the process."""

import pytest

from pybroker import _core
from pybroker.variform.closures import BUDGET_MS
from pybroker.variform.compile import Compiler
from pybroker.variform.errors import Failure, Mistake
from pybroker.variform.patterns import PatternCall
from pybroker.variform.values import MAX_TEXT_BYTES, Value
from tests.support.clock import FakeClock


class CreepingClock(FakeClock):
    """Time that moves on by one millisecond at each look."""

    __slots__ = ()

    def now_ms(self) -> int:
        self.advance(1)
        return super().now_ms()


def evaluate(compiler: Compiler, text: str, **bindings: Value) -> str | Failure:
    return compiler.compile(text).evaluate(bindings)


def test_evaluation_ends_when_its_time_is_over() -> None:
    compiler = Compiler(CreepingClock(), {})
    calls = BUDGET_MS + 1
    in_time = "upper(" * (calls - 1) + "'a'" + ")" * (calls - 1)
    assert evaluate(compiler, in_time) == "A"
    assert evaluate(compiler, f"upper({in_time})") == Failure("timeout", "upper")


class CrowdedClock(FakeClock):
    """Time in which the thread waits for a processor nearly always."""

    __slots__ = ()

    def now_ms(self) -> int:
        self.advance(1_000)
        return super().now_ms()

    def cpu_ms(self) -> int:
        return 5


def test_waiting_for_the_processor_does_not_count() -> None:
    assert evaluate(Compiler(CrowdedClock(), {}), "upper(lower(upper('a')))") == "A"


def test_time_begins_anew_with_each_evaluation() -> None:
    expression = Compiler(CreepingClock(), {}).compile("upper(upper(upper('a')))")
    assert [expression.evaluate({}) for _ in range(10)] == ["A"] * 10


def test_variable_may_be_as_long_as_the_limit(compiler: Compiler) -> None:
    assert evaluate(compiler, "v", v="a" * MAX_TEXT_BYTES) == "a" * MAX_TEXT_BYTES
    assert evaluate(compiler, "v", v="a" * (MAX_TEXT_BYTES + 1)) == Failure("too_large", "")
    assert evaluate(compiler, "v", v="é" * (MAX_TEXT_BYTES // 2 + 1)) == Failure("too_large", "")


@pytest.mark.parametrize(
    "text",
    [
        "concat(v, v)",
        "join_to_string(v, [v, v])",
        "topic_join(v, v)",
        "replace(v, 'a', 'bbb')",
        "sprintf_s('~s~s', [v, v])",
        "bin2hexstr(v)",
        "base64_encode(v)",
        "rand_str(2000000)",
        "coalesce(concat(v, v), 'a')",
    ],
)
def test_nothing_grows_above_the_limit(compiler: Compiler, text: str) -> None:
    result = evaluate(compiler, text, v="a" * (MAX_TEXT_BYTES - 10))
    assert isinstance(result, Failure)
    assert result.reason == "too_large"


def test_many_copies_of_one_variable_are_refused_before_they_are_joined(compiler: Compiler) -> None:
    text = f"concat([{', '.join(['v'] * 1_000)}])"
    assert evaluate(compiler, text, v="a" * 65_535) == Failure("too_large", "concat")


@pytest.mark.parametrize(
    "text",
    [
        "upper(n)",
        "nth(secret, arr)",
        "nth(1, secret)",
        "hash(secret, 'a')",
        "split('a', 'b', secret)",
        "regex_match('a', concat('(', secret))",
        "jwt_value(secret, 'a')",
        "maps.get(secret, m)",
        "coalesce(secret)",
    ],
)
def test_failure_never_tells_a_value(compiler: Compiler, text: str) -> None:
    result = evaluate(compiler, text, secret="hunter2", n=1, arr=["a"], m={"a": "b"})
    assert isinstance(result, Failure)
    assert "hunter2" not in result.detail


def test_text_that_is_not_utf8_is_no_result_but_can_be_used(compiler: Compiler) -> None:
    secret = b"\xff\xfe".decode("utf-8", "surrogateescape")
    assert evaluate(compiler, "password", password=secret) == Failure("bad_return", "not UTF-8")
    assert evaluate(compiler, "bin2hexstr(password)", password=secret) == "FFFE"
    for text in ("strlen(password)", "pad(password, 3)", "pad(password, 3, 'leading')"):
        assert evaluate(compiler, text, password=secret) == Failure("exception", text.partition("(")[0])


def test_numbers_beyond_their_range_are_failures(compiler: Compiler) -> None:
    assert evaluate(compiler, "lists.sum([f, f])", f=1.7e308) == Failure("exception", "not a finite number")
    assert evaluate(compiler, "lists.sum([n, f])", n=10**400, f=1.5) == Failure("exception", "lists.sum")
    assert evaluate(compiler, "n", n=10**5_000) == Failure("exception", "")


def test_deeply_nested_values_are_failures(compiler: Compiler) -> None:
    deep: Value = []
    for _ in range(100_000):
        deep = [deep]
    assert evaluate(compiler, "any_to_str(v)", v=deep) == Failure("exception", "any_to_str")
    assert evaluate(compiler, "json_value(v, 'a')", v="[" * 100_000) == ""


def test_own_prefix_of_the_environment_goes_first(compiler: Compiler) -> None:
    assert evaluate(compiler, "getenv('A')") == "ours"
    assert evaluate(compiler, "getenv('B')") == "b"
    assert evaluate(compiler, "getenv('HOME')") == ""


def test_environment_is_read_once() -> None:
    environ = {"EMQXVAR_A": "before"}
    compiler = Compiler(FakeClock(), environ)
    environ["EMQXVAR_A"] = "after"
    assert evaluate(compiler, "getenv('A')") == "before"


def test_time_is_the_wall_clock() -> None:
    clock = FakeClock(wall_ms=1_999)
    compiler = Compiler(clock, {})
    assert (evaluate(compiler, "timestamp_ms()"), evaluate(compiler, "timestamp_s()")) == ("1999", "1")


def test_random_text_takes_no_character_more_often_than_others() -> None:
    compiler = Compiler(FakeClock(), {}, lambda count: bytes(range(256))[:count])
    text = evaluate(compiler, "rand_str(248)")
    assert isinstance(text, str)
    assert {text.count(character) for character in text} == {4}
    assert len(set(text)) == 62


def test_random_text_asks_again_for_bytes_it_threw_away() -> None:
    batches = iter([b"\xff" * 9, b"\x01" * 9])
    compiler = Compiler(FakeClock(), {}, lambda _: next(batches))
    assert evaluate(compiler, "rand_str(1)") == "1"


def test_random_integer_stays_in_its_range(compiler: Compiler) -> None:
    assert {evaluate(compiler, "rand_int(3)") for _ in range(200)} == {"1", "2", "3"}


def take_forever(regex: _core.Regex, text: str) -> Value:
    raise TimeoutError


def test_replacing_that_takes_too_long_is_a_timeout() -> None:
    with pytest.raises(Mistake) as caught:
        PatternCall(take_forever)("a", "b")
    assert caught.value.reason == "timeout"
