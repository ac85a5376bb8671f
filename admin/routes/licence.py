"""The connection quota, in the words of EMQX's licence."""

from functools import partial

from admin.schemas.licence import (
    HighWatermark,
    History,
    HistoryQuery,
    LicenceInfo,
    LicenceKey,
    LicenceSettings,
    UpdateLicenceSettings,
)
from admin.table import Access, Call, NoBody, NoQuery, Row
from pybroker.control.licence import Licence
from pybroker.control.timestamp import render_s
from pybroker.errors import Refused

_TAG = "License"


def _settings(licence: Licence) -> LicenceSettings:
    marks = licence.watermarks
    return LicenceSettings(
        connection_low_watermark=f"{marks.low:g}%",
        connection_high_watermark=f"{marks.high:g}%",
        high_watermark_timezone=licence.timezone,
    )


async def show_licence(call: Call[NoBody, NoQuery]) -> LicenceInfo:
    """Return the quota."""
    return LicenceInfo.of(call.control.licence.quota)


async def use_key(call: Call[LicenceKey, NoQuery]) -> LicenceInfo:
    """Take the key that changes nothing."""
    call.control.licence.use_key(call.body.key)
    return LicenceInfo.of(call.control.licence.quota)


async def show_settings(call: Call[NoBody, NoQuery]) -> LicenceSettings:
    """Return the watermarks."""
    return _settings(call.control.licence)


async def update_settings(call: Call[UpdateLicenceSettings, NoQuery]) -> LicenceSettings:
    """Change the watermarks."""
    licence, body = call.control.licence, call.body
    if body.high_watermark_timezone not in (None, licence.timezone):
        raise Refused(
            "BAD_REQUEST",
            "high_watermark_timezone is the configuration's license.high_watermark_timezone: "
            f"{body.high_watermark_timezone!r}",
        )
    before = _settings(licence)
    await licence.set_watermarks(body.connection_low_watermark, body.connection_high_watermark)
    after = _settings(licence)
    call.note_change(before, after)
    return after


async def list_peaks(call: Call[NoBody, HistoryQuery]) -> History:
    """Return the most sessions of days or months."""
    peaks = call.control.licence.peaks(call.query.period, call.query.limit)
    rows = [
        HighWatermark(period=peak.period, high_watermark=peak.sessions, observed_at=render_s(peak.observed_s))
        for peak in peaks
    ]
    return History(period=call.query.period, count=len(rows), data=rows)


_row = partial(Row, tag=_TAG, status=200, scope="license")
_read = partial(_row, method="GET", request=NoBody, access=Access.READER, audit="never", errors=())
_write = partial(_row, query=NoQuery, access=Access.ADMINISTRATOR, audit="always", errors=("BAD_REQUEST",))

ROWS = (
    _read(
        path="/license",
        handler=show_licence,
        summary="Show the connection quota",
        query=NoQuery,
        reply=LicenceInfo,
    ),
    _write(
        method="POST",
        path="/license",
        handler=use_key,
        summary="Take a licence key; only `default` is accepted",
        request=LicenceKey,
        reply=LicenceInfo,
    ),
    _read(
        path="/license/setting",
        handler=show_settings,
        summary="Show the watermarks of the quota",
        query=NoQuery,
        reply=LicenceSettings,
    ),
    _write(
        method="PUT",
        path="/license/setting",
        handler=update_settings,
        summary="Change the watermarks of the quota",
        request=UpdateLicenceSettings,
        reply=LicenceSettings,
    ),
    _read(
        path="/license/session_hwm_history",
        handler=list_peaks,
        summary="List the most sessions of days or months",
        query=HistoryQuery,
        reply=History,
    ),
)
