"""Why clients are allowed or denied, and what other rules would do, by REST."""

from typing import Any, cast

import pytest

from pybroker._core import AccessRules
from pybroker.auth.authorizer import Step
from pybroker.auth.sources.source import Answer, OpenSource
from pybroker.config.sections.access import HttpSource
from pybroker.ports import ClientAcl
from tests.support.admin import Api, add_client
from tests.unit.admin.test_authorization_rules import ALLOW, SHOWN, configure

RULES = "/authorization/sources/built_in_database/rules"
ASKED = {"clientid": "c1", "action": "publish", "topic": "a/b"}


async def call(api: Api, method: str, path: str, body: object = None, status: int = 200, auth: str = "") -> Any:
    """Send a request and return the decoded reply."""
    reply = await api.call(method, path, body, auth=auth or await api.log_in())
    assert reply.status_code == status, reply.text
    return reply.json() if reply.content else None


async def explain(api: Api, auth: str = "", **fields: Any) -> dict[str, Any]:
    """Ask why and return the answer."""
    found: dict[str, Any] = await call(api, "POST", "/authorization/explain", {**ASKED, **fields}, auth=auth)
    return found


async def store(api: Api, path: str, *rules: dict[str, Any], query: str = "") -> None:
    """Store the list of `clients/NAME`, `users/NAME` or `all`."""
    kind, _, name = path.partition("/")
    whose = {"clients": {"clientid": name}, "users": {"username": name}, "all": {}}[kind]
    method = "POST" if kind == "all" else "PUT"
    await call(api, method, f"{RULES}/{path}{query}", {**whose, "rules": list(rules)}, 204)


async def test_deciding_rule_is_named_with_its_source_and_list(api: Api) -> None:
    await store(api, "clients/c1", {**ALLOW, "topic": "x"}, ALLOW)
    found = await explain(api)
    assert (found["decision"], found["source"], found["principal"]) == ("allow", "built_in_database", "clientid")
    assert found["rule"] == SHOWN
    assert [(row["index"], row["matched"], row["why"]) for row in found["trace"]] == [
        (0, False, "its topic does not match"),
        (1, True, "matches"),
    ]


async def test_every_rule_says_why_it_did_not_match(api: Api) -> None:
    await store(
        api, "all",
        {**ALLOW, "action": "subscribe"}, {**ALLOW, "qos": [2]}, {**ALLOW, "retain": True},
        {**ALLOW, "ipaddr": "10.0.0.0/8"}, {**ALLOW, "topic": "a/${username}"}, {**ALLOW, "topic": "eq a/#"},
    )  # fmt: skip
    found = await explain(api, peerhost="192.0.2.1")
    assert (found["decision"], found["source"], found["rule"]) == ("allow", "no_match", None)
    assert [row["why"] for row in found["trace"]] == [
        "is about another action",
        "is about another QoS",
        "is about another retain flag",
        "a condition does not hold",
        "a placeholder has no value: ${username}",
        "its topic does not match",
        "no rule decides, and the mode is blacklist",
    ]


async def test_lists_are_taken_in_their_order_and_the_rest_is_not_reached(api: Api) -> None:
    await store(api, "clients/c1", {**ALLOW, "permission": "deny"}, ALLOW)
    await store(api, "users/u1", ALLOW)
    await store(api, "all", ALLOW)
    found = await explain(api, username="u1")
    assert [(row["principal"], row["index"], row["reached"], row["matched"]) for row in found["trace"]] == [
        ("clientid", 1, True, True),
        ("clientid", 0, False, False),
        ("username", 0, False, True),
        ("all", 0, False, True),
    ]
    assert found["trace"][1]["why"] == ("a later rule that is equal but for its permission counts instead: rules[1]")


async def test_mode_decides_where_no_rule_does(api: Api) -> None:
    assert (await explain(api))["decision"] == "allow"
    await call(api, "PUT", "/authorization/mode", {"mode": "whitelist"})
    found = await explain(api)
    assert (found["decision"], found["source"]) == ("deny", "no_match")
    assert found["trace"][-1]["why"] == "no rule decides, and the mode is whitelist"


@pytest.mark.parametrize(
    ("fields", "decision", "source"),
    [
        ({"is_superuser": True}, "allow", "superuser"),
        ({"topic": "$delayed/abc"}, "deny", "malformed"),
        ({"topic": "$delayed/5/a/b"}, "deny", "built_in_database"),
        ({"action": "subscribe", "topic": "$share/g/a/b"}, "deny", "built_in_database"),
        ({"action": "subscribe", "topic": "$exclusive/a/b"}, "deny", "built_in_database"),
        ({"action": "subscribe", "topic": "$SYS/#", "peerhost": "127.0.0.1"}, "allow", "no_match"),
        ({"action": "subscribe", "topic": "$SYS/#", "peerhost": "192.0.2.1"}, "deny", "no_match"),
        ({"action": "subscribe", "topic": "$SYSTEM/a", "peerhost": "192.0.2.1"}, "allow", "no_match"),
    ],
)
async def test_what_comes_before_and_behind_the_rules_is_told(
    api: Api, fields: dict[str, Any], decision: str, source: str
) -> None:
    await store(api, "all", {"topic": "a/b", "permission": "deny", "action": "all"})
    found = await explain(api, **fields)
    assert (found["decision"], found["source"]) == (decision, source), found


