"""The schema: the defaults that operators are promised, and that every key describes itself."""

import typing
from collections.abc import Iterator

import pytest

from pybroker.config.keys import Key, Section, keys_of
from pybroker.config.load import load
from pybroker.config.render import leaves, render
from pybroker.config.schema import Config, ListenerType, SslListener, WssListener, listener_id

MQTT = {
    "idle_timeout": "15s",
    "max_packet_size": "1MB",
    "max_clientid_len": 65535,
    "max_topic_levels": 128,
    "max_qos_allowed": 2,
    "max_topic_alias": 65535,
    "retain_available": True,
    "wildcard_subscription": True,
    "shared_subscription": True,
    "shared_subscription_strategy": "round_robin",
    "exclusive_subscription": False,
    "ignore_loop_deliver": False,
    "strict_mode": False,
    "response_information": "",
    "server_keepalive": "disabled",
    "keepalive_multiplier": 1.5,
    "retry_interval": "infinity",
    "session_expiry_interval": "2h",
    "max_session_expiry_interval": "infinity",
    "message_expiry_interval": "infinity",
    "max_inflight": 32,
    "receive_maximum": 100,
    "max_awaiting_rel": 100,
    "await_rel_timeout": "5m",
    "max_mqueue_len": 1000,
    "max_mqueue_bytes": "infinity",
    "mqueue_overflow": "drop_oldest",
    "mqueue_store_qos0": True,
    "mqueue_priorities": "disabled",
    "upgrade_qos": False,
    "max_subscriptions": "infinity",
    "use_username_as_clientid": False,
    "peer_cert_as_username": "disabled",
    "peer_cert_as_clientid": "disabled",
    "client_attrs_init": [],
    "clientid_override": "disabled",
    "namespace_as_mountpoint": False,
}
LISTENER = {
    "enable": True,
    "max_connections": "infinity",
    "max_conn_rate": "infinity",
    "messages_rate": "infinity",
    "bytes_rate": "infinity",
    "mountpoint": "",
    "enable_authn": True,
    "proxy_protocol": False,
    "proxy_protocol_timeout": "3s",
    "access_rules": ["allow all"],
    "tcp_options.backlog": 1024,
    "tcp_options.nodelay": True,
}
OTHERS = {
    "allow_anonymous": "auto",
    "security_profile": "legacy",
    "node.name": "pybroker@127.0.0.1",
    "node.data_dir": "data",
    "node.io_threads": "auto",
    "node.coalesce_us": 0,
    "listeners.tcp.default.bind": "127.0.0.1:1883",
    "listeners.ws.default.bind": "127.0.0.1:8083",
    "listeners.ws.default.websocket.mqtt_path": "/mqtt",
    "retainer.enable": True,
    "retainer.max_retained_messages": 0,
    "retainer.max_payload_size": "1MB",
    "retainer.msg_expiry_interval": "0s",
    "retainer.msg_clear_interval": "0s",
    "retainer.stop_publish_clear_msg": False,
    "delayed.enable": True,
    "delayed.max_delayed_messages": 0,
    "sys_topics.sys_msg_interval": "1m",
    "sys_topics.sys_heartbeat_interval": "30s",
    "log.console.enable": True,
    "log.console.formatter": "text",
    "log.file.enable": False,
    "dashboard.default_username": "admin",
    "dashboard.default_password": "generate",
    "dashboard.listeners.http.bind": "127.0.0.1:18083",
    "dashboard.listeners.https.bind": "127.0.0.1:0",
    "dashboard.token_expired_time": "1h",
    "dashboard.unsuccessful_login_max_attempts": 5,
    "dashboard.unsuccessful_login_interval": "5m",
    "dashboard.unsuccessful_login_lock_duration": "10m",
    "dashboard.sample_interval": "10s",
    "dashboard.hwmark_expire_time": "7d",
    "authorization.no_match": "allow",
    "authorization.deny_action": "ignore",
    "authorization.cache.enable": True,
    "authorization.cache.max_size": 32,
    "authorization.cache.ttl": "1m",
    "authorization.cache.excludes": [],
    "authorization.include_mountpoint": False,
    "authorization.ignore_backend_failures": False,
    "authorization.topic_template_allow.plus": False,
    "authorization.node_cache.max_count": 1_000_000,
    "authorization.node_cache.max_memory": "100MB",
    "authorization.subscribe_match": "strict",
    "authorization.on_revoke": "unsubscribe",
    "authorization.sys_topics": "loopback",
    "psk_authentication.enable": False,
    "psk_authentication.separator": ":",
    "psk_authentication.chunk_size": 50,
    "flapping_detect.enable": False,
    "flapping_detect.window_time": "1m",
    "flapping_detect.max_count": 15,
    "flapping_detect.ban_time": "5m",
    "multi_tenancy.allow_only_managed_namespaces": False,
    "multi_tenancy.default_max_sessions": "infinity",
    "multi_tenancy.deny_namespaces": ["global", "undefined", "null", "none"],
    "multi_tenancy.post_auth_tns_expression": "",
    "limiter.on_exceed": "reject",
    "license.connection_quota": 0,
    "license.connection_low_watermark": "75%",
    "license.connection_high_watermark": "80%",
    "log.audit.enable": False,
    "log.audit.rotation_count": 10,
    "log.audit.rotation_size": "50MB",
    "log.audit.cache_size": 5000,
    "log.audit.ignore_high_frequency_request": True,
    "prometheus.enable_basic_auth": True,
    "prometheus.namespaced_metrics_limiter.rate": "1/5s",
    "prometheus.push_gateway.interval": "15s",
    "trace.max_traces": 30,
    "trace.max_file_size": "128MB",
    "slow_subs.threshold": "500ms",
    "slow_subs.expire_interval": "5m",
    "slow_subs.top_k_num": 10,
}
PROMISED = (
    {f"mqtt.{name}": value for name, value in MQTT.items()}
    | {f"listeners.tcp.default.{name}": value for name, value in LISTENER.items()}
    | OTHERS
)


