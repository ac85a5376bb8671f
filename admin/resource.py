"""One path and its rows: the steps from a request to its reply, in the order of the contract.

Method, authentication, role, scope, body, parameters, handler, audit. A caller without rights learns nothing about the
body or the target; a wrong method is told before anything else.
"""

import asyncio
import time
from functools import cache
from typing import Any, get_args, get_origin
from urllib.parse import unquote

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from admin.middleware.audit import Exchange, record_of
from admin.middleware.authentication import authenticate
from admin.middleware.errors import ApiError, json_response, render
from admin.schemas.page import Page
from admin.security.access import check_access
from admin.security.credentials import claimed_name
from admin.slices import decode_rows, rows_response
from admin.table import NOBODY, Access, Call, NoBody, Row, Text
from pybroker.control.caller import Caller
from pybroker.control.door import Control
from pybroker.errors import BrokerError, Refused

BODY_TIMEOUT_S = 30.0
"""How long a request's body may take to arrive."""


class Resource:
    """An ASGI application for one path template.

    Args:
        control: every service.
        path: template, for the audit log.
        rows: one for each method.
    """

    def __init__(self, control: Control, path: str, rows: tuple[Row, ...]) -> None:
        self._control = control
        self._path = path
        self._rows = {row.method: row for row in rows}
        self._allow = ", ".join(self._rows)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        exchange = Exchange(
            method=request.method,
            path=self._path,
            headers=request.headers,
            params={name: unquote(value) for name, value in request.path_params.items()},
            peer=request.client.host if request.client else "",
            source=claimed_name(request.headers),
        )
        row = self._row(request.method)
        is_recorded = self._is_recorded(request.method, row)
        started, status = time.monotonic(), 500
        try:
            response = await self._answer(request, row, exchange)
            status = response.status_code
        finally:
            # A defect ends as 500 further up; it is recorded all the same. Switching the log off or on is in it too.
            if is_recorded or self._is_recorded(request.method, row):
                duration_ms = int((time.monotonic() - started) * 1_000)
                audit = self._control.audit
                await audit.append(record_of(exchange, self._control.about.node, audit.now_us(), status, duration_ms))
        await response(scope, receive, send)

    def _row(self, method: str) -> Row | None:
        if method == "HEAD" and "GET" in self._rows and self._rows["GET"].access is Access.OPEN:
            return self._rows["GET"]
        return self._rows.get(method)  # type: ignore[call-overload, no-any-return]  # any method may be asked for

    def _is_recorded(self, method: str, row: Row | None) -> bool:
        audit = self._control.audit
        if not audit.is_enabled:
            return False
        if row is None:
            return method not in ("GET", "HEAD", "OPTIONS")
        return row.audit == "always" or (row.audit == "unless_frequent" and not audit.ignores_frequent)

    async def _answer(self, request: Request, row: Row | None, exchange: Exchange) -> Response:
        if row is None:
            return Response(status_code=405, headers={"allow": self._allow})
        try:
            caller = await authenticate(self._control, row, exchange.headers, exchange.peer)
            exchange.source = caller.name or exchange.source
            if caller is not NOBODY:
                check_access(row, caller, exchange.params, request.query_params.get("backend"))
            return await self._handle(request, row, caller, exchange)
        except BrokerError as error:
            response, exchange.failure = render(error)
            return response

    async def _handle(self, request: Request, row: Row, caller: Caller, exchange: Exchange) -> Response:
        body = None
        if row.request is not NoBody:
            exchange.body = await _read(request, row)
            body = await _decode(exchange, row)
        call = Call[Any, Any](
            self._control, caller, dict(exchange.params), _query(request, row), body, exchange.headers, exchange.peer
        )
        try:
            reply = await row.handler(call)
        finally:
            exchange.source = call.source or exchange.source
            exchange.change = call.change
        if isinstance(reply, Response):
            return reply
        if reply is None:
            return Response(status_code=row.status)
        if isinstance(reply, Page):
            return rows_response(reply.data, reply.meta, row.status)
        return json_response(reply, row.status)


async def _read(request: Request, row: Row) -> bytes:
    """Return the body; nothing is read beyond the row's limit.

    Raises:
        Refused: the row's code for a body that is too large, or `REQUEST_TIMEOUT`.
    """
    limit = row.body_limit
    too_large = ApiError(413, row.too_large, f"body is larger than {limit} bytes")
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length[:20]) > limit:
        raise too_large
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise too_large
                parts.append(part)
    except (TimeoutError, ClientDisconnect):
        raise Refused("REQUEST_TIMEOUT", "body did not arrive") from None
    return b"".join(parts)


async def _decode(exchange: Exchange, row: Row) -> Any:
    """Return the body as the row's struct.

    Raises:
        Refused: `UNSUPPORTED_MEDIA_TYPE` or `BAD_REQUEST`.
    """
    media_type = exchange.headers.get("content-type", "").partition(";")[0].strip().lower()
    if isinstance(row.request, Text):
        if exchange.body and media_type not in row.request.media_types:
            raise Refused("UNSUPPORTED_MEDIA_TYPE", f"content-type:{row.request.media_types[0]} Required")
        return exchange.body
    if exchange.body and media_type != "application/json":
        raise Refused("UNSUPPORTED_MEDIA_TYPE", "content-type:application/json Required")
    try:
        if get_origin(row.request) is list and exchange.body:
            return await decode_rows(exchange.body, get_args(row.request)[0])
        return msgspec.json.decode(exchange.body or b"{}", type=row.request)
    except UnicodeDecodeError:
        raise Refused("BAD_REQUEST", "JSON is not UTF-8") from None
    except msgspec.MsgspecError as error:
        raise Refused("BAD_REQUEST", str(error)) from None
    except RecursionError:
        raise Refused("BAD_REQUEST", "JSON is nested too deeply") from None


def _query(request: Request, row: Row) -> Any:
    """Return the parameters as the row's struct; of a scalar that is given twice the last one counts.

    Raises:
        Refused: `BAD_REQUEST`.
    """
    lists = _parameters(row.query)
    values: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        if lists.get(name):
            values.setdefault(name, []).append(value)
        elif name in lists:
            values[name] = value
    try:
        return msgspec.convert(values, row.query, strict=False)
    except msgspec.ValidationError as error:
        raise Refused("BAD_REQUEST", str(error)) from None


@cache
def _parameters(query: type[msgspec.Struct]) -> dict[str, bool]:
    """Return the names of a struct's parameters, and whether each is a list."""
    return {
        field.encode_name: msgspec.json.schema(field.type).get("type") == "array"
        for field in msgspec.structs.fields(query)
    }
