"""What settings of namespaces allow but hardly mean: told when they are saved, and at the start."""

from collections.abc import Iterator

from pybroker.namespaces.settings import NamespaceSettings, ZoneRules
from pybroker.variform.compile import Expression
from pybroker.variform.contexts import ClientFacts, bind_clientid_override
from pybroker.variform.values import Bindings

_SEPARATORS = ("-", "_", ":", ".", "|", "~", "@", "=", "")


def warnings_of(settings: NamespaceSettings) -> list[tuple[str, str]]:
    """Return pairs of a key and what is doubtful about it, in the order of the configuration."""
    found: list[tuple[str, str]] = []
    zones = (("mqtt", settings.general), *((f"zones.{name}.mqtt", rules) for name, rules in settings.zones.items()))
    for path, rules in zones:
        found += _zone_warnings(path, rules)
    if settings.post_auth is not None:
        found += _notices("multi_tenancy.post_auth_tns_expression", settings.post_auth)
    return found


def _zone_warnings(path: str, rules: ZoneRules) -> Iterator[tuple[str, str]]:
    for index, (_, expression) in enumerate(rules.attributes):
        yield from _notices(f"{path}.client_attrs_init[{index}].expression", expression)
    if rules.override is not None:
        yield from _notices(f"{path}.clientid_override", rules.override)
        doubt = _ambiguity(rules.override)
        if doubt:
            yield f"{path}.clientid_override", doubt


def _notices(path: str, expression: Expression) -> Iterator[tuple[str, str]]:
    for message, position in expression.notices:
        yield path, f"{message}: at line {position.line}, column {position.column}"


def _ambiguity(expression: Expression) -> str:
    """Return how two clients may come to one client id; empty if the tries have found no way.

    Such clients are refused while the other one has a session; they never share it.
    """
    for separator in _SEPARATORS:
        left, right = (f"a{separator}b", "c"), ("a", f"b{separator}c")
        if _is_same(expression, left, right):
            return (
                f"namespace {left[0]!r} with client id {left[1]!r} and {right[0]!r} with {right[1]!r} get one client "
                "id; the second of them will be refused"
            )
    if _is_same(expression, ("a", "c"), ("b", "c")):
        return "the result does not depend on the namespace; one client id of two namespaces will be refused"
    if _is_same(expression, ("a", "c"), ("a", "d")):
        return "the result does not depend on the client id; only one client of each namespace will be let in"
    return ""


def _is_same(expression: Expression, left: tuple[str, str], right: tuple[str, str]) -> bool:
    first, second = (expression.evaluate(_bindings(*pair)) for pair in (left, right))
    return isinstance(first, str) and first != "" and first == second


def _bindings(namespace: str, client_id: str) -> Bindings:
    facts = ClientFacts(
        client_id=client_id,
        username="user",
        zone="default",
        listener="tcp:default",
        peer_host="192.0.2.1",
        peer_name="192.0.2.1:1",
        port=1883,
    )
    return bind_clientid_override(facts, {"tns": namespace})
