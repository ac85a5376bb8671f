"""The compiled access rules against the plain reference: the shared cases, then random rule sets and requests."""

import random
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from pybroker import _core
from tests.support.acl_reference import Asked, Rule, RuleList, Settings, Subject, Verdict, check, judged

VECTORS = Path(__file__).parent.parent / "vectors" / "acl"
SEEDS = range(8)
SETS_PER_SEED = 500
REQUESTS_PER_SET = 50

Request = tuple[Subject, Asked]


def compile_rules(settings: Settings, lists: Sequence[RuleList]) -> _core.AccessRules:
    # The reference has the shapes of the core with looser types.
    return _core.AccessRules.compile(
        cast("Any", lists),
        subscribe_match=cast("Any", settings.subscribe_match),
        profile=cast("Any", settings.profile),
        template_allow=cast("Any", settings.template_allow),
        allows_partial_placeholders=settings.allows_partial_placeholders,
    )


def client_of(subject: Subject) -> _core.AccessClient:
    return _core.AccessClient(
        subject.client_id,
        subject.username,
        peer_ip=subject.peer_ip,
        namespace=subject.namespace,
        zone=subject.zone,
        listener=subject.listener,
        cert_common_name=subject.cert_common_name,
        attributes=list(subject.attributes.items()),
        mountpoint=subject.mountpoint,
    )


def ask(rules: _core.AccessRules, request: Request) -> Verdict:
    subject, asked = request
    return rules.check(client_of(subject), cast("Any", asked.action), asked.topic, asked.qos, asked.retain)


# The shared cases.


