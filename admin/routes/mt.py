"""Namespaces: their names, clients, limits and settings."""

from functools import partial
from typing import Any
from urllib.parse import quote

from starlette.responses import Response

from admin.middleware.errors import ApiError, json_response
from admin.schemas.mt import (
    BulkDelete,
    ClientCount,
    ClientPageQuery,
    ExportRequest,
    ImportedNamespace,
    ImportRequest,
    ManagedRow,
    Metrics,
    NamespacePageQuery,
    NamespaceRow,
    Settings,
)
from admin.table import Access, Call, NoBody, NoQuery, Row
from pybroker.control.namespaces.pages import Cursor, KeyPage
from pybroker.control.namespaces.tenancy import BadSections, UnknownNamespaces

_BULK_LIMIT = 8 << 20


async def list_known(call: Call[NoBody, NamespacePageQuery]) -> Response:
    """Return names of known namespaces."""
    cursor = call.query.cursor()
    page = call.control.tenancy.known(cursor)
    return _paged(page.items, page, cursor, "ns")


async def detail_known(call: Call[NoBody, NamespacePageQuery]) -> Response:
    """Return known namespaces with the time at which each began."""
    tenancy, cursor = call.control.tenancy, call.query.cursor()
    page = tenancy.known(cursor)
    rows = [NamespaceRow(name=name, created_at=tenancy.created_at_s(name)) for name in page.items]
    return _paged(rows, page, cursor, "ns")


async def list_managed(call: Call[NoBody, NamespacePageQuery]) -> Response:
    """Return names of managed namespaces."""
    cursor = call.query.cursor()
    page = call.control.tenancy.page_managed(cursor)
    return _paged(page.items, page, cursor, "ns")


async def detail_managed(call: Call[NoBody, NamespacePageQuery]) -> Response:
    """Return managed namespaces with their configurations."""
    tenancy, cursor = call.control.tenancy, call.query.cursor()
    page = tenancy.page_managed(cursor)
    rows = [
        ManagedRow(name=name, created_at=tenancy.created_at_s(name), config=tenancy.managed.get(name).config)
        for name in page.items
    ]
    return _paged(rows, page, cursor, "ns")


async def list_clients(call: Call[NoBody, ClientPageQuery]) -> Response:
    """Return client ids of a namespace."""
    cursor = call.query.cursor()
    page = call.control.tenancy.client_ids(call.params["ns"], cursor)
    return _paged(page.items, page, cursor, "clientid")


async def count_clients(call: Call[NoBody, NoQuery]) -> ClientCount:
    """Return how many clients a namespace has."""
    return ClientCount(count=call.control.tenancy.client_count(call.params["ns"]))


async def show_metrics(call: Call[NoBody, NoQuery]) -> Metrics:
    """Return the figures of a namespace."""
    return Metrics.of(call.control.tenancy.metrics(call.params["ns"]))


async def create(call: Call[NoBody, NoQuery]) -> None:
    """Create a namespace."""
    record = await call.control.tenancy.create(call.params["ns"])
    call.note_change(None, {"name": record.name, "config": record.config})


async def delete(call: Call[NoBody, NoQuery]) -> None:
    """Delete a namespace with everything that belongs to it, and end its sessions."""
    await call.control.tenancy.delete(call.params["ns"])


async def delete_many(call: Call[BulkDelete, NoQuery]) -> None:
    """Delete namespaces; those that are not there are no error."""
    errors = await call.control.tenancy.delete_all(call.body.nss)
    if errors:
        hint = "the others are deleted; delete these again"
        raise ApiError(500, "INTERNAL_ERROR", "some namespaces were not deleted", {"hint": hint, "errors": errors})


async def show_config(call: Call[NoBody, NoQuery]) -> dict[str, Any]:
    """Return the limits of a managed namespace."""
    return call.control.namespaces.get(call.params["ns"]).config


async def change_config(call: Call[dict[str, Any], NoQuery]) -> dict[str, Any]:
    """Change limits of a managed namespace; what is not sent stays."""
    namespaces, name = call.control.namespaces, call.params["ns"]
    before = namespaces.get(name).config
    after = (await namespaces.configure(name, call.body)).config
    call.note_change(before, after)
    return after


async def kick_all(call: Call[NoBody, NoQuery]) -> None:
    """Begin to end all sessions of a namespace."""
    call.control.tenancy.kick_all(call.params["ns"])


async def import_configs(call: Call[list[ImportedNamespace], NoQuery]) -> None:
    """Create and configure namespaces, all or none."""
    await call.control.tenancy.import_all([(one.ns, one.config) for one in call.body])


async def export_sections(call: Call[ExportRequest, NoQuery]) -> dict[str, Any]:
    """Return the sections of managed namespaces."""
    try:
        return dict(call.control.tenancy.export_sections(call.body.namespaces))
    except UnknownNamespaces as error:
        raise ApiError(400, error.code, error.message, {"unknown": error.names}) from None


async def import_sections(call: Call[ImportRequest, NoQuery]) -> dict[str, Any]:
    """Import sections of managed namespaces, all or none."""
    try:
        return dict(call.control.tenancy.import_sections(call.body.configs))
    except UnknownNamespaces as error:
        raise ApiError(400, error.code, error.message, {"unknown": error.names}) from None
    except BadSections as error:
        raise ApiError(400, error.code, error.message, {"errors": error.errors}) from None


