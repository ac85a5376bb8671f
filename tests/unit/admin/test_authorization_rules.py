"""The built-in access rules by REST: whole lists of client ids, user names and all users."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pybroker._core import AccessClient
from pybroker.config.sections.access import BuiltInSource
from tests.support.admin import Api, config_with, open_api

RULES = "/authorization/sources/built_in_database/rules"
ALLOW = {"topic": "a/#", "permission": "allow", "action": "publish"}
SHOWN = {**ALLOW, "qos": [0, 1, 2], "retain": "all"}
KINDS = [("clients", "clientid"), ("users", "username")]


def decision(api: Api, topic: str = "a/b", client_id: str = "c1", username: str = "u1", **about: Any) -> str:
    """Return what the rules in force say of a publish."""
    rules = api.control.plane.authorizer.built_in.rules
    return rules.check(AccessClient(client_id, username, **about), "publish", topic)[0]


async def configure(api: Api, **fields: Any) -> None:
    """Change the one source; `None` takes it away."""
    sources = [] if fields.get("type", "") is None else [{"type": "built_in_database", **fields}]
    await api.control.configs.update({"authorization": {"sources": sources}})


async def call(api: Api, method: str, path: str, body: object = None, status: int = 204, auth: str = "") -> Any:
    """Send a request below the rules and return the decoded reply."""
    reply = await api.call(method, f"{RULES}{path}", body, auth=auth or await api.log_in())
    assert reply.status_code == status, reply.text
    return reply.json() if reply.content else None


@pytest.mark.parametrize(("path", "field"), KINDS)
async def test_list_is_created_shown_replaced_and_deleted(api: Api, path: str, field: str) -> None:
    name = {"clientid": "c1", "username": "u1"}[field]
    await call(api, "POST", f"/{path}", [{field: name, "rules": [ALLOW]}])
    assert await call(api, "GET", f"/{path}/{name}", status=200) == {field: name, "rules": [SHOWN]}
    assert decision(api) == "allow"
    await call(api, "PUT", f"/{path}/{name}", {field: name, "rules": [{**ALLOW, "permission": "deny"}]})
    assert decision(api) == "deny"
    await call(api, "DELETE", f"/{path}/{name}")
    assert decision(api) == "nomatch"
    for method in ("GET", "DELETE"):
        assert (await call(api, method, f"/{path}/{name}", status=404))["code"] == "NOT_FOUND"


@pytest.mark.parametrize(("path", "field"), KINDS)
async def test_put_creates_what_is_missing_and_an_empty_list_exists(api: Api, path: str, field: str) -> None:
    await call(api, "PUT", f"/{path}/new", {field: "new", "rules": []})
    assert await call(api, "GET", f"/{path}/new", status=200) == {field: "new", "rules": []}
    assert (await call(api, "POST", f"/{path}", [{field: "new", "rules": [ALLOW]}], 409))["code"] == "ALREADY_EXISTS"


@pytest.mark.parametrize(("path", "field"), KINDS)
async def test_post_of_an_existing_name_stores_nothing_of_the_array(api: Api, path: str, field: str) -> None:
    await call(api, "POST", f"/{path}", [{field: "old", "rules": []}])
    body = [{field: "one", "rules": [ALLOW]}, {field: "old", "rules": [ALLOW]}, {field: "two", "rules": []}]
    assert (await call(api, "POST", f"/{path}", body, 409))["code"] == "ALREADY_EXISTS"
    page = await call(api, "GET", f"/{path}", status=200)
    assert page == {
        "data": [{field: "old", "rules": []}],
        "meta": {"page": 1, "limit": 100, "count": 1, "hasnext": False},
    }


@pytest.mark.parametrize(("path", "field"), KINDS)
async def test_name_twice_in_one_post_is_refused(api: Api, path: str, field: str) -> None:
    body = [{field: "x", "rules": []}, {field: "x", "rules": [ALLOW]}]
    assert "'x'" in (await call(api, "POST", f"/{path}", body, 400))["message"]
    await call(api, "GET", f"/{path}/x", status=404)


async def test_all_users_list_is_replaced_and_always_there(api: Api) -> None:
    assert await call(api, "GET", "/all", status=200) == {"rules": []}
    await call(api, "DELETE", "/all")
    await call(api, "POST", "/all", {"rules": [ALLOW]})
    await call(api, "POST", "/all", {"rules": [{**ALLOW, "topic": "b"}]})
    assert await call(api, "GET", "/all", status=200) == {"rules": [{**SHOWN, "topic": "b"}]}
    await call(api, "DELETE", "/all")
    assert await call(api, "GET", "/all", status=200) == {"rules": []}


async def test_list_is_read_back_as_it_was_written(api: Api) -> None:
    rules: list[dict[str, Any]] = [
        {"topic": "t", "permission": "allow", "action": "publish", "qos": [2, "0"], "retain": "true"},
        {"topic": "t", "permission": "deny", "action": "subscribe", "retain": False},
        {"topic": "t", "permission": "deny", "action": "publish", "qos": [0, 2], "retain": True},
        {"topic": "eq t/#", "permission": "allow", "action": "all", "ipaddr": "10.0.0.0/8", "username_re": "^u",
         "clientid_re": "x", "zone": "z", "zone_re": "z", "listener": "tcp:default", "listener_re": "tcp"},
    ]  # fmt: skip
    await call(api, "PUT", "/clients/c%2F1", {"clientid": "c/1", "rules": rules})
    shown = (await call(api, "GET", "/clients/c%2F1", status=200))["rules"]
    assert shown == [
        {**rules[0], "qos": [0, 2], "retain": True},
        {**rules[1], "qos": [0, 1, 2], "retain": "all"},
        rules[2],
        {**rules[3], "qos": [0, 1, 2], "retain": "all"},
    ]


async def test_publish_allow_and_subscribe_deny_of_one_topic_both_hold(api: Api) -> None:
    rules = [{"topic": "t", "permission": "allow", "action": "publish"}]
    rules.append({"topic": "t", "permission": "deny", "action": "subscribe"})
    await call(api, "PUT", "/clients/c1", {"clientid": "c1", "rules": rules})
    check = api.control.plane.authorizer.built_in.rules.check
    assert check(AccessClient("c1"), "publish", "t")[0] == "allow"
    assert check(AccessClient("c1"), "subscribe", "t")[0] == "deny"


async def test_of_equal_rules_the_last_permission_counts_and_both_are_shown(api: Api) -> None:
    rules = [ALLOW, {**ALLOW, "permission": "deny"}]
    await call(api, "PUT", "/clients/c1", {"clientid": "c1", "rules": rules})
    assert decision(api) == "deny"
    assert len((await call(api, "GET", "/clients/c1", status=200))["rules"]) == 2


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"topic": "a/#/b"}, "rules[1].topic"),
        ({"topic": ""}, "rules[1].topic"),
        ({"topic": "x" * 65_536}, "rules[1].topic"),
        ({"topic": "a/b${username}c/d"}, "INVALID_PLACEHOLDER"),
        ({"topic": 7}, "topic"),
        ({"permission": "maybe"}, "permission"),
        ({"action": "pub"}, "action"),
        ({"action": "sub"}, "action"),
        ({"qos": [3]}, "qos"),
        ({"qos": []}, "qos"),
        ({"retain": "maybe"}, "retain"),
        ({"clientid_re": "("}, "rules[1].clientid_re"),
        ({"ipaddr": "10.0.0.0/33"}, "rules[1].ipaddr"),
        ({"clientid": "c2"}, "clientid"),
        ({"topics": ["a"]}, "topics"),
    ],
)
async def test_bad_rule_is_named_and_nothing_is_stored(api: Api, change: dict[str, Any], part: str) -> None:
    body = [{"clientid": "good", "rules": [ALLOW]}, {"clientid": "bad", "rules": [ALLOW, {**ALLOW, **change}]}]
    reply = await call(api, "POST", "/clients", body, 400)
    assert reply["code"] == "BAD_REQUEST"
    assert part in reply["message"]
    assert (await call(api, "GET", "/clients", status=200))["data"] == []


@pytest.mark.parametrize("name", ["", "x" * 65_536, "a\0b"])
async def test_bad_name_is_refused(api: Api, name: str) -> None:
    reply = await call(api, "POST", "/users", [{"username": name, "rules": []}], 400)
    assert "username" in reply["message"]
    assert len(reply["message"]) < 500


async def test_name_must_be_that_of_the_path(api: Api) -> None:
    reply = await call(api, "PUT", "/users/a", {"username": "b", "rules": []}, 400)
    assert reply["message"] == "username differs from the path: 'b'"


async def test_list_has_at_most_max_rules(api: Api) -> None:
    await configure(api, max_rules=2)
    await call(api, "POST", "/all", {"rules": [ALLOW, ALLOW]})
    assert (await call(api, "POST", "/all", {"rules": [ALLOW] * 3}, 400))["code"] == "BAD_REQUEST"
    await configure(api, max_rules=1)
    await call(api, "POST", "/all", {"rules": [{**ALLOW, "topic": "b"}] * 2})


async def test_rules_in_all_are_twice_the_connections(tmp_path: Path) -> None:
    config = config_with(tmp_path)
    config = msgspec.structs.replace(config, license=msgspec.structs.replace(config.license, connection_quota=2))
    async with open_api(config) as api:
        await call(api, "POST", "/all", {"rules": [ALLOW] * 3})
        await call(api, "PUT", "/users/u", {"username": "u", "rules": [ALLOW]})
        body = [{"clientid": "c", "rules": [ALLOW]}]
        assert (await call(api, "POST", "/clients", body, 400))["code"] == "EXCEED_LIMIT"
        await call(api, "POST", "/all", {"rules": [ALLOW] * 2})
        await call(api, "POST", "/clients", body)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/clients", None),
        ("POST", "/clients", []),
        ("GET", "/clients/c", None),
        ("PUT", "/clients/c", {"clientid": "c", "rules": []}),
        ("DELETE", "/clients/c", None),
        ("GET", "/users", None),
        ("GET", "/all", None),
        ("POST", "/all", {"rules": []}),
        ("DELETE", "/all", None),
        ("DELETE", "", None),
    ],
)
async def test_without_the_source_there_is_nothing(api: Api, method: str, path: str, body: object) -> None:
    await configure(api, type=None)
    assert (await call(api, method, path, body, 404))["code"] == "NOT_FOUND"


async def test_purge_needs_the_source_disabled(api: Api) -> None:
    await call(api, "POST", "/clients", [{"clientid": "c1", "rules": [ALLOW]}])
    await call(api, "POST", "/all", {"rules": [ALLOW]})
    await call(api, "POST", "/all?ns=a", {"rules": [ALLOW]})
    reply = await call(api, "DELETE", "", status=400)
    assert (reply["code"], "must be disabled before" in reply["message"]) == ("BAD_REQUEST", True)
    await configure(api, enable=False)
    assert (await call(api, "GET", "/clients", status=200))["meta"]["count"] == 1
    await call(api, "DELETE", "")
    assert (await call(api, "GET", "/clients", status=200))["meta"]["count"] == 0
    assert api.control.authorization.rules.lists.total == 1


async def test_collections_cannot_be_deleted(api: Api) -> None:
    for path in ("/clients", "/users"):
        reply = await api.call("DELETE", f"{RULES}{path}", auth=await api.log_in())
        assert (reply.status_code, reply.content) == (405, b"")


async def test_searched_list_has_no_count(api: Api) -> None:
    await call(api, "POST", "/users", [{"username": f"user{at}", "rules": []} for at in range(5)])
    page = await call(api, "GET", "/users?like_username=ser&limit=2&page=2", status=200)
    assert [row["username"] for row in page["data"]] == ["user2", "user3"]
    assert page["meta"] == {"page": 2, "limit": 2, "hasnext": True}
    assert (await call(api, "GET", "/users?like_username=USER", status=200))["data"] == []
    assert (await call(api, "GET", "/users?limit=0", status=400))["code"] == "BAD_REQUEST"


async def test_large_body_is_refused_as_such(api: Api) -> None:
    reply = await call(api, "POST", "/clients", b"[" + b" " * (10 << 20) + b"]", 413)
    assert reply["code"] == "EXCEED_LIMIT"
    await call(api, "POST", "/clients", b"[" + b" " * ((10 << 20) - 2) + b"]")


def _names(page: dict[str, Any], field: str = "clientid") -> Sequence[str]:
    return [row[field] for row in page["data"]]


async def test_namespaces_have_lists_of_their_own(api: Api) -> None:
    root = await api.log_in()
    own = await api.add_user("owner", "ns:a::administrator")
    await call(api, "POST", "/clients", [{"clientid": "global", "rules": [ALLOW]}], auth=root)
    await call(api, "POST", "/clients?ns=a", [{"clientid": "by_root", "rules": [ALLOW]}], auth=root)
    await call(api, "POST", "/clients", [{"clientid": "by_own", "rules": [ALLOW]}], auth=own)
    assert _names(await call(api, "GET", "/clients", status=200, auth=own)) == ["by_own", "by_root"]
    assert _names(await call(api, "GET", "/clients?ns=a", status=200, auth=root)) == ["by_own", "by_root"]
    assert _names(await call(api, "GET", "/clients", status=200, auth=root)) == ["global"]
    assert (await call(api, "GET", "/clients?ns=b", status=403, auth=own))["code"] == "FORBIDDEN"
    assert (await call(api, "GET", "/clients?ns=nope", status=400, auth=root))["code"] == "BAD_REQUEST"
    await call(api, "GET", "/clients/global", status=404, auth=own)
    assert decision(api, client_id="by_own", namespace="a") == "allow"
    assert decision(api, client_id="global", namespace="a") == "nomatch"
    assert decision(api, client_id="global", namespace="b") == "allow"


async def test_deleted_namespace_takes_its_rules_along(api: Api) -> None:
    await call(api, "POST", "/all?ns=a", {"rules": [{**ALLOW, "permission": "deny"}]})
    assert decision(api, namespace="a") == "deny"
    await api.control.remove_namespace("a")
    assert decision(api, namespace="a") == "nomatch"
    await api.control.namespaces.add("a")
    assert await call(api, "GET", "/all?ns=a", status=200) == {"rules": []}


async def test_rules_survive_a_restart(tmp_path: Path) -> None:
    async with open_api(config_with(tmp_path)) as api:
        await call(api, "POST", "/clients", [{"clientid": "c1", "rules": [{**ALLOW, "qos": [1], "ipaddr": "::1"}]}])
        await call(api, "POST", "/users", [{"username": name, "rules": []} for name in ("b", "a")])
        await call(api, "POST", "/all", {"rules": [{**ALLOW, "permission": "deny"}]})
    async with open_api(config_with(tmp_path)) as api:
        assert decision(api) == "deny"
        shown = await call(api, "GET", "/clients/c1", status=200)
        assert shown["rules"] == [{**SHOWN, "qos": [1], "ipaddr": "::1"}]
        assert _names(await call(api, "GET", "/users", status=200), "username") == ["a", "b"]
        assert api.control.authorization.rules.lists.total == 2
        assert isinstance(api.control.authorization.rules.source, BuiltInSource)
