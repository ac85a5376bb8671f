"""The managed namespaces: names that an operator has created, what they may use, and that it holds in the plane.

The one table that roles of users and keys are checked against. A record that is marked as deleted is a tombstone: to
everybody but its remover the namespace is gone, and its name cannot be taken yet.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import structlog

from pybroker.clock import Clock
from pybroker.config.schema import Config
from pybroker.control.configuration import Configuration
from pybroker.control.namespaces import limits
from pybroker.control.plane import Plane
from pybroker.errors import Refused
from pybroker.namespaces.rate import TokenBucket
from pybroker.namespaces.registry import Tenant
from pybroker.persistence.records import NamespaceRecord
from pybroker.persistence.sqlite import Database
from pybroker.persistence.table import RecordTable, apply
from pybroker.plane.attributes import can_be_mountpoint
from pybroker.types import Namespace

logger = structlog.get_logger(__name__)

MAX_NAMESPACES = 1_000
"""Managed namespaces. Contract: namespaces, 5.2."""

MAX_NAME_BYTES = 256


class ManagedNamespaces:
    """Names that an operator has created.

    Args:
        database: keeps them.
        clock: tells the time.
        configuration: knows the reserved names.
        plane: judges and limits by them.
    """

    def __init__(self, database: Database, clock: Clock, configuration: Configuration, plane: Plane) -> None:
        self._database = database
        self._clock = clock
        self._configuration = configuration
        self._plane = plane
        self._lock = asyncio.Lock()
        self.table = RecordTable(database, "namespace", NamespaceRecord)

    async def load(self) -> None:
        """Read what is stored and put it into force; a configuration that is not valid any more closes its namespace.

        Raises:
            StoreError: a record cannot be read.
        """
        await self.table.load()
        for record in self.table:
            if record.is_deleted:
                continue
            try:
                limits.merge({}, record.config)
            except Refused as error:
                logger.error("namespace_config_broken", namespace=record.name, reason=str(error.message))
                self._tenant_of(record).is_broken = True
                continue
            self._put_in_force(record)

    @property
    def denied(self) -> tuple[str, ...]:
        """Names that no namespace may have."""
        return self._configuration.current.multi_tenancy.deny_namespaces

    @property
    def tombstones(self) -> list[str]:
        """Names whose removal has not been finished."""
        return [record.name for record in self.table if record.is_deleted]

    def names(self) -> list[str]:
        """Return every managed name in byte order; there are at most 1,000."""
        return sorted(record.name for record in self.table if not record.is_deleted)

    def find(self, name: str) -> NamespaceRecord | None:
        """Return a managed namespace, or `None`."""
        record = self.table.get(name)
        return None if record is None or record.is_deleted else record

    def get(self, name: str) -> NamespaceRecord:
        """Return a managed namespace.

        Raises:
            Refused: `NOT_FOUND`.
        """
        record = self.find(name)
        if record is None:
            raise Refused("NOT_FOUND", "Managed namespace not found")
        return record

    def check(self, namespace: str | None) -> None:
        """Check that a namespace exists; `None` is the global one and always does.

        Raises:
            Refused: `BAD_REQUEST` with an object that names it.
        """
        if namespace is not None and self.find(namespace) is None:
            raise Refused("BAD_REQUEST", {"reason": "unknown_namespace", "namespace": namespace})

    async def add(self, name: str) -> None:
        """Create a namespace; one that exists is left as it is.

        Raises:
            Refused: `BAD_REQUEST`: the name cannot be used, or the table is full.
        """
        if self.find(name) is None:
            await self.create(name)

    async def create(self, name: str) -> NamespaceRecord:
        """Create a namespace; it takes over the default number of sessions, if there is one.

        Raises:
            Refused: `BAD_REQUEST`: the name cannot be used, is taken, is still being deleted, or the table is full.
        """
        async with self._lock:
            self._check_names([name])
            present = self.table.get(name)
            if present is not None:
                raise Refused("BAD_REQUEST", "namespace_being_deleted" if present.is_deleted else "already_exists")
            self._check_room(1)
            record = self._new(name)
            await apply(self._database, self.table.put(name, record))
            self._put_in_force(record)
        return record

    async def configure(self, name: str, sent: Mapping[str, Any]) -> NamespaceRecord:
        """Put a configuration over that of a namespace.

        Raises:
            Refused: `NOT_FOUND`; `BAD_REQUEST`: something of it is wrong, nothing has changed.
        """
        async with self._lock:
            record = self.get(name)
            record = msgspec.structs.replace(record, config=limits.merge(record.config, sent))
            await apply(self._database, self.table.put(name, record))
            self._put_in_force(record)
        return record

    async def import_all(self, configs: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Create and configure many namespaces, all or none of them.

        Raises:
            Refused: `BAD_REQUEST`: a name comes twice or cannot be used, something is wrong, or the table is full.
        """
        async with self._lock:
            names = [name for name, _ in configs]
            twice = sorted(name for name, times in Counter(names).items() if times > 1)
            if twice:
                raise Refused("BAD_REQUEST", f"Duplicated namespaces in input: {', '.join(twice)}")
            self._check_names(names)
            deleted = [name for name in names if (present := self.table.get(name)) and present.is_deleted]
            if deleted:
                raise Refused("BAD_REQUEST", f"namespace_being_deleted: {', '.join(deleted)}")
            self._check_room(sum(name not in self.table.records for name in names))
            records = []
            for name, sent in configs:
                record = self.table.get(name) or self._new(name)
                try:
                    merged = limits.merge(record.config, sent)
                except Refused as error:
                    raise Refused(error.code, f"{name}: {error.message}") from None
                records.append(msgspec.structs.replace(record, config=merged))
            await apply(self._database, *(self.table.put(record.name, record) for record in records))
            for record in records:
                self._put_in_force(record)

    async def bury(self, name: str) -> None:
        """Mark a namespace as deleted: it is closed at once, and its name is free when it was removed."""
        async with self._lock:
            record = self.table.get(name)
            if record is not None and not record.is_deleted:
                stone = NamespaceRecord(name=name, created_ms=record.created_ms, is_deleted=True)
                await apply(self._database, self.table.put(name, stone))
            self._plane.namespaces.tenants.unmanage(Namespace(name))
            self._plane.engine.drop_namespace(name)

    async def clear(self, name: str) -> None:
        """Drop what the clients of a namespace have published before it was deleted, or while they were ended.

        Nothing of that must reach a namespace that takes the name later.
        """
        self._plane.sessions.forget_wills(Namespace(name))
        mountpoint = f"{name}/" if self._plane.namespaces.settings.has_mountpoints else ""
        dropped = await asyncio.to_thread(self._plane.engine.empty_namespace, name, mountpoint)
        if dropped:
            logger.info("namespace_messages_dropped", namespace=name, messages=dropped)

    async def lift(self, name: str) -> None:
        """Free the name of a namespace of which nothing is left."""
        record = self.table.get(name)
        if record is not None and record.is_deleted:
            await apply(self._database, self.table.remove(name))

    def follow(self, before: Config, after: Config) -> None:
        """Take over what a changed configuration says about every namespace."""
        if before.limiter == after.limiter:
            return
        for record in self.table:
            tenant = self._plane.namespaces.tenants.known(record.name)
            if not record.is_deleted and tenant is not None and not tenant.is_broken:
                self._plane.engine.set_namespace(
                    record.name, limits.engine_limits(record.config, after.limiter.on_exceed)
                )

    def _new(self, name: str) -> NamespaceRecord:
        most = self._configuration.current.multi_tenancy.default_max_sessions
        config = {} if most is None else {"session": {"max_sessions": most}}
        return NamespaceRecord(name=name, created_ms=self._clock.wall_ms(), config=config)

    def _tenant_of(self, record: NamespaceRecord) -> Tenant:
        return self._plane.namespaces.tenants.manage(Namespace(record.name), record.created_ms)

    def _put_in_force(self, record: NamespaceRecord) -> None:
        tenant = self._tenant_of(record)
        tenant.is_broken = False
        rate, now = limits.connect_rate(record.config), tenant.connect_rate
        if rate is None:
            bucket = None
        elif now is not None and (now.count, now.period_ms) == (rate.count, rate.period_ms):
            bucket = now
        else:
            bucket = TokenBucket(rate.count, rate.period_ms, self._clock.now_ms())
        self._plane.namespaces.limit(tenant, limits.max_sessions(record.config), bucket)
        on_exceed = self._configuration.current.limiter.on_exceed
        self._plane.engine.set_namespace(record.name, limits.engine_limits(record.config, on_exceed))

    def _check_names(self, names: Sequence[str]) -> None:
        denied = [name for name in names if name in self.denied]
        if denied:
            raise Refused("BAD_REQUEST", f"Denied namespace name(s) cannot be used: {', '.join(denied)}")
        for name in names:
            if not can_be_mountpoint(name) or len(name.encode()) > MAX_NAME_BYTES:
                raise Refused(
                    "BAD_REQUEST",
                    f"namespace must have 1 to {MAX_NAME_BYTES} bytes, no '+', '#', '/' or control character, and no "
                    f"'$' at its beginning: {name!r}",
                )

    def _check_room(self, more: int) -> None:
        if len(self.names()) + more > MAX_NAMESPACES:
            raise Refused("BAD_REQUEST", "Maximum number of managed namespaces reached")
