"""The configuration of one namespace: sessions, limiters and quotas, checked key by key and merged into what is there.

It is kept as plain data in the form in which it is shown. Nothing can be removed, only overwritten; what is not sent
stays. An empty configuration limits nothing.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from pybroker.config.units import ByteRate, ByteSize, Duration, Rate
from pybroker.errors import Refused

if TYPE_CHECKING:
    from pybroker._core import _NamespaceLimits

Tree = Mapping[str, Any]

INFINITY = "infinity"
DISABLED = "disabled"
MAX_NUMBER = (1 << 63) - 1
MAX_INTERVAL_MS = 366 * 86_400_000
"""Longest interval of a rate: a year, which is what the core counts."""

_LIMITERS: Mapping[str, tuple[str, ...]] = {
    "tenant": ("bytes", "messages"),
    "client": ("bytes", "messages", "delivery_bytes", "delivery_messages", "subscribes"),
}
_NO_BURST = "0/1s"
_NO_LIMIT: Tree = {"rate": INFINITY, "burst": _NO_BURST}
_MAX_SHOWN = 100


def merge(stored: Tree, sent: Tree) -> dict[str, Any]:
    """Return what a namespace has once `sent` was put over `stored`.

    Raises:
        Refused: `BAD_REQUEST`, naming the key and the value.
    """
    merged: dict[str, Any] = {root: dict(value) for root, value in stored.items()}
    for root, keys in _table("", sent).items():
        readers = _ROOTS.get(root)
        if readers is None:
            raise _wrong(root, keys, f"one of {', '.join(_ROOTS)}", what="unknown key")
        into = merged.setdefault(root, {})
        for key, value in _table(root, keys).items():
            reader = readers.get(key)
            path = f"{root}.{key}"
            if reader is None:
                raise _wrong(path, value, f"one of {', '.join(readers)}", what="unknown key")
            into[key] = reader(path, value, into.get(key))
    return merged


def max_sessions(config: Tree) -> int | None:
    """Return how many sessions there may be; `None`: any number."""
    return _number(config.get("session", {}).get("max_sessions", INFINITY))


def connect_rate(config: Tree) -> Rate | None:
    """Return how fast clients may connect; `None`: as they like."""
    text = config.get("quota", {}).get("max_conn_rate", INFINITY)
    return None if text == INFINITY else Rate.parse(text)


def engine_limits(config: Tree, on_exceed: str) -> "_NamespaceLimits":
    """Return what `Engine.set_namespace` takes."""
    limiter, quota = config.get("limiter", {}), config.get("quota", {})
    limits: dict[str, Any] = {"on_exceed": on_exceed, "has_counters": True}
    for scope in _LIMITERS:
        parts = limiter.get(scope, DISABLED)
        limits[scope] = None if parts == DISABLED else {name: _core_limit(parts[name]) for name in parts}
    for name in ("max_subscriptions", "max_retained"):
        limits[name] = _number(quota.get(name, INFINITY))
    for name in ("max_retained_bytes", "max_queued_bytes"):
        text = quota.get(name, INFINITY)
        limits[name] = None if text == INFINITY else int(ByteSize.parse(text))
    return cast("_NamespaceLimits", limits)  # the keys are those of the stub


def _core_limit(limit: Tree) -> dict[str, tuple[int, int] | None]:
    rate = None if limit["rate"] == INFINITY else ByteRate.parse(limit["rate"])
    burst = None if limit["burst"].startswith("0/") else ByteRate.parse(limit["burst"])
    return {
        name: None if one is None else (one.count, one.period_ms) for name, one in (("rate", rate), ("burst", burst))
    }


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None


# How each key is read: path, value as sent, value that is stored; the value to be stored.


def _count(path: str, value: object, _: object) -> int | str:
    if value == INFINITY:
        return INFINITY
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_NUMBER:
        return value
    raise _wrong(path, value, '"infinity" or an integer of 0 or more')


def _bytes(path: str, value: object, _: object) -> str:
    if value == INFINITY:
        return INFINITY
    try:
        return ByteSize.parse(value).render()
    except ValueError as error:
        raise _wrong(path, value, f'"infinity" or a size ({error})') from None


def _rate(path: str, value: object, kind: type[Rate] = Rate) -> str:
    if value == INFINITY:
        return INFINITY
    try:
        rate = kind.parse(value)
    except ValueError as error:
        raise _wrong(path, value, f'"infinity" or a rate such as "100/10s" ({error})') from None
    if rate.period_ms > MAX_INTERVAL_MS:
        raise _wrong(path, value, "a rate whose interval is at most 366d")
    return rate.render()


def _burst(path: str, value: object, kind: type[Rate]) -> str:
    text = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    digits = text[: len(text) - len(text.lstrip("0"))]
    if digits and not text[len(digits) : len(digits) + 1].isdigit():
        # Nothing above the rate; the interval must still be one.
        try:
            return f"0/{Duration(kind.parse('1' + text[len(digits) :]).period_ms).render()}"
        except ValueError as error:
            raise _wrong(path, value, f'a burst such as "0/s" ({error})') from None
    if text == INFINITY:
        raise _wrong(path, value, 'a burst such as "100/10s"')
    return _rate(path, value, kind)


def _conn_rate(path: str, value: object, _: object) -> str:
    return _rate(path, value)


def _limiter(path: str, value: object, stored: object) -> dict[str, Any] | str:
    if value == DISABLED:
        return DISABLED
    if not isinstance(value, Mapping):
        raise _wrong(path, value, '"disabled" or a table')
    allowed = _LIMITERS[path.rpartition(".")[2]]
    merged: dict[str, Any] = dict(stored) if isinstance(stored, Mapping) else {}
    for name, limit in value.items():
        if name not in allowed:
            raise _wrong(f"{path}.{name}", limit, f"one of {', '.join(allowed)}", what="unknown key")
        merged[name] = _limit(f"{path}.{name}", limit, merged.get(name, _NO_LIMIT))
    return merged


def _limit(path: str, value: object, stored: Tree) -> dict[str, Any]:
    kind = ByteRate if path.endswith("bytes") else Rate
    merged = dict(stored)
    for name, text in _table(path, value).items():
        if name == "rate":
            merged[name] = _rate(f"{path}.rate", text, kind)
        elif name == "burst":
            merged[name] = _burst(f"{path}.burst", text, kind)
        else:
            raise _wrong(f"{path}.{name}", text, "rate or burst", what="unknown key")
    return merged


_Reader = Callable[[str, object, object], Any]

_ROOTS: Mapping[str, Mapping[str, _Reader]] = {
    "session": {"max_sessions": _count},
    "limiter": dict.fromkeys(_LIMITERS, _limiter),
    "quota": {
        "max_subscriptions": _count,
        "max_retained": _count,
        "max_retained_bytes": _bytes,
        "max_queued_bytes": _bytes,
        "max_conn_rate": _conn_rate,
    },
}


def _table(path: str, value: object) -> Tree:
    if isinstance(value, Mapping):
        return value
    raise _wrong(path or "config", value, "a table")


def _wrong(path: str, value: object, allowed: str, what: str = "bad value") -> Refused:
    return Refused("BAD_REQUEST", f"{what}: {path}: allowed {allowed}: {value!r}"[: 4 * _MAX_SHOWN])
