"""What the configuration means to the plane and the engine."""

import msgspec

from pybroker._core import Engine
from pybroker.config.inert import reason_of
from pybroker.config.keys import keys_of
from pybroker.config.load import load
from pybroker.config.schema import Config, MqttSettings, Zone
from pybroker.plane.registry import NEVER_S
from pybroker.plane.settings import (
    ConnectSettings,
    ListenerTerms,
    SubscribeSettings,
    connect_settings,
    engine_settings,
    listener_terms,
    seconds,
    subscribe_settings,
)


def configured(*sets: str) -> Config:
    return load(sets=sets).config


def test_defaults_are_those_of_the_structs() -> None:
    assert connect_settings(Config().mqtt) == ConnectSettings()
    assert subscribe_settings(Config().mqtt) == SubscribeSettings()


def test_words_become_numbers() -> None:
    config = configured(
        'mqtt.session_expiry_interval="1500ms"',
        'mqtt.max_session_expiry_interval="1h"',
        'mqtt.server_keepalive="30s"',
        'mqtt.response_information="r"',
        "mqtt.use_username_as_clientid=true",
        'mqtt.peer_cert_as_username="cn"',
        'mqtt.peer_cert_as_clientid="md5"',
        "mqtt.max_clientid_len=40",
        "mqtt.max_subscriptions=3",
        "mqtt.exclusive_subscription=true",
        "mqtt.max_qos_allowed=1",
    )
    assert connect_settings(config.mqtt) == ConnectSettings(
        max_client_id_bytes=40,
        session_expiry_s=2,
        max_session_expiry_s=3_600,
        server_keep_alive_s=30,
        response_information="r",
        takes_username_as_client_id=True,
        certificate_as_username="cn",
        certificate_as_client_id="md5",
    )
    assert subscribe_settings(config.mqtt) == SubscribeSettings(max_qos=1, allows_exclusive=True, max_subscriptions=3)


def test_engine_takes_every_setting() -> None:
    engine = Engine(0, "node@host")
    engine.configure(engine_settings(Config()))
    everything = configured(
        'mqtt.max_awaiting_rel="infinity"',
        'mqtt.await_rel_timeout="infinity"',
        'mqtt.max_mqueue_len="infinity"',
        'mqtt.max_mqueue_bytes="1MB"',
        'mqtt.retry_interval="20s"',
        'mqtt.message_expiry_interval="1h"',
        'mqtt.mqueue_default_priority="highest"',
        'mqtt.mqueue_priorities={"a/b" = 7}',
    )
    settings = engine_settings(everything)
    engine.configure(settings)
    assert (settings["max_mqueue_len"], settings["max_mqueue_bytes"]) == (0, 1 << 20)
    assert settings["mqueue_priorities"] == {"a/b": 7}


def test_seconds_are_rounded_up_and_bounded() -> None:
    assert [seconds(0), seconds(1), seconds(1_000), seconds(1_001)] == [0, 1, 1, 2]
    assert seconds(NEVER_S * 2_000) == NEVER_S


def test_listener_has_the_keys_of_its_zone_and_else_the_general_ones() -> None:
    config = configured(
        "mqtt.max_qos_allowed=1",
        'mqtt.idle_timeout="9s"',
        'zones.far.mqtt={retain_available = false, await_rel_timeout = "2s", retry_interval = "infinity"}',
        'zones.near.mqtt.idle_timeout="1s"',
    )
    terms = {zone: listener_terms(config, zone) for zone in ("far", "near", "default")}
    of_far = {"is_retain_available": False, "await_rel_timeout_ms": 2_000, "retry_interval_ms": 0}
    assert terms == {
        "far": ListenerTerms(idle_timeout_ms=9_000, zone=of_far),
        "near": ListenerTerms(idle_timeout_ms=1_000),
        "default": ListenerTerms(idle_timeout_ms=9_000),
    }


def test_engine_takes_every_key_of_a_zone() -> None:
    keys = {key.name: None for key in keys_of(MqttSettings)}
    config = Config()
    zone = Zone(mqtt={name: getattr(config.mqtt, name) for name in keys})
    terms = listener_terms(msgspec.structs.replace(config, zones={"z": zone}), "z")
    engine = Engine(0, "n@h")
    number, _ = engine.open_listener({"kind": "tcp", "host": "127.0.0.1", "port": 0, "zone": dict(terms.zone)})
    engine.change_listener(number, {"kind": "tcp", "zone": dict(terms.zone)})
    served = {key for key in keys if reason_of(f"zones.z.mqtt.{key}") is None}
    assert len(terms.zone) == 13
    assert {"max_qos_allowed", "keepalive_multiplier", "strict_mode"} <= served
    engine.close_listener(number, True, 0x98)
