"""Bans."""

from typing import Self

import msgspec

from admin.schemas.body import Body
from admin.schemas.page import PageQuery
from pybroker.control.banned import BanFilter, BanKind, BanRecord
from pybroker.control.timestamp import INFINITY, parse_expiry_s, parse_us, render_s
from pybroker.errors import Refused


class BanQuery(PageQuery, frozen=True, kw_only=True):
    """Which bans: at most one of these; what begins with `like_` is a regular expression."""

    clientid: str | None = None
    username: str | None = None
    peerhost: str | None = None
    like_clientid: str | None = None
    like_username: str | None = None
    like_peerhost: str | None = None
    like_peerhost_net: str | None = None

    def wanted(self) -> BanFilter | None:
        """Return the filter; `None`: every ban.

        Raises:
            Refused: `BAD_REQUEST`: there are two.
        """
        choices: list[tuple[BanKind, str | None, bool]] = [
            ("clientid", self.clientid, False),
            ("username", self.username, False),
            ("peerhost", self.peerhost, False),
            ("clientid", self.like_clientid, True),
            ("username", self.like_username, True),
            ("peerhost", self.like_peerhost, True),
            ("peerhost_net", self.like_peerhost_net, True),
        ]
        found = [
            BanFilter(kind=kind, who=who, is_pattern=is_pattern) for kind, who, is_pattern in choices if who is not None
        ]
        if len(found) > 1:
            raise Refused("BAD_REQUEST", "too_many_filters")
        return found[0] if found else None


class Ban(msgspec.Struct, frozen=True, kw_only=True):
    """A ban as shown."""

    as_: BanKind = msgspec.field(name="as")
    who: str
    by: str
    reason: str
    at: str
    until: str

    @classmethod
    def of(cls, record: BanRecord) -> Self:
        """Return what is shown of a record."""
        return cls(
            as_=record.kind,
            who=record.who,
            by=record.by,
            reason=record.reason,
            at=render_s(record.at_s),
            until=INFINITY if record.until_s is None else render_s(record.until_s),
        )


class CreateBan(Body, frozen=True, kw_only=True):
    """A new ban; times are RFC 3339 or epoch numbers. `at` says when it was made: a ban holds from the call on."""

    as_: BanKind = msgspec.field(name="as")
    who: str
    by: str = "mgmt_api"
    reason: str = ""
    at: str | int | None = None
    until: str | int = INFINITY

    def record(self, now_s: int) -> BanRecord:
        """Return the record.

        Raises:
            Refused: `BAD_REQUEST`: a time cannot be read.
        """
        return BanRecord(
            kind=self.as_,
            who=self.who,
            by=self.by,
            reason=self.reason,
            at_s=now_s if self.at is None else parse_us(self.at, "at") // 1_000_000,
            until_s=parse_expiry_s(self.until, "until"),
        )
