"""Settings, mode and caches of access control by REST."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.admin import Api, config_with, open_api
from tests.unit.admin.test_authorization_rules import ALLOW

BASE = "/authorization"
DEFAULTS = {
    "no_match": "allow",
    "deny_action": "ignore",
    "cache": {"enable": True, "max_size": 32, "ttl": "1m", "excludes": []},
    "include_mountpoint": False,
    "ignore_backend_failures": False,
}
EXTRA = {"subscribe_match": "strict", "on_revoke": "unsubscribe", "sys_topics": "loopback"}


async def call(api: Api, method: str, path: str, body: object = None, status: int = 200) -> Any:
    """Send a request below `/authorization` and return the decoded reply."""
    reply = await api.call(method, f"{BASE}{path}", body, auth=await api.log_in())
    assert reply.status_code == status, reply.text
    return reply.json() if reply.content else None


async def test_settings_are_replaced_whole(api: Api) -> None:
    assert await call(api, "GET", "/settings") == DEFAULTS
    cache = {"enable": False, "max_size": 64, "ttl": "60s", "excludes": ["a/#", "$SYS/+"]}
    changed = {
        "no_match": "deny",
        "deny_action": "disconnect",
        "cache": cache,
        "include_mountpoint": True,
        "ignore_backend_failures": True,
    }
    assert await call(api, "PUT", "/settings", changed) == changed
    assert await call(api, "GET", "/settings") == changed
    partly = await call(api, "PUT", "/settings", {"no_match": "deny", "cache": {"ttl": "60s"}})
    assert partly == {**DEFAULTS, "no_match": "deny", "cache": {**DEFAULTS["cache"], "ttl": "60s"}}  # type: ignore[dict-item]
    assert await call(api, "PUT", "/settings", {}) == DEFAULTS


async def test_settings_leave_the_others_alone(api: Api) -> None:
    await call(api, "PUT", "/extra_settings", {**EXTRA, "sys_topics": "nobody"})
    await call(api, "PUT", "/settings", {"no_match": "deny"})
    assert (await call(api, "GET", "/extra_settings"))["sys_topics"] == "nobody"
    assert await call(api, "PUT", "/extra_settings", {"on_revoke": "ignore"}) == {**EXTRA, "on_revoke": "ignore"}
    assert (await call(api, "GET", "/settings"))["no_match"] == "deny"
    assert api.control.plane.authorizer.settings.on_revoke == "ignore"


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({"no_match": "maybe"}, "maybe"),
        ({"deny_action": "kick"}, "kick"),
        ({"cache": {"max_size": 0}}, "authorization.cache.max_size"),
        ({"cache": {"max_size": 1_048_577}}, "authorization.cache.max_size"),
        ({"cache": {"ttl": "soon"}}, "authorization.cache.ttl"),
        ({"cache": {"excludes": ["a/#/b"]}}, "a/#/b"),
        ({"cache": {"color": 1}}, "color"),
        ({"subscribe_match": "emqx"}, "subscribe_match"),
        ({"sources": []}, "sources"),
    ],
)
async def test_bad_settings_change_nothing(api: Api, body: dict[str, Any], part: str) -> None:
    reply = await call(api, "PUT", "/settings", {"include_mountpoint": True, **body}, 400)
    assert (reply["code"], part in reply["message"]) == ("BAD_REQUEST", True), reply
    assert await call(api, "GET", "/settings") == DEFAULTS


async def test_mode_is_switched_with_one_call(api: Api) -> None:
    await call(api, "PUT", "/settings", {"deny_action": "disconnect"})
    assert await call(api, "GET", "/mode") == {"mode": "blacklist", "no_match": "allow", "warnings": []}
    after = await call(api, "PUT", "/mode", {"mode": "whitelist"})
    assert (after["mode"], after["no_match"]) == ("whitelist", "deny")
    assert after["warnings"] == ["no rule allows anything: everything is denied"]
    assert await call(api, "GET", "/settings") == {**DEFAULTS, "no_match": "deny", "deny_action": "disconnect"}
    assert api.control.plane.authorizer.settings.no_match == "deny"
    assert (await call(api, "PUT", "/mode", {"mode": "greylist"}, 400))["code"] == "BAD_REQUEST"


async def test_mode_warns_of_rules_that_decide_everything(api: Api) -> None:
    rules = "/sources/built_in_database/rules"
    await call(api, "POST", f"{rules}/clients", [{"clientid": "c", "rules": [ALLOW]}], 204)
    assert (await call(api, "PUT", "/mode", {"mode": "whitelist"}))["warnings"] == []
    await call(api, "POST", f"{rules}/all", {"rules": [{"topic": "#", "permission": "deny", "action": "all"}]}, 204)
    (warning,) = (await call(api, "GET", "/mode"))["warnings"]
    assert warning.endswith("deny #")
    await call(api, "POST", f"{rules}/all", {"rules": [{**ALLOW, "topic": "#"}]}, 204)
    assert (await call(api, "GET", "/mode"))["warnings"] == []
    await call(api, "DELETE", "/sources/built_in_database", status=204)
    assert (await call(api, "GET", "/mode"))["warnings"] == ["no source is enabled: everything is denied"]


async def test_changes_survive_a_restart(tmp_path: Path) -> None:
    async with open_api(config_with(tmp_path)) as api:
        await call(api, "PUT", "/mode", {"mode": "whitelist"})
        await call(api, "PUT", "/extra_settings", {"sys_topics": "everyone"})
        await call(api, "PUT", "/node_cache", {"max_count": "unlimited", "cache_ttl": "90s"}, 204)
    async with open_api(config_with(tmp_path)) as api:
        assert (await call(api, "GET", "/mode"))["mode"] == "whitelist"
        assert (await call(api, "GET", "/extra_settings"))["sys_topics"] == "everyone"
        assert (await call(api, "GET", "/node_cache"))["cache_ttl"] == "90s"


async def test_node_cache_is_replaced_whole(api: Api) -> None:
    defaults = {
        "enable": True, "cache_ttl": "1m", "cleanup_interval": "1m", "stat_update_interval": "5s",
        "max_count": 1_000_000, "max_memory": "100MB",
    }  # fmt: skip
    assert await call(api, "GET", "/node_cache") == defaults
    await call(api, "PUT", "/node_cache", {"enable": False, "max_count": "unlimited", "max_memory": "unlimited"}, 204)
    changed = await call(api, "GET", "/node_cache")
    assert changed == {**defaults, "enable": False, "max_count": "unlimited", "max_memory": "unlimited"}
    assert (await call(api, "PUT", "/node_cache", {"cache_ttl": "x"}, 400))["code"] == "BAD_REQUEST"
    await call(api, "PUT", "/node_cache", {}, 204)
    assert await call(api, "GET", "/node_cache") == defaults


async def test_kept_decisions_can_be_forgotten(api: Api) -> None:
    await call(api, "DELETE", "/cache", status=204)


async def test_cache_of_remote_answers_tells_what_it_did(api: Api) -> None:
    answers = api.control.plane.authorizer.answers
    assert answers is not None
    answers.find("a")
    answers.keep("allow", "a")
    answers.find("a")
    api.control.authorization.answers.sample()
    status = await call(api, "GET", "/node_cache/status")
    rate = {"current": 0.0, "max": 0.0, "last5m": 0.0}
    metrics = {name: {"value": 1, "rate": rate} for name in ("hits", "misses", "inserts")}
    assert status["metrics"] == {**metrics, "count": 1, "memory": answers.memory}
    assert status["node_metrics"] == [{"node": api.control.about.node, "metrics": status["metrics"]}]
    await call(api, "POST", "/node_cache/reset", status=204)
    assert (await call(api, "GET", "/node_cache/status"))["metrics"]["count"] == 0


async def test_changed_settings_forget_remote_answers(api: Api) -> None:
    answers = api.control.plane.authorizer.answers
    assert answers is not None
    await call(api, "PUT", "/node_cache", {"cache_ttl": "7s"}, 204)
    assert answers.settings.cache_ttl == 7_000
