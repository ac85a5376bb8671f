"""Sources of access rules and their statistics by REST."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.admin import Api, config_with, open_api
from tests.unit.admin.test_authorization_rules import ALLOW

BUILT_IN = {"type": "built_in_database", "enable": True, "precondition": "", "max_rules": 100}
HTTP = {"type": "http", "enable": False, "url": "http://127.0.0.1/acl", "headers": {"x-key": "hidden"}}
FILE = {"type": "file", "enable": False, "rules": "{allow, all}.\n"}
ZEROS = {"total": 0, "allow": 0, "deny": 0, "nomatch": 0, "ignore": 0, "rate": 0, "rate_last5m": 0, "rate_max": 0}


async def call(api: Api, method: str, path: str = "", body: object = None, status: int = 204) -> Any:
    """Send a request below the sources and return the decoded reply."""
    reply = await api.call(method, f"/authorization/sources{path}", body, auth=await api.log_in())
    assert reply.status_code == status, reply.text
    return reply.json() if reply.content else None


async def types(api: Api) -> list[str]:
    """Return the types of the sources, in order."""
    return [source["type"] for source in (await call(api, "GET", status=200))["sources"]]


async def test_built_in_source_is_there_from_the_beginning(api: Api) -> None:
    assert await call(api, "GET", status=200) == {"sources": [BUILT_IN]}
    assert await call(api, "GET", "/built_in_database", status=200) == BUILT_IN


async def test_new_source_goes_to_the_front(api: Api) -> None:
    await call(api, "POST", body=HTTP)
    await call(api, "POST", body=FILE)
    assert await types(api) == ["file", "http", "built_in_database"]
    for body in (HTTP, FILE, BUILT_IN):
        assert (await call(api, "POST", body=body, status=400))["code"] == "BAD_REQUEST"


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({}, "type"),
        ({"type": 7}, "type"),
        ({"type": "nope"}, "nope"),
        ({"type": "mysql", "server": "127.0.0.1:3306"}, "mysql"),
        ({**HTTP, "method": "head"}, "method"),
        ({**HTTP, "color": 1}, "color"),
        ({"type": "file"}, "rules"),
        ({"type": "file", "path": "/etc/passwd"}, "path"),
        ({"type": "file", "rules": "", "path": "/etc/passwd"}, "path"),
        ({"type": "file", "rules": "{allow, all}.\n{deny, nobody}.\n"}, "line 2"),
        ({"type": "file", "rules": "{allow, all}.\n{deny, nobody}.\n", "enable": False}, "line 2"),
        ({"type": "http", "url": "https://127.0.0.1/acl"}, "ssl"),
    ],
)
async def test_bad_source_is_refused(api: Api, tmp_path: Path, body: dict[str, Any], part: str) -> None:
    reply = await call(api, "POST", body=body, status=400)
    assert (reply["code"], part in reply["message"]) == ("BAD_REQUEST", True), reply
    assert await types(api) == ["built_in_database"]
    assert list((tmp_path / "authz").glob("*")) == []


async def test_unknown_words_in_the_path_are_bad_and_others_not_found(api: Api) -> None:
    requests = [("GET", ""), ("DELETE", ""), ("GET", "/status"), ("POST", "/metrics/reset"), ("POST", "/refresh")]
    for method, below in requests:
        assert (await call(api, method, f"/nope{below}", status=400))["code"] == "BAD_REQUEST"
        assert (await call(api, method, f"/http{below}", status=404))["code"] == "NOT_FOUND"
    assert (await call(api, "PUT", "/http", HTTP, 404))["code"] == "NOT_FOUND"
    assert (await call(api, "POST", "/http/move", {"position": "front"}, 404))["code"] == "NOT_FOUND"


async def test_source_is_changed_and_keeps_its_secret(api: Api) -> None:
    await call(api, "POST", body=HTTP)
    shown = await call(api, "GET", "/http", status=200)
    assert shown["headers"] == {"x-key": "******"}
    await call(api, "PUT", "/http", {**shown, "url": "http://127.0.0.1/other"})
    source = api.control.authorization.sources.configured[0]
    assert (source.url, source.headers) == ("http://127.0.0.1/other", {"x-key": "hidden"})  # type: ignore[attr-defined]
    reply = await call(api, "PUT", "/http", {**HTTP, "type": "file"}, 400)
    assert "'file'" in reply["message"]


async def test_bad_text_leaves_the_one_in_force(api: Api) -> None:
    await call(api, "POST", body={**FILE, "enable": True})
    reply = await call(api, "PUT", "/file", {"type": "file", "rules": "{deny, all"}, 400)
    assert reply["code"] == "BAD_REQUEST"
    assert (await call(api, "GET", "/file", status=200))["rules"] == FILE["rules"]
    explained = {"clientid": "c", "action": "publish", "topic": "$x/y"}
    reply = (await api.call("POST", "/authorization/explain", explained, auth=await api.log_in())).json()
    assert (reply["decision"], reply["source"]) == ("allow", "file")


async def test_text_of_a_file_travels_and_stays(tmp_path: Path) -> None:
    async with open_api(config_with(tmp_path)) as api:
        await call(api, "POST", body=FILE)
        assert (await call(api, "GET", "/file", status=200))["rules"] == FILE["rules"]
        await call(api, "PUT", "/file", {**FILE, "rules": "{deny, all}.\n"})
        assert len(list((tmp_path / "authz").glob("*"))) == 1
    async with open_api(config_with(tmp_path)) as api:
        shown = await call(api, "GET", "/file", status=200)
        assert shown == {"type": "file", "enable": False, "precondition": "", "rules": "{deny, all}.\n"}
        (file,) = (tmp_path / "authz").glob("*")
        file.unlink()
        assert (await call(api, "GET", "/file", status=500))["code"] == "INTERNAL_ERROR"
        await call(api, "PUT", "/file", FILE)
        await call(api, "DELETE", "/file")
        assert list((tmp_path / "authz").glob("*")) == []


@pytest.mark.parametrize(
    ("position", "after"),
    [
        ("front", ["built_in_database", "file", "http"]),
        ("rear", ["file", "http", "built_in_database"]),
        ("before:http", ["file", "built_in_database", "http"]),
        ("after:file", ["file", "built_in_database", "http"]),
    ],
)
async def test_source_is_moved(api: Api, position: str, after: list[str]) -> None:
    await call(api, "POST", body=HTTP)
    await call(api, "POST", body=FILE)
    await call(api, "POST", "/built_in_database/move", {"position": position})
    assert await types(api) == after


@pytest.mark.parametrize("position", ["", "middle", "before:", "before:mysql", "after:built_in_database", "front:http"])
async def test_bad_position_is_refused(api: Api, position: str) -> None:
    reply = await call(api, "POST", "/built_in_database/move", {"position": position}, 400)
    assert (reply["code"], repr(position) in reply["message"]) == ("BAD_REQUEST", True)


async def test_order_names_every_source_once(api: Api) -> None:
    await call(api, "POST", body=HTTP)
    await call(api, "PUT", "/order", [{"type": "built_in_database"}, {"type": "http"}])
    assert await types(api) == ["built_in_database", "http"]
    for names, part in (
        (["http"], "missing: built_in_database"),
        (["http", "built_in_database", "file"], "unknown: file"),
        (["http", "built_in_database", "http"], "repeated: http"),
    ):
        reply = await call(api, "PUT", "/order", [{"type": name} for name in names], 400)
        assert part in reply["message"]


@pytest.mark.parametrize("is_enabled", [True, False])
async def test_deleted_built_in_source_takes_its_rules_along(api: Api, is_enabled: bool) -> None:
    await call(api, "POST", "/built_in_database/rules/all", {"rules": [ALLOW]})
    await call(api, "POST", "/built_in_database/rules/all?ns=a", {"rules": [ALLOW]})
    await call(api, "PUT", "/built_in_database", {"type": "built_in_database", "enable": is_enabled})
    assert api.control.authorization.rules.lists.total == 2
    await call(api, "DELETE", "/built_in_database")
    assert len(api.control.plane.authorizer.built_in.rules) == 0
    await call(api, "GET", "/built_in_database/rules/all", status=404)
    await call(api, "POST", body={"type": "built_in_database"})
    assert await call(api, "GET", "/built_in_database/rules/all", status=200) == {"rules": []}


async def test_status_has_the_form_that_clients_read(api: Api) -> None:
    node = api.control.about.node
    assert await call(api, "GET", "/built_in_database/status", status=200) == {
        "status": "connected",
        "metrics": ZEROS,
        "resource_metrics": {},
        "node_status": [{"node": node, "status": "connected"}],
        "node_metrics": [{"node": node, "metrics": ZEROS}],
        "node_resource_metrics": [{"node": node, "metrics": {}}],
        "node_error": [],
    }
    await call(api, "POST", "/built_in_database/metrics/reset")
    await call(api, "POST", "/built_in_database/refresh")
    await call(api, "POST", body=HTTP)
    resource = (await call(api, "GET", "/http/status", status=200))["resource_metrics"]
    assert set(resource) == {"matched", "success", "failed", "rate", "rate_last5m", "rate_max"}


async def statistics(api: Api, query: str = "", auth: str = "") -> dict[str, Any]:
    """Return the statistics."""
    reply = await api.call("GET", f"/authorization/statistics{query}", auth=auth or await api.log_in())
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


async def test_statistics_count_rules_and_say_since_when(api: Api) -> None:
    own = await api.add_user("owner", "ns:a::viewer")
    await call(api, "POST", "/built_in_database/rules/clients", [{"clientid": "c", "rules": [ALLOW, ALLOW]}])
    await call(api, "POST", "/built_in_database/rules/users?ns=a", [{"username": "u", "rules": [ALLOW]}])
    view = await statistics(api)
    since = view.pop("since")
    assert view == {
        "mode": "blacklist", "allow": 0, "deny": 0, "nomatch": 0, "superuser": 0, "cache_hit": 0, "cache_miss": 0,
        "total": 0, "rate": 0, "rate_last5m": 0, "rate_max": 0,
        "rules": {"clients": 2, "users": 1, "all": 0, "total": 3, "limit": 100_000},
        "sources": [{"type": "built_in_database", "enable": True, "status": "connected", "metrics": ZEROS}],
    }  # fmt: skip
    assert (await statistics(api, "?ns=a"))["rules"]["total"] == 1
    assert (await statistics(api, auth=own))["rules"]["total"] == 1
    api.clock.advance(60_000)
    reply = await api.call("POST", "/authorization/statistics/reset", auth=await api.log_in())
    assert reply.status_code == 204
    assert (await statistics(api))["since"] > since
