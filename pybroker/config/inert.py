"""Keys that are accepted and do nothing: where each stands, why, and which of them somebody has set.

Files of EMQX, and files for later versions, may hold them. Setting one away from its default is told at the start, by
`pybroker check`, in the log where the API does it, and in the reference; a test looks for keys that are missing here.
"""

import re
from collections.abc import Iterator, Mapping

from pybroker.config.keys import Key, Section, keys_of
from pybroker.config.schema import Config

_LATER = "its feature comes with a later version"
_WHOLE_BROKER = "held by `mqtt` for the whole broker"
_CORE_STORE = "retained messages are kept in the core"
_ONE_LOOP = "one loop accepts"
_NO_DATABASES = "this broker has no client for databases"

INERT: Mapping[str, str] = {
    "listeners.*.*.acceptors": "every shard accepts",
    "zones.*.mqtt.max_topic_levels": _WHOLE_BROKER,
    "zones.*.mqtt.shared_subscription_strategy": _WHOLE_BROKER,
    "zones.*.mqtt.message_expiry_interval": _WHOLE_BROKER,
    "zones.*.mqtt.max_inflight": _WHOLE_BROKER,
    "zones.*.mqtt.max_mqueue_len": _WHOLE_BROKER,
    "zones.*.mqtt.max_mqueue_bytes": _WHOLE_BROKER,
    "zones.*.mqtt.mqueue_overflow": _WHOLE_BROKER,
    "zones.*.mqtt.mqueue_store_qos0": _WHOLE_BROKER,
    "zones.*.mqtt.mqueue_priorities": _WHOLE_BROKER,
    "zones.*.mqtt.mqueue_default_priority": _WHOLE_BROKER,
    "zones.*.mqtt.upgrade_qos": _WHOLE_BROKER,
    "retainer.allow_never_expire": _LATER,
    "retainer.delivery_rate": "retained messages are paced by what their receiver takes",
    "retainer.max_publish_rate": _LATER,
    "retainer.backend": _CORE_STORE,
    "authentication.enable_pipelining": "a connection carries one request at a time",
    "authentication.pool_size": "keys are fetched over one connection",
    "authentication_settings.node_cache.stat_update_interval": "numbers are counted, not sampled",
    "authorization.sources.enable_pipelining": "a connection carries one request at a time",
    "authorization.sources.server": _NO_DATABASES,
    "authorization.sources.database": _NO_DATABASES,
    "authorization.sources.username": _NO_DATABASES,
    "authorization.sources.password": _NO_DATABASES,
    "authorization.sources.query": _NO_DATABASES,
    "authorization.sources.cmd": _NO_DATABASES,
    "authorization.sources.collection": _NO_DATABASES,
    "authorization.sources.base_dn": _NO_DATABASES,
    "authorization.sources.filter": _NO_DATABASES,
    "authorization.node_cache.stat_update_interval": "numbers are counted, not sampled",
    "psk_authentication.init_file": "pre-shared keys are refused",
    "psk_authentication.separator": "pre-shared keys are refused",
    "psk_authentication.chunk_size": "pre-shared keys are refused",
    "dashboard.listeners.http.num_acceptors": _ONE_LOOP,
    "dashboard.listeners.https.num_acceptors": _ONE_LOOP,
    "dashboard.sso": _LATER,
    "prometheus.push_gateway": _LATER,
    "prometheus.collectors": "they measure EMQX's virtual machine",
    "prometheus.latency_buckets": "there are no latency histograms",
}
"""Reasons by key, or by section of keys; `*` stands for one name. A feature that arrives deletes its rows."""


def reason_of(path: str) -> str | None:
    """Return why the key at a dotted path has no effect; `None`: it has one. Places in lists may be given or not."""
    parts = re.sub(r"\[[^]]*\]", "", path).split(".")
    return next((reason for row, reason in INERT.items() if _covers(row.split("."), parts)), None)


def inert_keys(config: Config) -> list[str]:
    """Return the dotted paths of keys without effect that are not at their defaults, in the order of the schema."""
    return [path for path in _changed(config, config, "") if reason_of(path) is not None]


def _covers(row: list[str], parts: list[str]) -> bool:
    return len(row) <= len(parts) and all(wanted in ("*", part) for wanted, part in zip(row, parts, strict=False))


def _changed(section: Section, config: Config, path: str) -> Iterator[str]:
    """Yield the paths of all keys of a section that are not at their defaults."""
    for key in keys_of(type(section)):
        below, value = f"{path}.{key.name}" if path else key.name, getattr(section, key.attribute)
        if isinstance(value, Section):
            yield from _changed(value, config, below)
        elif key.shape == "named":
            for name, one in value.items():
                yield from _changed(one, config, f"{below}.{name}")
        elif key.shape == "variants":
            for index, one in enumerate(value):
                yield from _changed(one, config, f"{below}[{index}]")
        elif key.shape == "overrides":
            yield from _overridden(key, value, config, below)
        elif value != key.default:
            yield below


def _overridden(key: Key, values: Mapping[str, object], config: Config, path: str) -> Iterator[str]:
    """Yield the paths of keys that are other here than in the section of the same name at the top."""
    general = getattr(config, key.attribute)
    return (f"{path}.{name}" for name, value in values.items() if value != getattr(general, name))
