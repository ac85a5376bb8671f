"""What scrapers ask for."""

import msgspec

from pybroker.control.prometheus import Mode


class ScrapeQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Whose numbers."""

    mode: Mode = "node"
