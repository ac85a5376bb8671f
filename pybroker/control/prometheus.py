"""What Prometheus scrapes: the broker's counters and levels under EMQX's names, and our own under `pybroker_*`.

Nothing here grows with the number of clients: every value is a counter that is kept anyway.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Literal

from pybroker.config.schema import SslListener, WssListener
from pybroker.control.about import About
from pybroker.control.banned import Bans
from pybroker.control.configuration import Configuration
from pybroker.control.licence import far_date
from pybroker.control.nodes import Nodes, memory_limit, memory_used
from pybroker.control.plane import Plane
from pybroker.control.statistics import METRICS, Statistics
from pybroker.listeners.expiry import ends_at_s
from pybroker.metrics.machine import Processors, cpu_seconds, open_files
from pybroker.metrics.prometheus import CONTENT_TYPE, Family, Sample, families_of, render

__all__ = ["CONTENT_TYPE", "Mode", "Prometheus", "Subject"]

Mode = Literal["node", "all_nodes_aggregated", "all_nodes_unaggregated"]
"""Numbers of this node, of all nodes together, or of every node with its name as a label."""

Subject = Literal["stats", "auth", "data_integration", "schema_validation", "message_transformation", "topic_metrics"]
"""What is scraped, each at an address of its own."""

_NOT_HERE = ("rules", "actions", "connectors", "schema_registrys")
"""What EMQX integrates and this broker does not; boards want their number."""


class Prometheus:
    """Maker of expositions.

    Args:
        plane: counts.
        statistics: names the counts.
        nodes: this node.
        configuration: names listeners and the quota.
        about: this process.
        bans: the list of those who may not connect.
    """

    def __init__(
        self,
        plane: Plane,
        statistics: Statistics,
        nodes: Nodes,
        configuration: Configuration,
        about: About,
        bans: Bans,
    ) -> None:
        self._plane = plane
        self._statistics = statistics
        self._nodes = nodes
        self._configuration = configuration
        self._about = about
        self._bans = bans
        self._processors = Processors()
        self._auth: list[Callable[[], Iterable[Family]]] = []

    def join(self, families: Callable[[], Iterable[Family]]) -> None:
        """Add what `families` returns to every exposition of the subject `auth`."""
        self._auth.append(families)

    @property
    def is_open(self) -> bool:
        """Whether scrapers need no credential."""
        return not self._configuration.current.prometheus.enable_basic_auth

    def expose(self, subject: Subject, mode: Mode) -> bytes:
        """Return the exposition of a subject; empty where there is nothing to tell."""
        families: list[Family] = []
        if subject == "stats":
            families = [*self._broker(), *self._machine(), *self._certificates(), *self._own()]
        elif subject == "auth":
            families = [Family("emqx_banned_count", "gauge", (Sample(len(self._bans.table)),))]
            families += [family for more in self._auth for family in more()]
        elif subject == "data_integration":
            families = [Family(f"emqx_{name}_count", "gauge", (Sample(0),)) for name in _NOT_HERE]
        return render(families, {"node": self._nodes.name} if mode == "all_nodes_unaggregated" else None)

    def _broker(self) -> list[Family]:
        """Return levels and counters in EMQX's names; counters that it does not have are ours."""
        metrics = self._statistics.metrics()
        known = {name: metrics[name] for name in METRICS}
        own = {name: value for name, value in metrics.items() if name not in known}
        return [
            *families_of(self._statistics.stats(), "gauge"),
            *families_of(known, "counter"),
            *(Family(f"pybroker_{name.replace('.', '_')}_total", "counter", (Sample(own[name]),)) for name in own),
            Family("emqx_client_disconnected_reason", "counter", self._departures()),
        ]

    def _departures(self) -> list[Sample]:
        samples = []
        for (listener, reason), count in self._plane.counters.departures.items():
            kind, _, name = listener.partition(":")
            samples.append(Sample(count, {"listener_type": kind, "listener_name": name, "reason": reason}))
        return samples

    def _machine(self) -> list[Family]:
        busy = self._processors.look()
        gauges: dict[str, float] = {
            "emqx_vm_cpu_use": busy.used,
            "emqx_vm_cpu_idle": round(100 - busy.used, 2),
            "emqx_vm_run_queue": busy.runnable,
            "emqx_vm_total_memory": memory_limit(),
            "emqx_vm_used_memory": memory_used(),
            "emqx_vm_max_fds": self._nodes.describe().max_files,
            "emqx_cluster_nodes_running": 1,
            "emqx_cluster_nodes_stopped": 0,
            "emqx_license_max_sessions": self._configuration.current.license.connection_quota,
            "emqx_license_expiry_at": int(datetime.fromisoformat(f"{far_date()}T00:00:00+00:00").timestamp()),
        }
        return [Family(name, "gauge", (Sample(value),)) for name, value in gauges.items()]

    def _certificates(self) -> list[Family]:
        samples = []
        for kind, name, listener in self._configuration.current.listeners.each():
            if listener.enable and isinstance(listener, SslListener | WssListener):
                ends_s = ends_at_s(Path(listener.ssl_options.certfile))
                samples.append(Sample(ends_s, {"listener_type": kind, "listener_name": name}))
        return [Family("emqx_cert_expiry_at", "gauge", samples)]

    def _own(self) -> list[Family]:
        listeners = self._plane.listeners
        open_now = [(listener, listeners.stats(listener)) for listener in listeners.addresses]
        levels = self._plane.engine.stats()
        return [
            Family("pybroker_build_info", "gauge", (Sample(1, {"version": self._about.version}),)),
            Family(
                "pybroker_uptime_seconds",
                "gauge",
                (Sample(self._nodes.uptime_ms / 1_000),),
            ),
            Family("pybroker_process_cpu_seconds_total", "counter", (Sample(cpu_seconds()),)),
            Family("pybroker_process_open_fds", "gauge", (Sample(open_files()),)),
            Family("pybroker_retained_bytes", "gauge", (Sample(levels.get("retained_bytes", 0)),)),
            Family(
                "pybroker_listener_connections",
                "gauge",
                [Sample(stats.current, {"listener": listener}) for listener, stats in open_now],
            ),
            Family(
                "pybroker_listener_accepted_total",
                "counter",
                [Sample(stats.accepted, {"listener": listener}) for listener, stats in open_now],
            ),
            Family(
                "pybroker_listener_refused_total",
                "counter",
                [Sample(stats.refused, {"listener": listener}) for listener, stats in open_now],
            ),
        ]
