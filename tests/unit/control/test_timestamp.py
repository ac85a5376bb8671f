"""Times as texts and back."""

import re
import time

import pytest

from pybroker.control.timestamp import parse_expiry_s, parse_us, render_ms, render_s, render_us
from pybroker.errors import Refused


def test_each_precision_has_the_offset_of_the_machine() -> None:
    us = 1_767_225_600_123_456
    for text, digits in ((render_s(us // 1_000_000), 0), (render_ms(us // 1_000), 3), (render_us(us), 6)):
        fraction = rf"\.\d{{{digits}}}" if digits else ""
        assert re.fullmatch(rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d{fraction}[+-]\d\d:\d\d", text)
    assert parse_us(render_us(us), "x") == us


@pytest.mark.parametrize(
    ("value", "us"),
    [
        ("2026-01-01T00:00:00Z", 1_767_225_600_000_000),
        ("2026-01-01T08:00:00.5+08:00", 1_767_225_600_500_000),
        (1_767_225_600, 1_767_225_600_000_000),
        ("1767225600", 1_767_225_600_000_000),
        (1_767_225_600_123, 1_767_225_600_123_000),
        (1_767_225_600_123_456, 1_767_225_600_123_456),
        (0, 0),
    ],
)
def test_texts_and_epochs_are_read(value: str | int, us: int) -> None:
    assert parse_us(value, "x") == us


@pytest.mark.parametrize(
    "value", ["", "soon", "2026-01-01", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z", -1, 10**18, "9" * 5_000]
)
def test_anything_else_is_refused_with_its_field(value: str | int) -> None:
    with pytest.raises(Refused, match="expired_at"):
        parse_us(value, "expired_at")


@pytest.mark.parametrize("value", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+23:59"])
def test_time_outside_of_the_calendar_is_refused(value: str) -> None:
    with pytest.raises(Refused, match="until is no RFC 3339 time"):
        parse_us(value, "until")


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_every_time_that_is_accepted_or_stored_is_shown(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        for text in ("9999-12-31T23:59:59+00:00", "0001-01-01T00:00:00+00:00"):
            assert parse_us(render_us(parse_us(text, "x")), "x") == parse_us(text, "x")
        assert render_s(10**12).startswith("9999-12-31T")
        assert render_s(-(10**12)).startswith("0001-01-01T")
    finally:
        monkeypatch.undo()
        time.tzset()


def test_infinity_is_never() -> None:
    assert parse_expiry_s("infinity", "x") is None
    assert parse_expiry_s("1970-01-01T00:00:01Z", "x") == 1
