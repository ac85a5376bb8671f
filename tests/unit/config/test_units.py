"""Quantities: what is read, what is refused, and that rendering loses nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybroker.config.units import ByteRate, ByteSize, Duration, Percent, Rate


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("15s", 15_000),
        ("500ms", 500),
        ("2h", 7_200_000),
        ("1d", 86_400_000),
        ("1w", 604_800_000),
        ("1h30m", 5_400_000),
        ("0", 0),
        (0, 0),
        (" 3m ", 180_000),
    ],
)
def test_duration_is_read_as_milliseconds(text: object, ms: int) -> None:
    assert Duration.parse(text) == ms


@pytest.mark.parametrize("value", ["15", "", "s", "1.5s", "-1s", "15 s", "1y", 15, 1.5, True, None, [], "4294967296s"])
def test_other_durations_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        Duration.parse(value)


def test_number_without_unit_shows_how_to_write_it() -> None:
    with pytest.raises(ValueError, match='such as "15s"'):
        Duration.parse(15)


def test_duration_is_shown_as_it_was_written() -> None:
    assert Duration.parse("60s").render() == "60s"
    assert Duration(60_000).render() == "1m"


def test_duration_gives_whole_seconds() -> None:
    assert Duration.parse("1999ms").seconds == 1


@given(st.integers(min_value=0, max_value=0xFFFF_FFFF * 1_000))
def test_duration_survives_rendering(ms: int) -> None:
    assert Duration.parse(Duration(ms).render()) == ms


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("1MB", 1_048_576),
        ("64kb", 65_536),
        ("100", 100),
        (7, 7),
        ("2 GB", 2 << 30),
        ("5B", 5),
        ("1TB", 1 << 40),
        (0, 0),
    ],
)
def test_size_is_read_as_bytes(text: object, count: int) -> None:
    assert ByteSize.parse(text) == count


@pytest.mark.parametrize("value", ["1.5MB", "MB", "-1", -1, True, 1.0, "2XB", "1M", None, "9999999999TB"])
def test_other_sizes_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="size"):
        ByteSize.parse(value)


@given(st.integers(min_value=0, max_value=(1 << 63) - 1))
def test_size_survives_rendering(count: int) -> None:
    assert ByteSize.parse(ByteSize(count).render()) == count


@pytest.mark.parametrize(
    ("text", "count", "period_ms", "rendered"),
    [
        ("1000/s", 1000, 1_000, "1000/1s"),
        ("1/5s", 1, 5_000, "1/5s"),
        ("60/60s", 60, 60_000, "60/1m"),
        ("3000", 3000, 1_000, "3000/1s"),
        (20, 20, 1_000, "20/1s"),
        (" 10/100MS ", 10, 100, "10/100ms"),
    ],
)
def test_rate_counts_events(text: object, count: int, period_ms: int, rendered: str) -> None:
    rate = Rate.parse(text)
    assert (rate.count, rate.period_ms, rate.render()) == (count, period_ms, rendered)


@pytest.mark.parametrize(
    ("text", "rendered"), [("10MB/10s", "10MB/10s"), ("1536/s", "1536/1s"), ("2048", "2KB/1s"), ("1gb/m", "1GB/1m")]
)
def test_byte_rate_uses_the_largest_exact_unit(text: str, rendered: str) -> None:
    assert ByteRate.parse(text).render() == rendered


@pytest.mark.parametrize("value", ["0/s", "0", "1m30s", "1/0s", "-1/s", "a", "1/s/s", None, True, 1.5, "10MB/s"])
def test_other_rates_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="rate"):
        Rate.parse(value)


@given(st.integers(min_value=1, max_value=1 << 40), st.integers(min_value=1, max_value=86_400_000))
def test_rates_survive_rendering(count: int, period_ms: int) -> None:
    assert Rate.parse(Rate(count, period_ms).render()) == Rate(count, period_ms)
    assert ByteRate.parse(ByteRate(count, period_ms).render()) == ByteRate(count, period_ms)


def test_rate_gives_its_mean() -> None:
    assert Rate.parse("1/5s").per_second == 0.2


def test_rate_differs_from_byte_rate() -> None:
    assert Rate(5) != ByteRate(5)
    assert len({Rate(5), Rate(5), ByteRate(5)}) == 2


def test_values_are_not_to_be_changed() -> None:
    with pytest.raises(AttributeError, match="count"):
        Rate(5).count = 6


@pytest.mark.parametrize(
    ("value", "rendered"), [("75%", "75%"), (0.75, "75%"), ("12.5%", "12.5%"), (1, "100%"), (0, "0%")]
)
def test_percentage_is_read_from_text_and_fraction(value: object, rendered: str) -> None:
    assert Percent.parse(value).render() == rendered


@pytest.mark.parametrize("value", ["75", "101%", 1.5, -0.1, True, None, "x%"])
def test_other_percentages_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="percentage"):
        Percent.parse(value)


@given(st.integers(min_value=0, max_value=10_000))
def test_percentage_survives_rendering(hundredths: int) -> None:
    percent = Percent(hundredths / 100)
    assert Percent.parse(percent.render()) == percent


def test_quantities_say_what_they_are() -> None:
    assert repr(Duration.parse("15s")) == "Duration('15s')"
    assert repr(ByteSize(1024)) == "ByteSize('1KB')"
    assert repr(Percent(75)) == "Percent('75%')"
    assert repr(Rate(1, 5_000)) == "Rate(1, 5000)"
