"""Keys of the protocol: `mqtt`, `zones`, `flapping_detect`, `retainer`, `delayed` and `sys_topics`.

Defaults are EMQX's but for those that the broker's issue sets otherwise.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import field

from pybroker.config.keys import Section, key
from pybroker.config.units import ByteSize, Duration, Rate

CertificateField = Literal["cn", "dn", "crt", "pem", "md5"]
SharedStrategy = Literal[
    "random", "round_robin", "round_robin_per_group", "sticky", "local", "hash_clientid", "hash_topic"
]
OverflowPolicy = Literal["drop_oldest", "drop_newest", "reject", "disconnect"]


class ClientAttribute(Section, frozen=True, kw_only=True):
    """One attribute that a client is given when it connects."""

    expression: Annotated[str, key("Variform expression; an empty result sets nothing.")]
    set_as_attr: Annotated[
        str,
        key(
            "Name of the attribute; `tns` is the client's namespace.",
            pattern="[A-Za-z0-9][A-Za-z0-9_-]*",
            hint="letters, digits, - and _, beginning with a letter or digit",
        ),
    ]


class MqttSettings(Section, frozen=True):
    """What the broker grants to every MQTT client."""

    idle_timeout: Annotated[Duration, key("CONNECT must have arrived by then.", low=1)] = Duration(15_000)
    max_packet_size: Annotated[
        ByteSize, key("Largest packet that is read; 5.0 clients are told.", low=1, high=268_435_455)
    ] = ByteSize(1 << 20)
    max_clientid_len: Annotated[int, key("Longest client id, in bytes.", low=23, high=65535)] = 65535
    max_topic_levels: Annotated[int, key("Most levels of a topic or filter.", low=1, high=65535)] = 128
    max_qos_allowed: Annotated[Literal[0, 1, 2], key("Highest QoS of a publication or subscription.")] = 2
    max_topic_alias: Annotated[
        int, key("Topic aliases a 5.0 client may use towards the broker; 0: none.", low=0, high=65535)
    ] = 65535
    retain_available: Annotated[bool, key("Whether clients may publish retained messages.")] = True
    wildcard_subscription: Annotated[bool, key("Whether filters may hold `+` and `#`.")] = True
    shared_subscription: Annotated[bool, key("Whether `$share/group/filter` is accepted.")] = True
    shared_subscription_strategy: Annotated[SharedStrategy, key("How a shared message finds its member.")] = (
        "round_robin"
    )
    exclusive_subscription: Annotated[bool, key("Whether `$exclusive/topic` is accepted.")] = False
    ignore_loop_deliver: Annotated[
        bool, key("3.x clients do not receive what they published themselves, as with No Local in 5.0.")
    ] = False
    strict_mode: Annotated[bool, key("Check what the standard leaves to the server, payload format among it.")] = False
    response_information: Annotated[
        str, key("Told to 5.0 clients that request response information; empty: not told.")
    ] = ""
    server_keepalive: Annotated[
        Duration | None,
        key(
            "Keep alive that replaces the client's; a plain number counts seconds.",
            low=1_000,
            high=65_535_000,
            word="disabled",
            bare="s",
        ),
    ] = None
    keepalive_multiplier: Annotated[
        float, key("A client that is silent for keep alive times this is gone.", low=1, high=65535)
    ] = 1.5
    retry_interval: Annotated[
        Duration | None,
        key(
            "Pause before an unacknowledged message is sent again; the standard wants `infinity`.",
            low=1,
            word="infinity",
        ),
    ] = None
    session_expiry_interval: Annotated[
        Duration, key("How long sessions of 3.x clients with clean session 0 outlive their connection.")
    ] = Duration(7_200_000)
    max_session_expiry_interval: Annotated[
        Duration | None, key("Longest session expiry that a 5.0 client gets.", word="infinity")
    ] = None
    message_expiry_interval: Annotated[
        Duration | None, key("Longest life of a queued or retained message.", low=1, word="infinity")
    ] = None
    max_inflight: Annotated[int, key("Unacknowledged QoS 1 and 2 messages towards a client.", low=1, high=65535)] = 32
    receive_maximum: Annotated[
        int,
        key(
            "Open QoS 1 and 2 publications of a client; a 5.0 client is told and gets 0x93 beyond it, a 3.x client is "
            "not read.",
            low=1,
            high=65535,
        ),
    ] = 100
    max_awaiting_rel: Annotated[
        int | None, key("QoS 2 publications of a session that wait for PUBREL.", low=1, high=65535, word="infinity")
    ] = 100
    await_rel_timeout: Annotated[
        Duration | None,
        key("A QoS 2 publication whose PUBREL is not there by then is forgotten.", low=1, word="infinity"),
    ] = Duration(300_000)
    max_mqueue_len: Annotated[
        int | None, key("Messages that wait for one session.", low=1, high=0xFFFF_FFFF, word="infinity")
    ] = 1000
    max_mqueue_bytes: Annotated[
        ByteSize | None, key("Payload bytes that wait for one session.", low=1024, word="infinity")
    ] = None
    mqueue_overflow: Annotated[
        OverflowPolicy, key("What happens when a session's queue is full; `reject` answers the publisher 0x97.")
    ] = "drop_oldest"
    mqueue_store_qos0: Annotated[bool, key("Whether QoS 0 messages wait too.")] = True
    mqueue_priorities: Annotated[
        Mapping[str, int] | None,
        key("Topics whose messages overtake others in the queue, 1 lowest.", low=1, high=255, word="disabled"),
    ] = None
    mqueue_default_priority: Annotated[
        Literal["lowest", "highest"], key("Priority of topics that `mqueue_priorities` does not name.")
    ] = "lowest"
    upgrade_qos: Annotated[bool, key("Deliver at the subscription's QoS even if it was published lower.")] = False
    max_subscriptions: Annotated[
        int | None, key("Subscriptions of one client.", low=1, high=0xFFFF_FFFF, word="infinity")
    ] = None
    use_username_as_clientid: Annotated[bool, key("Take the user name as client id.")] = False
    peer_cert_as_username: Annotated[
        CertificateField | None, key("Part of the client certificate that is the user name.", word="disabled")
    ] = None
    peer_cert_as_clientid: Annotated[
        CertificateField | None, key("Part of the client certificate that is the client id.", word="disabled")
    ] = None
    client_attrs_init: Annotated[
        tuple[ClientAttribute, ...], key("Attributes a client is given when it connects, in this order.")
    ] = ()
    clientid_override: Annotated[
        str | None, key("Variform expression whose result replaces the client id.", word="disabled")
    ] = None
    namespace_as_mountpoint: Annotated[
        bool, key("Put the namespace and a slash before every topic of its clients.")
    ] = False
    mountpoint_missing_attr: Annotated[
        Literal["refuse", "literal"],
        key(
            "A client without the attribute that its listener's mountpoint names: refuse it, or keep the placeholder "
            "as text."
        ),
    ] = "refuse"


class FlappingDetect(Section, frozen=True):
    """Bans of client ids that connect too often."""

    enable: Annotated[bool, key("Whether connects are counted.")] = False
    window_time: Annotated[Duration, key("Time in which they are counted.", low=1_000)] = Duration(60_000)
    max_count: Annotated[int, key("Connects in that time that lead to a ban.", low=1)] = 15
    ban_time: Annotated[Duration, key("How long the ban holds.", low=1_000)] = Duration(300_000)


class Zone(Section, frozen=True):
    """Settings of a group of listeners that differ from the general ones."""

    mqtt: Annotated[
        Mapping[str, Any], key("Keys of `mqtt` that are different here.", overrides=MqttSettings, hint="keys of `mqtt`")
    ] = field(default_factory=dict)
    flapping_detect: Annotated[
        Mapping[str, Any],
        key(
            "Keys of `flapping_detect` that are different here.",
            overrides=FlappingDetect,
            hint="keys of `flapping_detect`",
        ),
    ] = field(default_factory=dict)

    def mqtt_over(self, general: MqttSettings) -> MqttSettings:
        """Return `general` with the keys of this zone put over it."""
        return msgspec.structs.replace(general, **self.mqtt)

    def flapping_over(self, general: FlappingDetect) -> FlappingDetect:
        """Return `general` with the keys of this zone put over it."""
        return msgspec.structs.replace(general, **self.flapping_detect)


class RetainerBackend(Section, frozen=True):
    """Where EMQX keeps retained messages; here they are in the core."""

    type: Annotated[Literal["built_in_database"], key("Kind of store.")] = "built_in_database"
    storage_type: Annotated[Literal["ram", "disc"], key("Where the store keeps them.")] = "ram"
    max_retained_messages: Annotated[int, key("Use `retainer.max_retained_messages`.", low=0)] = 0
    index_specs: Annotated[
        tuple[tuple[int, ...], ...], key("Index definitions of EMQX.", hint="list of lists of integers")
    ] = ()


class RetainerSettings(Section, frozen=True):
    """Retained messages."""

    enable: Annotated[bool, key("Whether retained messages are kept.")] = True
    max_retained_messages: Annotated[int, key("Most messages kept; 0: no limit.", low=0, high=0xFFFF_FFFF)] = 0
    max_payload_size: Annotated[ByteSize, key("Larger payloads are delivered but not kept.", low=0)] = ByteSize(1 << 20)
    msg_expiry_interval: Annotated[
        Duration, key("Life of a retained message that has no expiry of its own; 0s: no end.")
    ] = Duration(0)
    msg_clear_interval: Annotated[Duration, key("Pause between sweeps of expired messages; 0s: when they are met.")] = (
        Duration(0)
    )
    stop_publish_clear_msg: Annotated[bool, key("Do not deliver the empty message that clears a retained one.")] = False
    msg_expiry_interval_override: Annotated[
        Duration | None, key("Life of every retained message, whatever it says.", low=1, word="disabled")
    ] = None
    allow_never_expire: Annotated[bool, key("Whether a retained message may live without end.")] = True
    delivery_rate: Annotated[Rate | None, key("Retained messages sent to new subscribers.", word="infinity")] = Rate(
        1_000
    )
    max_publish_rate: Annotated[Rate | None, key("Retained messages that are published.", word="infinity")] = Rate(
        1_000
    )
    backend: Annotated[RetainerBackend, key("Store of EMQX.")] = field(default_factory=RetainerBackend)


class DelayedSettings(Section, frozen=True):
    """Messages to `$delayed/SECONDS/topic`; kept in memory."""

    enable: Annotated[bool, key("Whether `$delayed` is understood.")] = True
    max_delayed_messages: Annotated[int, key("Most messages that wait; 0: no limit.", low=0, high=0xFFFF_FFFF)] = 0


class SysEventMessages(Section, frozen=True):
    """Events that are published below `$SYS/brokers/NODE/clients`."""

    client_connected: Annotated[bool, key("Publish that a client has connected.")] = True
    client_disconnected: Annotated[bool, key("Publish that a client has gone.")] = True
    client_subscribed: Annotated[bool, key("Publish that a client has subscribed.")] = False
    client_unsubscribed: Annotated[bool, key("Publish that a client has unsubscribed.")] = False


class SysTopics(Section, frozen=True):
    """Topics below `$SYS`."""

    sys_msg_interval: Annotated[
        Duration | None, key("Pause between statistics and metrics.", low=100, word="disabled")
    ] = Duration(60_000)
    sys_heartbeat_interval: Annotated[
        Duration | None, key("Pause between uptime and time of day.", low=100, word="disabled")
    ] = Duration(30_000)
    sys_event_messages: Annotated[SysEventMessages, key("Events of clients.")] = field(default_factory=SysEventMessages)
