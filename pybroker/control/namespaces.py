"""The managed namespaces: the one table that roles of users and keys are checked against."""

from pybroker.clock import Clock
from pybroker.control.configuration import Configuration
from pybroker.errors import Refused
from pybroker.persistence.records import NamespaceRecord
from pybroker.persistence.sqlite import Database
from pybroker.persistence.table import Change, RecordTable, apply


class ManagedNamespaces:
    """Names that an operator has created.

    Args:
        database: keeps them.
        clock: tells the time.
        configuration: knows the reserved names.
    """

    def __init__(self, database: Database, clock: Clock, configuration: Configuration) -> None:
        self._database = database
        self._clock = clock
        self._configuration = configuration
        self.table = RecordTable(database, "namespace", NamespaceRecord)

    @property
    def denied(self) -> tuple[str, ...]:
        """Names that no namespace may have."""
        return self._configuration.current.multi_tenancy.deny_namespaces

    def check(self, namespace: str | None) -> None:
        """Check that a namespace exists; `None` is the global one and always does.

        Raises:
            Refused: `BAD_REQUEST` with an object that names it.
        """
        if namespace is not None and self.table.get(namespace) is None:
            raise Refused("BAD_REQUEST", {"reason": "unknown_namespace", "namespace": namespace})

    async def add(self, name: str) -> None:
        """Create a namespace; one that exists is left as it is.

        Raises:
            Refused: `BAD_REQUEST`: the name is empty or reserved.
        """
        if not name or name in self.denied:
            raise Refused("BAD_REQUEST", f"namespace name is reserved: {name!r}")
        if self.table.get(name) is None:
            record = NamespaceRecord(name=name, created_ms=self._clock.wall_ms())
            await apply(self._database, self.table.put(name, record))

    async def remove(self, name: str, *with_it: Change) -> None:
        """Delete a namespace and, in the same transaction, what belongs to it."""
        await apply(self._database, self.table.remove(name), *with_it)
