"""From an error to its HTTP reply: the only place that knows which status and which body an error gets."""

import html
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from admin.codes import CODES
from pybroker.errors import BrokerError, ConfigError, NotAuthorized, QuotaExceeded, Refused

_CHALLENGED = ("AUTHORIZATION_HEADER_ERROR", "BAD_API_KEY_OR_SECRET", "API_KEY_NOT_ALLOW")
_CHALLENGE = {"www-authenticate": 'Basic Realm="emqx-dashboard"'}


class ApiError(Refused):
    """A refusal whose status differs from that of its code, or whose body has more than code and message.

    Args:
        status: of HTTP.
        code: from the table of codes.
        message: for people, or an object.
        extra: further fields of the body.
    """

    def __init__(
        self, status: int, code: str, message: str | Mapping[str, object], extra: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(code, message)
        self.status = status
        self.extra = dict(extra or {})


def render(error: BrokerError) -> tuple[Response, dict[str, Any]]:
    """Return the reply of an error and its body, which the audit log keeps too."""
    extra: dict[str, object] = {}
    if isinstance(error, ApiError):
        code, message, status, extra = error.code, error.message, error.status, error.extra
    elif isinstance(error, Refused):
        code, message, status = error.code, error.message, CODES[error.code].status
    elif isinstance(error, NotAuthorized):
        code, message, status = "FORBIDDEN", str(error), 403
    elif isinstance(error, QuotaExceeded):
        code, message, status = "EXCEED_LIMIT", str(error), 400
    elif isinstance(error, ConfigError):
        code, message, status = "BAD_REQUEST", str(error), 400
    else:
        code, message, status = "INTERNAL_ERROR", str(error), 500
    body = {"code": code, "message": message, **extra}
    headers = _CHALLENGE if code in _CHALLENGED else None
    return json_response(body, status, headers), body


def json_response(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a reply with a JSON body."""
    return Response(msgspec.json.encode(body), status, dict(headers or {}), media_type="application/json")


async def on_http_error(request: Request, error: Exception) -> Response:
    """Answer a path that no route matches, in the form that the client accepts."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status != 404:
        return json_response({"code": "BAD_REQUEST", "message": "request is invalid"}, status)
    accept = request.headers.get("accept", "")
    text = f"no such path: {request.url.path}"
    if "application/json" in accept:
        return json_response({"code": "NOT_FOUND", "message": text}, 404)
    if "text/plain" in accept:
        return PlainTextResponse(text, 404)
    return HTMLResponse(f"<!doctype html><title>Not Found</title><h1>404 Not Found</h1><p>{html.escape(text)}", 404)


async def on_defect(request: Request, error: Exception) -> Response:
    """Answer a request that hit a defect; the server logs it with its traceback."""
    return json_response({"code": "INTERNAL_ERROR", "message": "internal error, see the log"}, 500)
