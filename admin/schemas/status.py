"""Health of the node."""

import msgspec


class StatusQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Form of the answer: `json`, anything else is text."""

    format: str = "text"


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the broker serves clients; no version is told to strangers."""

    node_name: str
    cluster: str
    broker_status: str
    app_status: str
