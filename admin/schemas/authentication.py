"""Authenticators and their users."""

from typing import Any, Literal, Self

import msgspec

from admin.schemas.body import Body
from admin.schemas.page import PageQuery
from pybroker.control.authentication.imports import Kind, Report
from pybroker.control.authentication.users import UserRecord

AuthenticatorBody = dict[str, Any]
"""Keys of `authentication[]` as the configuration has them; each kind of authenticator has its own."""


class AuthenticatorId(Body, frozen=True, kw_only=True):
    """One place of an order."""

    id: str


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the service behind an authenticator answers, as one node sees it."""

    node: str
    status: str


class NodeMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of one node."""

    node: str
    metrics: dict[str, Any]


class AuthenticatorStatus(msgspec.Struct, frozen=True, kw_only=True):
    """State and counters of an authenticator."""

    status: str
    metrics: dict[str, Any]
    resource_metrics: dict[str, Any]
    node_status: list[NodeStatus]
    node_metrics: list[NodeMetrics]
    node_resource_metrics: list[NodeMetrics]
    node_error: list[dict[str, Any]]

    @classmethod
    def of(cls, node: str, status: str, metrics: dict[str, Any]) -> Self:
        """Return the state as this node, the only one, sees it."""
        return cls(
            status=status,
            metrics=metrics,
            resource_metrics={},
            node_status=[NodeStatus(node=node, status=status)],
            node_metrics=[NodeMetrics(node=node, metrics=metrics)],
            node_resource_metrics=[],
            node_error=[],
        )


class CacheStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of the cache of remote answers."""

    metrics: dict[str, Any]
    node_metrics: list[NodeMetrics]


class CreateMqttUser(Body, frozen=True, kw_only=True):
    """A new user."""

    user_id: str
    password: str
    is_superuser: bool = False
    namespace: str | None = None


class UpdateMqttUser(Body, frozen=True, kw_only=True):
    """What changes of a user; what is not sent stays."""

    password: str | None = None
    is_superuser: bool | None = None


class CreatedMqttUser(msgspec.Struct, frozen=True, kw_only=True):
    """A user that was created; its password never is shown."""

    user_id: str
    is_superuser: bool
    namespace: str | None

    @classmethod
    def of(cls, record: UserRecord) -> Self:
        """Return what is shown of a record."""
        return cls(user_id=record.user_id, is_superuser=record.is_superuser, namespace=record.namespace)


class MqttUser(msgspec.Struct, frozen=True, kw_only=True):
    """A user; its password never is shown."""

    user_id: str
    is_superuser: bool

    @classmethod
    def of(cls, record: UserRecord) -> Self:
        """Return what is shown of a record."""
        return cls(user_id=record.user_id, is_superuser=record.is_superuser)


class NamespaceQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Whose users; none: the global ones, or those of the caller's namespace."""

    ns: str | None = None


class MqttUserQuery(PageQuery, frozen=True, kw_only=True):
    """Which users to list."""

    like_user_id: str | None = None
    is_superuser: Literal["true", "false"] | None = None
    ns: str | None = None


class ImportQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What a file holds; by default hashes."""

    type: Kind = "hash"
    ns: str | None = None


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an import."""

    total: int
    success: int
    override: int
    skipped: int
    failed: int

    @classmethod
    def of(cls, report: Report) -> Self:
        """Return the report of an import."""
        return cls(**report._asdict())
