"""What can be wrong with an expression: when it is saved (an error with a position) and when it runs (a `Failure`).

Running never raises: `Expression.evaluate` returns a `Failure`. `Mistake` and `EvaluationError` live inside the package
only. Details name functions and variables and never hold a value, because a value may be a password.
"""

from typing import Literal, NamedTuple

from pybroker.errors import BrokerError

CompileReason = Literal[
    "syntax_error",
    "unknown_variform_function",
    "unknown_variform_module",
    "unallowed_variform_module",
    "invalid_function_reference",
]
"""Why an expression cannot be saved; a wrong number of arguments is an unknown function."""

FailureReason = Literal[
    "var_unbound",
    "badarg",
    "invalid_argument",
    "coalesce_badarg",
    "bad_return",
    "unknown_hash_algorithm",
    "invalid_jwt_token",
    "jwt_decode_error",
    "unrecognized_escape_sequence",
    "exception",
    "timeout",
    "too_large",
]
"""Why an evaluation has no result."""


class Position(NamedTuple):
    """A place in an expression.

    Args:
        offset: characters before it.
        line: from 1.
        column: in characters, from 1.
    """

    offset: int
    line: int
    column: int

    @classmethod
    def of(cls, text: str, offset: int) -> "Position":
        """Return the place of the character at `offset` of `text`; O(offset)."""
        return cls(offset, text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset))


class ExpressionError(BrokerError):
    """An expression or template cannot be saved.

    Args:
        reason: stable name of the kind of error.
        message: what is wrong.
        position: where.
    """

    def __init__(self, reason: CompileReason, message: str, position: Position) -> None:
        super().__init__(f"{message}: at line {position.line}, column {position.column}")
        self.reason = reason
        self.message = message
        self.position = position


class Notice(NamedTuple):
    """Something in an expression that is allowed but hardly meant.

    Args:
        message: what it is, for an operator.
        position: where.
    """

    message: str
    position: Position


class Failure(NamedTuple):
    """An evaluation without result.

    Args:
        reason: stable name of the kind of failure.
        detail: name of the function or variable at fault, `name: what` where more is known; may be empty.
    """

    reason: FailureReason
    detail: str


class EvaluationError(BrokerError):
    """Ends an evaluation; becomes a `Failure`."""

    def __init__(self, reason: FailureReason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Mistake(BrokerError):
    """A function got something that it cannot use; the call adds the function's name."""

    def __init__(self, reason: FailureReason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
