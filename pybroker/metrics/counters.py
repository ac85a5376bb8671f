"""Every counter of the broker under EMQX's names: those of the core, and those of decisions, which are counted here.

Counters only grow; levels (connections, sessions, ...) are read where they live. Maxima of levels are as high as the
looks at them have found them.
"""

from collections.abc import Callable

from pybroker._core import Engine
from pybroker.events import Departure, EventBus, Refusal
from pybroker.ports import Applicant
from pybroker.types import ListenerId

_OWN = (
    "client.connect",
    "client.connack",
    "client.connected",
    "client.disconnected",
    "client.authenticate",
    "client.auth.anonymous",
    "client.acl.deny",
    "authentication.success",
    "authentication.success.anonymous",
    "authentication.failure",
    "session.created",
    "session.resumed",
    "session.takenover",
    "session.discarded",
    "session.terminated",
)

_LEVELS = {
    "channels": "sessions",
    "connections": "sessions",
    "live_connections": "connections",
    "sessions": "sessions",
    "topics": "topics",
    "suboptions": "subscriptions",
    "subscribers": "subscriptions",
    "subscriptions": "subscriptions",
    "subscriptions.shared": "subscriptions.shared",
    "retained": "retained",
    "delayed": "delayed",
}

# EMQX counts these hooks once a packet, and the core has counted the packets.
_FROM_PACKETS = {
    "client.subscribe": "packets.subscribe.received",
    "client.unsubscribe": "packets.unsubscribe.received",
}

_REFUSED_BY_CHAIN = frozenset({0x86, 0x87, 0x8C})


class Counters:
    """Counters and levels. `connections` counts sessions and `live_connections` sockets, as EMQX has it.

    Args:
        engine: counts packets, bytes and messages.
        events: counted here from now on.
    """

    def __init__(self, engine: Engine, events: EventBus) -> None:
        self._engine = engine
        self._own = dict.fromkeys(_OWN, 0)
        self._highest: dict[str, int] = {}
        self.departures: dict[tuple[ListenerId, str], int] = {}
        """Connections that have ended, by listener and cause."""
        events.client_admitted.listen(self._on_admitted)
        events.client_refused.listen(self._on_refused)
        events.client_connected.listen(self._counting("client.connected"))
        events.client_disconnected.listen(self._on_disconnected)
        events.subscription_denied.listen(self._counting("client.acl.deny"))
        events.session_created.listen(self._counting("session.created"))
        events.session_resumed.listen(self._counting("session.resumed"))
        events.session_taken_over.listen(self._counting("session.takenover"))
        events.session_discarded.listen(self._counting("session.discarded"))
        events.session_terminated.listen(self._counting("session.terminated"))

    def metrics(self) -> dict[str, int]:
        """Return all counters since the start, by EMQX's names."""
        metrics = self._engine.metrics()
        metrics.update(self._own)
        for name, source in _FROM_PACKETS.items():
            metrics[name] = metrics.get(source, 0)
        return metrics

    def stats(self) -> dict[str, int]:
        """Return all levels as `NAME.count`, and the highest that was seen of each as `NAME.max`."""
        levels = self._engine.stats()
        shown: dict[str, int] = {}
        for name, source in _LEVELS.items():
            level = levels.get(source, 0)
            self._highest[name] = max(level, self._highest.get(name, 0))
            shown[f"{name}.count"] = level
            shown[f"{name}.max"] = self._highest[name]
        return shown

    def _counting(self, name: str) -> Callable[[object], None]:
        own = self._own

        def count(_: object) -> None:
            own[name] += 1

        return count

    def _on_disconnected(self, departure: Departure) -> None:
        self._own["client.disconnected"] += 1
        where = (departure.client.listener.id, departure.cause)
        self.departures[where] = self.departures.get(where, 0) + 1

    def _on_admitted(self, applicant: Applicant) -> None:
        own = self._own
        own["client.connect"] += 1
        own["client.connack"] += 1
        own["client.authenticate"] += 1
        own["authentication.success"] += 1
        if applicant.username is None:
            own["client.auth.anonymous"] += 1
            own["authentication.success.anonymous"] += 1

    def _on_refused(self, refusal: Refusal) -> None:
        own = self._own
        own["client.connect"] += 1
        own["client.connack"] += 1
        if refusal.reason in _REFUSED_BY_CHAIN:
            own["client.authenticate"] += 1
            own["authentication.failure"] += 1
