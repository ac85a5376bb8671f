"""Import and export of access rules."""

from typing import Literal

import msgspec

from pybroker.control.authorization.importer import OnConflict
from pybroker.control.authorization.sheets import NamedKind


class SheetQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which kind of principals."""

    kind: NamedKind
    ns: str | None = None


class ImportQuery(msgspec.Struct, frozen=True, kw_only=True):
    """How to import.

    Args:
        kind: the only one that rows may name; left out: both.
        atomic: one bad row, and nothing is stored.
        dry_run: report only.
    """

    kind: NamedKind | None = None
    ns: str | None = None
    on_conflict: OnConflict = "replace"
    atomic: bool = True
    dry_run: bool = False


class ShownProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far the import is that runs now; `idle`: none does."""

    stage: Literal["idle", "reading", "checking", "planning", "storing"]
    total: int
    done: int