async def test_answer_is_that_of_the_check(api: Api) -> None:
    await store(api, "clients/c1", {**ALLOW, "permission": "deny", "qos": [1]}, {**ALLOW, "topic": "${clientid}/+"})
    await store(api, "all", {**ALLOW, "permission": "deny", "topic": "z/#"})
    session = add_client(api.control, "c1")
    for topic in ("a/b", "c1/x", "z/1", "q"):
        for qos in (0, 1, 2):
            found = await explain(api, topic=topic, qos=qos)
            checked = api.control.plane.engine.check_access(session.slot, "publish", topic, qos, counts=False)
            assert (found["decision"], found["source"]) == checked[:2]


async def test_facts_of_the_session_fill_what_is_left_out(api: Api) -> None:
    session = add_client(api.control, "c1", username="u1", peer=("10.0.0.9", 1))
    session.acl = ClientAcl(rules=AccessRules.compile(cast("Any", [(None, "all", "", [ALLOW])])), is_final=True)
    found = await explain(api)
    assert found["facts"] == {
        "clientid": "c1", "username": "u1", "peerhost": "10.0.0.9", "namespace": None, "is_superuser": False,
        "listener": "tcp:default", "zone": session.zone, "client_attrs": {}, "has_session": True,
    }  # fmt: skip
    assert (found["decision"], found["source"]) == ("allow", "client_info")
    found = await explain(api, topic="other", username="u2")
    assert (found["decision"], found["source"], found["facts"]["username"]) == ("deny", "client_info", "u2")


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"clientid": ""}, "clientid"),
        ({"topic": ""}, "topic"),
        ({"topic": "a/+"}, "a/+"),
        ({"action": "subscribe", "topic": "a/#/b"}, "a/#/b"),
        ({"action": "subscribe", "topic": "$share/g"}, "share group"),
        ({"action": "read"}, "action"),
        ({"qos": 3}, "qos"),
        ({"peerhost": "nowhere"}, "nowhere"),
        ({"color": "red"}, "color"),
    ],
)
async def test_bad_question_is_refused(api: Api, fields: dict[str, Any], part: str) -> None:
    reply = await call(api, "POST", "/authorization/explain", {**ASKED, **fields}, 400)
    assert (reply["code"], part in reply["message"]) == ("BAD_REQUEST", True), reply


class _Remote:
    """A remote source that gives one answer."""

    def __init__(self, answer: Answer) -> None:
        self.source = HttpSource(type="http")
        self.rules = None
        self.status = "connected"
        self.asked = 0
        self._answer = answer

    async def judge(self, question: object) -> Answer:
        self.asked += 1
        return self._answer


@pytest.mark.parametrize(
    ("answer", "decision", "source"),
    [("deny", "deny", "http"), ("nomatch", "allow", "no_match"), ("failed", "allow", "no_match")],
)
async def test_remote_source_is_asked_only_if_wanted(
    api: Api, monkeypatch: pytest.MonkeyPatch, answer: Answer, decision: str, source: str
) -> None:
    remote = _Remote(answer)
    authorizer = api.control.plane.authorizer
    step = Step(remote.source, None, "", None, cast("OpenSource", remote))
    monkeypatch.setattr(type(authorizer), "steps", [step])
    found = await explain(api)
    assert (found["decision"], found["source"], remote.asked) == ("allow", "no_match", 0)
    assert found["trace"][0]["why"].startswith("skipped")
    found = await explain(api, remote=True)
    assert (found["decision"], found["source"], remote.asked) == (decision, source, 1)


async def test_disabled_source_is_listed_as_such(api: Api) -> None:
    await store(api, "all", {**ALLOW, "permission": "deny"})
    await configure(api, enable=False)
    found = await explain(api)
    assert (found["decision"], found["trace"][0]["why"]) == ("allow", "disabled")


async def test_asking_moves_no_counter(api: Api) -> None:
    await store(api, "all", ALLOW)
    before = api.control.plane.counters.metrics()
    await explain(api)
    assert api.control.plane.counters.metrics() == before
    assert api.control.plane.authorizer.metrics("built_in_database").total == 0


async def test_namespaces_ask_about_their_own(api: Api) -> None:
    viewer = await api.add_user("looker", "ns:a::viewer")
    await store(api, "all", {**ALLOW, "permission": "deny"}, query="?ns=a")
    add_client(api.control, "c1", username="secret")
    found = await explain(api, auth=viewer)
    assert (found["decision"], found["facts"]["has_session"], found["facts"]["namespace"]) == ("deny", False, "a")
    assert (await explain(api))["decision"] == "allow"
    await call(api, "POST", "/authorization/explain", {**ASKED, "namespace": "b"}, 403, auth=viewer)


