"""Functions with regular expressions, on the linear-time engine of the core (no look-around, no back references).

Each call in an expression has its own object, which remembers the last pattern; a literal one is compiled when the
expression is.
"""

import re
from collections.abc import Callable

from pybroker import _core
from pybroker.variform.errors import Mistake
from pybroker.variform.values import MAX_TEXT_BYTES, Value, need_text

BUDGET_MS = 10
"""Most processor time for all replacements of one call."""

MAX_LITERAL_BYTES = 4 * 1024 * 1024
"""Largest compiled form of a pattern that stands in an expression; `\\w{64}` is below it."""

MAX_COMPUTED_BYTES = 256 * 1024
"""Largest compiled form of a pattern that is known only when the expression runs; bounds the time to compile it."""

MAX_COMPUTED_LENGTH = 1_024
"""Longest text of such a pattern."""

# What a replacement may hold beside plain text: groups `\1`, `\g1`, `\g{1}`, the whole match `&`, escaped characters;
# `$` is special to the core.
_REFERENCE = re.compile(r"\\g\{([0-9]+)\}|\\g([0-9]+)|\\([1-9][0-9]*)|\\(.)|([&$])", re.DOTALL)


class PatternCall:
    """One call of a function with a pattern; remembers the last pattern and its compiled form.

    Args:
        apply: takes the compiled pattern, the text, and the arguments behind the pattern.
    """

    __slots__ = ("_apply", "_last")

    def __init__(self, apply: Callable[..., Value]) -> None:
        self._apply = apply
        self._last: tuple[str, _core.Regex] | None = None

    def prepare(self, pattern: str) -> None:
        """Compile a pattern that is known before the first call.

        Raises:
            ValueError: it cannot be used.
        """
        self._last = (pattern, _core.Regex(pattern, MAX_LITERAL_BYTES))

    def __call__(self, value: Value, pattern: Value, *others: Value) -> Value:
        """Apply the pattern to a text.

        Raises:
            Mistake: `exception` for a pattern that is not valid, `too_large`, `timeout`.
        """
        text, regex = need_text(value), self._compiled(need_text(pattern))
        try:
            return self._apply(regex, text, *others)
        except OverflowError:
            raise Mistake("too_large") from None
        except TimeoutError:
            raise Mistake("timeout") from None

    def _compiled(self, pattern: str) -> _core.Regex:
        if self._last is None or self._last[0] != pattern:
            if len(pattern) > MAX_COMPUTED_LENGTH:
                raise Mistake("too_large", "pattern")
            try:
                self._last = (pattern, _core.Regex(pattern, MAX_COMPUTED_BYTES))
            except ValueError:
                raise Mistake("exception", "pattern is not valid") from None
        return self._last[1]


def match(regex: _core.Regex, text: str) -> bool:
    """Whether the pattern occurs anywhere in the text."""
    return regex.is_match(text)


def extract(regex: _core.Regex, text: str) -> list[Value]:
    """Return the groups of the first match without the whole match; no match gives no groups."""
    return list(regex.groups(text) or ())


def replace(regex: _core.Regex, text: str, by: Value) -> str:
    r"""Replace all matches; `\1` and `&` in the replacement stand for a group and the whole match."""
    return regex.replace(text, _REFERENCE.sub(_to_core, need_text(by)), MAX_TEXT_BYTES, BUDGET_MS)


def _to_core(reference: re.Match[str]) -> str:
    """Return one reference in the core's spelling."""
    group = reference[1] or reference[2] or reference[3]
    if group:
        return f"${{{group}}}"
    if reference[5] == "&":
        return "${0}"
    plain = reference[4] or "$"
    return "$$" if plain == "$" else plain