async def show_settings(call: Call[NoBody, NoQuery]) -> Settings:
    """Return the settings of all namespaces."""
    return Settings.of(call.control.namespace_settings.show())


async def change_settings(call: Call[dict[str, Any], NoQuery]) -> Settings:
    """Change settings of all namespaces, all or nothing; what is not sent stays."""
    settings = call.control.namespace_settings
    before = settings.show().values
    after = await settings.update(call.body)
    call.note_change(before, after.values)
    return Settings.of(after)


def _paged(rows: object, page: KeyPage, cursor: Cursor, kind: str) -> Response:
    """Return rows, and where there are more the address of the next page, which is relative to this one."""
    if page.next is None:
        return json_response(rows)
    way = "last" if cursor.first is None else "first"
    link = f'<?{way}_{kind}={quote(page.next, safe="")}&limit={cursor.limit}>; rel="next"'
    return json_response(rows, 200, {"link": link})


_row = partial(Row, tag="Namespaces", scope="cluster_operations", query=NoQuery)
_get = partial(_row, method="GET", request=NoBody, status=200, access=Access.READER, audit="never")
_names = partial(_get, query=NamespacePageQuery, errors=("BAD_REQUEST",))
_change = partial(_row, access=Access.ADMINISTRATOR, audit="always")

ROWS = (
    _names(path="/mt/ns_list", handler=list_known, summary="List namespaces", reply=list[str]),
    _names(
        path="/mt/ns_list_details",
        handler=detail_known,
        summary="List namespaces with details",
        reply=list[NamespaceRow],
    ),
    _names(path="/mt/managed_ns_list", handler=list_managed, summary="List managed namespaces", reply=list[str]),
    _names(
        path="/mt/managed_ns_list_details",
        handler=detail_managed,
        summary="List managed namespaces with their limits",
        reply=list[ManagedRow],
    ),
    _get(
        path="/mt/ns/:ns/client_list",
        handler=list_clients,
        summary="List clients of a namespace",
        query=ClientPageQuery,
        reply=list[str],
        errors=("BAD_REQUEST", "NOT_FOUND"),
    ),
    _get(
        path="/mt/ns/:ns/client_count",
        handler=count_clients,
        summary="Count clients of a namespace",
        reply=ClientCount,
        errors=("NOT_FOUND",),
    ),
    _get(
        path="/mt/ns/:ns/metrics",
        handler=show_metrics,
        summary="Show figures of a namespace",
        reply=Metrics,
        errors=("NOT_FOUND",),
    ),
    _change(
        method="POST",
        path="/mt/ns/:ns",
        handler=create,
        summary="Create a namespace",
        request=NoBody,
        reply=None,
        status=204,
        errors=("BAD_REQUEST", "CONFLICT"),
    ),
    _change(
        method="DELETE",
        path="/mt/ns/:ns",
        handler=delete,
        summary="Delete a namespace",
        request=NoBody,
        reply=None,
        status=204,
        errors=(),
    ),
    _get(
        path="/mt/ns/:ns/config",
        handler=show_config,
        summary="Show limits of a namespace",
        reply=dict[str, Any],
        errors=("NOT_FOUND",),
    ),
    _change(
        method="PUT",
        path="/mt/ns/:ns/config",
        handler=change_config,
        summary="Change limits of a namespace",
        request=dict[str, Any],
        reply=dict[str, Any],
        status=200,
        errors=("BAD_REQUEST", "NOT_FOUND"),
    ),
    _change(
        method="POST",
        path="/mt/ns/:ns/kick_all_clients",
        handler=kick_all,
        summary="End all sessions of a namespace",
        request=NoBody,
        reply=None,
        status=202,
        errors=("CONFLICT", "NOT_FOUND"),
    ),
    _change(
        method="POST",
        path="/mt/bulk_import_configs",
        handler=import_configs,
        summary="Create and configure namespaces",
        request=list[ImportedNamespace],
        reply=None,
        status=204,
        errors=("BAD_REQUEST", "CONFLICT"),
        body_limit=_BULK_LIMIT,
    ),
    _change(
        method="POST",
        path="/mt/bulk_export_ns_configs",
        handler=export_sections,
        summary="Export sections of namespaces",
        request=ExportRequest,
        reply=dict[str, Any],
        status=200,
        errors=("BAD_REQUEST",),
        body_limit=_BULK_LIMIT,
    ),
    _change(
        method="POST",
        path="/mt/bulk_import_ns_configs",
        handler=import_sections,
        summary="Import sections of namespaces",
        request=ImportRequest,
        reply=dict[str, Any],
        status=200,
        errors=("BAD_REQUEST",),
        body_limit=_BULK_LIMIT,
    ),
    _change(
        method="DELETE",
        path="/mt/bulk_delete_ns",
        handler=delete_many,
        summary="Delete namespaces",
        request=BulkDelete,
        reply=None,
        status=204,
        errors=("INTERNAL_ERROR",),
    ),
    _get(
        path="/mt/settings",
        handler=show_settings,
        summary="Show settings of all namespaces",
        reply=Settings,
        errors=(),
    ),
    _change(
        method="PUT",
        path="/mt/settings",
        handler=change_settings,
        summary="Change settings of all namespaces",
        request=dict[str, Any],
        reply=Settings,
        status=200,
        errors=("BAD_REQUEST", "UPDATE_FAILED"),
    ),
)