async def simulate(api: Api, query: str = "", auth: str = "", **fields: Any) -> dict[str, Any]:
    """Try something and return the page."""
    found: dict[str, Any] = await call(api, "POST", f"/authorization/simulate{query}", fields, auth=auth)
    return found


def changes(page: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return client id, filter and change of each row."""
    return [(row["clientid"], row["topic"], row["change"]) for row in page["data"]]


@pytest.fixture
def clients(api: Api) -> None:
    """Connect two clients and leave the session of a third behind; each has two subscriptions."""
    for name in ("one", "two", "three"):
        session = add_client(api.control, name, username=f"u{name}", is_offline=name == "three")
        for filter in (f"own/{name}", "shared/#"):
            api.control.plane.engine.subscribe(session.slot, filter, 1)


DENY = {"topic": "shared/#", "permission": "deny", "action": "subscribe"}


@pytest.mark.usefixtures("clients")
async def test_simulation_tells_who_would_lose_what_and_changes_nothing(api: Api) -> None:
    page = await simulate(api, rules=[{"username": "utwo", "rules": [DENY]}])
    assert page == {
        "data": [
            {
                "clientid": "two", "username": "utwo", "namespace": None, "connected": True, "topic": "shared/#",
                "qos": 1, "change": "lost",
            }
        ],
        "meta": {"page": 1, "limit": 100, "hasnext": False},
    }  # fmt: skip
    assert await call(api, "GET", f"{RULES}/users", status=200) == {
        "data": [],
        "meta": {"page": 1, "limit": 100, "count": 0, "hasnext": False},
    }
    assert (await explain(api, clientid="two", action="subscribe", topic="shared/#"))["decision"] == "allow"


@pytest.mark.usefixtures("clients")
async def test_simulation_of_the_other_mode_spares_what_rules_allow(api: Api) -> None:
    await store(api, "all", {"topic": "own/${clientid}", "permission": "allow", "action": "all"})
    lost = [(name, "shared/#", "lost") for name in ("one", "two", "three")]
    assert changes(await simulate(api, mode="whitelist")) == lost
    stored = (await simulate(api, mode="whitelist"))["data"][-1]
    assert (stored["clientid"], stored["connected"]) == ("three", False)
    everything = await simulate(api, mode="whitelist", replace_all=True)
    assert len(everything["data"]) == 6
    assert changes(await simulate(api)) == []


@pytest.mark.usefixtures("clients")
async def test_simulation_is_paged(api: Api) -> None:
    seen = []
    for page in (1, 2, 3, 4):
        found = await simulate(api, f"?limit=2&page={page}", mode="whitelist")
        assert found["meta"]["hasnext"] == (page < 3)
        seen += changes(found)
    assert len(set(seen)) == len(seen) == 6


@pytest.mark.usefixtures("clients")
async def test_subscription_that_is_denied_now_would_be_gained(api: Api) -> None:
    await call(api, "PUT", "/authorization/extra_settings", {"on_revoke": "ignore"})
    await store(api, "clients/one", DENY)
    page = await simulate(api, rules=[{"clientid": "one", "rules": []}])
    assert changes(page) == [("one", "shared/#", "gained")]


async def test_bad_simulation_is_refused(api: Api) -> None:
    path = "/authorization/simulate"
    for body, part in (
        ({"rules": [{"clientid": "c", "rules": [{**ALLOW, "topic": "#/a"}]}]}, "INVALID_TOPIC"),
        ({"rules": [{"rules": []}]}, "exactly one"),
        ({"rules": [{"clientid": "c", "rules": []}] * 2}, "given twice"),
        ({"mode": "grey"}, "mode"),
    ):
        reply = await call(api, "POST", path, body, 400)
        assert part in reply["message"]
    own = await api.add_user("looker", "ns:a::viewer")
    await call(api, "POST", f"{path}?ns=b", {}, 403, auth=own)


@pytest.mark.usefixtures("clients")
async def test_namespaces_see_their_own_clients_only(api: Api) -> None:
    own = await api.add_user("looker", "ns:a::viewer")
    assert changes(await simulate(api, mode="whitelist", auth=own)) == []


async def test_kept_decisions_of_a_client(api: Api) -> None:
    path = "/clients/one/authorization/cache"
    assert (await call(api, "GET", path, status=404))["code"] == "CLIENTID_NOT_FOUND"
    assert (await call(api, "DELETE", path, status=404))["code"] == "CLIENTID_NOT_FOUND"
    add_client(api.control, "one", is_offline=True)
    assert await call(api, "GET", path) == []
    await call(api, "DELETE", path, status=204)
