"""Levels and counters of the cluster."""

from functools import partial

from admin.schemas.statistics import Levels, MetricsQuery, StatsQuery
from admin.table import Access, Call, NoBody, Row


async def show_stats(call: Call[NoBody, StatsQuery]) -> list[Levels] | Levels:
    """Return the levels of every node, or of all together."""
    levels: Levels = {**call.control.statistics.stats()}
    if call.query.aggregate:
        return levels
    return [{**levels, "durable_subscriptions.count": 0, "node": call.control.nodes.name}]


async def show_metrics(call: Call[NoBody, MetricsQuery]) -> list[Levels] | Levels:
    """Return the counters of every node, of one, or of all together."""
    if call.query.node not in (None, call.control.nodes.name):
        return []
    counters: Levels = {**call.control.statistics.metrics()}
    return counters if call.query.aggregate else [{**counters, "node": call.control.nodes.name}]


_get = partial(
    Row,
    method="GET",
    tag="Metrics",
    request=NoBody,
    reply=list[Levels] | Levels,
    status=200,
    access=Access.READER,
    scope="monitoring",
    audit="never",
    errors=(),
)

ROWS = (
    _get(path="/stats", handler=show_stats, summary="Show levels", query=StatsQuery),
    _get(path="/metrics", handler=show_metrics, summary="Show counters", query=MetricsQuery),
)
