"""What scrapers ask for."""

import msgspec

from pybroker.control.prometheus import Mode


class NamespacedQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Whose numbers; `ns` names one namespace."""

    ns: str | None = None
    mode: Mode = "node"


class ScrapeQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Whose numbers."""

    mode: Mode = "node"
