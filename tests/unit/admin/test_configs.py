"""The configuration over the API: shown, changed with immediate effect, kept over a restart."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

from pybroker.config.schema import Config, LogFile
from pybroker.control.configs import MAX_HOCON_BYTES
from pybroker.errors import ConfigError
from tests.support.admin import Api, config_with, open_api

JSON = {"accept": "application/json", "content-type": "application/json"}
HOCON = {"content-type": "text/plain"}


async def put(api: Api, body: object, query: str = "", headers: dict[str, str] = JSON) -> Any:
    return await api.call("PUT", f"/configs{query}", body, auth=await api.log_in(), headers=headers)


async def test_configuration_is_shown_as_json_or_hocon_and_hides_secrets(api: Api) -> None:
    token = await api.log_in()
    shown = await api.call("GET", "/configs", auth=token, headers=JSON)
    assert shown.json()["mqtt"]["max_inflight"] == 32
    assert shown.json()["dashboard"]["default_password"] == "******"
    text = await api.call("GET", "/configs?key=mqtt", auth=token)
    assert text.headers["content-type"].startswith("text/plain")
    assert '"max_inflight": 32' in text.text
    bad = await api.call("GET", "/configs", auth=token, headers={"accept": "image/png"})
    assert (bad.status_code, bad.json()["code"]) == (400, "INVALID_ACCEPT")
    assert (await api.call("GET", "/configs?key=none", auth=token)).status_code == 404


async def test_change_takes_effect_and_is_kept(tmp_path: Path) -> None:
    config = config_with(tmp_path)
    async with open_api(config) as api:
        change = {"mqtt": {"max_qos_allowed": 1, "session_expiry_interval": "1m"}, "sys_topics": {}}
        reply = await put(api, change)
        assert reply.status_code == 200, reply.text
        changed = ["mqtt.max_qos_allowed", "mqtt.session_expiry_interval"]
        assert reply.json() == {"changed": changed, "needs_restart": []}
        assert api.control.plane.subscriber.settings.max_qos == 1
        assert api.control.plane.connector.settings.session_expiry_s == 60
    async with open_api(config) as api:
        assert api.control.configuration.current.mqtt.max_qos_allowed == 1


async def test_hocon_is_accepted_and_answered_with_nothing(api: Api) -> None:
    reply = await put(api, b"mqtt { max_inflight = 7 }\nmqtt.max_topic_levels = 9", headers=HOCON)
    assert (reply.status_code, reply.content) == (200, b"")
    mqtt = api.control.configuration.current.mqtt
    assert (mqtt.max_inflight, mqtt.max_topic_levels) == (7, 9)


async def test_keys_without_effect_are_told_when_they_are_changed_and_at_each_start(tmp_path: Path) -> None:
    config = config_with(tmp_path)
    told = [{"event": "settings_without_effect", "keys": ["retainer.delivery_rate"], "log_level": "warning"}]

    def inert(lines: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        return [line for line in lines if line["event"] == "settings_without_effect"]

    async with open_api(config) as api:
        with structlog.testing.capture_logs() as lines:
            assert (await put(api, {"retainer": {"delivery_rate": "5/s", "enable": False}})).status_code == 200
        assert inert(lines) == told
    with structlog.testing.capture_logs() as lines:
        async with open_api(config):
            assert inert(lines) == told


async def test_keys_that_need_a_restart_are_named(api: Api) -> None:
    reply = await put(api, {"log": {"file": {"rotation_count": 3}}})
    assert reply.json()["needs_restart"] == ["log.file.rotation_count"]
    assert reply.headers["x-needs-restart"] == "log.file.rotation_count"


async def test_change_is_judged_beside_the_loop(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    check, threads = api.control.configuration.check, set()

    def note_thread(change: Any, **rest: Any) -> Any:
        threads.add(threading.current_thread())
        return check(change, **rest)

    monkeypatch.setattr(api.control.configuration, "check", note_thread)
    assert (await put(api, {"mqtt": {"max_inflight": 7}})).status_code == 200
    assert threads
    assert threading.main_thread() not in threads


async def test_hocon_is_limited_and_json_is_not(api: Api) -> None:
    long = b"#" + b"x" * MAX_HOCON_BYTES
    reply = await put(api, b"mqtt { max_inflight = 7 }\n" + long, headers=HOCON)
    assert (reply.status_code, reply.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert (await put(api, b'{"mqtt": {"max_inflight": 7}}' + b" " * MAX_HOCON_BYTES)).status_code == 200


async def test_replace_takes_the_rest_of_a_root_to_its_defaults(api: Api) -> None:
    await put(api, {"mqtt": {"max_inflight": 7}})
    assert (await put(api, {"mqtt": {"max_topic_levels": 9}}, "?mode=replace")).status_code == 200
    mqtt = api.control.configuration.current.mqtt
    assert (mqtt.max_inflight, mqtt.max_topic_levels) == (32, 9)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", HOCON),
        (b"[1]", JSON),
        (b"{a", HOCON),
        (b'include "/etc/passwd"', HOCON),
        (b"[" * 5_000, HOCON),
        (b'{"mqtt": {"max_inflight": "\xff"}}', HOCON),
        (b'{"mqtt": {"max_inflight": "\xff"}}', JSON),
        (b'{"mqtt": {"max_inflight": "x"}}', JSON),
        (b'{"nonsense": 1}', JSON),
        (b'{"mqtt": {"max_inflight": 7, "nonsense": 1}}', JSON),
    ],
)
async def test_bad_change_changes_nothing(api: Api, body: bytes, headers: dict[str, str]) -> None:
    before = api.control.configuration.current
    reply = await put(api, body, headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (400, "BAD_REQUEST"), reply.text
    assert api.control.configuration.current is before


async def test_problems_are_told_by_key(api: Api) -> None:
    errors = (await put(api, {"mqtt": {"max_inflight": 0, "max_qos_allowed": 9}})).json()["errors"]
    assert set(errors) == {"mqtt.max_inflight", "mqtt.max_qos_allowed"}


async def test_other_media_types_are_refused(api: Api) -> None:
    reply = await put(api, b"x", headers={"content-type": "text/html"})
    assert (reply.status_code, reply.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")


async def test_node_cannot_be_changed_but_passed_over(api: Api) -> None:
    body = {"node": {"name": "a@b"}, "mqtt": {"max_inflight": 7}}
    refused = await put(api, body)
    assert (refused.status_code, refused.json()["code"]) == (400, "UPDATE_FAILED")
    assert (await put(api, body, "?ignore_readonly=true")).status_code == 200
    assert api.control.configuration.current.mqtt.max_inflight == 7


async def test_one_root_is_shown_and_changed(api: Api) -> None:
    token = await api.log_in()
    before = (await api.call("GET", "/configs/alarm", auth=token)).json()
    reply = await api.call("PUT", "/configs/alarm", {"size_limit": 5}, auth=token)
    assert (reply.status_code, reply.json()) == (200, {**before, "size_limit": 5})
    for method in ("GET", "PUT"):
        assert (await api.call(method, "/configs/none", {} if method == "PUT" else None, auth=token)).status_code == 404
    bad = await api.call("PUT", "/configs/alarm", {"size_limit": 0}, auth=token)
    assert (bad.status_code, bad.json()["code"]) == (400, "UPDATE_FAILED")


async def test_masked_secret_that_is_sent_back_stays(tmp_path: Path) -> None:
    config = config_with(tmp_path)
    async with open_api(config) as api:
        token = await api.log_in()
        shown = (await api.call("GET", "/configs/dashboard", auth=token)).json()
        assert (await api.call("PUT", "/configs/dashboard", {**shown, "cors": True}, auth=token)).status_code == 200
    async with open_api(config) as api:
        assert api.control.configuration.current.dashboard.default_password == "Secret-123"
        assert api.control.configuration.current.dashboard.cors is True


async def test_global_zone_is_mqtt_and_flapping(api: Api) -> None:
    token = await api.log_in()
    assert set((await api.call("GET", "/configs/global_zone", auth=token)).json()) == {"mqtt", "flapping_detect"}
    reply = await api.call("PUT", "/configs/global_zone", {"mqtt": {"max_inflight": 5}}, auth=token)
    assert reply.json()["mqtt"]["max_inflight"] == 5
    bad = await api.call("PUT", "/configs/global_zone", {"log": {}}, auth=token)
    assert bad.json()["code"] == "UPDATE_FAILED"


async def test_reset_takes_keys_back(api: Api) -> None:
    token = await api.log_in()
    await put(api, {"mqtt": {"max_inflight": 7, "max_topic_levels": 9}})
    reply = await api.call("POST", "/configs_reset/mqtt?conf_path=max_inflight", auth=token)
    assert (reply.status_code, reply.content) == (200, b"")
    mqtt = api.control.configuration.current.mqtt
    assert (mqtt.max_inflight, mqtt.max_topic_levels) == (32, 9)
    await api.call("POST", "/configs_reset/mqtt", auth=token)
    assert api.control.configuration.current.mqtt.max_topic_levels == 128
    for path, status, code in (
        ("mqtt?conf_path=none", 400, "NO_DEFAULT_VALUE"),
        ("listeners", 400, "NO_DEFAULT_VALUE"),
        ("none", 404, "NOT_FOUND"),
        ("node", 400, "UPDATE_FAILED"),
    ):
        bad = await api.call("POST", f"/configs_reset/{path}", auth=token)
        assert (bad.status_code, bad.json()["code"]) == (status, code)


async def test_log_level_follows(api: Api) -> None:
    assert (await put(api, {"log": {"console": {"level": "debug"}}})).status_code == 200
    assert api.levels == [("console", "debug")]


async def test_error_codes_need_no_credential(api: Api) -> None:
    codes = (await api.call("GET", "/error_codes")).json()
    assert {"ALREADY_EXISTS", "USER_NOT_FOUND", "TOPIC_NOT_FOUND"} <= {code["code"] for code in codes}
    assert (await api.call("GET", "/error_codes/BAD_TOPIC")).json()["code"] == "BAD_TOPIC"
    assert (await api.call("GET", "/error_codes/NONE")).status_code == 404


async def test_reload_puts_the_file_into_effect_below_what_the_api_has_changed(tmp_path: Path) -> None:
    config = config_with(tmp_path)
    file = [config]
    async with open_api(config, load_again=lambda: file[0]) as api:
        await put(api, {"mqtt": {"max_inflight": 7}})
        mqtt = msgspec.structs.replace(config.mqtt, max_inflight=9, max_qos_allowed=1)
        node = msgspec.structs.replace(config.node, name="other@host")
        log = msgspec.structs.replace(config.log, file=LogFile(rotation_count=3))
        file[0] = msgspec.structs.replace(config, mqtt=mqtt, node=node, log=log)
        patched = await api.control.configs.reload()
        assert set(patched.changed) == {"mqtt.max_qos_allowed", "node.name", "log.file.rotation_count"}
        assert set(patched.needs_restart) == {"node.name", "log.file.rotation_count"}
        current = api.control.configuration.current
        assert (current.mqtt.max_inflight, current.mqtt.max_qos_allowed) == (7, 1)
        assert current.node.name == config.node.name
        assert api.control.plane.subscriber.settings.max_qos == 1
    # Nothing of it was stored: the next start reads the file again.
    async with open_api(config) as api:
        assert api.control.configuration.current.mqtt.max_qos_allowed == 2


async def test_reload_of_a_file_that_is_wrong_changes_nothing(tmp_path: Path) -> None:
    def load_again() -> Config:
        raise ConfigError("mqtt.max_inflight", "found 0, allowed: integer 1..65535")

    async with open_api(config_with(tmp_path), load_again=load_again) as api:
        before = api.control.configuration.current
        with pytest.raises(ConfigError, match="max_inflight: found 0"):
            await api.control.configs.reload()
        assert api.control.configuration.current is before


async def test_schema_of_what_may_be_changed_is_open_and_tells_nothing_that_is_configured(tmp_path: Path) -> None:
    config = config_with(tmp_path)
    async with open_api(msgspec.structs.replace(config, allow_anonymous=False)) as api:
        reply = await api.call("GET", "/schemas/hotconf")
        assert reply.status_code == 200
        roots = reply.json()["properties"]
        assert "node" not in roots
        assert roots["mqtt"]["properties"]["max_inflight"] == {
            "type": "integer",
            "description": "Unacknowledged QoS 1 and 2 messages towards a client.",
            "x-allowed": "integer 1..65535",
            "default": 32,
        }
        assert roots["allow_anonymous"]["default"] == "auto"
        assert roots["dashboard"]["properties"]["default_password"]["writeOnly"] is True
        assert roots["prometheus"]["properties"]["collectors"]["x-without-effect"]
        zone = roots["zones"]["additionalProperties"]["properties"]["mqtt"]["properties"]
        assert "x-without-effect" in zone["max_inflight"]
        assert "x-without-effect" not in zone["receive_maximum"]
        other = await api.call("GET", "/schemas/actions")
        assert (other.status_code, other.json()["code"]) == (404, "NOT_FOUND")
