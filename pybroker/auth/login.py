"""What a token or a login service says about a client beside yes: read from JSON into a verdict."""

from collections.abc import Mapping

from pybroker.ports import ClientAcl, Verdict
from pybroker.types import ClientId

_TRUE = (True, 1, "true", "1")
_LAST_S = 253_402_300_799  # the end of year 9999; later is as good as never


def verdict_of(
    said: Mapping[str, object],
    *,
    acl: ClientAcl | None = None,
    expire_at_s: int | None = None,
    disconnects_at_expiry: bool = True,
) -> Verdict:
    """Return the verdict of an accepted login.

    `is_superuser`, `client_attrs`, `clientid_override` and `zone_override` are read; what has another form than it must
    have is left out.
    """
    client_id, zone = said.get("clientid_override"), said.get("zone_override")
    return Verdict(
        0,
        is_superuser=said.get("is_superuser") in _TRUE,
        acl=acl,
        expire_at_s=expire_at_s,
        attributes=attributes_of(said.get("client_attrs")),
        client_id=ClientId(client_id) if isinstance(client_id, str) and client_id else None,
        zone=zone if isinstance(zone, str) and zone else None,
        disconnects_at_expiry=disconnects_at_expiry,
    )


def attributes_of(said: object) -> dict[str, str] | None:
    """Return client attributes; numbers become text, other values are left out. `None`: there are none."""
    if not isinstance(said, Mapping):
        return None
    found = {
        str(name): value if isinstance(value, str) else str(value)
        for name, value in said.items()
        if isinstance(value, str | int | float) and not isinstance(value, bool)
    }
    return found or None


def read_seconds(value: object) -> int | None:
    """Return a time in whole seconds, rounded down, from a number or numeric text; `None`: it is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        return min(int(float(value)) if not isinstance(value, int) else value, _LAST_S)
    except (ValueError, OverflowError):
        return None
