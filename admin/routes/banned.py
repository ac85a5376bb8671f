"""Bans."""

from functools import partial

import msgspec

from admin.middleware.errors import ApiError
from admin.schemas.banned import Ban, BanQuery, CreateBan
from admin.schemas.page import Page
from admin.table import Access, Call, NoBody, NoQuery, Row
from pybroker.errors import Refused


async def list_bans(call: Call[NoBody, BanQuery]) -> Page[Ban]:
    """Return one page of the bans that are in force."""
    wanted = call.query.wanted()
    bans = [Ban.of(ban) for ban in call.control.bans.listed(wanted)]
    return Page[Ban].cut(call.query, bans)


async def create_ban(call: Call[CreateBan, NoQuery]) -> Ban:
    """Ban somebody; connections that it covers end at once."""
    bans = call.control.bans
    try:
        ban = Ban.of(await bans.add(call.body.record(bans.now_s())))
    except Refused as error:
        if error.code != "ALREADY_EXISTS":
            raise
        # The status is EMQX's, and the message the ban that is there, as text.
        raise ApiError(400, error.code, msgspec.json.encode(error.message).decode()) from None
    call.note_change(None, ban)
    return ban


async def delete_ban(call: Call[NoBody, NoQuery]) -> None:
    """Lift a ban."""
    ban = await call.control.bans.remove(call.params["as"], call.params["who"])
    call.note_change(Ban.of(ban), None)


async def clear_bans(call: Call[NoBody, NoQuery]) -> None:
    """Lift every ban."""
    await call.control.bans.clear()


_row = partial(Row, tag="Banned", scope="connections")
_write = partial(_row, query=NoQuery, access=Access.ADMINISTRATOR, audit="always")

ROWS = (
    _row(
        method="GET",
        path="/banned",
        handler=list_bans,
        summary="List bans",
        request=NoBody,
        query=BanQuery,
        reply=Page[Ban],
        status=200,
        access=Access.READER,
        audit="never",
        errors=("BAD_REQUEST",),
    ),
    _write(
        method="POST",
        path="/banned",
        handler=create_ban,
        summary="Ban a client, user or address",
        request=CreateBan,
        reply=Ban,
        status=200,
        errors=("BAD_REQUEST",),
    ),
    _write(
        method="DELETE",
        path="/banned",
        handler=clear_bans,
        summary="Lift every ban",
        request=NoBody,
        reply=None,
        status=204,
        errors=(),
    ),
    _write(
        method="DELETE",
        path="/banned/:as/:who",
        handler=delete_ban,
        summary="Lift a ban",
        request=NoBody,
        reply=None,
        status=204,
        errors=("BAD_REQUEST", "NOT_FOUND"),
    ),
)
