"""What operators do with namespaces: look at them, empty them, delete them.

Deleting closes a namespace at once and removes what belongs to it in one transaction; then, in the background, its
sessions end and what they have left behind goes. Until all of that is done a tombstone keeps its name, also over a
restart. The alarms of its quotas are raised and cleared here.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import structlog

from pybroker.control.alarms import Alarms
from pybroker.control.authentication.users import MqttUsers
from pybroker.control.authorization.lists import RuleLists
from pybroker.control.namespaces.kicker import Kicker
from pybroker.control.namespaces.managed import ManagedNamespaces
from pybroker.control.namespaces.pages import Cursor, KeyPage, cut, page_of
from pybroker.control.plane import Plane
from pybroker.errors import BrokerError, Refused, StoreError
from pybroker.events import QuotaCrossing
from pybroker.namespaces.registry import Tenant, first_client_ids
from pybroker.persistence.records import NamespaceRecord, PrincipalKind

logger = structlog.get_logger(__name__)

_MESSAGING = ("messages.", "packets.", "bytes.", "delivery.dropped")
_KINDS: tuple[PrincipalKind, ...] = ("clientid", "username", "all")
_CORE_QUOTAS = ("max_subscriptions", "max_retained", "max_retained_bytes", "max_queued_bytes")
ROOTS = ("actions", "connectors", "rule_engine", "sources")
"""Sections of EMQX's configuration that a namespace may have; nothing of the kind exists here."""


class NamespaceMetrics(NamedTuple):
    """Figures of one namespace; `messaging` is empty unless an operator created it."""

    messaging: dict[str, int]
    sessions: int
    rules: int
    users: int


