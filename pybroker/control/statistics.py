"""Levels and counters of the node under every name that clients of EMQX read, those that cannot move here included."""

from pybroker.metrics.counters import Counters

CLUSTER_WIDE = ("retained", "topics", "subscriptions.shared")
"""Levels that are not added up over nodes."""

_PACKETS = {
    "connect": "r",
    "connack": "s",
    "publish": "rs",
    "puback": "rs",
    "pubrec": "rs",
    "pubrel": "rs",
    "pubcomp": "rs",
    "subscribe": "r",
    "suback": "s",
    "unsubscribe": "r",
    "unsuback": "s",
    "pingreq": "r",
    "pingresp": "s",
    "disconnect": "rs",
    "auth": "rs",
}

METRICS: tuple[str, ...] = (
    "bytes.received",
    "bytes.sent",
    "packets.received",
    "packets.sent",
    *(f"packets.{name}.received" for name, ways in _PACKETS.items() if "r" in ways),
    *(f"packets.{name}.sent" for name, ways in _PACKETS.items() if "s" in ways),
    *(f"packets.connack.{what}" for what in ("error", "auth_error")),
    *(f"packets.publish.{what}" for what in ("error", "auth_error", "dropped", "inuse", "quota_exceeded")),
    *(f"packets.{name}.{what}" for name in ("puback", "pubrec", "pubcomp") for what in ("inuse", "missed")),
    "packets.pubrel.missed",
    "packets.subscribe.error",
    "packets.subscribe.auth_error",
    "packets.unsubscribe.error",
    *(
        f"messages.{what}"
        for what in ("received", "sent", "publish", "delivered", "acked", "forward", "retained", "delayed", "persisted")
    ),
    *(f"messages.qos{qos}.{way}" for qos in range(3) for way in ("received", "sent")),
    "messages.dropped",
    *(
        f"messages.dropped.{why}"
        for why in ("await_pubrel_timeout", "no_subscribers", "quota_exceeded", "receive_maximum")
    ),
    *(f"messages.{step}_{end}" for step in ("validation", "transformation") for end in ("succeeded", "failed")),
    "delivery.dropped",
    *(f"delivery.dropped.{why}" for why in ("no_local", "too_large", "qos0_msg", "queue_full", "expired", "filter")),
    *(
        f"client.{what}"
        for what in (
            "connect",
            "connack",
            "connected",
            "disconnected",
            "authenticate",
            "authorize",
            "subscribe",
            "unsubscribe",
            "auth.anonymous",
            "post_authn",
        )
    ),
    *(f"session.{what}" for what in ("created", "resumed", "takenover", "discarded", "terminated", "disconnected")),
    "authentication.success",
    "authentication.success.anonymous",
    "authentication.failure",
    *(f"authorization.{what}" for what in ("allow", "deny", "cache_hit", "cache_miss")),
    *(f"authorization.{what}" for what in ("superuser", "nomatch", "matched.allow", "matched.deny")),
    "rules.matched",
    "actions.executed",
    "actions.messages",
    *(f"overload_protection.{what}" for what in ("delay.ok", "delay.timeout", "hibernation", "gc", "new_conn")),
)
"""Every counter that clients read; what nothing counts here stays 0."""


class Statistics:
    """Reader of levels and counters.

    Args:
        counters: of the broker.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def metrics(self) -> dict[str, int]:
        """Return all counters since the start by name."""
        shown = dict.fromkeys(METRICS, 0)
        shown.update(self._counters.metrics())
        return shown

    def stats(self) -> dict[str, int]:
        """Return all levels as `NAME.count` with the highest that was seen as `NAME.max`."""
        shown = self._counters.stats()
        shown["cluster_sessions.count"] = shown["sessions.count"]
        shown["cluster_sessions.max"] = shown["sessions.max"]
        return shown
