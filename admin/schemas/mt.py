"""Namespaces."""

from typing import Annotated, Any, Self

import msgspec

from admin.schemas.body import Body
from pybroker.control.namespaces.pages import Cursor, cursor_of
from pybroker.control.namespaces.settings import SettingsView
from pybroker.control.namespaces.tenancy import NamespaceMetrics

MAX_LIMIT = 1_000

Limit = Annotated[int, msgspec.Meta(ge=1, le=MAX_LIMIT)]


class NamespacePageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which page of names: behind `last_ns`, or from `first_ns` on; not both."""

    last_ns: str | None = None
    first_ns: str | None = None
    limit: Limit = 100

    def cursor(self) -> Cursor:
        """Return where the page begins.

        Raises:
            Refused: `BAD_REQUEST`: both are given.
        """
        return cursor_of("ns", self.last_ns, self.first_ns, self.limit)


class ClientPageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which page of client ids: behind `last_clientid`, or from `first_clientid` on; not both."""

    last_clientid: str | None = None
    first_clientid: str | None = None
    limit: Limit = 100

    def cursor(self) -> Cursor:
        """Return where the page begins.

        Raises:
            Refused: `BAD_REQUEST`: both are given.
        """
        return cursor_of("clientid", self.last_clientid, self.first_clientid, self.limit)


class NamespaceRow(msgspec.Struct, frozen=True, kw_only=True):
    """A namespace; `created_at` in seconds since 1970."""

    name: str
    created_at: int | None


class ManagedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A managed namespace; `config` is empty when nothing was set."""

    name: str
    created_at: int | None
    config: dict[str, Any]


class ClientCount(msgspec.Struct, frozen=True, kw_only=True):
    """Sessions of a namespace."""

    count: int


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of a namespace."""

    messaging_stats: dict[str, int]
    session_count: int
    builtin_authz_record_count: int
    builtin_authn_record_count: int

    @classmethod
    def of(cls, metrics: NamespaceMetrics) -> Self:
        """Return what is shown."""
        return cls(
            messaging_stats=metrics.messaging,
            session_count=metrics.sessions,
            builtin_authz_record_count=metrics.rules,
            builtin_authn_record_count=metrics.users,
        )


class ImportedNamespace(Body, frozen=True, kw_only=True):
    """A namespace that is created or configured."""

    ns: str
    config: dict[str, Any]


class ExportRequest(Body, frozen=True, kw_only=True):
    """Namespaces whose sections are wanted."""

    namespaces: list[str]


class ImportRequest(Body, frozen=True, kw_only=True):
    """Sections by namespace."""

    configs: dict[str, dict[str, Any]]
    dry_run: bool


class BulkDelete(Body, frozen=True, kw_only=True):
    """Namespaces that are deleted."""

    nss: list[str]


class Warned(msgspec.Struct, frozen=True, kw_only=True):
    """A setting that is hardly meant as it is."""

    path: str
    message: str


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of all namespaces, and whom they do not reach yet."""

    allow_only_managed_namespaces: bool
    default_max_sessions: int | str
    deny_namespaces: list[str]
    post_auth_tns_expression: str
    client_attrs_init: list[dict[str, str]]
    clientid_override: str
    namespace_as_mountpoint: bool
    include_mountpoint: bool
    unmanaged_clients: int
    outdated_clients: int
    warnings: list[Warned]

    @classmethod
    def of(cls, view: SettingsView) -> Self:
        """Return what is shown."""
        return cls(
            **view.values,
            unmanaged_clients=view.unmanaged_clients,
            outdated_clients=view.outdated_clients,
            warnings=[Warned(path=path, message=message) for path, message in view.warnings],
        )
