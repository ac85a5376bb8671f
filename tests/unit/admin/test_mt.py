"""Namespaces by REST: names, pages, limits, bulk, settings."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from pybroker.control.namespaces import managed
from pybroker.events import QuotaCrossing
from pybroker.types import Namespace
from tests.support.admin import Api, add_client, config_with, open_api


async def call(api: Api, method: str, path: str, body: object = None) -> tuple[int, Any]:
    reply = await api.call(method, path, body, auth=await api.log_in())
    return reply.status_code, reply.json() if reply.content else None


async def link_of(api: Api, path: str) -> tuple[list[Any], str | None]:
    reply = await api.call("GET", path, auth=await api.log_in())
    assert reply.status_code == 200, reply.text
    return reply.json(), reply.headers.get("link")


# Creating


async def test_created_namespace_is_known_and_managed(api: Api) -> None:
    assert await call(api, "POST", "/mt/ns/n1") == (204, None)
    assert (await call(api, "GET", "/mt/ns_list"))[1] == ["a", "b", "n1"]
    assert (await call(api, "GET", "/mt/managed_ns_list"))[1] == ["a", "b", "n1"]
    now_s = api.clock.wall_s()
    assert (await call(api, "GET", "/mt/ns_list_details?first_ns=n1"))[1] == [{"name": "n1", "created_at": now_s}]
    assert (await call(api, "GET", "/mt/managed_ns_list_details?first_ns=n1"))[1] == [
        {"name": "n1", "created_at": now_s, "config": {}}
    ]


async def test_implicit_namespace_is_known_but_not_managed(api: Api) -> None:
    add_client(api.control, "c", namespace="n1")
    assert (await call(api, "GET", "/mt/ns_list"))[1] == ["a", "b", "n1"]
    assert (await call(api, "GET", "/mt/managed_ns_list"))[1] == ["a", "b"]
    assert (await call(api, "GET", "/mt/ns/n1/config"))[1] == {
        "code": "NOT_FOUND",
        "message": "Managed namespace not found",
    }


async def test_creating_an_existing_namespace_is_a_bad_request(api: Api) -> None:
    assert await call(api, "POST", "/mt/ns/a") == (400, {"code": "BAD_REQUEST", "message": "already_exists"})


@pytest.mark.parametrize("name", ["global", "undefined", "null", "none"])
async def test_denied_names_are_refused_and_usable_once_allowed(api: Api, name: str) -> None:
    message = f"Denied namespace name(s) cannot be used: {name}"
    assert await call(api, "POST", f"/mt/ns/{name}") == (400, {"code": "BAD_REQUEST", "message": message})
    body = [{"ns": name, "config": {}}]
    assert await call(api, "POST", "/mt/bulk_import_configs", body) == (
        400,
        {"code": "BAD_REQUEST", "message": message},
    )
    assert (await call(api, "PUT", "/mt/settings", {"deny_namespaces": []}))[0] == 200
    assert (await call(api, "POST", f"/mt/ns/{name}"))[0] == 204


@pytest.mark.parametrize("name", ["%2B", "%23", "a%23b", "$SYS", "%00", "a%1Fb", "x" * 257])
async def test_hostile_names_are_refused(api: Api, name: str) -> None:
    status, body = await call(api, "POST", f"/mt/ns/{name}")
    assert (status, body["code"]) == (400, "BAD_REQUEST")
    assert "namespace must" in body["message"]


async def test_name_with_a_slash_is_refused_in_bulk(api: Api) -> None:
    status, body = await call(api, "POST", "/mt/bulk_import_configs", [{"ns": "a/b", "config": {}}])
    assert (status, body["code"]) == (400, "BAD_REQUEST")


async def test_names_are_percent_encoded_in_paths(api: Api) -> None:
    assert (await call(api, "POST", "/mt/ns/%C3%A9%20x"))[0] == 204
    assert "é x" in (await call(api, "GET", "/mt/ns_list"))[1]


async def test_table_of_managed_namespaces_has_an_end(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(managed, "MAX_NAMESPACES", 3)
    assert (await call(api, "POST", "/mt/ns/c"))[0] == 204
    message = {"code": "BAD_REQUEST", "message": "Maximum number of managed namespaces reached"}
    assert await call(api, "POST", "/mt/ns/d") == (400, message)
    assert await call(api, "POST", "/mt/bulk_import_configs", [{"ns": "d", "config": {}}]) == (400, message)
    # Those that are there do not count.
    assert (await call(api, "POST", "/mt/bulk_import_configs", [{"ns": "c", "config": {}}]))[0] == 204


async def test_new_namespace_takes_over_the_default_number_of_sessions(api: Api) -> None:
    await call(api, "PUT", "/mt/settings", {"default_max_sessions": 7})
    await call(api, "POST", "/mt/ns/n1")
    await call(api, "PUT", "/mt/settings", {"default_max_sessions": 9})
    assert (await call(api, "GET", "/mt/ns/n1/config"))[1] == {"session": {"max_sessions": 7}}
    assert (await call(api, "GET", "/mt/ns/a/config"))[1] == {}


# Pages


async def test_pages_follow_the_link_behind_the_last_item(api: Api) -> None:
    for name in ("c", "d&e"):
        await call(api, "POST", f"/mt/ns/{name}")
    assert await link_of(api, "/mt/ns_list?limit=3") == (
        ["a", "b", "c"],
        '<?last_ns=c&limit=3>; rel="next"',
    )
    assert await link_of(api, "/mt/ns_list?last_ns=c&limit=3") == (["d&e"], None)
    assert await link_of(api, "/mt/managed_ns_list?first_ns=b&limit=2") == (
        ["b", "c"],
        '<?first_ns=d%26e&limit=2>; rel="next"',
    )


@pytest.mark.parametrize("path", ["ns_list", "ns_list_details", "managed_ns_list", "managed_ns_list_details"])
async def test_page_that_is_exactly_full_has_no_link(api: Api, path: str) -> None:
    rows, link = await link_of(api, f"/mt/{path}?limit=2")
    assert (len(rows), link) == (2, None)


@pytest.mark.parametrize("path", ["ns_list", "ns_list_details", "managed_ns_list", "managed_ns_list_details"])
async def test_two_cursors_are_refused(api: Api, path: str) -> None:
    assert await call(api, "GET", f"/mt/{path}?first_ns=a&last_ns=b") == (
        400,
        {"code": "BAD_REQUEST", "message": "`last_ns` and `first_ns` are mutually exclusive; use at most one."},
    )


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x"])
async def test_limit_of_a_page_is_1_to_1000(api: Api, limit: str) -> None:
    assert (await call(api, "GET", f"/mt/ns_list?limit={limit}"))[0] == 400
    assert (await call(api, "GET", f"/mt/ns/a/client_list?limit={limit}"))[0] == 400
    assert (await call(api, "GET", "/mt/ns_list?limit=1000"))[0] == 200


async def test_clients_of_a_namespace_are_listed_and_counted(api: Api) -> None:
    for name in ("c3", "c1", "c2"):
        add_client(api.control, name, namespace="a")
    add_client(api.control, "other", namespace="b")
    add_client(api.control, "nobody")
    assert await link_of(api, "/mt/ns/a/client_list?limit=2") == (
        ["c1", "c2"],
        '<?last_clientid=c2&limit=2>; rel="next"',
    )
    assert await link_of(api, "/mt/ns/a/client_list?limit=1000") == (["c1", "c2", "c3"], None)
    assert await link_of(api, "/mt/ns/a/client_list?first_clientid=c2") == (["c2", "c3"], None)
    assert (await call(api, "GET", "/mt/ns/a/client_count"))[1] == {"count": 3}
    assert (await call(api, "GET", "/mt/ns/a/client_list?first_clientid=a&last_clientid=b"))[0] == 400


@pytest.mark.parametrize("path", ["client_list", "client_count", "metrics"])
async def test_unknown_namespace_is_not_found(api: Api, path: str) -> None:
    assert await call(api, "GET", f"/mt/ns/nope/{path}") == (
        404,
        {"code": "NOT_FOUND", "message": "Namespace not found"},
    )


# Limits


async def test_configuration_is_merged_and_only_what_is_sent_changes(api: Api) -> None:
    bucket = {"rate": "10MB/10s", "burst": "0/s"}
    first = {"limiter": {"tenant": {"bytes": bucket}, "client": {"messages": {"rate": "60/60s"}}}}
    status, config = await call(api, "PUT", "/mt/ns/a/config", first)
    assert status == 200
    assert config == {
        "limiter": {
            "tenant": {"bytes": {"rate": "10MB/10s", "burst": "0/1s"}},
            "client": {"messages": {"rate": "60/1m", "burst": "0/1s"}},
        }
    }
    second = {"session": {"max_sessions": 0}, "limiter": {"tenant": {"messages": {"rate": 100, "burst": "5/1m"}}}}
    status, config = await call(api, "PUT", "/mt/ns/a/config", second)
    assert config == {
        "session": {"max_sessions": 0},
        "limiter": {
            "tenant": {
                "bytes": {"rate": "10MB/10s", "burst": "0/1s"},
                "messages": {"rate": "100/1s", "burst": "5/1m"},
            },
            "client": {"messages": {"rate": "60/1m", "burst": "0/1s"}},
        },
    }
    assert (await call(api, "GET", "/mt/ns/a/config"))[1] == config
    status, config = await call(api, "PUT", "/mt/ns/a/config", {"limiter": {"client": "disabled"}})
    assert config["limiter"]["client"] == "disabled"


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("3000", "3000/1s"),
        ("3000/s", "3000/1s"),
        ("1536", "1536/1s"),
        (" 1Kb / 2S ".replace(" / ", "/"), "1KB/2s"),
        ("2048/500ms", "2KB/500ms"),
        ("1gb/1h", "1GB/1h"),
        ("1/1d", "1/1d"),
        ("infinity", "infinity"),
    ],
)
async def test_rates_are_shown_in_their_largest_units(api: Api, sent: str, shown: str) -> None:
    body = {"limiter": {"client": {"delivery_bytes": {"rate": sent}}}}
    status, config = await call(api, "PUT", "/mt/ns/a/config", body)
    assert status == 200, config
    assert config["limiter"]["client"]["delivery_bytes"]["rate"] == shown


@pytest.mark.parametrize(("sent", "shown"), [("0/s", "0/1s"), ("0", "0/1s"), (0, "0/1s"), ("0/60s", "0/1m")])
async def test_burst_may_be_nothing(api: Api, sent: object, shown: str) -> None:
    body = {"limiter": {"tenant": {"messages": {"rate": "5/s", "burst": sent}}}}
    assert (await call(api, "PUT", "/mt/ns/a/config", body))[1]["limiter"]["tenant"]["messages"]["burst"] == shown


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"session": {"max_sessions": -1}}, "session.max_sessions"),
        ({"session": {"max_sessions": True}}, "session.max_sessions"),
        ({"session": {"max_sessions": "many"}}, "session.max_sessions"),
        ({"session": {"max": 1}}, "session.max"),
        ({"session": 1}, "session"),
        ({"sessions": {}}, "sessions"),
        ({"limiter": {"tenant": "off"}}, "limiter.tenant"),
        ({"limiter": {"tenant": {"subscribes": {}}}}, "limiter.tenant.subscribes"),
        ({"limiter": {"tenant": {"bytes": {"rate": "0/s"}}}}, "limiter.tenant.bytes.rate"),
        ({"limiter": {"tenant": {"bytes": {"rate": "1m30s"}}}}, "limiter.tenant.bytes.rate"),
        ({"limiter": {"tenant": {"bytes": {"rate": "1/1m30s"}}}}, "limiter.tenant.bytes.rate"),
        ({"limiter": {"tenant": {"bytes": {"rate": "1/9999d"}}}}, "limiter.tenant.bytes.rate"),
        ({"limiter": {"tenant": {"messages": {"rate": "1kb/s"}}}}, "limiter.tenant.messages.rate"),
        ({"limiter": {"tenant": {"bytes": {"burst": "infinity"}}}}, "limiter.tenant.bytes.burst"),
        ({"limiter": {"tenant": {"bytes": {"burst": "0/1m30s"}}}}, "limiter.tenant.bytes.burst"),
        ({"limiter": {"tenant": {"bytes": {"speed": 1}}}}, "limiter.tenant.bytes.speed"),
        ({"limiter": {"tenant": {"bytes": 5}}}, "limiter.tenant.bytes"),
        ({"quota": {"max_retained_bytes": "1XB"}}, "quota.max_retained_bytes"),
        ({"quota": {"max_conn_rate": "0"}}, "quota.max_conn_rate"),
    ],
)
async def test_bad_limit_is_refused_with_its_key_and_changes_nothing(api: Api, body: object, path: str) -> None:
    good = {"session": {"max_sessions": 5}}
    await call(api, "PUT", "/mt/ns/a/config", good)
    status, refusal = await call(api, "PUT", "/mt/ns/a/config", body)
    assert (status, refusal["code"]) == (400, "BAD_REQUEST")
    assert f": {path}: " in refusal["message"]
    assert (await call(api, "GET", "/mt/ns/a/config"))[1] == good


async def test_limits_are_in_force_and_survive_a_restart(tmp_path: Path) -> None:
    config = config_with(tmp_path)
    body = {
        "session": {"max_sessions": 1},
        "quota": {
            "max_conn_rate": "5/1s",
            "max_subscriptions": 3,
            "max_retained": 2,
            "max_retained_bytes": "2KB",
            "max_queued_bytes": "1MB",
        },
    }
    async with open_api(config) as api:
        await call(api, "POST", "/mt/ns/n1")
        assert (await call(api, "PUT", "/mt/ns/n1/config", body)) == (200, body)
    async with open_api(config) as api:
        assert (await call(api, "GET", "/mt/ns/n1/config"))[1] == body
        tenant = api.control.plane.namespaces.tenants.known("n1")
        assert tenant is not None
        assert tenant.max_sessions == 1
        assert tenant.connect_rate is not None
        assert (tenant.connect_rate.count, tenant.connect_rate.period_ms) == (5, 1_000)
        assert api.control.plane.engine.namespace_stats("n1")["sessions"] == 0


async def test_stored_configuration_that_is_not_valid_any_more_closes_its_namespace(tmp_path: Path) -> None:
    config, broken = (
        config_with(tmp_path),
        {"name": "n1", "created_ms": 1, "config": {"session": {"max_sessions": "x"}}},
    )
    async with open_api(config) as api:
        await call(api, "POST", "/mt/ns/n1")
        await api.control.database.write(
            lambda connection: connection.execute("UPDATE namespace SET body = ?", (msgspec.json.encode(broken),))
        )
    async with open_api(config) as api:
        tenant = api.control.plane.namespaces.tenants.known("n1")
        assert tenant is not None
        assert tenant.is_broken


async def test_metrics_of_an_implicit_namespace_have_no_traffic(api: Api) -> None:
    add_client(api.control, "c", namespace="n1")
    assert await call(api, "GET", "/mt/ns/n1/metrics") == (
        200,
        {
            "messaging_stats": {},
            "session_count": 1,
            "builtin_authz_record_count": 0,
            "builtin_authn_record_count": 0,
        },
    )


# Bulk


async def test_bulk_import_creates_and_merges(api: Api) -> None:
    await call(api, "PUT", "/mt/ns/a/config", {"session": {"max_sessions": 5}})
    body = [
        {"ns": "a", "config": {"quota": {"max_retained": 1}}},
        {"ns": "n1", "config": {"session": {"max_sessions": 2}}},
    ]
    assert await call(api, "POST", "/mt/bulk_import_configs", body) == (204, None)
    assert (await call(api, "GET", "/mt/ns/a/config"))[1] == {
        "session": {"max_sessions": 5},
        "quota": {"max_retained": 1},
    }
    details = (await call(api, "GET", "/mt/managed_ns_list_details?first_ns=n1"))[1]
    assert details == [{"name": "n1", "created_at": api.clock.wall_s(), "config": {"session": {"max_sessions": 2}}}]
    assert (await call(api, "GET", "/mt/ns_list"))[1] == ["a", "b", "n1"]


@pytest.mark.parametrize(
    ("bad", "part"),
    [
        ({"ns": "bad", "config": {"session": {"max_sessions": "x"}}}, "bad: bad value: session.max_sessions"),
        ({"ns": "$x", "config": {}}, "namespace must"),
        ({"ns": "null", "config": {}}, "Denied"),
        ({"ns": "n1", "config": {}}, "Duplicated namespaces in input: n1"),
    ],
)
async def test_bulk_import_with_one_bad_entry_changes_nothing(api: Api, bad: object, part: str) -> None:
    body = [{"ns": "n1", "config": {}}, {"ns": "a", "config": {"session": {"max_sessions": 1}}}, bad]
    status, refusal = await call(api, "POST", "/mt/bulk_import_configs", body)
    assert (status, refusal["code"]) == (400, "BAD_REQUEST")
    assert part in refusal["message"]
    assert (await call(api, "GET", "/mt/ns_list"))[1] == ["a", "b"]
    assert (await call(api, "GET", "/mt/ns/a/config"))[1] == {}


async def test_sections_of_a_namespace_are_empty(api: Api) -> None:
    empty: dict[str, Any] = {"actions": {}, "connectors": {}, "rule_engine": {}, "sources": {}}
    assert await call(api, "POST", "/mt/bulk_export_ns_configs", {"namespaces": ["a"]}) == (200, {"a": empty})
    status, body = await call(api, "POST", "/mt/bulk_export_ns_configs", {"namespaces": ["a", "nope"]})
    assert (status, body["message"], body["unknown"]) == (400, "unknown_namespaces", ["nope"])
    request = {"configs": {"a": {"connectors": {}}}, "dry_run": False}
    assert await call(api, "POST", "/mt/bulk_import_ns_configs", request) == (200, {"a": empty})
    request = {"configs": {"a": {"connectors": {"http": {}}, "extra": {}}}, "dry_run": True}
    status, body = await call(api, "POST", "/mt/bulk_import_ns_configs", request)
    assert (status, body["message"]) == (400, "errors_importing_configurations")
    assert body["errors"]["a"]["reason"] == "bad_resulting_configuration"
    assert len(body["errors"]["a"]["details"]) == 2
    assert (await call(api, "POST", "/mt/bulk_import_ns_configs", {"configs": {"nope": {}}, "dry_run": True}))[0] == 400
    assert (await call(api, "POST", "/mt/bulk_import_ns_configs", {"configs": {}}))[0] == 400


# Settings


DEFAULTS = {
    "allow_only_managed_namespaces": False,
    "default_max_sessions": "infinity",
    "deny_namespaces": ["global", "undefined", "null", "none"],
    "post_auth_tns_expression": "",
    "client_attrs_init": [],
    "clientid_override": "disabled",
    "namespace_as_mountpoint": False,
    "include_mountpoint": False,
    "unmanaged_clients": 0,
    "outdated_clients": 0,
    "warnings": [],
}


async def test_settings_are_one_object_and_keep_what_is_not_sent(api: Api) -> None:
    assert await call(api, "GET", "/mt/settings") == (200, DEFAULTS)
    change = {
        "allow_only_managed_namespaces": True,
        "client_attrs_init": [{"expression": "nth(1, tokens(username, '-'))", "set_as_attr": "tns"}],
        "clientid_override": "concat([client_attrs.tns, '/', clientid])",
        "namespace_as_mountpoint": True,
        "include_mountpoint": True,
    }
    status, shown = await call(api, "PUT", "/mt/settings", change)
    assert status == 200
    assert shown == {**DEFAULTS, **change}
    status, shown = await call(api, "PUT", "/mt/settings", {"clientid_override": "disabled"})
    assert shown == {**DEFAULTS, **change, "clientid_override": "disabled"}
    assert (await call(api, "GET", "/configs/global_zone"))[1]["mqtt"]["namespace_as_mountpoint"] is True
    assert (await call(api, "GET", "/configs/multi_tenancy"))[1]["allow_only_managed_namespaces"] is True


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"default_max_sessions": 0}, "default_max_sessions"),
        ({"clientid_override": "concat(client_attrs.tns, '-', clientid)"}, "line 1, column 1"),
        ({"client_attrs_init": [{"expression": "os.cmd('x')", "set_as_attr": "tns"}]}, "client_attrs_init[0]"),
        ({"client_attrs_init": [{"expression": "username", "set_as_attr": "-x"}]}, "set_as_attr"),
        ({"post_auth_tns_expression": "("}, "post_auth_tns_expression"),
        ({"nosuch": 1}, "nosuch"),
    ],
)
async def test_bad_setting_is_refused_and_nothing_of_the_request_holds(
    api: Api, change: dict[str, Any], part: str
) -> None:
    status, body = await call(api, "PUT", "/mt/settings", {"allow_only_managed_namespaces": True, **change})
    assert (status, body["code"]) == (400, "BAD_REQUEST")
    assert part in body["message"]
    assert await call(api, "GET", "/mt/settings") == (200, DEFAULTS)


@pytest.mark.parametrize(
    ("expression", "part"),
    [
        ("concat([client_attrs.tns, '-', clientid])", "get one client id"),
        ("concat(client_attrs.tns, clientid)", "get one client id"),
        ("clientid", "does not depend on the namespace"),
        ("client_attrs.tns", "does not depend on the client id"),
        ("concat([nosuch, '/', clientid])", "nosuch"),
    ],
)
async def test_doubtful_override_is_saved_with_a_warning(api: Api, expression: str, part: str) -> None:
    status, shown = await call(api, "PUT", "/mt/settings", {"clientid_override": expression})
    assert status == 200
    assert [one["path"] for one in shown["warnings"]] == ["mqtt.clientid_override"]
    assert part in shown["warnings"][0]["message"]


async def test_settings_tell_who_is_as_before(api: Api) -> None:
    add_client(api.control, "c1", namespace="a")
    add_client(api.control, "c2", namespace="implicit")
    add_client(api.control, "c3")
    _, shown = await call(
        api, "PUT", "/mt/settings", {"allow_only_managed_namespaces": True, "namespace_as_mountpoint": True}
    )
    assert (shown["unmanaged_clients"], shown["outdated_clients"]) == (2, 3)
    api.clock.advance(1)
    add_client(api.control, "c4", namespace="a")
    shown = (await call(api, "GET", "/mt/settings"))[1]
    assert (shown["unmanaged_clients"], shown["outdated_clients"]) == (2, 3)


# Rights and alarms


@pytest.mark.parametrize("role", ["viewer", "ns:a::administrator", "ns:a::viewer"])
async def test_viewers_and_administrators_of_a_namespace_only_read(api: Api, role: str) -> None:
    auth = await api.add_user("u", role)
    assert (await api.call("GET", "/mt/ns_list", auth=auth)).json() == ["a", "b"]
    assert (await api.call("GET", "/mt/ns/b/config", auth=auth)).status_code == 200
    for method, path, body in (
        ("POST", "/mt/ns/c", None),
        ("DELETE", "/mt/ns/a", None),
        ("PUT", "/mt/ns/a/config", {}),
        ("POST", "/mt/ns/a/kick_all_clients", None),
        ("POST", "/mt/bulk_import_configs", []),
        ("DELETE", "/mt/bulk_delete_ns", {"nss": []}),
        ("PUT", "/mt/settings", {}),
    ):
        assert (await api.call(method, path, body, auth=auth)).status_code == 403, path


async def test_each_quota_of_a_namespace_has_its_alarm(api: Api) -> None:
    crossed, alarms = api.control.plane.events.quota_crossed, api.control.alarms
    for quota, is_exceeded in (("max_retained", True), ("max_sessions", True), ("max_sessions", False)):
        crossed.emit(QuotaCrossing(Namespace("a"), quota, is_exceeded))
    await alarms.settle()
    active = (await call(api, "GET", "/alarms?activated=true"))[1]["data"]
    assert [one["name"] for one in active] == ["namespace_quota/max_retained/a"]
    past = (await call(api, "GET", "/alarms?activated=false"))[1]["data"]
    assert [one["name"] for one in past] == ["namespace_quota/max_sessions/a"]
    await call(api, "DELETE", "/mt/ns/a")
    await alarms.settle()
    assert (await call(api, "GET", "/alarms?activated=true"))[1]["data"] == []


# Figures for Prometheus


async def scrape(api: Api, query: str = "", auth: str = "") -> tuple[int, dict[str, float]]:
    reply = await api.call("GET", f"/prometheus/namespaced_stats{query}", auth=auth or await api.log_in())
    lines = [line.rpartition(" ") for line in reply.text.splitlines() if line and not line.startswith("#")]
    return reply.status_code, {name: float(value) for name, _, value in lines} if reply.status_code == 200 else {}


async def test_managed_namespaces_have_traffic_and_all_have_sessions(api: Api) -> None:
    add_client(api.control, "c1", namespace="a")
    add_client(api.control, "c2", namespace="implicit")
    status, values = await scrape(api)
    assert status == 200
    assert values['emqx_sessions_count{namespace="a"}'] == values['emqx_sessions_count{namespace="implicit"}'] == 1
    assert values['emqx_messages_received{namespace="a"}'] == 0
    assert values['pybroker_packets_publish_sent{namespace="b"}'] == 0
    assert 'emqx_messages_received{namespace="implicit"}' not in values
    assert 'emqx_authz_builtin_record_count{namespace="a"}' not in values


async def test_all_namespaces_are_scraped_once_in_five_seconds_and_one_at_any_time(api: Api) -> None:
    assert (await scrape(api))[0] == 200
    api.clock.advance(4_999)
    status, body = await call(api, "GET", "/prometheus/namespaced_stats")
    assert (status, body["message"]) == (429, "Too many requests")
    for _ in range(3):
        assert (await scrape(api, "?ns=a"))[0] == 200
    api.clock.advance(1)
    assert (await scrape(api))[0] == 200


async def test_unknown_namespace_is_scraped_as_zeros(api: Api) -> None:
    status, values = await scrape(api, "?ns=nope&mode=all_nodes_unaggregated")
    node = api.control.nodes.name
    assert status == 200
    assert values[f'emqx_sessions_count{{node="{node}",namespace="nope"}}'] == 0
    assert values[f'emqx_authn_builtin_record_count{{node="{node}",namespace="nope"}}'] == 0


async def test_caller_of_a_namespace_scrapes_only_its_own(api: Api) -> None:
    auth = await api.add_user("u", "ns:a::viewer")
    for query in ("", "?ns=a", ""):
        status, values = await scrape(api, query, auth)
        assert status == 200
        assert all('namespace="a"' in name for name in values)
    assert (await scrape(api, "?ns=b", auth))[0] == 403


async def test_figures_of_namespaces_are_text_only_and_may_lack_emqx_names(api: Api) -> None:
    auth = await api.log_in()
    reply = await api.call(
        "GET", "/prometheus/namespaced_stats?ns=a", auth=auth, headers={"accept": "application/json"}
    )
    assert reply.status_code == 400
    await call(api, "PUT", "/prometheus", {"compat_names": False})
    names = (await scrape(api, "?ns=a"))[1]
    assert names
    assert all(name.startswith("pybroker_") for name in names)
