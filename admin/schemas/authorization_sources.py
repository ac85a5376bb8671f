"""Sources of access rules, and what they have done."""

from typing import Any, Self

import msgspec

from admin.schemas.body import Body
from pybroker.control.authorization.settings import Mode
from pybroker.control.authorization.sources import SourceState
from pybroker.control.authorization.statistics import AccessStatistics, RuleCounts
from pybroker.control.timestamp import render_ms

Metrics = dict[str, int | float]


class SourceList(msgspec.Struct, frozen=True, kw_only=True):
    """Every source, in order; each with the keys of its type."""

    sources: list[dict[str, Any]]


class Position(Body, frozen=True, kw_only=True):
    """Where a source goes: `front`, `rear`, `before:TYPE` or `after:TYPE`."""

    position: str


class SourceName(Body, frozen=True, kw_only=True):
    """A source by its type."""

    type: str


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a source on one node."""

    node: str
    status: str


class NodeMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """The counters of a source on one node."""

    node: str
    metrics: Metrics


class SourceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What a source has done, on all nodes and on each."""

    status: str
    metrics: Metrics
    resource_metrics: Metrics
    node_status: list[NodeStatus]
    node_metrics: list[NodeMetrics]
    node_resource_metrics: list[NodeMetrics]
    node_error: list[str]

    @classmethod
    def of(cls, state: SourceState, node: str) -> Self:
        """Return what is shown of the state on the only node."""
        return cls(
            status=state.status,
            metrics=state.metrics,
            resource_metrics=state.resource_metrics,
            node_status=[NodeStatus(node=node, status=state.status)],
            node_metrics=[NodeMetrics(node=node, metrics=state.metrics)],
            node_resource_metrics=[NodeMetrics(node=node, metrics=state.resource_metrics)],
            node_error=[],
        )


class SourceStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """One source in the statistics."""

    type: str
    enable: bool
    status: str
    metrics: Metrics


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """How often clients were allowed and denied since `since`, and how many rules there are."""

    mode: Mode
    allow: int
    deny: int
    nomatch: int
    superuser: int
    cache_hit: int
    cache_miss: int
    total: int
    rate: float
    rate_last5m: float
    rate_max: float
    rules: RuleCounts
    sources: list[SourceStatistics]
    since: str

    @classmethod
    def of(cls, view: AccessStatistics) -> Self:
        """Return what is shown of the view."""
        return cls(
            mode=view.mode,
            **view.counts,
            total=view.counts["allow"] + view.counts["deny"],
            rate=view.rates["rate"],
            rate_last5m=view.rates["rate_last5m"],
            rate_max=view.rates["rate_max"],
            rules=view.rules,
            sources=[
                SourceStatistics(
                    type=source.type, enable=source.enable, status=source.state.status, metrics=source.state.metrics
                )
                for source in view.sources
            ],
            since=render_ms(view.since_ms),
        )
