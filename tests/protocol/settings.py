"""Settings that several tests share, so that they also share a broker: starting one costs more than most tests.

Each name gathers settings that do not touch each other; a test reads the one that it is about and no other.
"""

from tests.support.broker import Settings

__all__ = ["EXTRAS", "LIMITED", "SMALL_WINDOW"]

LIMITED: Settings = {
    "mqtt.max_qos_allowed": 1,
    "mqtt.retain_available": False,
    "mqtt.wildcard_subscription": False,
    "mqtt.shared_subscription": False,
    "mqtt.max_topic_alias": 10,
    "mqtt.max_packet_size": "1KB",
    "mqtt.receive_maximum": 5,
}
"""Less than the defaults of everything that CONNACK tells."""

SMALL_WINDOW: Settings = {
    "mqtt.receive_maximum": 3,
    "mqtt.max_topic_alias": 0,
    "mqtt.mqueue_overflow": "reject",
    "mqtt.max_mqueue_len": 1,
}
"""Three open publications of a client; a queue of one message, which refuses the second."""

EXTRAS: Settings = {
    "mqtt.idle_timeout": "1s",
    "mqtt.max_clientid_len": 32,
    "mqtt.response_information": "replies/here",
    "mqtt.exclusive_subscription": True,
    "mqtt.max_mqueue_bytes": "20KB",
    "mqtt.mqueue_store_qos0": False,
    "delayed.enable": True,
    "authorization.sys_topics": "nobody",
    "listeners.ws.default.websocket.check_origin_enable": True,
    "listeners.ws.default.websocket.check_origins": ["https://good.test"],
}
"""Things that are off, or out of a test's reach, by default."""
