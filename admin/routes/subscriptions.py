"""Subscriptions of the whole broker."""

from admin.schemas.page import Page
from admin.schemas.subscriptions import SubscriptionQuery, SubscriptionRow
from admin.slices import in_slices
from admin.table import Access, Call, NoBody, Row
from pybroker.errors import Refused


async def list_subscriptions(call: Call[NoBody, SubscriptionQuery]) -> Page[SubscriptionRow]:
    """Return one page of the subscriptions that fit."""
    query, node = call.query, call.control.nodes.name
    if query.node not in (None, node):
        raise Refused("NODE_DOWN", f"no such node: {query.node!r}")
    if query.durable:
        return Page[SubscriptionRow].uncounted(query, [], hasnext=False)
    found = await call.control.subscriptions.page(query.wanted(), query.offset, query.limit)
    rows = await in_slices(found.rows, lambda subscription: SubscriptionRow.of(subscription, node))
    if found.total is None:
        return Page[SubscriptionRow].uncounted(query, rows, hasnext=found.has_next)
    return Page[SubscriptionRow].of(query, rows, found.total)


ROWS = (
    Row(
        method="GET",
        path="/subscriptions",
        handler=list_subscriptions,
        summary="List subscriptions",
        tag="Subscriptions",
        request=NoBody,
        query=SubscriptionQuery,
        reply=Page[SubscriptionRow],
        status=200,
        access=Access.READER,
        scope="connections",
        audit="never",
        errors=("INVALID_PARAMETER", "NODE_DOWN"),
    ),
)
