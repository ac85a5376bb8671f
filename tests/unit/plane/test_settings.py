"""What the configuration means to the plane and the engine."""

from pybroker._core import Engine
from pybroker.config.load import load
from pybroker.config.schema import Config
from pybroker.plane.registry import NEVER_S
from pybroker.plane.settings import (
    ConnectSettings,
    SubscribeSettings,
    connect_settings,
    engine_settings,
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
