"""The file of bans that fills an empty table: CSV with the columns `as,who,reason,at,until,by`."""

import csv
from typing import get_args

import structlog

from pybroker.auth.banned import BanKind, normalize
from pybroker.control.timestamp import parse_expiry_s, parse_us
from pybroker.errors import Refused
from pybroker.persistence.records import BanRecord

logger = structlog.get_logger(__name__)

_COLUMNS = ("as", "who", "reason", "at", "until", "by")


def read_bans(path: str, now_s: int) -> list[BanRecord]:
    """Return the bans of a file; a line that is none is left out with a warning that names it. Blocks."""
    bans: list[BanRecord] = []
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            if missing := [name for name in _COLUMNS[:2] if name not in (reader.fieldnames or ())]:
                raise ValueError(f"column is missing: {missing[0]}")
            for row in reader:
                try:
                    bans.append(_ban_of(row, now_s))
                except (Refused, ValueError) as error:
                    reason = error.message if isinstance(error, Refused) else str(error)
                    logger.warning("ban_ignored", file=path, line=reader.line_num, reason=reason)
    except (OSError, ValueError, csv.Error) as error:
        logger.error("bans_bootstrap_failed", file=path, reason=str(error))
        return []
    logger.info("bans_bootstrapped", file=path, bans=len(bans))
    return bans


def _ban_of(row: dict[str, str], now_s: int) -> BanRecord:
    """Return the ban of a row.

    Raises:
        Refused: a time is none.
        ValueError: something else is none.
    """
    if None in row:
        raise ValueError("has too many columns")
    kind = next((one for one in get_args(BanKind) if one == row["as"].strip()), None)
    if kind is None:
        raise ValueError("as is no kind of ban")
    at, until = row.get("at", "").strip(), row.get("until", "").strip()
    until_s = parse_expiry_s(until, "until") if until else None
    if until_s is not None and until_s <= now_s:
        raise ValueError("is over already")
    return BanRecord(
        kind=kind,
        who=normalize(kind, row["who"].strip()),
        by=row.get("by", "").strip() or "bootstrap_file",
        reason=row.get("reason", ""),
        at_s=parse_us(at, "at") // 1_000_000 if at else now_s,
        until_s=until_s,
    )
