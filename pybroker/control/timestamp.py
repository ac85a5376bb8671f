"""Times as the API writes them: RFC 3339 with the offset of this machine, and back."""

from datetime import UTC, datetime, timedelta, timezone, tzinfo

from pybroker.errors import Refused

INFINITY = "infinity"
"""Word for "never"."""

# Epoch numbers above this are milliseconds, above its thousandfold microseconds: year 5138 in seconds, 1973 in ms.
_SECONDS_END = 100_000_000_000
_MAX_DIGITS = 20
_EPOCH = datetime.fromtimestamp(0, UTC)
_EARLIEST_S = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // timedelta(seconds=1)
_LATEST_S = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(seconds=1)
"""First and last second of the years 1 to 9999, in UTC."""


def render_s(seconds: int, zone: tzinfo | None = None) -> str:
    """Return wall seconds as text, to the second; `zone` as `zone_of` returns it."""
    return _local(seconds * 1_000_000, zone).isoformat(timespec="seconds")


def render_ms(ms: int) -> str:
    """Return wall milliseconds as text, to the millisecond."""
    return _local(ms * 1_000).isoformat(timespec="milliseconds")


def render_us(us: int, zone: tzinfo | None = None) -> str:
    """Return wall microseconds as text, to the microsecond; `zone` as `zone_of` returns it."""
    return _local(us, zone).isoformat(timespec="microseconds")


def zone_of(offset: str) -> tzinfo | None:
    """Return the time zone that a checked configuration names: `system` (`None`), `utc`, or such as `+05:30`."""
    if offset in ("system", "utc"):
        return None if offset == "system" else UTC
    size = timedelta(hours=int(offset[1:3]), minutes=int(offset[4:]))
    return timezone(-size if offset[0] == "-" else size)


def parse_us(value: str | int, field: str) -> int:
    """Return wall microseconds of an RFC 3339 text or of an epoch number in s, ms or us, told apart by its size.

    Args:
        value: from the request.
        field: named in the error.

    Raises:
        Refused: `BAD_REQUEST`: it is neither, or out of range.
    """
    if isinstance(value, int) or (value.isascii() and value.isdigit() and len(value) < _MAX_DIGITS):
        number = int(value)
        if number < 0 or number >= _SECONDS_END * 1_000_000:
            raise Refused("BAD_REQUEST", f"{field} is out of range: {number}")
        if number >= _SECONDS_END * 1_000:
            return number
        return number * 1_000 if number >= _SECONDS_END else number * 1_000_000
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None or "T" not in value.upper():
            raise ValueError
        # Beyond the years 1 to 9999 in UTC this fails: such a time could be stored and never be shown.
        return (moment.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError):
        raise Refused("BAD_REQUEST", f"{field} is no RFC 3339 time: {value!r}") from None


def parse_expiry_s(value: str | int, field: str) -> int | None:
    """Return wall seconds of an expiry; `None`: never.

    Raises:
        Refused: `BAD_REQUEST`: neither a time nor `infinity`.
    """
    return None if value == INFINITY else parse_us(value, field) // 1_000_000


def _local(us: int, zone: tzinfo | None = None) -> datetime:
    """Return a time in a zone, `None`: this machine's; in UTC where the offset leads out of the years 1 to 9999."""
    seconds, rest = divmod(us, 1_000_000)
    moment = datetime.fromtimestamp(min(max(seconds, _EARLIEST_S), _LATEST_S), UTC).replace(microsecond=rest)
    try:
        return moment.astimezone(zone)
    except (OverflowError, ValueError):
        return moment
