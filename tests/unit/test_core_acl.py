"""The access rules of the core as Python sees them: shapes, errors, swapping. What rules mean: `tests/property`."""

import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest

from pybroker._core import AccessClient, AccessRules, RulesError

GOOD = {"topic": "a/#", "permission": "allow", "action": "publish"}
CLIENT = AccessClient("c1", "u1", peer_ip="10.0.0.1", attributes=[("site", "north")])


def compile_rules(*rules: dict[str, Any], **settings: Any) -> AccessRules:
    return AccessRules.compile(cast("Any", [(None, "all", "", list(rules))]), **settings)


def test_check_names_the_rule_that_decided() -> None:
    rules = compile_rules({**GOOD, "topic": "b"}, GOOD)
    assert rules.check(CLIENT, "publish", "a/b") == ("allow", "global", "all", 1)
    assert rules.check(CLIENT, "subscribe", "a/b") == ("nomatch", "", "", -1)
    assert rules.check(CLIENT, "publish", "$delayed/5") == ("deny", "", "", -1)
    assert rules.explain(CLIENT, "publish", "$delayed/5") == (("deny", "", "", -1), [], 0)


def test_explain_says_what_came_of_each_rule() -> None:
    rules = compile_rules({**GOOD, "topic": "${client_attrs.none}/x"}, GOOD, {**GOOD, "action": "subscribe"})
    verdict, entries, left_out = rules.explain(CLIENT, "publish", "a/x", limit=2)
    assert verdict == ("allow", "global", "all", 1)
    assert entries == [
        ("global", "all", 0, "placeholder_absent", True, "client_attrs.none", None),
        ("global", "all", 1, "matches", True, None, None),
    ]
    assert left_out == 1


def test_a_rule_that_an_equal_one_replaced_is_told() -> None:
    lists = [("n1", "clientid", "c1", [GOOD, {**GOOD, "permission": "deny"}])]
    rules = AccessRules.compile(cast("Any", lists))
    verdict, entries, _ = rules.explain(AccessClient("c1", namespace="n1"), "publish", "a")
    assert verdict == ("deny", "namespace", "clientid", 1)
    assert entries[-1] == ("namespace", "clientid", 0, "superseded", False, None, 1)
    assert len(rules) == 1


def test_replace_leaves_the_old_rules_as_they_are() -> None:
    old = compile_rules(GOOD)
    new = old.replace(cast("Any", [(None, "all", "", []), (None, "username", "u1", [GOOD])]))
    assert old.check(CLIENT, "publish", "a") == ("allow", "global", "all", 0)
    assert new.check(CLIENT, "publish", "a") == ("allow", "global", "username", 0)
    assert (len(old), len(new)) == (1, 1)


def test_lists_may_come_from_a_generator_in_another_thread() -> None:
    def lists() -> Iterator[tuple[None, str, str, list[dict[str, str]]]]:
        for number in range(1000):
            yield None, "clientid", f"c{number}", [GOOD]

    compiled: list[AccessRules] = []
    thread = threading.Thread(target=lambda: compiled.append(AccessRules.compile(cast("Any", lists()))))
    thread.start()
    thread.join(10)
    assert len(compiled[0]) == 1000


def test_an_error_of_the_generator_is_the_error_of_compile() -> None:
    def lists() -> Iterator[tuple[None, str, str, list[dict[str, str]]]]:
        yield None, "all", "", [GOOD]
        raise LookupError

    with pytest.raises(LookupError):
        AccessRules.compile(cast("Any", lists()))


def test_faults_of_rules_come_all_at_once() -> None:
    bad = {**GOOD, "topic": "a/#/b"}
    with pytest.raises(RulesError, match=r"wildcard .* \(the first of 2 faults\)") as caught:
        compile_rules(bad, GOOD, bad)
    assert [row[:4] for row in caught.value.errors] == [
        (0, 0, "topic", "INVALID_TOPIC"),
        (0, 2, "topic", "INVALID_TOPIC"),
    ]
    with pytest.raises(RulesError) as caught:
        compile_rules(GOOD).replace(cast("Any", [(None, "clientid", "", [GOOD])]))
    assert [row[:4] for row in caught.value.errors] == [(0, None, "clientid", "INVALID_VALUE")]
    assert str(caught.value) == caught.value.errors[0][4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"topik": "a"}, "topik must be a known field"),
        ({"permission": "maybe"}, "permission must be allow or deny"),
        ({"permission": 1}, "permission must be a text"),
        ({"action": "pub"}, "action must be publish, subscribe or all"),
        ({"qos": [3]}, "qos must be a list of 0, 1 and 2"),
        ({"qos": "0"}, "qos must be of another type|qos must be"),
        ({"retain": "some"}, "retain must be"),
        ({"topic": 7}, "topic must be"),
        ({"topics": "a"}, "topics must be a list of topics"),
        ({"ipaddr": 5}, "ipaddr must be"),
        ({"ipaddr_re": "x"}, "ipaddr_re must be a known field"),
        ({"who": {}}, "who must be a dictionary with one key"),
        ({"who": {"zone": "a", "listener": "b"}}, "who must be a dictionary with one key"),
        ({"who": []}, "who must be a dictionary"),
        ({"who": {"profile": "soft"}}, "profile must be legacy or hardened"),
        ({"who": {"client_attr": {"name": "a"}}}, "client_attr must be a name"),
        ({"who": {"client_attr": {"name": "a", "is": "b", "re": "c"}}}, "client_attr must be a name"),
        ({"who": {"client_attr": {"name": "a", "is": "b", "x": "c"}}}, "client_attr must be a name"),
        ({"who": {"client_attr": {"is": "b"}}}, "client_attr must be a name"),
    ],
)
def test_a_value_of_another_shape_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compile_rules({**GOOD, **change})


@pytest.mark.parametrize("key", ["topic", "permission", "action"])
def test_a_missing_field_is_named(key: str) -> None:
    with pytest.raises(ValueError, match=f"{key} must be given"):
        compile_rules({name: value for name, value in GOOD.items() if name != key})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"subscribe_match": "lax"}, "subscribe_match must be strict"),
        ({"profile": "soft"}, "profile must be legacy"),
        ({"template_allow": ["dollar"]}, "template_allow must be plus"),
    ],
)
def test_an_unknown_setting_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compile_rules(GOOD, **settings)


def test_a_bad_question_is_refused() -> None:
    rules = compile_rules(GOOD)
    with pytest.raises(ValueError, match="qos must be 0, 1 or 2: 3"):
        rules.check(CLIENT, "publish", "a", 3)
    with pytest.raises(ValueError, match="action must be publish or subscribe"):
        rules.explain(CLIENT, cast("Any", "all"), "a")
    with pytest.raises(ValueError, match="peer_ip must be an IP address"):
        AccessClient("c", peer_ip="localhost")
    with pytest.raises(ValueError, match="kind must be clientid, username or all"):
        AccessRules.compile(cast("Any", [(None, "group", "g", [])]))


def test_clauses_inside_clauses_have_a_limit() -> None:
    clause: dict[str, Any] = {"zone": "a"}
    for _ in range(17):
        clause = {"and": [clause]}
    with pytest.raises(RulesError, match="too deep"):
        compile_rules({**GOOD, "who": clause})
    for _ in range(100_000):
        clause = {"or": [clause]}
    with pytest.raises(ValueError, match="who must be at most 64 deep"):
        compile_rules({**GOOD, "who": clause})
