"""The audit log."""

from typing import Any, Literal, Self

import msgspec

from admin.schemas.page import PageQuery
from pybroker.control.audit_chain import AuditRecord
from pybroker.control.timestamp import render_us


class AuditQuery(PageQuery, frozen=True, kw_only=True):
    """Which records; all that are given must fit. Times are RFC 3339 or epoch numbers."""

    node: str | None = None
    from_: Literal["dashboard", "rest_api", "cli", "erlang_console", "saml", "oidc"] | None = msgspec.field(
        default=None, name="from"
    )
    source: str | None = None
    source_ip: str | None = None
    operation_id: str | None = None
    operation_type: str | None = None
    operation_result: Literal["success", "failure"] | None = None
    http_status_code: int | None = None
    http_method: Literal["post", "put", "delete"] | None = None
    gte_duration_ms: int | None = None
    lte_duration_ms: int | None = None
    gte_created_at: str | None = None
    lte_created_at: str | None = None


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One record as shown; fields that do not apply are empty texts."""

    created_at: str
    node: str
    from_: str = msgspec.field(name="from")
    source: str
    source_ip: str
    operation_id: str
    operation_type: str
    operation_result: str
    http_status_code: int | Literal[""]
    http_method: str
    duration_ms: int
    args: tuple[str, ...] | Literal[""]
    failure: Any
    http_request: dict[str, Any] | Literal[""]
    change: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET

    @classmethod
    def of(cls, record: AuditRecord) -> Self:
        """Return a record as shown."""
        return cls(
            created_at=render_us(record.created_us),
            node=record.node,
            from_=record.origin,
            source=record.source,
            source_ip=record.source_ip,
            operation_id=record.operation_id,
            operation_type=record.operation_type,
            operation_result=record.operation_result,
            http_status_code="" if record.http_status_code is None else record.http_status_code,
            http_method=record.http_method,
            duration_ms=record.duration_ms,
            args="" if record.args is None else record.args,
            failure=record.failure,
            http_request=record.http_request or "",
            change=record.change or msgspec.UNSET,
        )
