"""Alarms, raised and past."""

from functools import partial

from admin.middleware.errors import ApiError
from admin.schemas.alarms import AlarmQuery, AlarmRow, ForceDeactivate
from admin.schemas.page import Page
from admin.table import Access, Call, NoBody, NoQuery, Row
from pybroker.errors import Refused


async def list_alarms(call: Call[NoBody, AlarmQuery]) -> Page[AlarmRow]:
    """Return one page of the alarms that are raised, or of past ones."""
    query, alarms = call.query, call.control.alarms
    page = alarms.active(query.offset, query.limit) if query.activated else await alarms.past(query.offset, query.limit)
    rows = [AlarmRow.of(alarm, call.control.nodes.name) for alarm in page.alarms]
    return Page[AlarmRow].of(query, rows, page.total)


async def clear_history(call: Call[NoBody, NoQuery]) -> None:
    """Forget past alarms."""
    await call.control.alarms.clear_history()


async def force_deactivate(call: Call[ForceDeactivate, NoQuery]) -> None:
    """Clear an alarm by hand."""
    if not call.body.name:
        raise Refused("INVALID_PARAMETER", "name must be given")
    try:
        await call.control.alarms.deactivate(call.body.name)
    except Refused as error:
        raise ApiError(400, error.code, error.message) from None


_row = partial(Row, tag="Alarms", scope="monitoring")

ROWS = (
    _row(
        method="GET",
        path="/alarms",
        handler=list_alarms,
        summary="List alarms",
        request=NoBody,
        query=AlarmQuery,
        reply=Page[AlarmRow],
        status=200,
        access=Access.READER,
        audit="never",
        errors=(),
    ),
    _row(
        method="DELETE",
        path="/alarms",
        handler=clear_history,
        summary="Forget past alarms",
        request=NoBody,
        query=NoQuery,
        reply=None,
        status=204,
        access=Access.ADMINISTRATOR,
        audit="always",
        errors=(),
    ),
    _row(
        method="POST",
        path="/alarms/force_deactivate",
        handler=force_deactivate,
        summary="Clear an alarm",
        request=ForceDeactivate,
        query=NoQuery,
        reply=None,
        status=204,
        access=Access.ADMINISTRATOR,
        audit="always",
        errors=("INVALID_PARAMETER", "NOT_FOUND"),
    ),
)