class Tenancy:
    """Namespaces that are known, whoever has made them.

    Args:
        managed: those that an operator has created.
        plane: has their clients.
        lists: access rules.
        users: built-in users of clients.
        alarms: raised when a quota is reached.
        kicker: ends sessions.
    """

    def __init__(
        self,
        managed: ManagedNamespaces,
        plane: Plane,
        lists: RuleLists,
        users: MqttUsers,
        alarms: Alarms,
        kicker: Kicker,
    ) -> None:
        self.managed = managed
        self.kicker = kicker
        self._plane = plane
        self._tenants = plane.namespaces.tenants
        self._lists = lists
        self._alarms = alarms
        self._remove: Callable[[str], Awaitable[None]] = managed.lift
        self._users = users
        plane.events.quota_crossed.listen(self._on_quota)

    async def attach(self, remove: Callable[[str], Awaitable[None]]) -> None:
        """Take what removes all records of a namespace, and finish what was not finished before the restart."""
        self._remove = remove
        for name in self.managed.tombstones:
            logger.info("namespace_removal_resumed", namespace=name)
            await remove(name)
            await self._finish(name)

    # Known and managed ones

    def known(self, cursor: Cursor) -> KeyPage:
        """Return a page of all names."""
        return page_of(self._tenants.names(), cursor)

    def page_managed(self, cursor: Cursor) -> KeyPage:
        """Return a page of the names that an operator has created."""
        return page_of(self.managed.names(), cursor)

    def created_at_s(self, name: str) -> int | None:
        """Return when a namespace was created or first seen, wall clock; `None`: it has gone meanwhile."""
        tenant = self._tenants.known(name)
        return None if tenant is None else tenant.created_at_ms // 1_000

    def client_ids(self, name: str, cursor: Cursor) -> KeyPage:
        """Return a page of the client ids of a namespace, as the broker uses them; O(its sessions).

        Raises:
            Refused: `NOT_FOUND`.
        """
        tenant = self._get(name)
        is_inclusive = cursor.first is not None
        found = first_client_ids(tenant, cursor.start, cursor.limit + 1, is_inclusive=is_inclusive)
        return cut([*found], cursor)

    def client_count(self, name: str) -> int:
        """Return how many sessions a namespace has.

        Raises:
            Refused: `NOT_FOUND`.
        """
        return self._get(name).session_count

    def metrics(self, name: str) -> NamespaceMetrics:
        """Return the figures of a namespace.

        Raises:
            Refused: `NOT_FOUND`.
        """
        tenant = self._get(name)
        stats = self._plane.engine.namespace_stats(name) if tenant.is_managed else {}
        messaging = {key: value for key, value in stats.items() if key.startswith(_MESSAGING)}
        return NamespaceMetrics(messaging, tenant.session_count, self.rule_count(name), self.user_counts()[name])

    def user_counts(self) -> Counter[str | None]:
        """Return how many built-in users each namespace has; O(users)."""
        return self._users.counts()

    def rule_count(self, name: str) -> int:
        """Return how many access rules a namespace has."""
        return sum(self._lists.count(name, kind) for kind in _KINDS)

    # Changes

    async def create(self, name: str) -> NamespaceRecord:
        """Create a namespace.

        Raises:
            Refused: `CONFLICT`: its clients are still being ended; `BAD_REQUEST` as `ManagedNamespaces.create`.
        """
        self._check_settled(name)
        return await self.managed.create(name)

    async def import_all(self, configs: list[tuple[str, Mapping[str, Any]]]) -> None:
        """Create and configure many namespaces, all or none.

        Raises:
            Refused: as `create`.
        """
        for name, _ in configs:
            self._check_settled(name)
        await self.managed.import_all(configs)

    async def delete(self, name: str) -> None:
        """Delete a namespace, whoever has made it, and end its sessions; a missing one is no error.

        Raises:
            StoreError: it is closed, but what belongs to it is still there; deleting it again, or a restart, goes on.
        """
        await self.managed.bury(name)
        await self._remove(name)
        tenant = self._tenants.known(name)
        if tenant is not None and tenant.session_count:
            self.kicker.start_last(tenant, lambda: self._finish_later(name))
        elif not self.kicker.is_running(name):
            await self._finish(name)
        for quota in ("max_sessions", "max_conn_rate", *_CORE_QUOTAS):
            self._alarms.clear_soon(_alarm(quota, name))

    async def delete_all(self, names: list[str]) -> dict[str, str]:
        """Delete namespaces; return why it failed by the names of those of which it did."""
        failed: dict[str, str] = {}
        for name in names:
            try:
                await self.delete(name)
            except BrokerError as error:
                failed[name] = str(error)
        return failed

    def kick_all(self, name: str) -> None:
        """Begin to end all sessions of a namespace.

        Raises:
            Refused: `NOT_FOUND`; `CONFLICT`: that is being done.
        """
        self.kicker.start(self._get(name))

    # Sections that a namespace may have in EMQX

    def export_sections(self, names: list[str]) -> dict[str, dict[str, Any]]:
        """Return the sections of managed namespaces; they are empty.

        Raises:
            Refused: `BAD_REQUEST` with what is not known.
        """
        unknown = [name for name in names if self.managed.find(name) is None]
        if unknown:
            raise UnknownNamespaces(unknown)
        return {name: {root: {} for root in ROOTS} for name in names}

    def import_sections(self, configs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """Check sections of managed namespaces and return them; nothing can be kept, hence nothing is changed.

        Raises:
            Refused: `BAD_REQUEST`: a namespace is not known, or a section holds something.
        """
        exported = self.export_sections(list(configs))
        errors = {}
        for name, sections in configs.items():
            details = [
                f"unknown section: {root!r}" if root not in ROOTS else f"nothing of that kind exists here: {root!r}"
                for root, section in sections.items()
                if root not in ROOTS or section
            ]
            if details:
                errors[name] = {"reason": "bad_resulting_configuration", "details": details}
        if errors:
            raise BadSections(errors)
        return exported

    async def _finish(self, name: str) -> None:
        """Drop what the sessions of a deleted namespace have left, and free its name."""
        await self.managed.clear(name)
        await self.managed.lift(name)

    async def _finish_later(self, name: str) -> None:
        """Finish a deletion that nobody waits for any more; where it fails, the tombstone stays."""
        try:
            await self._finish(name)
        except StoreError as error:
            logger.error("namespace_removal_failed", namespace=name, reason=str(error))

    def _get(self, name: str) -> Tenant:
        tenant = self._tenants.known(name)
        if tenant is None:
            raise Refused("NOT_FOUND", "Namespace not found")
        return tenant

    def _check_settled(self, name: str) -> None:
        if self.kicker.is_running(name):
            raise Refused("CONFLICT", f"clients are still being kicked: {name!r}")

    def _on_quota(self, crossing: QuotaCrossing) -> None:
        name, quota = crossing.namespace, crossing.quota
        message = f"namespace {name} has reached its quota: {quota}"
        self._alarms.follow_soon(
            _alarm(quota, name), crossing.is_exceeded, message, {"namespace": name, "quota": quota}
        )


class UnknownNamespaces(Refused):
    """Namespaces that no operator has created.

    Args:
        names: of them.
    """

    def __init__(self, names: list[str]) -> None:
        super().__init__("BAD_REQUEST", "unknown_namespaces")
        self.names = names


class BadSections(Refused):
    """Sections that cannot be imported.

    Args:
        errors: by namespace.
    """

    def __init__(self, errors: dict[str, dict[str, Any]]) -> None:
        super().__init__("BAD_REQUEST", "errors_importing_configurations")
        self.errors = errors


def _alarm(quota: str, name: str) -> str:
    return f"namespace_quota/{quota}/{name}"
