"""MQTT listeners."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from starlette.responses import Response

from admin.middleware.errors import ApiError
from admin.schemas.listeners import ListenerGroup, ListenerQuery, ListenerRow, whole
from admin.table import Access, Call, NoBody, NoQuery, Row
from pybroker.control.listeners import TYPES
from pybroker.errors import Refused


async def list_listeners(call: Call[NoBody, ListenerQuery]) -> list[ListenerRow]:
    """Return all listeners, or those of one type."""
    node = call.control.nodes.name
    return [ListenerRow.of(view, node) for view in call.control.listeners.listed(call.query.type)]


async def show_status(call: Call[NoBody, NoQuery]) -> list[ListenerGroup]:
    """Return the listeners of each type together."""
    listed = call.control.listeners.listed()
    by_type = {kind: [view for view in listed if view.type == kind] for kind in TYPES}
    return [ListenerGroup.of(kind, views, call.control.nodes.name) for kind, views in by_type.items() if views]


async def create_listener(call: Call[dict[str, Any], NoQuery]) -> dict[str, Any]:
    """Make a listener and open it."""
    shown = whole(await call.control.listeners.create(call.body))
    call.note_change(None, shown)
    return shown


async def show_listener(call: Call[NoBody, NoQuery]) -> dict[str, Any]:
    """Return one listener with its settings."""
    async with _missing_is_404():
        return whole(call.control.listeners.find(call.params["id"]))


async def update_listener(call: Call[dict[str, Any], NoQuery]) -> dict[str, Any]:
    """Change settings of a listener."""
    async with _missing_is_404():
        before = whole(call.control.listeners.find(call.params["id"]))
    shown = whole(await call.control.listeners.update(call.params["id"], call.body))
    call.note_change(before, shown)
    return shown


async def delete_listener(call: Call[NoBody, NoQuery]) -> None:
    """Close and delete a listener."""
    async with _missing_is_404():
        before = whole(call.control.listeners.find(call.params["id"]))
        await call.control.listeners.remove(call.params["id"])
    call.note_change(before, None)


async def start_listener(call: Call[NoBody, NoQuery]) -> Response:
    """Open a listener."""
    async with _missing_is_404():
        await call.control.listeners.start(call.params["id"])
    return Response()


async def stop_listener(call: Call[NoBody, NoQuery]) -> Response:
    """Close a listener with its connections."""
    async with _missing_is_404():
        await call.control.listeners.stop(call.params["id"])
    return Response()


async def restart_listener(call: Call[NoBody, NoQuery]) -> Response:
    """Close a listener with its connections and open it again."""
    async with _missing_is_404():
        await call.control.listeners.restart(call.params["id"])
    return Response()


@asynccontextmanager
async def _missing_is_404() -> AsyncIterator[None]:
    """Answer 404 where a listener does not exist; where it exists already, the same code answers 400."""
    try:
        yield
    except Refused as error:
        if error.code != "BAD_LISTENER_ID":
            raise
        raise ApiError(404, error.code, error.message) from None


_row = partial(Row, tag="Listeners", scope="system")
_get = partial(_row, method="GET", request=NoBody, status=200, access=Access.READER, audit="never")
_write = partial(_row, query=NoQuery, access=Access.ADMINISTRATOR, audit="always")
_MISSING = ("BAD_LISTENER_ID", "BAD_REQUEST")

ROWS = (
    _get(
        path="/listeners",
        handler=list_listeners,
        summary="List listeners",
        query=ListenerQuery,
        reply=list[ListenerRow],
        errors=(),
    ),
    _get(
        path="/listeners_status",
        handler=show_status,
        summary="Show listeners by type",
        query=NoQuery,
        reply=list[ListenerGroup],
        errors=(),
    ),
    _write(
        method="POST",
        path="/listeners",
        handler=create_listener,
        summary="Make a listener",
        request=dict[str, Any],
        reply=dict[str, Any],
        status=200,
        errors=_MISSING,
    ),
    _get(
        path="/listeners/:id",
        handler=show_listener,
        summary="Show a listener",
        query=NoQuery,
        reply=dict[str, Any],
        errors=_MISSING,
    ),
    _write(
        method="PUT",
        path="/listeners/:id",
        handler=update_listener,
        summary="Change a listener",
        request=dict[str, Any],
        reply=dict[str, Any],
        status=200,
        errors=_MISSING,
    ),
    _write(
        method="DELETE",
        path="/listeners/:id",
        handler=delete_listener,
        summary="Delete a listener",
        request=NoBody,
        reply=None,
        status=204,
        errors=_MISSING,
    ),
    *(
        _write(
            method="POST",
            path=f"/listeners/:id/{action}",
            handler=handler,
            summary=f"{action.capitalize()} a listener",
            request=NoBody,
            reply=None,
            status=200,
            errors=_MISSING,
        )
        for action, handler in (("start", start_listener), ("stop", stop_listener), ("restart", restart_listener))
    ),
)
