"""The time series of the dashboard, and what holds now."""

from typing import Annotated, TypeAlias

import msgspec

from pybroker.control.monitor import Current

Point: TypeAlias = dict[str, int]
"""`time_stamp` in milliseconds, and what is known of that time: levels, and growth since the point before."""

Now: TypeAlias = dict[str, int | dict[str, int]]
"""Rates per second, levels, and the peak of sessions."""


class MonitorQuery(msgspec.Struct, frozen=True, kw_only=True):
    """How many seconds back; not given: as far as points are kept."""

    latest: Annotated[int, msgspec.Meta(ge=1)] | None = None


def render_now(current: Current, *, is_node: bool) -> Now:
    """Return what holds now, for one node or for the cluster."""
    shown: Now = {rate_name(name): rate for name, rate in current.rates.items()}
    shown |= current.levels
    shown |= {
        "retained_msg_count": current.retained,
        "shared_subscriptions": current.shared_subscriptions,
        "cluster_sessions": current.cluster_sessions,
        "license_quota": current.quota,
        "sessions_hist_hwmark": msgspec.structs.asdict(current.peak),
    }
    if is_node:
        return {**shown, "node_uptime": current.uptime_ms}
    durable = {"subscriptions_durable": 0, "disconnected_durable_sessions": 0}
    return {**shown, **durable, "subscriptions_ram": current.levels["subscriptions"]}


def rate_name(name: str) -> str:
    """Return the name of a counter's rate, such as `received_msg_rate`."""
    return f"{name}_msg_rate" if name in ("received", "sent", "dropped") else f"{name}_rate"
