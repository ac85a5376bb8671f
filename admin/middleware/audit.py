"""From a request and its reply to an audit record, with every secret masked."""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.datastructures import Headers

from admin.security.credentials import Bearer, read_credential
from pybroker.control.audit_chain import AuditRecord
from pybroker.control.masking import mask_body, mask_fields
from pybroker.errors import Refused

_MAX_TEXT = 256
_REDIRECT = 302


class Exchange(msgspec.Struct, kw_only=True):
    """What is known of one request; filled while it is answered.

    Args:
        path: template of the route.
        failure: body of an error reply.
        source: who asked, as far as it was claimed.
    """

    method: str
    path: str
    headers: Headers
    params: Mapping[str, str]
    peer: str
    body: bytes = b""
    source: str = ""
    failure: dict[str, Any] | None = None
    change: dict[str, Any] | None = None


def record_of(exchange: Exchange, node: str, created_us: int, status: int, duration_ms: int) -> AuditRecord:
    """Return the record of an exchange that was answered with `status`."""
    is_failure = status >= 300 and status != _REDIRECT
    return AuditRecord(
        created_us=created_us,
        node=node,
        origin=_origin(exchange.headers),
        source=exchange.source[:_MAX_TEXT],
        source_ip=_source_ip(exchange),
        operation_id=exchange.path,
        operation_type=exchange.path.split("/")[1],
        operation_result="failure" if is_failure else "success",
        http_status_code=status,
        http_method=exchange.method.lower(),
        duration_ms=duration_ms,
        failure=mask_fields(exchange.failure) if exchange.failure else "",
        http_request={
            "method": exchange.method.lower(),
            "headers": mask_fields({name: value[:_MAX_TEXT] for name, value in exchange.headers.items()}),
            "bindings": mask_fields(dict(exchange.params)),
            "body": mask_body(exchange.body),
        },
        change=mask_fields(exchange.change) if exchange.change else None,
    )


def _origin(headers: Headers) -> str:
    """Return where the request came from: a login, a refused stranger and a user are the dashboard's."""
    try:
        return "dashboard" if isinstance(read_credential(headers), Bearer) else "rest_api"
    except Refused:
        return "dashboard"


def _source_ip(exchange: Exchange) -> str:
    forwarded = exchange.headers.get("x-forwarded-for", "").split(",")[0].strip()
    return (forwarded or exchange.peer)[:_MAX_TEXT]
