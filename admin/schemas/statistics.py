"""Levels and counters: dotted names and numbers, and the name of the node."""

from typing import TypeAlias

import msgspec

Levels: TypeAlias = dict[str, int | str]
"""Numbers by name; `node` names the node where they are not those of the whole cluster."""


class StatsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the numbers of all nodes are put together."""

    aggregate: bool = False


class MetricsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the numbers of all nodes are put together; which node."""

    aggregate: bool = False
    node: str | None = None
