"""The base of request bodies."""

import msgspec


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request's body; a field that it does not have is refused, as a mistyped one would otherwise do nothing."""
