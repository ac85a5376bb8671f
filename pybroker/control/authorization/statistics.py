"""How often clients were allowed and denied, and what their rules are: one view for operators.

The counters behind it never go back; a reset only moves the point from which this view counts.
"""

from typing import Any

import msgspec

from pybroker.clock import Clock
from pybroker.control.authorization.rates import Rates
from pybroker.control.authorization.rules import RuleBook
from pybroker.control.authorization.settings import AccessSettings, Mode
from pybroker.control.authorization.sources import Sources, SourceState
from pybroker.metrics.counters import Counters

_TOTAL = "total"
_COUNTED = {
    "allow": "authorization.allow",
    "deny": "authorization.deny",
    "nomatch": "authorization.nomatch",
    "superuser": "authorization.superuser",
    "cache_hit": "authorization.cache_hit",
    "cache_miss": "authorization.cache_miss",
}


class RuleCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many rules there are.

    Args:
        limit: of all namespaces together.
    """

    clients: int
    users: int
    all: int
    total: int
    limit: int


class SourceSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One source in short."""

    type: str
    enable: bool
    state: SourceState


class AccessStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """The whole view.

    Args:
        counts: checks by what came of them, since `since_ms`.
        rates: of all checks.
        since_ms: wall time of the start or the last reset.
    """

    mode: Mode
    counts: dict[str, int]
    rates: dict[str, float]
    rules: RuleCounts
    sources: list[SourceSummary]
    since_ms: int


class StatisticsView:
    """Reader of the statistics.

    Args:
        counters: of the broker.
        book: the built-in rules.
        sources: what is asked.
        settings: knows the mode.
        rates: of the checks.
        clock: tells the time.
    """

    def __init__(
        self,
        counters: Counters,
        book: RuleBook,
        sources: Sources,
        settings: AccessSettings,
        rates: Rates,
        clock: Clock,
    ) -> None:
        self._counters = counters
        self._book = book
        self._sources = sources
        self._settings = settings
        self._rates = rates
        self._clock = clock
        self._base: dict[str, int] = {}
        self._since_ms = clock.wall_ms()

    def show(self, namespace: str | None, *, is_whole: bool) -> AccessStatistics:
        """Return the view.

        Args:
            namespace: whose rules are counted.
            is_whole: whether those of every namespace are.
        """
        counts = self._counts()
        return AccessStatistics(
            mode=self._settings.mode,
            counts=counts,
            rates=self._rates.of(_TOTAL, counts["allow"] + counts["deny"]),
            rules=self._rules(self._book.lists.namespaces() if is_whole else [namespace]),
            sources=[
                SourceSummary(type=source.type, enable=source.enable, state=self._sources.state(source.type))
                for source in self._sources.configured
            ],
            since_ms=self._since_ms,
        )

    def reset(self) -> None:
        """Count from now on, for this view and every source."""
        self._base = self._read()
        self._since_ms = self._clock.wall_ms()
        self._rates.reset(_TOTAL)
        for source in self._sources.configured:
            self._sources.reset_metrics(source.type)

    def sample(self) -> None:
        """Take note of the counters for their rates."""
        counts = self._counts()
        self._rates.sample(_TOTAL, counts["allow"] + counts["deny"])
        for source in self._sources.configured:
            state = self._sources.state(source.type)
            self._rates.sample(source.type, int(state.metrics["total"]))

    def _counts(self) -> dict[str, int]:
        return {name: count - self._base.get(name, 0) for name, count in self._read().items()}

    def _read(self) -> dict[str, int]:
        found: dict[str, Any] = self._counters.metrics()
        return {name: int(found.get(metric, 0)) for name, metric in _COUNTED.items()}

    def _rules(self, namespaces: list[str | None]) -> RuleCounts:
        lists = self._book.lists
        clients = sum(lists.count(namespace, "clientid") for namespace in namespaces)
        users = sum(lists.count(namespace, "username") for namespace in namespaces)
        every = sum(lists.count(namespace, "all") for namespace in namespaces)
        return RuleCounts(
            clients=clients, users=users, all=every, total=clients + users + every, limit=self._book.limit
        )
