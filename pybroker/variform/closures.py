"""The compiled form: one closure for each node of an expression, called with the state of one evaluation.

Nothing here knows the grammar. A closure returns a value or raises `EvaluationError`; a call turns what a function
cannot use into one that names the function, and then looks at size and time, so that no expression runs away.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from pybroker.clock import Clock
from pybroker.variform.errors import EvaluationError, Mistake
from pybroker.variform.values import MAX_TEXT_BYTES, Bindings, Value, is_empty, is_list

BUDGET_MS = 10
"""Most processor time of one evaluation."""

# What functions raise beside `Mistake`: numbers without decimal form, texts that are not UTF-8, values nested too deep.
_FAULTS = (ArithmeticError, ValueError, RecursionError)


class Run:
    """State of one evaluation.

    Args:
        bindings: the variables.
        clock: measures the budget.
    """

    __slots__ = ("_clock", "_cpu_limit_ms", "_deadline_ms", "bindings")

    def __init__(self, bindings: Bindings, clock: Clock) -> None:
        self.bindings = bindings
        self._clock = clock
        self._cpu_limit_ms = clock.cpu_ms() + BUDGET_MS
        self._deadline_ms = clock.now_ms() + BUDGET_MS

    def check(self, value: Value, name: str) -> Value:
        """Return what the function `name` returned.

        Raises:
            EvaluationError: `too_large`, or `timeout`.
        """
        if isinstance(value, str) and len(value) > MAX_TEXT_BYTES:
            raise EvaluationError("too_large", name)
        # Processor time decides, so that a busy machine fails no expression; it is slow to read, hence the other first.
        if self._clock.now_ms() > self._deadline_ms and self._clock.cpu_ms() > self._cpu_limit_ms:
            raise EvaluationError("timeout", name)
        return value


Node: TypeAlias = Callable[[Run], Value]
"""A compiled part of an expression."""


def make_constant(value: Value) -> Node:
    """Return a node that yields a literal."""
    return lambda _: value


def make_array(items: Sequence[Node]) -> Node:
    """Return a node that evaluates its items from left to right."""
    return lambda run: [item(run) for item in items]


def make_variable(name: str) -> Node:
    """Return a node that reads a variable; dots in its name lead into maps, and empty parts do not count."""
    first, *rest = (part for part in name.split(".") if part)

    def read(run: Run) -> Value:
        try:
            value = run.bindings[first]
        except KeyError:
            raise EvaluationError("var_unbound", name) from None
        for part in rest:
            if not isinstance(value, Mapping) or part not in value:
                raise EvaluationError("var_unbound", name)
            value = value[part]
        return value or ("" if is_empty(value) else value)

    return read


def make_call(name: str, function: Callable[..., Value], arguments: Sequence[Node]) -> Node:
    """Return a node that evaluates all arguments from left to right and then calls `function`."""
    if len(arguments) == 1:
        return _make_call_of_one(name, function, arguments[0])
    if len(arguments) == 2:
        return _make_call_of_two(name, function, arguments[0], arguments[1])

    def call(run: Run) -> Value:
        values = [argument(run) for argument in arguments]
        try:
            value = function(*values)
        except Mistake as mistake:
            raise _named(mistake, name) from None
        except _FAULTS:
            raise EvaluationError("exception", name) from None
        return run.check(value, name)

    return call


def _make_call_of_one(name: str, function: Callable[..., Value], argument: Node) -> Node:
    def call(run: Run) -> Value:
        only = argument(run)
        try:
            value = function(only)
        except Mistake as mistake:
            raise _named(mistake, name) from None
        except _FAULTS:
            raise EvaluationError("exception", name) from None
        return run.check(value, name)

    return call


def _make_call_of_two(name: str, function: Callable[..., Value], left: Node, right: Node) -> Node:
    def call(run: Run) -> Value:
        first, second = left(run), right(run)
        try:
            value = function(first, second)
        except Mistake as mistake:
            raise _named(mistake, name) from None
        except _FAULTS:
            raise EvaluationError("exception", name) from None
        return run.check(value, name)

    return call


def _named(mistake: Mistake, name: str) -> EvaluationError:
    return EvaluationError(mistake.reason, f"{name}: {mistake.detail}" if mistake.detail else name)


def _or_empty(node: Node, run: Run) -> Value:
    """Evaluate; an unbound variable anywhere inside counts as nothing."""
    try:
        return node(run)
    except EvaluationError as error:
        if error.reason != "var_unbound":
            raise
        return ""


def make_coalesce(candidates: Sequence[Node]) -> Node:
    """Return a node that yields the first candidate that is not empty; those behind it do not run."""

    def choose(run: Run) -> Value:
        for candidate in candidates:
            value = _or_empty(candidate, run)
            if not is_empty(value):
                return value
        return ""

    return choose


def make_coalesce_list(source: Node) -> Node:
    """Return a node that yields the first item that is not empty of the list that `source` yields."""

    def choose(run: Run) -> Value:
        value = _or_empty(source, run)
        if is_empty(value):
            return ""
        if not is_list(value):
            raise EvaluationError("coalesce_badarg", "coalesce")
        return next((item for item in value if not is_empty(item)), "")

    return choose


def make_iif(condition: Node, then: Node, otherwise: Node) -> Node:
    """Return a node that runs one of two: a boolean decides, of other values whether they are empty."""

    def choose(run: Run) -> Value:
        value = _or_empty(condition, run)
        holds = value if isinstance(value, bool) else not is_empty(value)
        return then(run) if holds else otherwise(run)

    return choose


def make_is_empty(node: Node) -> Node:
    """Return a node that says whether another is empty or unbound."""
    return lambda run: is_empty(_or_empty(node, run))
