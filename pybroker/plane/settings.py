"""What the configuration means to the engine and to the plane: words such as `infinity` become their numbers.

Each function maps one configuration to one set of values; nothing is kept here.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from pybroker.config.schema import Config, MqttSettings
from pybroker.config.sections.mqtt import CertificateField
from pybroker.plane.registry import NEVER_S

S = TypeVar("S")

_HIGHEST_PRIORITY = 256  # above every priority that can be configured


class ConnectSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the connect pipeline needs, in the units of the protocol.

    Args:
        session_expiry_s: for 3.x clients with clean session 0.
        max_session_expiry_s: 0xFFFFFFFF: no bound.
        server_keep_alive_s: replaces the keep alive of 5.0 clients; 0: does not.
        response_information: empty: never told.
        keeps_placeholders: whether a placeholder of a mountpoint that has no value stays as text; else the client is
            refused.
    """

    max_client_id_bytes: int = 65_535
    session_expiry_s: int = 7_200
    max_session_expiry_s: int = NEVER_S
    server_keep_alive_s: int = 0
    response_information: str = ""
    takes_username_as_client_id: bool = False
    certificate_as_username: CertificateField | None = None
    certificate_as_client_id: CertificateField | None = None
    keeps_placeholders: bool = False


class SubscribeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a subscription is judged by.

    Args:
        max_subscriptions: of one client; 0: no limit.
    """

    max_qos: int = 2
    allows_wildcards: bool = True
    allows_shared: bool = True
    allows_exclusive: bool = False
    max_subscriptions: int = 0


class ListenerTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What the clients of a listener are granted by its zone.

    Args:
        idle_timeout_ms: handshakes and CONNECT must be done by then.
        zone: the engine's settings that the zone has of its own.
    """

    idle_timeout_ms: int
    zone: Mapping[str, object] = {}


_OF_A_ZONE = {
    "max_packet_size": "max_packet_bytes",
    "max_qos_allowed": "max_qos",
    "max_topic_alias": "max_topic_alias",
    "retain_available": "is_retain_available",
    "wildcard_subscription": "is_wildcard_available",
    "shared_subscription": "is_shared_available",
    "receive_maximum": "receive_maximum",
    "max_awaiting_rel": "max_awaiting_rel",
    "await_rel_timeout": "await_rel_timeout_ms",
    "keepalive_multiplier": "keepalive_multiplier",
    "retry_interval": "retry_interval_ms",
    "strict_mode": "is_strict",
    "ignore_loop_deliver": "ignores_loop_deliver",
}
"""Keys of `mqtt` that a zone may have of its own, by the engine's names for them."""


def listener_terms(config: Config, zone: str) -> ListenerTerms:
    """Return what the listeners of a zone grant; a zone that is not configured has the general keys."""
    own = config.zones[zone].mqtt if zone in config.zones else {}
    if not own:
        return ListenerTerms(idle_timeout_ms=int(config.mqtt.idle_timeout))
    merged = msgspec.structs.replace(config, mqtt=config.zones[zone].mqtt_over(config.mqtt))
    settings = engine_settings(merged)
    return ListenerTerms(
        idle_timeout_ms=int(merged.mqtt.idle_timeout),
        zone={name: settings[name] for key, name in _OF_A_ZONE.items() if key in own},
    )


def connect_settings(mqtt: MqttSettings) -> ConnectSettings:
    """Return what the connect pipeline needs of the keys of one zone."""
    longest = mqtt.max_session_expiry_interval
    return ConnectSettings(
        max_client_id_bytes=mqtt.max_clientid_len,
        session_expiry_s=seconds(mqtt.session_expiry_interval),
        max_session_expiry_s=NEVER_S if longest is None else seconds(longest),
        server_keep_alive_s=0 if mqtt.server_keepalive is None else seconds(mqtt.server_keepalive),
        response_information=mqtt.response_information,
        takes_username_as_client_id=mqtt.use_username_as_clientid,
        certificate_as_username=mqtt.peer_cert_as_username,
        certificate_as_client_id=mqtt.peer_cert_as_clientid,
        keeps_placeholders=mqtt.mountpoint_missing_attr == "literal",
    )


