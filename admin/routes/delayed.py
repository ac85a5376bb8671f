"""Delayed messages and their settings."""

from functools import partial
from typing import Any

from admin.routes.configs import update_root
from admin.schemas.delayed import DelayedRow
from admin.schemas.page import Page, PageQuery
from admin.slices import in_slices
from admin.table import Access, Call, NoBody, NoQuery, Row

_ROOT = "delayed"


async def show_settings(call: Call[NoBody, NoQuery]) -> dict[str, Any]:
    """Return the settings."""
    return call.control.configs.show(_ROOT)


async def update_settings(call: Call[dict[str, Any], NoQuery]) -> dict[str, Any]:
    """Change settings; what is not sent stays."""
    return await update_root(call, _ROOT)


async def list_messages(call: Call[NoBody, PageQuery]) -> Page[DelayedRow]:
    """Return one page of the messages that wait, without payloads."""
    messages, count = await call.control.delayed.page(call.query.offset, call.query.limit)
    node = call.control.nodes.name
    rows = await in_slices(messages, lambda message: DelayedRow.of(message, node))
    return Page[DelayedRow].of(call.query, rows, count)


async def show_message(call: Call[NoBody, NoQuery]) -> DelayedRow:
    """Return one message with its payload."""
    call.control.nodes.check(call.params["node"])
    return DelayedRow.of(call.control.delayed.find(call.params["msgid"]), call.control.nodes.name, has_payload=True)


async def delete_message(call: Call[NoBody, NoQuery]) -> None:
    """Drop one message."""
    call.control.nodes.check(call.params["node"])
    call.control.delayed.remove(call.params["msgid"])


async def delete_topic(call: Call[NoBody, NoQuery]) -> None:
    """Drop every message to a topic."""
    await call.control.delayed.remove_topic(call.params["topic"])


_row = partial(Row, tag="Delayed messages", scope="connections", query=NoQuery)
_get = partial(_row, method="GET", request=NoBody, status=200, audit="never")
_delete = partial(
    _row, method="DELETE", request=NoBody, reply=None, status=204, access=Access.ADMINISTRATOR, audit="always"
)
_ONE = ("MESSAGE_ID_NOT_FOUND", "MESSAGE_ID_SCHEMA_ERROR", "NOT_FOUND")

ROWS = (
    _get(
        path="/mqtt/delayed",
        handler=show_settings,
        summary="Show the settings of delayed messages",
        reply=dict[str, Any],
        access=Access.READER,
        errors=(),
    ),
    _row(
        method="PUT",
        path="/mqtt/delayed",
        handler=update_settings,
        summary="Change the settings of delayed messages",
        request=dict[str, Any],
        reply=dict[str, Any],
        status=200,
        access=Access.ADMINISTRATOR,
        audit="always",
        errors=("UPDATE_FAILED",),
    ),
    _get(
        path="/mqtt/delayed/messages",
        handler=list_messages,
        summary="List delayed messages",
        query=PageQuery,
        reply=Page[DelayedRow],
        access=Access.GLOBAL_READER,
        errors=("BAD_REQUEST",),
    ),
    _get(
        path="/mqtt/delayed/messages/:node/:msgid",
        handler=show_message,
        summary="Show a delayed message",
        reply=DelayedRow,
        access=Access.GLOBAL_READER,
        errors=_ONE,
    ),
    _delete(
        path="/mqtt/delayed/messages/:node/:msgid",
        handler=delete_message,
        summary="Drop a delayed message",
        errors=_ONE,
    ),
    _delete(
        path="/mqtt/delayed/messages/:topic",
        handler=delete_topic,
        summary="Drop the delayed messages to a topic",
        errors=("NOT_FOUND",),
    ),
)
