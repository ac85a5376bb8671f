"""What Prometheus scrapes of namespaces: traffic of those that an operator has created, sessions and records of all.

A scrape of every namespace costs work for each, so only some of them are answered; that of one namespace always is.
"""

from collections.abc import Iterator, Sequence

from pybroker.clock import Clock
from pybroker.control.caller import Caller
from pybroker.control.configuration import Configuration
from pybroker.control.namespaces.tenancy import Tenancy
from pybroker.control.nodes import Nodes
from pybroker.control.plane import Plane
from pybroker.control.prometheus import Mode
from pybroker.errors import Refused
from pybroker.metrics.prometheus import Family, Kind, Sample, emqx_name, render
from pybroker.namespaces.rate import TokenBucket

_TRAFFIC = ("bytes.", "packets.", "messages.", "delivery.dropped")
_COMPAT = "emqx_"
_OWN = "pybroker_"


class NamespacedExposition:
    """Maker of the exposition by namespace.

    Args:
        tenancy: knows the namespaces.
        plane: counts their traffic.
        nodes: this node.
        configuration: says how often all namespaces may be scraped, and under which names.
        clock: tells the time.
    """

    def __init__(
        self, tenancy: Tenancy, plane: Plane, nodes: Nodes, configuration: Configuration, clock: Clock
    ) -> None:
        self._tenancy = tenancy
        self._plane = plane
        self._nodes = nodes
        self._configuration = configuration
        self._clock = clock
        self._bucket: TokenBucket | None = None

    def expose(self, caller: Caller, namespace: str | None, mode: Mode) -> bytes:
        """Return the exposition of one namespace, or of all.

        Args:
            caller: sees only its own namespace if it has one.
            namespace: `None`: all; one that is not known has zeros.

        Raises:
            Refused: `FORBIDDEN`: the namespace is not the caller's; `TOO_MANY_REQUESTS`: all were scraped just now.
        """
        if caller.namespace is not None:
            if namespace not in (None, caller.namespace):
                raise Refused("FORBIDDEN", f"namespace is not yours: {namespace!r}")
            namespace = caller.namespace
        if namespace is None and not self._may_scrape_all():
            raise Refused("TOO_MANY_REQUESTS", "Too many requests")
        names = [str(name) for name in self._plane.namespaces.tenants.names()] if namespace is None else [namespace]
        labels = {"node": self._nodes.name} if mode == "all_nodes_unaggregated" else None
        return render(self._families(names, is_single=namespace is not None), labels)

    def _may_scrape_all(self) -> bool:
        rate = self._configuration.current.prometheus.namespaced_metrics_limiter.rate
        if rate is None:
            return True
        now_ms, bucket = self._clock.now_ms(), self._bucket
        if bucket is None or (bucket.count, bucket.period_ms) != (rate.count, rate.period_ms):
            bucket = self._bucket = TokenBucket(rate.count, rate.period_ms, now_ms)
        return bucket.take(now_ms)

    def _families(self, names: Sequence[str], *, is_single: bool) -> Iterator[Family]:
        is_compatible = self._configuration.current.prometheus.compat_names
        prefixes = (_COMPAT, _OWN) if is_compatible else (_OWN,)
        for name, kind, samples in self._numbers(names, is_single=is_single):
            for prefix in prefixes:
                yield Family(prefix + name.removeprefix(_COMPAT), kind, samples)

    def _numbers(self, names: Sequence[str], *, is_single: bool) -> Iterator[tuple[str, Kind, list[Sample]]]:
        """Yield each family under EMQX's name; who has no records has no sample of them, unless asked for alone."""
        traffic: dict[str, list[Sample]] = {}
        sessions: list[Sample] = []
        rules: list[Sample] = []
        users: list[Sample] = []
        counts = self._tenancy.user_counts()
        for name in names:
            label = {"namespace": name}
            tenant = self._plane.namespaces.tenants.known(name)
            sessions.append(Sample(0 if tenant is None else tenant.session_count, label))
            for samples, count in ((rules, self._tenancy.rule_count(name)), (users, counts[name])):
                if count or is_single:
                    samples.append(Sample(count, label))
            if tenant is None or not tenant.is_managed:
                continue
            for key, value in self._plane.engine.namespace_stats(name).items():
                if key.startswith(_TRAFFIC):
                    traffic.setdefault(key, []).append(Sample(value, label))
        for key, found in traffic.items():
            yield emqx_name(key), "counter", found
        yield "emqx_sessions_count", "gauge", sessions
        yield "emqx_authz_builtin_record_count", "gauge", rules
        yield "emqx_authn_builtin_record_count", "gauge", users
