"""What scrapers get, and who may scrape."""

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pybroker.config.sections.observe import PrometheusSettings
from tests.support.admin import Api, add_client, config_with, open_api

BOARD = (
    *(
        f"emqx_{name}_{end}"
        for name in ("connections", "live_connections", "sessions", "topics")
        for end in ("count", "max")
    ),
    *(
        f"emqx_{name}_{end}"
        for name in ("subscriptions", "subscriptions_shared", "retained")
        for end in ("count", "max")
    ),
    *("emqx_bytes_received", "emqx_bytes_sent", "emqx_packets_connect", "emqx_packets_connack_sent"),
    *("emqx_packets_publish_received", "emqx_packets_publish_sent", "emqx_packets_puback_missed"),
    *("emqx_messages_received", "emqx_messages_sent", "emqx_messages_dropped", "emqx_messages_dropped_expired"),
    *("emqx_messages_qos1_received", "emqx_messages_dropped_no_subscribers", "emqx_delivery_dropped_queue_full"),
    *("emqx_client_connected", "emqx_client_disconnected", "emqx_session_created", "emqx_session_takenover"),
    *("emqx_authentication_success", "emqx_authorization_allow", "emqx_authorization_superuser"),
    *("emqx_vm_cpu_use", "emqx_vm_cpu_idle", "emqx_vm_total_memory", "emqx_vm_used_memory", "emqx_vm_run_queue"),
    *("emqx_vm_max_fds", "emqx_cluster_nodes_running", "emqx_cluster_nodes_stopped"),
    *("emqx_license_max_sessions", "emqx_license_expiry_at"),
)


async def scrape(api: Api, path: str = "/prometheus/stats", auth: str | None = None) -> dict[str, float]:
    reply = await api.call("GET", path, auth=await api.log_in() if auth is None else auth)
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert list(text_string_to_metric_families(reply.text)) or not reply.text
    samples = (line.rpartition(" ") for line in reply.text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in samples}


async def test_names_are_those_that_boards_read(api: Api) -> None:
    add_client(api.control, "c")
    api.control.plane.engine.publish("t", b"x", 0, False)
    values = await scrape(api)
    assert [name for name in BOARD if name not in values] == []
    assert not [name for name in values if name.startswith("emqx_") and name.endswith("_total")]
    assert values["emqx_sessions_count"] == values["emqx_session_created"] == 1
    assert values["emqx_messages_dropped_no_subscribers"] == 1
    assert values['pybroker_build_info{version="9.9.9"}'] == 1


async def test_causes_of_ends_are_told_by_listener(api: Api) -> None:
    add_client(api.control, "c", is_offline=True)
    labels = '{listener_type="tcp",listener_name="default",reason="tcp_closed"}'
    assert (await scrape(api))[f"emqx_client_disconnected_reason{labels}"] == 1


async def test_nodes_apart_have_a_label(api: Api) -> None:
    named = f'emqx_sessions_count{{node="{api.control.nodes.name}"}}'
    assert named in await scrape(api, "/prometheus/stats?mode=all_nodes_unaggregated")
    assert "emqx_sessions_count" in await scrape(api, "/prometheus/stats?mode=all_nodes_aggregated")


async def test_exposition_does_not_grow_with_clients(api: Api) -> None:
    token = await api.log_in()
    few = await scrape(api, auth=token)
    for number in range(50):
        add_client(api.control, f"c{number}")
    assert (await scrape(api, auth=token)).keys() == few.keys()


@pytest.mark.parametrize("subject", ["schema_validation", "message_transformation", "topic_metrics"])
async def test_what_the_broker_does_not_have_is_scraped_empty(api: Api, subject: str) -> None:
    assert await scrape(api, f"/prometheus/{subject}") == {}


async def test_bans_and_rules_are_counted(api: Api) -> None:
    token = await api.log_in()
    assert (await api.call("POST", "/banned", {"as": "clientid", "who": "x"}, auth=token)).status_code == 200
    assert (await scrape(api, "/prometheus/auth", token))["emqx_banned_count"] == 1
    assert (await scrape(api, "/prometheus/data_integration", token))["emqx_rules_count"] == 0


async def test_sources_of_access_rules_are_scraped(api: Api) -> None:
    token = await api.log_in()
    session = add_client(api.control, "c")
    path = "/authorization/sources/built_in_database/rules/all"
    rules = [{"topic": topic, "permission": "deny", "action": "all"} for topic in ("a", "b")]
    assert (await api.call("POST", path, {"rules": rules}, auth=token)).status_code == 204
    for topic in ("a", "c"):
        api.control.plane.engine.check_access(session.slot, "publish", topic)
    found = await scrape(api, "/prometheus/auth", token)
    labels = '{type="built_in_database"}'
    assert {name: value for name, value in found.items() if name.startswith("emqx_authz_")} == {
        f"emqx_authz_{name}{labels}": value
        for name, value in (
            *(("enable", 1), ("status", 1), ("total", 2), ("allow", 0), ("deny", 1), ("nomatch", 1), ("ignore", 0)),
            ("rules_count", 2),
        )
    }


async def test_authenticators_are_told_by_their_id(api: Api) -> None:
    token = await api.log_in()
    body = {"mechanism": "password_based", "backend": "built_in_database"}
    assert (await api.call("POST", "/authentication", body, auth=token)).status_code == 200
    name = '{id="password_based:built_in_database"}'
    values = await scrape(api, "/prometheus/auth", token)
    for what, expected in (("enable", 1), ("status", 1), ("total", 0), ("failed", 0), ("users_count", 0)):
        assert values[f"emqx_authn_{what}{name}"] == expected


async def test_json_and_unknown_modes_are_refused(api: Api) -> None:
    token = await api.log_in()
    reply = await api.call("GET", "/prometheus/stats", auth=token, headers={"accept": "application/json"})
    assert (reply.status_code, reply.json()["code"]) == (400, "BAD_REQUEST")
    reply = await api.call("GET", "/prometheus/stats?mode=all", auth=token)
    assert (reply.status_code, reply.json()["code"]) == (400, "BAD_REQUEST")


async def test_credential_is_asked_for_unless_it_is_switched_off(api: Api, tmp_path: Path) -> None:
    assert (await api.call("GET", "/prometheus/stats")).status_code == 401
    token = await api.log_in()
    reply = await api.call("PUT", "/prometheus", {"enable_basic_auth": False}, auth=token)
    assert (reply.status_code, reply.json()["enable_basic_auth"]) == (200, False)
    assert "emqx_sessions_count" in await scrape(api, auth="")


async def test_settings_survive_a_restart_and_hide_headers(tmp_path: Path) -> None:
    headers = {"push_gateway": {"headers": {"Authorization": "secret"}}}
    async with open_api(config_with(tmp_path)) as api:
        token = await api.log_in()
        reply = await api.call("PUT", "/prometheus", {"enable_basic_auth": False, **headers}, auth=token)
        assert reply.status_code == 200
        assert "secret" not in reply.text
    async with open_api(config_with(tmp_path)) as api:
        assert api.control.prometheus.is_open


async def test_setting_of_the_wrong_type_is_refused(api: Api) -> None:
    reply = await api.call("PUT", "/prometheus", {"enable_basic_auth": "perhaps"}, auth=await api.log_in())
    assert reply.status_code == 400
    assert "enable_basic_auth" in reply.json()["message"]


def test_credentials_are_asked_for_by_default() -> None:
    assert PrometheusSettings().enable_basic_auth
