"""Checks of what is known about a client (`cinfo`): Variform expressions, the first check that matches decides."""

from typing import NamedTuple

from pybroker.auth.facts import bindings_of
from pybroker.auth.judgement import NOT_AUTHORIZED, Judge, Judgement, Pass
from pybroker.ports import Applicant, Verdict
from pybroker.variform.compile import Expression


class Check(NamedTuple):
    """One check.

    Args:
        expressions: all must yield `true`; none never matches.
        judgement: what follows then.
    """

    expressions: tuple[Expression, ...]
    judgement: Judgement


JUDGEMENTS: dict[str, Judgement] = {
    "allow": Verdict(0),
    "deny": Verdict(NOT_AUTHORIZED),
    "ignore": Pass.IGNORED,
}
"""What each result of a check means."""


class ClientInfo(Judge):
    """The authenticator."""

    def __init__(self, checks: tuple[Check, ...]) -> None:
        self._checks = checks

    def judge(self, applicant: Applicant) -> Judgement:
        """Return what the first check says whose expressions are all `true`; ignored if there is none."""
        bindings = bindings_of(applicant)
        for check in self._checks:
            if check.expressions and all(one.evaluate(bindings) == "true" for one in check.expressions):
                return check.judgement
        return Pass.IGNORED
