"""Whether rules and the names that they are for can be: what the core would not compile is refused beforehand."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pybroker._core import AccessRules, RulesError
from pybroker.control.authorization.lists import Principal, Rules, core_rule
from pybroker.errors import Refused
from pybroker.persistence.records import AccessRule

MAX_TEXT = 65_535
"""Bytes of a client id, user name or topic, as MQTT can carry them."""

_SHOWN = 100
"""Characters of a name that errors show."""

_SLICE = 100
"""Rules that are compiled at a time: no error of theirs is beyond those that the core lists."""


class Fault(NamedTuple):
    """What is wrong with one rule.

    Args:
        at: index of the rule.
        code: as the core names it: `INVALID_TOPIC`, `INVALID_PLACEHOLDER` or `INVALID_VALUE`.
    """

    at: int
    field: str
    code: str
    message: str


def check_name(name: str) -> str | None:
    """Return what is wrong with a client id or user name, `None` if nothing is."""
    if not name:
        return "must not be empty"
    if "\0" in name:
        return "must not contain U+0000"
    if len(name) <= MAX_TEXT // 4:
        return None
    size = len(name.encode())
    return f"must have at most {MAX_TEXT} bytes: {size}" if size > MAX_TEXT else None


def find_faults(rules: Sequence[AccessRule]) -> list[Fault]:
    """Return everything that is wrong with rules, in their order. The loop runs on between two slices in a thread."""
    faults = []
    for start in range(0, len(rules), _SLICE):
        # Each rule is a list of its own, so that one that is wrong hides no other.
        lists = [
            (None, "clientid", str(index), [core_rule(rule)])
            for index, rule in enumerate(rules[start : start + _SLICE], start)
        ]
        try:
            AccessRules.compile(lists)  # type: ignore[arg-type]  # a rule is a dictionary with these keys
        except RulesError as error:
            faults += [Fault(start + at, field, code, message) for at, _, field, code, message in error.errors]
    return faults


def check_lists(lists: Mapping[Principal, Rules]) -> None:
    """Check lists of rules and the names that they are for.

    Raises:
        Refused: `BAD_REQUEST` with the first that is wrong.
    """
    for principal, rules in lists.items():
        problem = None if principal.kind == "all" else check_name(principal.name)
        if problem is not None:
            raise Refused("BAD_REQUEST", f"{principal.kind} {problem}: {principal.name[:_SHOWN]!r}")
        faults = find_faults(rules)
        if faults:
            index, field, code, message = faults[0]
            where = "all users" if principal.kind == "all" else f"{principal.kind} {principal.name[:_SHOWN]!r}"
            raise Refused("BAD_REQUEST", f"rules[{index}].{field} of {where}: {code}: {message}")
