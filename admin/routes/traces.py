"""Traces: begun, ended, read and downloaded."""

from functools import partial
from typing import Any

from starlette.background import BackgroundTask
from starlette.responses import FileResponse

from admin.routes.configs import update_root
from admin.schemas.traces import (
    CreateTrace,
    DownloadQuery,
    Log,
    LogDetail,
    LogMeta,
    LogQuery,
    NamespaceQuery,
    Stopped,
    Trace,
    render_trace,
)
from admin.table import Access, Call, NoBody, NoQuery, Raw, Row
from pybroker.errors import Refused

_ROOT = "trace"


async def list_traces(call: Call[NoBody, NamespaceQuery]) -> list[Trace]:
    """Return the traces that the caller may see, newest first."""
    traces, node = call.control.traces, call.control.nodes.name
    return [render_trace(traces, record, node) for record in traces.visible(call.caller, call.query.ns)]


async def create_trace(call: Call[CreateTrace, NamespaceQuery]) -> Trace:
    """Begin a trace."""
    traces = call.control.traces
    made = await traces.create(call.caller, call.body.record(call.query.ns))
    return render_trace(traces, made, call.control.nodes.name)


async def clear_traces(call: Call[NoBody, NoQuery]) -> None:
    """Delete every trace with its file."""
    await call.control.traces.clear(call.caller)


async def delete_trace(call: Call[NoBody, NoQuery]) -> None:
    """Delete a trace with its file."""
    await call.control.traces.remove(call.caller, call.params["name"])


async def stop_trace(call: Call[NoBody, NoQuery]) -> Stopped:
    """End a trace; its file stays."""
    await call.control.traces.stop(call.caller, call.params["name"])
    return Stopped(name=call.params["name"])


async def read_log(call: Call[NoBody, LogQuery]) -> Log:
    """Return a piece of a trace's file."""
    query, traces = call.query, call.control.traces
    record = traces.find(call.caller, call.params["name"])
    if query.node not in (None, call.control.nodes.name):
        raise Refused("NOT_FOUND", f"no such node: {query.node!r}")
    piece = await traces.read(record, query.position, query.bytes)
    if not piece.is_last:
        return Log(meta=LogMeta(position=piece.position, bytes=query.bytes), items=piece.text)
    hint = LogMeta(position=piece.position, bytes=query.bytes, hint="eof" if piece.is_over else "retry")
    return Log(meta=hint, items=piece.text)


async def show_log_detail(call: Call[NoBody, NoQuery]) -> list[LogDetail]:
    """Return size and time of a trace's file."""
    traces = call.control.traces
    file = traces.file(traces.find(call.caller, call.params["name"]))
    return [LogDetail(node=call.control.nodes.name, size=file.size, mtime=file.changed_s)]


async def download_trace(call: Call[NoBody, DownloadQuery]) -> FileResponse:
    """Return a trace's file in a zip archive."""
    traces, node = call.control.traces, call.control.nodes.name
    record = traces.find(call.caller, call.params["name"])
    if call.query.node not in (None, node):
        raise Refused("NOT_FOUND", f"no such node: {call.query.node!r}")
    archive = await traces.pack(record, node)
    return FileResponse(
        archive,
        media_type="application/zip",
        filename=f"{record.name}.zip",
        background=BackgroundTask(archive.unlink, missing_ok=True),
    )


async def show_settings(call: Call[NoBody, NoQuery]) -> dict[str, Any]:
    """Return the limits of traces."""
    return call.control.configs.show(_ROOT)


async def update_settings(call: Call[dict[str, Any], NoQuery]) -> dict[str, Any]:
    """Change the limits of traces; what is not sent stays."""
    return await update_root(call, _ROOT)


_row = partial(Row, tag="Trace", scope="monitoring")
_get = partial(_row, method="GET", request=NoBody, status=200, access=Access.READER, audit="never")
_change = partial(_row, query=NoQuery, request=NoBody, access=Access.NAMESPACE_ADMINISTRATOR, audit="always")

ROWS = (
    _get(
        path="/trace",
        handler=list_traces,
        summary="List traces",
        query=NamespaceQuery,
        reply=list[Trace],
        errors=("FORBIDDEN",),
    ),
    _row(
        method="POST",
        path="/trace",
        handler=create_trace,
        summary="Begin a trace",
        request=CreateTrace,
        query=NamespaceQuery,
        reply=Trace,
        status=200,
        access=Access.NAMESPACE_ADMINISTRATOR,
        audit="always",
        errors=("ALREADY_EXISTS", "BAD_REQUEST", "DUPLICATE_CONDITION", "EXCEED_LIMIT", "FORBIDDEN", "INVALID_PARAMS"),
    ),
    _change(
        method="DELETE",
        path="/trace",
        handler=clear_traces,
        summary="Delete every trace",
        reply=None,
        status=204,
        errors=("FORBIDDEN",),
    ),
    _change(
        method="DELETE",
        path="/trace/:name",
        handler=delete_trace,
        summary="Delete a trace",
        reply=None,
        status=204,
        errors=("NOT_FOUND",),
    ),
    _change(
        method="PUT",
        path="/trace/:name/stop",
        handler=stop_trace,
        summary="End a trace",
        reply=Stopped,
        status=200,
        errors=("NOT_FOUND",),
    ),
    _get(
        path="/trace/:name/log",
        handler=read_log,
        summary="Read a piece of a trace",
        query=LogQuery,
        reply=Log,
        errors=("BAD_REQUEST", "INVALID_PARAMETER", "NOT_FOUND", "STALE_CURSOR"),
    ),
    _get(
        path="/trace/:name/log_detail",
        handler=show_log_detail,
        summary="Show the size of a trace",
        query=NoQuery,
        reply=list[LogDetail],
        errors=("NOT_FOUND",),
    ),
    _get(
        path="/trace/:name/download",
        handler=download_trace,
        summary="Download a trace",
        query=DownloadQuery,
        reply=Raw("application/zip"),
        errors=("NOT_FOUND",),
    ),
    _get(
        path="/tracing",
        handler=show_settings,
        summary="Show the limits of traces",
        query=NoQuery,
        reply=dict[str, Any],
        errors=(),
    ),
    _row(
        method="PUT",
        path="/tracing",
        handler=update_settings,
        summary="Change the limits of traces",
        request=dict[str, Any],
        query=NoQuery,
        reply=dict[str, Any],
        status=200,
        access=Access.ADMINISTRATOR,
        audit="always",
        errors=("UPDATE_FAILED",),
    ),
)
