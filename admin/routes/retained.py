"""Retained messages and their settings."""

from functools import partial
from typing import Any

from admin.routes.configs import update_root
from admin.schemas.page import Page
from admin.schemas.retained import RetainedDetail, RetainedQuery, RetainedRow
from admin.slices import in_slices
from admin.table import Access, Call, NoBody, NoQuery, Row

_ROOT = "retainer"


async def show_settings(call: Call[NoBody, NoQuery]) -> dict[str, Any]:
    """Return the settings."""
    return call.control.configs.show(_ROOT)


async def update_settings(call: Call[dict[str, Any], NoQuery]) -> dict[str, Any]:
    """Change settings; what is not sent stays."""
    return await update_root(call, _ROOT)


async def list_messages(call: Call[NoBody, RetainedQuery]) -> Page[RetainedRow]:
    """Return one page of the messages, without payloads."""
    query = call.query
    page = await call.control.retained.page(query.topic, query.offset, query.limit)
    rows = await in_slices(page.messages, RetainedRow.of)
    if page.total is None:
        return Page[RetainedRow].uncounted(query, rows, hasnext=page.has_next)
    return Page[RetainedRow].of(query, rows, page.total)


async def clear_messages(call: Call[NoBody, NoQuery]) -> None:
    """Delete every message."""
    await call.control.retained.clear()


async def show_message(call: Call[NoBody, NoQuery]) -> RetainedDetail:
    """Return the message of a topic, or one that matches a filter."""
    return RetainedDetail.of(call.control.retained.find(call.params["topic"]))


async def delete_message(call: Call[NoBody, NoQuery]) -> None:
    """Delete the message of a topic, or all that match a filter."""
    await call.control.retained.remove(call.params["topic"])


_row = partial(Row, tag="Retained messages", scope="connections")
_get = partial(_row, method="GET", request=NoBody, status=200, audit="never")
_delete = partial(
    _row,
    method="DELETE",
    request=NoBody,
    query=NoQuery,
    reply=None,
    status=204,
    access=Access.ADMINISTRATOR,
    audit="always",
)

ROWS = (
    _get(
        path="/mqtt/retainer",
        handler=show_settings,
        summary="Show the settings of retained messages",
        query=NoQuery,
        reply=dict[str, Any],
        access=Access.READER,
        errors=(),
    ),
    _row(
        method="PUT",
        path="/mqtt/retainer",
        handler=update_settings,
        summary="Change the settings of retained messages",
        request=dict[str, Any],
        query=NoQuery,
        reply=dict[str, Any],
        status=200,
        access=Access.ADMINISTRATOR,
        audit="always",
        errors=("UPDATE_FAILED",),
    ),
    _get(
        path="/mqtt/retainer/messages",
        handler=list_messages,
        summary="List retained messages",
        query=RetainedQuery,
        reply=Page[RetainedRow],
        access=Access.GLOBAL_READER,
        errors=("BAD_REQUEST",),
    ),
    _delete(
        path="/mqtt/retainer/messages",
        handler=clear_messages,
        summary="Delete every retained message",
        errors=(),
    ),
    _get(
        path="/mqtt/retainer/message/:topic",
        handler=show_message,
        summary="Show a retained message",
        query=NoQuery,
        reply=RetainedDetail,
        access=Access.GLOBAL_READER,
        errors=("BAD_REQUEST", "NOT_FOUND"),
    ),
    _delete(
        path="/mqtt/retainer/message/:topic",
        handler=delete_message,
        summary="Delete retained messages",
        errors=("BAD_REQUEST", "NOT_FOUND"),
    ),
)
