"""Settings of access control, its mode and its caches."""

from typing import Any, Literal

import msgspec

from admin.schemas.body import Body
from pybroker.control.authorization.answers import CacheMetrics
from pybroker.control.authorization.settings import Mode

NoMatch = Literal["allow", "deny"]


class CacheBody(Body, frozen=True, kw_only=True):
    """The cache of decisions of each connection."""

    enable: bool | None = None
    max_size: int | None = None
    ttl: str | int | None = None
    excludes: list[str] | None = None


class SettingsBody(Body, frozen=True, kw_only=True):
    """The settings; what is left out goes back to its default."""

    no_match: NoMatch | None = None
    deny_action: Literal["ignore", "disconnect"] | None = None
    cache: CacheBody | None = None
    include_mountpoint: bool | None = None
    ignore_backend_failures: bool | None = None


class ExtraSettingsBody(Body, frozen=True, kw_only=True):
    """The settings that EMQX does not have; what is left out goes back to its default."""

    subscribe_match: Literal["strict", "strict_overlap", "emqx"] | None = None
    on_revoke: Literal["unsubscribe", "disconnect", "ignore"] | None = None
    sys_topics: Literal["loopback", "everyone", "nobody"] | None = None


class NodeCacheBody(Body, frozen=True, kw_only=True):
    """The cache of remote answers; what is left out goes back to its default."""

    enable: bool | None = None
    cache_ttl: str | int | None = None
    cleanup_interval: str | int | None = None
    stat_update_interval: str | int | None = None
    max_count: int | str | None = None
    max_memory: int | str | None = None


class ModeBody(Body, frozen=True, kw_only=True):
    """The mode that is wanted."""

    mode: Mode


class ShownCache(msgspec.Struct, frozen=True, kw_only=True):
    """The cache of decisions of each connection."""

    enable: bool
    max_size: int
    ttl: str
    excludes: list[str]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings as EMQX has them."""

    no_match: NoMatch
    deny_action: Literal["ignore", "disconnect"]
    cache: ShownCache
    include_mountpoint: bool
    ignore_backend_failures: bool


class ExtraSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings that EMQX does not have."""

    subscribe_match: Literal["strict", "strict_overlap", "emqx"]
    on_revoke: Literal["unsubscribe", "disconnect", "ignore"]
    sys_topics: Literal["loopback", "everyone", "nobody"]


class NodeCache(msgspec.Struct, frozen=True, kw_only=True):
    """The cache of remote answers; `unlimited` where there is no bound."""

    enable: bool
    cache_ttl: str
    cleanup_interval: str
    stat_update_interval: str
    max_count: int | Literal["unlimited"]
    max_memory: str


class NodeCacheMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """What the cache of remote answers has done on one node."""

    node: str
    metrics: CacheMetrics


class NodeCacheStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the cache of remote answers has done."""

    metrics: CacheMetrics
    node_metrics: list[NodeCacheMetrics]


def given(body: Any) -> dict[str, Any]:
    """Return the fields of a body by name; those that were left out are `None`."""
    values: dict[str, Any] = msgspec.to_builtins(body)
    return values