def cases(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tomllib.loads((VECTORS / name).read_text())["case"]
    assert found
    return found


def settings_of(table: Mapping[str, Any]) -> Settings:
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    return Settings(**values)


def list_of(table: Mapping[str, Any]) -> RuleList:
    kind = next(kind for kind in ("clientid", "username", "all") if kind in table)
    return (table.get("ns"), kind, "" if kind == "all" else table[kind], table["rules"])


def request_of(table: Mapping[str, Any]) -> Request:
    subject = Subject(
        client_id=table.get("clientid", "c1"),
        username=table.get("username", "u1"),
        peer_ip=table.get("peerhost"),
        namespace=table.get("ns"),
        zone=table.get("zone", "default"),
        listener=table.get("listener", "tcp:default"),
        attributes=table.get("attributes", {}),
        mountpoint=table.get("mountpoint", ""),
    )
    action = "publish" if "publish" in table else "subscribe"
    return subject, Asked(action, table[action], table.get("qos", 0), table.get("retain", False))


@pytest.mark.parametrize("case", cases("decisions.toml"), ids=lambda case: case["name"])
def test_rule_sets_decide_as_the_vectors_say(case: dict[str, Any]) -> None:
    settings = settings_of(case.get("settings", {}))
    lists = [list_of(table) for table in case["lists"]]
    rules = compile_rules(settings, lists)
    for table in case["check"]:
        request = request_of({**case.get("client", {}), **table})
        expected = (table["decision"], *table.get("by", ["", -1]))
        for decision, _, label, index in (ask(rules, request), check(settings, lists, *request)):
            assert (decision, label, index) == expected, table


def decides(settings: Settings, permission: str, topic: str, request: Request) -> tuple[bool, bool]:
    """Return whether one rule decides, in the core and in the reference."""
    lists: list[RuleList] = [(None, "all", "", [{"topic": topic, "permission": permission, "action": "all"}])]
    answers = ask(compile_rules(settings, lists), request), check(settings, lists, *request)
    return answers[0][0] == permission, answers[1][0] == permission


@pytest.mark.parametrize("case", cases("filters.toml"), ids=lambda case: f"{case['filter']} {case['rule']}")
def test_filters_are_held_against_a_rule_as_the_vectors_say(case: dict[str, Any]) -> None:
    request = Subject(), Asked("subscribe", case["filter"])
    for mode, permission, reading in [
        ("emqx", "allow", "words"),
        ("emqx", "deny", "words"),
        ("strict", "allow", "contains"),
        ("strict", "deny", "words"),
        ("strict_overlap", "allow", "contains"),
        ("strict_overlap", "deny", "overlaps"),
    ]:
        expected = (case[reading], case[reading])
        assert decides(Settings(subscribe_match=mode), permission, case["rule"], request) == expected, (
            mode,
            permission,
        )


@pytest.mark.parametrize("case", cases("topics.toml"), ids=lambda case: f"{case['topic']} {case['rule']}")
def test_topics_are_held_against_a_rule_as_the_vectors_say(case: dict[str, Any]) -> None:
    subject = Subject(username="u1", zone="z1", cert_common_name="cn", attributes={"site": "north", "empty": ""})
    request = subject, Asked("publish", case["topic"])
    expected = (case["matches"], case["matches"])
    for mode in ("strict", "strict_overlap", "emqx"):
        assert decides(Settings(subscribe_match=mode), "deny", case["rule"], request) == expected


@pytest.mark.parametrize("case", cases("judged.toml"), ids=lambda case: f"{case['action']} {case['raw']}")
def test_rules_see_what_the_vectors_say(case: dict[str, Any]) -> None:
    topic = judged(case["action"], case["raw"])
    mountpoint = case.get("mountpoint", "")
    assert (False if topic is None else mountpoint + topic) == case["judged"]
    request = Subject(mountpoint=mountpoint), Asked(case["action"], case["raw"])
    seen = case["judged"] or ""
    rule: Rule = {"topic": f"eq {seen}", "permission": "allow", "action": "all"}
    decision, *_ = ask(compile_rules(Settings(), [(None, "all", "", [rule])]), request)
    assert decision == ("allow" if seen else "deny")


@pytest.mark.parametrize("case", cases("errors.toml"), ids=lambda case: case["name"])
def test_what_does_not_compile_is_told_with_its_place(case: dict[str, Any]) -> None:
    good = {"topic": "a", "permission": "allow", "action": "all"}
    lists: list[RuleList] = [(None, "all", "", [good]), (None, "clientid", "c", [good, {**good, **case["rule"]}])]
    with pytest.raises(_core.RulesError) as caught:
        compile_rules(Settings(), lists)
    assert [row[:4] for row in caught.value.errors] == [(1, 1, case["field"], case["code"])]


# Random rule sets. Names and words are few, so that rules and requests meet.

LITERALS = ("a", "b", "", "$s", "c1", "x-c1")
VALUES = (
    "${clientid}",
    "${username}",
    "${zone}",
    "${cert_common_name}",
    "${client_attrs.k}",
    "${$}{username}",
    "${no}",
)
PARTIAL = ("x-${clientid}", "${username}${clientid}", "${client_attrs.k}y")
CONDITIONS: tuple[dict[str, Any], ...] = (
    {"clientid_re": "^c"},
    {"username_re": "1$"},
    {"ipaddr": "10.0.0.0/8"},
    {"ipaddr": "10.7.7.7/8"},
    {"ipaddr": "::ffff:10.0.0.0/104"},
    {"zone": "a"},
    {"zone_re": "^d"},
    {"listener": "tcp:default"},
    {"clientid_re": "1", "ipaddr": "192.0.2.0/24"},
    {"listener_re": "ssl"},
)
CLAUSES: tuple[dict[str, Any], ...] = (
    {"username": "u1"},
    {"clientid": "c2"},
    {"profile": "hardened"},
    {"and": []},
    {"or": []},
    {"or": [{"clientid_re": "2$"}, {"ipaddr": ["10.0.0.1", "192.0.2.0/24"]}]},
    {"and": [{"client_attr": {"name": "k", "re": "^a"}}, {"zone": "default"}]},
    {"client_attr": {"name": "k", "is": "b"}},
)


class Generator:
    """Rule sets and requests from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def filter(self, words: Sequence[str], depth: int) -> str:
        levels = [self.random.choice(words) for _ in range(self.random.randint(1, depth))]
        levels = [self.random.choice(("+", level, level, level)) for level in levels]
        if self.random.random() < 0.25:
            levels.append("#")
        return "/".join(levels) or "#"

    def rule_topic(self, settings: Settings) -> str:
        words = LITERALS + VALUES + (PARTIAL if settings.allows_partial_placeholders else ())
        topic = self.filter(words if self.random.random() < 0.6 else LITERALS, 4)
        return f"eq {topic}" if self.random.random() < 0.1 else topic

    def rule(self, settings: Settings, kind: str) -> Rule:
        rule: dict[str, Any] = {
            "permission": self.random.choice(("allow", "deny")),
            "action": self.random.choice(("publish", "subscribe", "all", "all")),
        }
        shape = self.random.random()
        if shape < 0.85:
            rule["topic"] = self.rule_topic(settings)
        elif shape < 0.97:
            rule["topics"] = [self.rule_topic(settings) for _ in range(self.random.randint(0, 3))]
        else:
            rule["topics"] = "all"
        if self.random.random() < 0.3:
            rule["qos"] = self.random.sample((0, 1, 2), self.random.randint(0, 3))
        if self.random.random() < 0.3:
            rule["retain"] = self.random.choice((True, False, "all"))
        if self.random.random() < 0.2:
            rule.update(self.random.choice(CONDITIONS))
        if kind == "all" and self.random.random() < 0.15:
            rule["who"] = self.random.choice(CLAUSES)
        return rule

    def settings(self) -> Settings:
        allow: tuple[str, ...] = ()
        if self.random.random() < 0.2:
            allow = tuple(self.random.sample(("plus", "hash", "slash"), self.random.randint(1, 3)))
        return Settings(
            subscribe_match=self.random.choice(("strict", "strict_overlap", "emqx")),
            profile=self.random.choice(("legacy", "hardened")),
            template_allow=allow,
            allows_partial_placeholders=self.random.random() < 0.5,
        )

    def lists(self, settings: Settings) -> list[RuleList]:
        lists: list[RuleList] = []
        for _ in range(self.random.randint(1, 6)):
            kind = self.random.choice(("clientid", "username", "all"))
            names = {"clientid": ("c1", "c2", "${clientid}"), "username": ("u1", "${username}"), "all": ("",)}[kind]
            length = self.random.choice((0, 1, 2, 4, 12, 30))
            rules = [self.rule(settings, kind) for _ in range(length)]
            lists.append((self.random.choice((None, None, "n1")), kind, self.random.choice(names), rules))
        return lists

    def subject(self) -> Subject:
        value = ("u1", "a", "b", "+", "#", "a/b", "a/+", "$s", "", None)
        attribute = self.random.choice(value)
        return Subject(
            client_id=self.random.choice(("c1", "c1", "c2", "a", "b/a", "$s", "${clientid}")),
            username=self.random.choice(value),
            peer_ip=self.random.choice((None, "10.0.0.1", "192.0.2.9", "::ffff:10.0.0.1", "2001:db8::1")),
            namespace=self.random.choice((None, None, "n1", "n2", "")),
            zone=self.random.choice(("default", "a")),
            listener=self.random.choice(("tcp:default", "ssl:x")),
            cert_common_name=self.random.choice(("a", None)),
            attributes={} if attribute is None else {"k": attribute},
            mountpoint=self.random.choice(("", "", "", "a/", "a")),
        )

    def asked(self) -> Asked:
        qos = self.random.randint(0, 2)
        words = (*LITERALS, "u1", "default", "${username}", "${no}", "x-c1")
        topic = "/".join(self.random.choice(words) for _ in range(self.random.randint(1, 4))) or "a"
        if self.random.random() < 0.5:
            prefix = self.random.choice(("", "", "", "", "$delayed/5/", "$delayed/5"))
            return Asked("publish", prefix + topic, qos, self.random.random() < 0.5)
        prefix = self.random.choice(("", "", "", "", "$share/g/", "$queue/", "$exclusive/", "$delayed/5/"))
        return Asked("subscribe", prefix + self.filter(words, 4), qos)

    def requests(self, count: int) -> Iterator[Request]:
        for _ in range(count):
            yield self.subject(), self.asked()


def differs(settings: Settings, lists: Sequence[RuleList], request: Request) -> bool:
    return ask(compile_rules(settings, lists), request) != check(settings, lists, *request)


def shrink(settings: Settings, lists: list[RuleList], request: Request) -> str:
    """Take lists and rules away as long as the answers still differ, and tell what is left."""
    for at in reversed(range(len(lists))):
        without = lists[:at] + lists[at + 1 :]
        if differs(settings, without, request):
            lists = without
    for at, (namespace, kind, name, rules) in enumerate(lists):
        kept = list(rules)
        for index in reversed(range(len(kept))):
            shorter: RuleList = (namespace, kind, name, kept[:index] + kept[index + 1 :])
            if differs(settings, [*lists[:at], shorter, *lists[at + 1 :]], request):
                kept.pop(index)
        lists[at] = (namespace, kind, name, kept)
    core, reference = ask(compile_rules(settings, lists), request), check(settings, lists, *request)
    return f"core {core}, reference {reference}\n{settings}\n{lists}\n{request}"


@pytest.mark.parametrize("seed", SEEDS)
def test_random_rule_sets_decide_as_the_reference(seed: int) -> None:
    generator = Generator(seed)
    seen = {"allow": 0, "deny": 0, "nomatch": 0}
    for _ in range(SETS_PER_SEED):
        settings = generator.settings()
        lists = generator.lists(settings)
        rules = compile_rules(settings, lists)
        for request in generator.requests(REQUESTS_PER_SET):
            answer = ask(rules, request)
            if answer != check(settings, lists, *request):
                pytest.fail(shrink(settings, lists, request))
            seen[answer[0]] += 1
    # A generator whose rules and requests never meet would prove nothing.
    assert min(seen.values()) > SETS_PER_SEED * REQUESTS_PER_SET // 20, seen


def test_a_shrunk_case_still_differs() -> None:
    generator = Generator(0)
    settings = replace(generator.settings(), template_allow=())
    request = Subject(), Asked("publish", "a")
    noise = [generator.rule(settings, "clientid") for _ in range(5)]
    lists: list[RuleList] = [("n9", "all", "", noise), (None, "clientid", "c2", noise)]
    told = shrink(settings, lists, request)
    assert "core ('nomatch', '', '', -1), reference ('nomatch', '', '', -1)" in told
