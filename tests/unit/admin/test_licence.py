"""The connection quota as a licence."""

from pathlib import Path

import pytest

from pybroker.config.sections.namespace import LicenseSettings
from tests.support.admin import Api, config_with, open_api


async def test_licence_is_free_and_never_expires(api: Api) -> None:
    auth = await api.log_in()
    body = (await api.call("GET", "/license", auth=auth)).json()
    assert (body["type"], body["expiry"], body["max_sessions"], body["max_connections"]) == ("community", False, 0, 0)
    assert (await api.call("POST", "/license", {"key": "default"}, auth=auth)).json() == body
    reply = await api.call("POST", "/license", {"key": "other"}, auth=auth)
    assert (reply.status_code, reply.json()["code"]) == (400, "BAD_REQUEST")


async def test_watermarks_survive_a_restart(tmp_path: Path) -> None:
    marks = {"connection_low_watermark": "50%", "connection_high_watermark": "60%"}
    async with open_api(config_with(tmp_path)) as api:
        auth = await api.log_in()
        assert (await api.call("PUT", "/license/setting", marks, auth=auth)).status_code == 200
    async with open_api(config_with(tmp_path)) as api:
        shown = (await api.call("GET", "/license/setting", auth=await api.log_in())).json()
        assert shown == {**marks, "high_watermark_timezone": "system"}


@pytest.mark.parametrize(("low", "high"), [("80%", "80%"), ("90%", "80%"), ("x", "80%"), ("10%", "101%")])
async def test_bad_watermarks_are_refused(api: Api, low: str, high: str) -> None:
    body = {"connection_low_watermark": low, "connection_high_watermark": high}
    reply = await api.call("PUT", "/license/setting", body, auth=await api.log_in())
    assert (reply.status_code, reply.json()["code"]) == (400, "BAD_REQUEST")


async def test_alarm_begins_above_the_high_mark_and_ends_below_the_low_one(tmp_path: Path) -> None:
    config = config_with(tmp_path, license=LicenseSettings(connection_quota=100))
    async with open_api(config) as api:
        seen: list[str] = []
        count = [0]
        licence = api.control.licence
        licence.attach(lambda: count[0], lambda name, message, details: seen.append(f"+{name}"), seen.append)
        for sessions, expected in ((80, []), (81, ["+license_quota"]), (76, []), (90, []), (74, ["license_quota"])):
            count[0] = sessions
            seen.clear()
            await licence.check()
            assert seen == expected, sessions


async def test_peaks_of_days_and_months_are_kept(api: Api) -> None:
    count = [5]
    licence = api.control.licence
    licence.attach(lambda: count[0])
    for sessions in (5, 9, 3):
        count[0] = sessions
        await licence.check()
    api.clock.advance(24 * 3_600_000)
    await licence.check()
    auth = await api.log_in()
    daily = (await api.call("GET", "/license/session_hwm_history?period=daily", auth=auth)).json()
    assert [(one["period"], one["high_watermark"]) for one in daily["data"]] == [("2026-01-02", 3), ("2026-01-01", 9)]
    monthly = (await api.call("GET", "/license/session_hwm_history?limit=1", auth=auth)).json()
    assert (monthly["count"], monthly["data"][0]["period"], monthly["data"][0]["high_watermark"]) == (1, "2026-01", 9)


@pytest.mark.parametrize(("zone", "day"), [("-01:00", "2025-12-31"), ("utc", "2026-01-01"), ("+14:00", "2026-01-01")])
async def test_days_of_peaks_begin_in_the_configured_zone(tmp_path: Path, zone: str, day: str) -> None:
    async with open_api(config_with(tmp_path, license=LicenseSettings(high_watermark_timezone=zone))) as api:
        await api.control.licence.check()
        assert [peak.period for peak in api.control.licence.peaks("daily")] == [day]
        auth = await api.log_in()
        assert (await api.call("GET", "/license/setting", auth=auth)).json()["high_watermark_timezone"] == zone
        other = await api.call("PUT", "/license/setting", {"high_watermark_timezone": "+03:00"}, auth=auth)
        assert (other.status_code, other.json()["code"]) == (400, "BAD_REQUEST")
        assert (await api.call("PUT", "/license/setting", {"high_watermark_timezone": zone}, auth=auth)).is_success


async def test_namespaced_administrator_reads_and_does_not_write(api: Api) -> None:
    boss = await api.add_user("boss", "ns:a::administrator")
    assert (await api.call("GET", "/license", auth=boss)).status_code == 200
    assert (await api.call("POST", "/license", {"key": "default"}, auth=boss)).status_code == 403
