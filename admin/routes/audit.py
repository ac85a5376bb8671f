"""The audit log."""

from admin.schemas.audit import AuditEntry, AuditQuery
from admin.schemas.page import Page
from admin.table import Access, Call, NoBody, Row
from pybroker.control.audit import AuditFilter
from pybroker.control.timestamp import parse_us


async def list_audit(call: Call[NoBody, AuditQuery]) -> Page[AuditEntry]:
    """Return records, newest first."""
    query = call.query
    wanted = AuditFilter(
        node=query.node,
        origin=query.from_,
        source=query.source,
        source_ip=query.source_ip,
        operation_id=query.operation_id,
        operation_type=query.operation_type,
        operation_result=query.operation_result,
        http_status_code=query.http_status_code,
        http_method=query.http_method,
        gte_duration_ms=query.gte_duration_ms,
        lte_duration_ms=query.lte_duration_ms,
        gte_created_us=_time(query.gte_created_at, "gte_created_at"),
        lte_created_us=_time(query.lte_created_at, "lte_created_at"),
    )
    page = await call.control.audit.page(wanted, query.page, query.limit)
    return Page.of(query, [AuditEntry.of(record) for record in page.records], page.count)


def _time(value: str | None, field: str) -> int | None:
    return None if value is None else parse_us(value, field)


ROWS = (
    Row(
        method="GET",
        path="/audit",
        handler=list_audit,
        summary="List audit records",
        tag="Audit",
        request=NoBody,
        query=AuditQuery,
        reply=Page[AuditEntry],
        status=200,
        access=Access.READER,
        scope="audit",
        audit="never",
        errors=("BAD_REQUEST",),
    ),
)
