"""The configuration."""

from typing import Literal

import msgspec


class ConfigQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Root to show; all of them if it is left out. `namespace` and `node` are accepted for old scripts."""

    key: str | None = None
    node: str | None = None


class ConfigUpdateQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the roots that are sent are merged or replaced; whether those that cannot be changed are passed over."""

    mode: Literal["merge", "replace"] = "merge"
    ignore_readonly: bool = False


class ResetQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Key below the root that goes back to its default; the whole root if it is left out."""

    conf_path: str | None = None


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """What a change did, for those who accept JSON: dotted keys, and those that wait for a restart."""

    changed: tuple[str, ...]
    needs_restart: tuple[str, ...]
