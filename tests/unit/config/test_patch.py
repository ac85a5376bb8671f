"""Changes to a loaded configuration: all or nothing, secrets kept, and what needs a restart."""

import pytest

from pybroker.config.load import load
from pybroker.config.patch import apply, needs_restart
from pybroker.config.schema import Config
from pybroker.config.sections.access import HttpPasswords, JwtAuthenticator
from pybroker.errors import ConfigError


@pytest.mark.parametrize("change", [{"mqtt.max_inflight": 64}, {"mqtt": {"max_inflight": 64}}])
def test_change_is_applied_and_the_rest_stays(change: dict[str, object]) -> None:
    old = load(sets=["mqtt.max_mqueue_len=7"]).config
    patched = apply(old, change)
    assert (patched.config.mqtt.max_inflight, patched.config.mqtt.max_mqueue_len) == (64, 7)
    assert old.mqtt.max_inflight == 32
    assert patched.changed == ("mqtt.max_inflight",)
    assert patched.needs_restart == ()


def test_same_value_is_no_change() -> None:
    assert apply(Config(), {"mqtt.max_inflight": 32}).changed == ()


def test_wrong_change_changes_nothing() -> None:
    with pytest.raises(ConfigError) as caught:
        apply(Config(), {"mqtt": {"max_inflight": 0, "max_mqueue_len": 5}, "nope": 1})
    assert [problem.path for problem in caught.value.problems] == ["nope", "mqtt.max_inflight"]
    assert caught.value.source == "api"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"api_key.bootstrap_file": "a\0b"}, r'api_key\.bootstrap_file: found "a\\u0000b".*no U\+0000'),
        ({"prometheus.push_gateway.headers": {"a": "b\0"}}, r"headers: found \*{6}"),
        ({"multi_tenancy.default_max_sessions": 1 << 63}, "default_max_sessions: found 9223372036854775808.*at most"),
    ],
)
def test_value_that_nothing_could_use_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        apply(Config(), change)


@pytest.mark.parametrize("path", ["mqtt", "zones.z.mqtt"])
def test_nearest_keys_are_looked_for_a_few_times_only(path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        apply(Config(), {path: {f"max_inflight{number}": 1 for number in range(100)}})
    messages = [problem.message for problem in caught.value.problems]
    assert (messages[0], messages[99]) == (f"unknown key; the nearest known one is {path}.max_inflight", "unknown key")


def test_whole_is_checked_not_the_change_alone() -> None:
    with pytest.raises(ConfigError, match="no authentication is in effect"):
        apply(Config(), {"listeners.tcp.default.bind": "0.0.0.0:1883"})


def test_none_takes_a_key_to_its_default() -> None:
    old = load(sets=["mqtt.max_inflight=5"]).config
    assert apply(old, {"mqtt.max_inflight": None}).config.mqtt.max_inflight == 32


def test_none_removes_a_named_section() -> None:
    patched = apply(Config(), {"listeners.ws.default": None})
    assert patched.config.listeners.ws == {}
    assert "listeners.ws.default.bind" in patched.changed


def test_none_does_not_remove_a_key_that_must_be_set() -> None:
    with pytest.raises(ConfigError, match=r"listeners\.tcp\.default\.bind: must be set"):
        apply(Config(), {"listeners.tcp.default.bind": None})


def test_listener_is_added() -> None:
    patched = apply(Config(), {"listeners": {"tcp": {"extra": {"bind": "127.0.0.1:1999"}}}})
    assert set(patched.config.listeners.tcp) == {"default", "extra"}


def test_masked_secret_is_kept() -> None:
    old = load(sets=["dashboard.default_password=hunter2"]).config
    patched = apply(old, {"dashboard": {"default_password": "******", "default_username": "root"}})
    assert patched.config.dashboard.default_password == "hunter2"
    assert patched.changed == ("dashboard.default_username",)


def test_masked_secrets_in_a_list_are_kept_by_kind() -> None:
    jwt_table = "{mechanism='jwt', secret='s1', endpoint='https://a'}"
    http_table = "{mechanism='password_based', backend='http', headers={authorization='s2', accept='x'}}"
    old = load(sets=[f"authentication=[{jwt_table}, {http_table}]"]).config
    new = [
        {"mechanism": "password_based", "backend": "http", "headers": {"authorization": "******", "accept": "y"}},
        {"mechanism": "jwt", "secret": "******"},
    ]
    http, jwt = apply(old, {"authentication": new}).config.authentication
    assert isinstance(http, HttpPasswords)
    assert http.headers == {"authorization": "s2", "accept": "y"}
    assert isinstance(jwt, JwtAuthenticator)
    assert (jwt.secret, jwt.endpoint) == ("s1", "")


def test_zone_key_is_set_and_removed() -> None:
    zoned = apply(Config(), {"zones.z.mqtt.max_inflight": 3}).config
    assert zoned.zones["z"].mqtt == {"max_inflight": 3}
    assert apply(zoned, {"zones.z.mqtt.max_inflight": None}).config.zones["z"].mqtt == {}


def test_keys_that_need_a_restart_are_told() -> None:
    patched = apply(Config(), {"node.io_threads": 2, "mqtt.max_inflight": 3, "dashboard.listeners.http.backlog": 9})
    assert patched.changed == ("node.io_threads", "mqtt.max_inflight", "dashboard.listeners.http.backlog")
    assert patched.needs_restart == ("node.io_threads", "dashboard.listeners.http.backlog")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("node.name", True),
        ("log.file.path", True),
        ("log.console.level", False),
        ("listeners.tcp.default.bind", False),
        ("unknown.key", False),
    ],
)
def test_need_of_a_restart_is_known_by_key(path: str, expected: bool) -> None:
    assert needs_restart(path) is expected
