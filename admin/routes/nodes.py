"""Nodes of the cluster, with their levels and counters."""

from functools import partial

from admin.schemas.nodes import NodeInfo
from admin.schemas.statistics import Levels
from admin.table import Access, Call, NoBody, NoQuery, Row


async def list_nodes(call: Call[NoBody, NoQuery]) -> list[NodeInfo]:
    """Return every node."""
    return [NodeInfo.of(call.control.nodes.describe())]


async def show_node(call: Call[NoBody, NoQuery]) -> NodeInfo:
    """Return one node."""
    call.control.nodes.check(call.params["node"])
    return NodeInfo.of(call.control.nodes.describe())


async def show_node_metrics(call: Call[NoBody, NoQuery]) -> Levels:
    """Return the counters of a node."""
    call.control.nodes.check(call.params["node"])
    return {**call.control.statistics.metrics(), "node": call.control.nodes.name}


async def show_node_stats(call: Call[NoBody, NoQuery]) -> Levels:
    """Return the levels of a node."""
    call.control.nodes.check(call.params["node"])
    return {**call.control.statistics.stats(), "durable_subscriptions.count": 0, "node": call.control.nodes.name}


_get = partial(
    Row,
    method="GET",
    tag="Nodes",
    request=NoBody,
    query=NoQuery,
    status=200,
    access=Access.READER,
    scope="cluster_operations",
    audit="never",
)

ROWS = (
    _get(path="/nodes", handler=list_nodes, summary="List nodes", reply=list[NodeInfo], errors=()),
    _get(path="/nodes/:node", handler=show_node, summary="Show a node", reply=NodeInfo, errors=("NOT_FOUND",)),
    _get(
        path="/nodes/:node/metrics",
        handler=show_node_metrics,
        summary="Show the counters of a node",
        reply=Levels,
        errors=("NOT_FOUND",),
    ),
    _get(
        path="/nodes/:node/stats",
        handler=show_node_stats,
        summary="Show the levels of a node",
        reply=Levels,
        errors=("NOT_FOUND",),
    ),
)