def subscribe_settings(mqtt: MqttSettings) -> SubscribeSettings:
    """Return what subscriptions are judged by under the keys of one zone."""
    return SubscribeSettings(
        max_qos=mqtt.max_qos_allowed,
        allows_wildcards=mqtt.wildcard_subscription,
        allows_shared=mqtt.shared_subscription,
        allows_exclusive=mqtt.exclusive_subscription,
        max_subscriptions=mqtt.max_subscriptions or 0,
    )


def by_zone(config: Config, settings_of: Callable[[MqttSettings], S]) -> dict[str, S]:
    """Return the settings of each zone that has keys of `mqtt` of its own."""
    return {name: settings_of(zone.mqtt_over(config.mqtt)) for name, zone in config.zones.items() if zone.mqtt}


def engine_settings(config: Config) -> dict[str, object]:
    """Return the settings of `Engine.configure`; 0 stands for `infinity` and `disabled` there."""
    mqtt, retainer = config.mqtt, config.retainer
    return {
        "max_packet_bytes": int(mqtt.max_packet_size),
        "max_topic_levels": mqtt.max_topic_levels,
        "max_qos": mqtt.max_qos_allowed,
        "max_topic_alias": mqtt.max_topic_alias,
        "is_retain_available": mqtt.retain_available,
        "is_wildcard_available": mqtt.wildcard_subscription,
        "is_shared_available": mqtt.shared_subscription,
        "shared_strategy": mqtt.shared_subscription_strategy,
        "ignores_loop_deliver": mqtt.ignore_loop_deliver,
        "is_strict": mqtt.strict_mode,
        "upgrades_qos": mqtt.upgrade_qos,
        "keepalive_multiplier": float(mqtt.keepalive_multiplier),
        "retry_interval_ms": int(mqtt.retry_interval or 0),
        "message_expiry_ms": int(mqtt.message_expiry_interval or 0),
        "max_inflight": mqtt.max_inflight,
        "receive_maximum": mqtt.receive_maximum,
        "max_awaiting_rel": mqtt.max_awaiting_rel or 0,
        "await_rel_timeout_ms": int(mqtt.await_rel_timeout or 0),
        "max_mqueue_len": mqtt.max_mqueue_len or 0,
        "max_mqueue_bytes": int(mqtt.max_mqueue_bytes or 0),
        "mqueue_overflow": mqtt.mqueue_overflow,
        "stores_qos0": mqtt.mqueue_store_qos0,
        "mqueue_priorities": dict(mqtt.mqueue_priorities or {}),
        "mqueue_default_priority": 0 if mqtt.mqueue_default_priority == "lowest" else _HIGHEST_PRIORITY,
        "is_retainer_enabled": retainer.enable,
        "slow": _slow(config),
        "max_retained": retainer.max_retained_messages,
        "max_retained_payload_bytes": int(retainer.max_payload_size),
        "retained_expiry_ms": int(retainer.msg_expiry_interval),
        "retained_override_ms": int(retainer.msg_expiry_interval_override or 0),
        "is_retained_clear_stopped": retainer.stop_publish_clear_msg,
        "is_delayed_enabled": config.delayed.enable,
        "max_delayed": config.delayed.max_delayed_messages,
        "coalesce_us": config.node.coalesce_us,
    }


def seconds(duration_ms: int) -> int:
    """Return whole seconds, rounded up so that a short time does not become none; never more than 5.0 can say."""
    return min(-(-duration_ms // 1_000), NEVER_S)


def _slow(config: Config) -> tuple[str, int, int] | None:
    slow = config.slow_subs
    return (slow.stats_type, int(slow.threshold), slow.top_k_num) if slow.enable else None
