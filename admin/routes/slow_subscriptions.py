"""Slow subscriptions and their settings."""

from functools import partial
from typing import Any

from admin.routes.configs import update_root
from admin.schemas.slow_subscriptions import SlowRow, SlowRows
from admin.table import Access, Call, NoBody, NoQuery, Row

_ROOT = "slow_subs"


async def list_slow(call: Call[NoBody, NoQuery]) -> SlowRows:
    """Return the slow subscriptions of late, slowest first."""
    node = call.control.nodes.name
    return SlowRows(data=[SlowRow.of(slow, node) for slow in call.control.slow_subscriptions.list()])


async def clear_slow(call: Call[NoBody, NoQuery]) -> None:
    """Forget them."""
    call.control.slow_subscriptions.clear()


async def show_settings(call: Call[NoBody, NoQuery]) -> dict[str, Any]:
    """Return the settings."""
    return call.control.configs.show(_ROOT)


async def update_settings(call: Call[dict[str, Any], NoQuery]) -> dict[str, Any]:
    """Change settings; what is not sent stays."""
    return await update_root(call, _ROOT)


_row = partial(Row, tag="Slow subscriptions", scope="monitoring", query=NoQuery)
_get = partial(_row, method="GET", request=NoBody, status=200, access=Access.READER, audit="never", errors=())

ROWS = (
    _get(path="/slow_subscriptions", handler=list_slow, summary="List slow subscriptions", reply=SlowRows),
    _row(
        method="DELETE",
        path="/slow_subscriptions",
        handler=clear_slow,
        summary="Forget slow subscriptions",
        request=NoBody,
        reply=None,
        status=204,
        access=Access.ADMINISTRATOR,
        audit="always",
        errors=(),
    ),
    _get(
        path="/slow_subscriptions/settings",
        handler=show_settings,
        summary="Show what is slow",
        reply=dict[str, Any],
    ),
    _row(
        method="PUT",
        path="/slow_subscriptions/settings",
        handler=update_settings,
        summary="Change what is slow",
        request=dict[str, Any],
        reply=dict[str, Any],
        status=200,
        access=Access.ADMINISTRATOR,
        audit="always",
        errors=("UPDATE_FAILED",),
    ),
)
