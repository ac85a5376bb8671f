"""The connection quota, in the words of EMQX's licence."""

from typing import Annotated, Literal, Self

import msgspec

from admin.schemas.body import Body
from pybroker.control.licence import far_date


class LicenceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What the licence says; `max_sessions` and `max_connections` are the quota, 0 for none."""

    customer: str
    email: str
    deployment: str
    type: str
    customer_type: int
    start_at: str
    expiry_at: str
    expiry: bool
    max_sessions: int
    max_connections: int
    max_tps: int

    @classmethod
    def of(cls, quota: int) -> Self:
        """Return what is told of a quota."""
        return cls(
            customer="pybroker",
            email="",
            deployment="default",
            type="community",
            customer_type=0,
            start_at="1970-01-01",
            expiry_at=far_date(),
            expiry=False,
            max_sessions=quota,
            max_connections=quota,
            max_tps=0,
        )


class LicenceKey(Body, frozen=True, kw_only=True):
    """A licence key."""

    key: str


class LicenceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Watermarks of the alarm, such as `75%`."""

    connection_low_watermark: str
    connection_high_watermark: str
    high_watermark_timezone: str


class UpdateLicenceSettings(Body, frozen=True, kw_only=True):
    """Watermarks; one that is missing returns to its default. The time zone is configured, and may only be repeated."""

    connection_low_watermark: str = "75%"
    connection_high_watermark: str = "80%"
    high_watermark_timezone: str | None = None


class HistoryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which peaks, and how many of them."""

    period: Literal["daily", "monthly"] = "monthly"
    limit: Annotated[int, msgspec.Meta(ge=1)] | None = None


class HighWatermark(msgspec.Struct, frozen=True, kw_only=True):
    """Most sessions of a day or month."""

    period: str
    high_watermark: int
    observed_at: str


class History(msgspec.Struct, frozen=True, kw_only=True):
    """Peaks, newest first."""

    period: str
    count: int
    data: list[HighWatermark]
