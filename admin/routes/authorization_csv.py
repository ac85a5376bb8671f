"""Access rules as files: template, import, export."""

from functools import partial

import msgspec
from starlette.responses import Response

from admin.middleware.errors import ApiError
from admin.multipart import find_part
from admin.routes.authorization_rules import BASE, MAX_BODY, namespace_of
from admin.schemas.authorization_csv import ImportQuery, SheetQuery, ShownProgress
from admin.schemas.authorization_rules import NamespaceQuery
from admin.table import Access, Call, NoBody, Raw, Row, Text
from pybroker.control.authorization.importer import ImportReport
from pybroker.control.authorization.sheets import MAX_ROWS, LongSheet, UnreadableSheet, read_csv, read_json, template

_CSV = "text/csv; charset=utf-8"
_FORM = "multipart/form-data"
_PART = "filename"


async def show_template(call: Call[NoBody, SheetQuery]) -> Response:
    """Return an example file."""
    namespace_of(call)
    return _file(template(call.query.kind), f"{call.query.kind}-template.csv")


async def export_rules(call: Call[NoBody, SheetQuery]) -> Response:
    """Return every rule of one kind of principals."""
    text = await call.control.authorization.importer.export(namespace_of(call), call.query.kind)
    return _file(text, f"{call.query.kind}-rules.csv")


async def show_progress(call: Call[NoBody, NamespaceQuery]) -> ShownProgress:
    """Return how far the running import is."""
    namespace_of(call)
    progress = call.control.authorization.importer.progress
    return ShownProgress(stage=progress.stage, total=progress.total, done=progress.done)


async def import_rules(call: Call[bytes, ImportQuery]) -> ImportReport:
    """Store the rules of a file."""
    query, namespace, importer = call.query, namespace_of(call), call.control.authorization.importer
    content_type = call.headers.get("content-type", "")
    media_type = content_type.partition(";")[0].strip().lower()
    content = find_part(call.body, content_type, _PART).content if media_type == _FORM else call.body
    read = partial(
        read_json if media_type == "application/json" else read_csv, content, namespace, query.kind, importer.now_ms()
    )
    try:
        report = await importer.run(read, query.on_conflict, is_atomic=query.atomic, is_dry_run=query.dry_run)
    except LongSheet:
        raise ApiError(413, "EXCEED_LIMIT", f"file has more than {MAX_ROWS} rows") from None
    except UnreadableSheet as failure:
        raise _refusal(
            ImportReport(
                total=0,
                success=0,
                updated=0,
                unchanged=0,
                failed=1,
                errors=[failure.error],
                errors_truncated=False,
            )
        ) from None
    if report.failed and query.atomic and not query.dry_run:
        raise _refusal(report)
    call.note_change(None, msgspec.structs.replace(report, errors=[]))
    return report


def _refusal(report: ImportReport) -> ApiError:
    """Return the error of an import that stored nothing: its first reason, and the report."""
    first = report.errors[0]
    beyond = any(error.code == "EXCEED_LIMIT" for error in report.errors)
    where = f"line {first.line}" + (f", {first.field}" if first.field else "")
    return ApiError(
        400,
        "EXCEED_LIMIT" if beyond else "BAD_REQUEST",
        f"nothing is imported: {where}: {first.code}: {first.message}",
        msgspec.to_builtins(report),
    )


def _file(text: str, name: str) -> Response:
    return Response(text, media_type=_CSV, headers={"content-disposition": f'attachment; filename="{name}"'})


_row = partial(Row, tag="Access rules", scope="access_control", errors=("BAD_REQUEST", "FORBIDDEN", "NOT_FOUND"))
_get = partial(_row, method="GET", request=NoBody, status=200, access=Access.READER, audit="never")

ROWS = (
    _get(
        path=f"{BASE}/template",
        handler=show_template,
        summary="Get an example of a CSV file of rules",
        query=SheetQuery,
        reply=Raw("text/csv"),
    ),
    _get(
        path=f"{BASE}/export",
        handler=export_rules,
        summary="Export rules as CSV",
        query=SheetQuery,
        reply=Raw("text/csv"),
    ),
    _get(
        path=f"{BASE}/import",
        handler=show_progress,
        summary="Show how far an import is",
        query=NamespaceQuery,
        reply=ShownProgress,
    ),
    _row(
        method="POST",
        path=f"{BASE}/import",
        handler=import_rules,
        summary="Import rules",
        request=Text((_FORM, "text/csv", "application/json")),
        query=ImportQuery,
        reply=ImportReport,
        status=200,
        access=Access.NAMESPACE_ADMINISTRATOR,
        audit="always",
        errors=("BAD_REQUEST", "EXCEED_LIMIT", "FORBIDDEN", "NOT_FOUND"),
        body_limit=MAX_BODY,
        too_large="EXCEED_LIMIT",
    ),
)
