"""ACL files in the form of EMQX: what each shape decides, and that a broken file is refused with its line."""

from pathlib import Path
from typing import Any

import pytest

from pybroker._core import AccessClient, AccessSubject
from pybroker.auth.sources.file import compile_file, read_file
from pybroker.errors import ConfigError

PACKAGED = """
%% The rules that EMQX 6.3 comes with.
{allow, {username, {re, "^dashboard$"}}, subscribe, ["$SYS/#"]}.
{deny, all, subscribe, ["$SYS/#", {eq, "#"}, {eq, "+/#"}]}.
{allow, {security_profile, legacy}}.
{deny, {security_profile, hardened}}.
"""


def decide(text: str, action: str = "publish", topic: str = "t", **client: Any) -> str:
    """Decide by a file; `qos` and `retain` are those of the action, the rest is the client."""
    qos, retain = client.pop("qos", 0), client.pop("retain", False)
    profile = client.pop("profile", "legacy")
    subject = AccessSubject(AccessClient("c", **client))
    rules = compile_file(text, profile)
    return rules.judge(subject, action, topic, qos, retain)  # type: ignore[arg-type]  # one of the words


def test_packaged_file_of_emqx_is_understood() -> None:
    assert decide(PACKAGED, "subscribe", "$SYS/brokers", username="dashboard") == "allow"
    assert decide(PACKAGED, "subscribe", "$SYS/brokers") == "deny"
    assert decide(PACKAGED, "subscribe", "#") == decide(PACKAGED, "subscribe", "+/#") == "deny"
    assert decide(PACKAGED, "subscribe", "a/#") == decide(PACKAGED, "publish", "$SYS/x") == "allow"
    assert decide(PACKAGED, "subscribe", "a/#", profile="hardened") == "deny"


@pytest.mark.parametrize("topic", ["t", "$foo/x", "$SYS/x"])
def test_deny_all_denies_dollar_topics_too_but_a_hash_does_not(topic: str) -> None:
    assert decide("{deny, all}.", topic=topic) == "deny"
    assert decide("{deny, all, all, all}.", topic=topic) == "deny"
    is_dollar = topic.startswith("$")
    assert decide('{deny, all, all, ["#"]}.', topic=topic) == ("nomatch" if is_dollar else "deny")


@pytest.mark.parametrize(
    ("who", "client", "is_meant"),
    [
        ('{user, "u"}', {"username": "u"}, True),
        ('{username, "u"}', {"username": "v"}, False),
        ('{username, {re, "^u"}}', {"username": "u1"}, True),
        ('{client, "c"}', {}, True),
        ('{clientid, {re, "^d"}}', {}, False),
        ('{ipaddr, "10.0.0.0/8"}', {"peer_ip": "10.1.2.3"}, True),
        ('{ipaddrs, ["10.0.0.1", "192.0.2.0/24"]}', {"peer_ip": "192.0.2.9"}, True),
        ('{ipaddrs, ["10.0.0.1"]}', {"peer_ip": "192.0.2.9"}, False),
        ('{client_attr, "team", "red"}', {"attributes": [("team", "red")]}, True),
        ('{client_attr, "team", {re, "^b"}}', {"attributes": [("team", "red")]}, False),
        ('{zone, "z"}', {"zone": "z"}, True),
        ('{listener, {re, "^ssl:"}}', {"listener": "tcp:default"}, False),
        ('{\'and\', [{username, "u"}, {clientid, "c"}]}', {"username": "u"}, True),
        ('{\'and\', [{username, "u"}, all, {clientid, "d"}]}', {"username": "u"}, False),
        ('{\'or\', [{username, "u"}, {clientid, "d"}]}', {"username": "u"}, True),
        ('{clientid, <<"c"/utf8>>}', {}, True),
    ],
)
def test_description_of_clients(who: str, client: dict[str, Any], is_meant: bool) -> None:
    assert decide(f'{{deny, {who}, all, ["t"]}}.', **client) == ("deny" if is_meant else "nomatch")


def test_action_may_have_qos_and_retain() -> None:
    text = (
        '{deny, all, {publish, [{qos, [1, 2]}, {retain, true}]}, ["t"]}. {deny, all, {subscribe, [{qos, 0}]}, ["t"]}.'
    )
    assert decide(text, qos=1, retain=True) == "deny"
    assert decide(text, qos=1) == decide(text, retain=True) == "nomatch"
    assert decide(text, "subscribe", qos=0) == "deny"
    assert decide(text, "subscribe", qos=1) == "nomatch"


def test_placeholder_may_be_part_of_a_level_and_eq_is_literal() -> None:
    assert decide('{deny, all, all, ["d/x-${clientid}"]}.', topic="d/x-c") == "deny"
    assert decide('{deny, all, all, [{eq, "a/${clientid}"}]}.', topic="a/c") == "nomatch"


def test_first_rule_that_matches_wins() -> None:
    assert decide('{allow, all, all, ["t"]}. {deny, all}.') == "allow"


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("{allow, all}.\n{allow, all", 2, "missing"),
        ("{allow, all}\n{deny, all}.", 2, "'.' is missing"),
        ("\n\n{maybe, all}.", 3, "permission must be allow or deny: maybe"),
        ("{allow, all, fly, []}.", 1, "action must be publish or subscribe or all: fly"),
        ('{allow, {colour, "red"}, all, []}.', 1, "colour"),
        ('{allow, all, all, "t"}.', 1, "topics must be a list"),
        ("{allow, all, {publish, [{qos, 3}]}, []}.", 1, "qos must be"),
        ("{allow, all, {publish, [{speed, 3}]}, []}.", 1, "qos or retain"),
        ("{allow, all, publish}.", 1, "two or four"),
        ("{allow, nobody}.", 1, "security_profile"),
        ("allow.", 1, "two or four"),
        ("{allow, all}.\n{allow, ?}.", 2, "not expected"),
        ('{allow, all}.\n{deny, {username, {re, "("}}, all, ["t"]}.', 2, "unclosed group"),
        ('{allow, all}.\n\n{deny, all, all, ["a/#/b"]}.', 3, "a/#/b"),
        ('{deny, {ipaddr, "10.0.0.0/33"}, all, ["t"]}.', 1, "10.0.0.0/33"),
        ("[" * 40, 1, "nested deeper"),
    ],
)
def test_broken_file_is_refused_with_its_line(text: str, line: int, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compile_file(text)
    assert f"line {line}:" in str(caught.value)
    assert part in str(caught.value)


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file"):
        read_file(str(tmp_path / "none"))
    (tmp_path / "latin").write_bytes(b"{allow, all}. % caf\xe9")
    with pytest.raises(ConfigError, match=r"UTF-8"):
        read_file(str(tmp_path / "latin"))
    (tmp_path / "bom").write_bytes(b"\xef\xbb\xbf{allow, all}.")
    assert read_file(str(tmp_path / "bom")) == "{allow, all}."