@pytest.fixture(scope="module")
def defaults() -> dict[str, object]:
    return dict(leaves(Config(), masks_secrets=False))


@pytest.mark.parametrize("path", sorted(PROMISED))
def test_default_is_what_is_promised(path: str, defaults: dict[str, object]) -> None:
    assert defaults[path] == PROMISED[path]


def every_key(
    kind: type[Section] = Config, path: str = "", seen: frozenset[type[Section]] = frozenset()
) -> Iterator[tuple[str, Key]]:
    for key in keys_of(kind):
        below = f"{path}.{key.name}" if path else key.name
        yield below, key
        kinds = [key.section] if key.section is not None else []
        kinds += list((key.rules.variants or {}).values())
        for other in kinds:
            if other not in seen:
                name = f"{below}.NAME" if key.shape == "named" else below
                yield from every_key(other, name, seen | {other})


def test_every_key_says_what_it_does_and_what_it_takes() -> None:
    for path, key in every_key():
        assert key.description.endswith("."), path
        assert key.allowed, path


def test_every_optional_key_has_a_word_for_none() -> None:
    for path, key in every_key():
        assert key.is_optional == (key.rules.word is not None), path


def test_every_default_is_accepted_where_it_is_written() -> None:
    rendered = render(Config(), masks_secrets=False)
    from pybroker.config.decode import Decoder, grow

    decoder = Decoder()
    assert decoder.section(Config, grow(rendered, "test"), None) == Config()
    assert decoder.problems == []


def test_without_a_file_only_loopback_is_bound() -> None:
    config = load().config
    bound = [(kind, name) for kind, name, listener in config.listeners.each() if listener.enable]
    assert bound == [("tcp", "default"), ("ws", "default")]
    assert config.is_anonymous_allowed


def test_listener_types_are_all_walked() -> None:
    types = typing.get_args(ListenerType)
    sets = ["allow_anonymous=true", *(f"listeners.{kind}.x.enable=false" for kind in types)]
    binds = [f"listeners.{kind}.x.bind={'/tmp/x' if kind == 'unix' else '127.0.0.1:1'}" for kind in types]
    config = load(sets=[*sets, *binds]).config
    assert [kind for kind, name, _ in config.listeners.each() if name == "x"] == list(types)
    assert isinstance(config.listeners.ssl["x"], SslListener)
    assert isinstance(config.listeners.wss["x"], WssListener)


def test_listener_id_is_type_and_name() -> None:
    assert listener_id("tcp", "default") == "tcp:default"


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        ([], True),
        (["allow_anonymous=true"], True),
        (["allow_anonymous=false"], False),
        (["security_profile=hardened", "allow_anonymous=true"], False),
    ],
)
def test_anonymous_access_without_authenticators(sets: list[str], expected: bool) -> None:
    assert load(sets=sets).config.is_anonymous_allowed is expected


@pytest.mark.parametrize("enable", ["true", "false"])
def test_authenticators_count_while_they_are_enabled(enable: str) -> None:
    config = load(sets=[f'authentication=[{{mechanism="jwt", secret="s", enable={enable}}}]']).config
    assert config.has_authentication is (enable == "true")


def test_zone_keeps_only_what_differs() -> None:
    config = load(sets=["zones.slow.mqtt.max_inflight=1", "mqtt.max_mqueue_len=7"]).config
    zone = config.zones["slow"]
    assert zone.mqtt_over(config.mqtt).max_inflight == 1
    assert zone.mqtt_over(config.mqtt).max_mqueue_len == 7
    assert zone.flapping_over(config.flapping_detect) == config.flapping_detect
