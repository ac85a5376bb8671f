"""The connection quota, in the words of EMQX's licence."""

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
from pybroker.control.licence import Watermarks
from pybroker.control.timestamp import render_s

_TAG = "License"


def _settings(marks: Watermarks) -> LicenceSettings:
    return LicenceSettings(connection_low_watermark=f"{marks.low:g}%", connection_high_watermark=f"{marks.high:g}%")


async def show_licence(call: Call[NoBody, NoQuery]) -> LicenceInfo:
    """Return the quota."""
    return LicenceInfo.of(call.control.licence.quota)


async def use_key(call: Call[LicenceKey, NoQuery]) -> LicenceInfo:
    """Take the key that changes nothing."""
    call.control.licence.use_key(call.body.key)
    return LicenceInfo.of(call.control.licence.quota)


async def show_settings(call: Call[NoBody, NoQuery]) -> LicenceSettings:
    """Return the watermarks."""
    return _settings(call.control.licence.watermarks)


async def update_settings(call: Call[UpdateLicenceSettings, NoQuery]) -> LicenceSettings:
    """Change the watermarks."""
    licence, body = call.control.licence, call.body
    before = _settings(licence.watermarks)
    after = _settings(await licence.set_watermarks(body.connection_low_watermark, body.connection_high_watermark))
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


ROWS = (
    Row(
        method="GET",
        path="/license",
        handler=show_licence,
        summary="Show the connection quota",
        tag=_TAG,
        request=NoBody,
        query=NoQuery,
        reply=LicenceInfo,
        status=200,
        access=Access.READER,
        scope="license",
        audit="never",
        errors=(),
    ),
    Row(
        method="POST",
        path="/license",
        handler=use_key,
        summary="Take a licence key; only `default` is accepted",
        tag=_TAG,
        request=LicenceKey,
        query=NoQuery,
        reply=LicenceInfo,
        status=200,
        access=Access.ADMINISTRATOR,
        scope="license",
        audit="always",
        errors=("BAD_REQUEST",),
    ),
    Row(
        method="GET",
        path="/license/setting",
        handler=show_settings,
        summary="Show the watermarks of the quota",
        tag=_TAG,
        request=NoBody,
        query=NoQuery,
        reply=LicenceSettings,
        status=200,
        access=Access.READER,
        scope="license",
        audit="never",
        errors=(),
    ),
    Row(
        method="PUT",
        path="/license/setting",
        handler=update_settings,
        summary="Change the watermarks of the quota",
        tag=_TAG,
        request=UpdateLicenceSettings,
        query=NoQuery,
        reply=LicenceSettings,
        status=200,
        access=Access.ADMINISTRATOR,
        scope="license",
        audit="always",
        errors=("BAD_REQUEST",),
    ),
    Row(
        method="GET",
        path="/license/session_hwm_history",
        handler=list_peaks,
        summary="List the most sessions of days or months",
        tag=_TAG,
        request=NoBody,
        query=HistoryQuery,
        reply=History,
        status=200,
        access=Access.READER,
        scope="license",
        audit="never",
        errors=(),
    ),
)
