"""The time series of the dashboard, and what holds now."""

from functools import partial

from admin.schemas.monitor import MonitorQuery, Now, Point, render_now
from admin.table import Access, Call, NoBody, NoQuery, Row


async def show_series(call: Call[NoBody, MonitorQuery]) -> list[Point]:
    """Return the points of the cluster, oldest first."""
    return await call.control.monitor.series(call.query.latest)


async def show_node_series(call: Call[NoBody, MonitorQuery]) -> list[Point]:
    """Return the points of a node, oldest first."""
    call.control.nodes.check(call.params["node"])
    return await call.control.monitor.series(call.query.latest)


async def clear_series(call: Call[NoBody, NoQuery]) -> None:
    """Forget every point."""
    await call.control.monitor.clear()


async def show_current(call: Call[NoBody, NoQuery]) -> Now:
    """Return what holds now in the cluster."""
    return render_now(call.control.monitor.current(), is_node=False)


async def show_node_current(call: Call[NoBody, NoQuery]) -> Now:
    """Return what holds now on a node."""
    call.control.nodes.check(call.params["node"])
    return render_now(call.control.monitor.current(), is_node=True)


_get = partial(
    Row,
    method="GET",
    tag="Metrics",
    request=NoBody,
    query=NoQuery,
    status=200,
    access=Access.READER,
    scope="monitoring",
    audit="never",
)

ROWS = (
    _get(
        path="/monitor",
        handler=show_series,
        summary="Show the time series",
        query=MonitorQuery,
        reply=list[Point],
        errors=("BAD_REQUEST",),
    ),
    _get(
        path="/monitor/nodes/:node",
        handler=show_node_series,
        summary="Show the time series of a node",
        query=MonitorQuery,
        reply=list[Point],
        errors=("BAD_REQUEST", "NOT_FOUND"),
    ),
    Row(
        method="DELETE",
        path="/monitor",
        handler=clear_series,
        summary="Forget the time series",
        tag="Metrics",
        request=NoBody,
        query=NoQuery,
        reply=None,
        status=204,
        access=Access.ADMINISTRATOR,
        scope="monitoring",
        audit="always",
        errors=(),
    ),
    _get(path="/monitor_current", handler=show_current, summary="Show current rates", reply=Now, errors=()),
    _get(
        path="/monitor_current/nodes/:node",
        handler=show_node_current,
        summary="Show current rates of a node",
        reply=Now,
        errors=("NOT_FOUND",),
    ),
)
