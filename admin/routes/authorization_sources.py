"""The sources of access rules: their order, their configuration, what they have done."""

from functools import partial
from typing import Any

from admin.routes.authorization_rules import MAX_BODY
from admin.schemas.authorization_rules import NamespaceQuery
from admin.schemas.authorization_sources import Position, SourceList, SourceName, SourceStatus, Statistics
from admin.table import Access, Call, NoBody, NoQuery, Row

_NOTED = 1_000
"""Characters of a file that the audit log keeps."""

_SOURCES = "/authorization/sources"


async def list_sources(call: Call[NoBody, NoQuery]) -> SourceList:
    """Return every source, in order."""
    return SourceList(sources=await call.control.authorization.sources.all())


async def create_source(call: Call[dict[str, Any], NoQuery]) -> None:
    """Put a new source in front of the others."""
    await call.control.authorization.sources.create(call.body)
    call.note_change(None, _noted(call.body))


async def show_source(call: Call[NoBody, NoQuery]) -> dict[str, Any]:
    """Return a source; secrets are masked."""
    return await call.control.authorization.sources.show(call.params["type"])


async def replace_source(call: Call[dict[str, Any], NoQuery]) -> None:
    """Change the configuration of a source."""
    before = await call.control.authorization.sources.replace(call.params["type"], call.body)
    call.note_change(before, _noted(call.body))


async def delete_source(call: Call[NoBody, NoQuery]) -> None:
    """Take a source away; the built-in one takes every rule along."""
    await call.control.authorization.sources.remove(call.params["type"])


async def move_source(call: Call[Position, NoQuery]) -> None:
    """Move a source."""
    await call.control.authorization.sources.move(call.params["type"], call.body.position)


async def order_sources(call: Call[list[SourceName], NoQuery]) -> None:
    """Put all sources in another order."""
    await call.control.authorization.sources.order([body.type for body in call.body])


async def show_status(call: Call[NoBody, NoQuery]) -> SourceStatus:
    """Return what a source has done."""
    state = call.control.authorization.sources.state(call.params["type"])
    return SourceStatus.of(state, call.control.about.node)


async def reset_metrics(call: Call[NoBody, NoQuery]) -> None:
    """Start the counters of a source at zero."""
    call.control.authorization.sources.reset_metrics(call.params["type"])


async def refresh_source(call: Call[NoBody, NoQuery]) -> None:
    """Forget what is kept of a source's answers."""
    call.control.authorization.sources.state(call.params["type"])
    call.control.authorization.sources.refresh()


async def show_statistics(call: Call[NoBody, NamespaceQuery]) -> Statistics:
    """Return how often clients were allowed and denied, and how many rules there are."""
    caller, wanted = call.caller, call.query.ns
    is_whole = caller.namespace is None and wanted is None
    namespace = None if is_whole else call.control.authorization.rules.space(caller, wanted)
    return Statistics.of(call.control.authorization.statistics.show(namespace, is_whole=is_whole))


async def reset_statistics(call: Call[NoBody, NoQuery]) -> None:
    """Count from now on."""
    call.control.authorization.statistics.reset()


def _noted(body: dict[str, Any]) -> dict[str, Any]:
    """Return what the audit log keeps of a source: of the text of a file its beginning."""
    return {name: value[:_NOTED] if name == "rules" else value for name, value in body.items()}


_row = partial(Row, tag="Access control", scope="access_control", errors=("BAD_REQUEST", "NOT_FOUND"))
_get = partial(_row, method="GET", request=NoBody, query=NoQuery, status=200, access=Access.READER, audit="never")
_write = partial(_row, query=NoQuery, reply=None, status=204, access=Access.ADMINISTRATOR, audit="always")
_store = partial(_write, request=dict[str, Any], body_limit=MAX_BODY, too_large="EXCEED_LIMIT")

ROWS = (
    _get(
        path=_SOURCES,
        handler=list_sources,
        summary="List the sources of access rules",
        reply=SourceList,
        errors=("INTERNAL_ERROR",),
    ),
    _store(
        method="POST",
        path=_SOURCES,
        handler=create_source,
        summary="Add a source of access rules in front",
        errors=("BAD_REQUEST", "UPDATE_FAILED"),
    ),
    _write(
        method="PUT",
        path=f"{_SOURCES}/order",
        handler=order_sources,
        summary="Put the sources of access rules in another order",
        request=list[SourceName],
    ),
    _get(
        path=f"{_SOURCES}/:type",
        handler=show_source,
        summary="Show a source of access rules",
        reply=dict[str, Any],
        errors=("BAD_REQUEST", "INTERNAL_ERROR", "NOT_FOUND"),
    ),
    _store(
        method="PUT",
        path=f"{_SOURCES}/:type",
        handler=replace_source,
        summary="Change a source of access rules",
        errors=("BAD_REQUEST", "NOT_FOUND", "UPDATE_FAILED"),
    ),
    _write(
        method="DELETE",
        path=f"{_SOURCES}/:type",
        handler=delete_source,
        summary="Take a source of access rules away",
        request=NoBody,
    ),
    _write(
        method="POST",
        path=f"{_SOURCES}/:type/move",
        handler=move_source,
        summary="Move a source of access rules",
        request=Position,
    ),
    _get(
        path=f"{_SOURCES}/:type/status",
        handler=show_status,
        summary="Show what a source of access rules has done",
        reply=SourceStatus,
    ),
    _write(
        method="POST",
        path=f"{_SOURCES}/:type/metrics/reset",
        handler=reset_metrics,
        summary="Start the counters of a source at zero",
        request=NoBody,
    ),
    _write(
        method="POST",
        path=f"{_SOURCES}/:type/refresh",
        handler=refresh_source,
        summary="Forget what is kept of a source's answers",
        request=NoBody,
    ),
    _get(
        path="/authorization/statistics",
        handler=show_statistics,
        summary="Show how often clients were allowed and denied",
        query=NamespaceQuery,
        reply=Statistics,
        errors=("BAD_REQUEST", "FORBIDDEN"),
    ),
    _write(
        method="POST",
        path="/authorization/statistics/reset",
        handler=reset_statistics,
        summary="Start the statistics of access control at zero",
        request=NoBody,
        errors=(),
    ),
)
