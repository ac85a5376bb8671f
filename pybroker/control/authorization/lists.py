"""The stored lists of access rules, one record for each principal, and what is counted over them.

Memory follows the disk as in every `RecordTable`; counts and the order of names follow with it. Whether a change is
allowed is not decided here.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import msgspec

from pybroker.control.authorization.names import SortedNames
from pybroker.persistence.records import EVERY_QOS, AccessListRecord, AccessRule, PrincipalKind
from pybroker.persistence.sqlite import Database
from pybroker.persistence.table import Change, RecordTable

__all__ = [
    "CONDITIONS",
    "EVERY_QOS",
    "AccessRule",
    "CoreList",
    "Principal",
    "PrincipalKind",
    "RuleLists",
    "Rules",
    "Updates",
    "core_lists",
    "core_rule",
]

CONDITIONS = ("clientid_re", "username_re", "ipaddr", "zone", "zone_re", "listener", "listener_re")
"""Fields of a rule that must hold beside its topic."""

Rules = tuple[AccessRule, ...]
Group = tuple[str | None, PrincipalKind]


class Principal(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Whose rules a list has. There may be 100,000, which the collector of garbage need not look at.

    Args:
        namespace: `None`: global.
        name: client id or user name; empty for all users.
    """

    namespace: str | None
    kind: PrincipalKind
    name: str

    @property
    def key(self) -> str:
        """Key of the record."""
        return msgspec.json.encode(self).decode()


Updates = Mapping[Principal, Rules | None]
"""New lists by principal; `None`: the principal is gone."""

CoreList = tuple[str | None, PrincipalKind, str, list[Any]]
"""One list as the core compiles it."""


class RuleLists(RecordTable[AccessListRecord]):
    """Every list.

    Args:
        database: keeps them.
    """

    def __init__(self, database: Database) -> None:
        super().__init__(database, "access_list", AccessListRecord)
        self._groups: dict[Group, SortedNames] = {}
        self._allowing = 0
        self._counts: Counter[Group] = Counter()
        self.total = 0
        """Rules of all lists."""

    async def load(self) -> None:
        """Read every list into memory; to be awaited once, before anything else.

        Raises:
            StoreError: a record cannot be read.
        """
        await super().load()
        self._groups.clear()
        self._counts.clear()
        self._allowing = self.total = 0
        for record in self.records.values():
            self._count(record, 1)
            self._group(record).add(record.name)

    def rules_of(self, principal: Principal) -> Rules | None:
        """Return the rules of a principal, `None` if it has no list."""
        record = self.get(principal.key)
        return None if record is None else record.rules

    @property
    def allows_anything(self) -> bool:
        """Whether there is a rule that allows."""
        return self._allowing > 0

    def names(self, namespace: str | None, kind: PrincipalKind) -> SortedNames:
        """Return the names that have a list; not to be changed."""
        group = self._groups.get((namespace, kind))
        return SortedNames() if group is None else group

    def count(self, namespace: str | None, kind: PrincipalKind) -> int:
        """Return how many rules of that kind a namespace has."""
        return self._counts[namespace, kind]

    def principals_of(self, namespace: str | None) -> Iterator[Principal]:
        """Yield every principal of a namespace that has a list."""
        for owner, kind in list(self._groups):
            if owner == namespace:
                for name in self.names(owner, kind):
                    yield Principal(owner, kind, name)

    def namespaces(self) -> list[str | None]:
        """Return the namespaces that have lists, the global one as `None`."""
        return list(dict.fromkeys(namespace for namespace, _ in self._groups))

    def changes(self, updates: Updates) -> list[Change]:
        """Describe new lists for `apply`."""
        return [
            self.remove(principal.key)
            if rules is None
            else self.put(
                principal.key,
                AccessListRecord(namespace=principal.namespace, kind=principal.kind, name=principal.name, rules=rules),
            )
            for principal, rules in updates.items()
        ]

    def follow(self, key: str, record: AccessListRecord | None) -> None:
        """Take a change over into memory; called by `apply` once it is on disk."""
        before = self.get(key)
        super().follow(key, record)
        if before is not None:
            self._count(before, -1)
            if record is None:
                self._group(before).discard(before.name)
        if record is not None:
            self._count(record, 1)
            if before is None:
                self._group(record).add(record.name)

    def _group(self, record: AccessListRecord) -> SortedNames:
        return self._groups.setdefault((record.namespace, record.kind), SortedNames())

    def _count(self, record: AccessListRecord, sign: Literal[1, -1]) -> None:
        growth = sign * len(record.rules)
        self._counts[record.namespace, record.kind] += growth
        self.total += growth
        for rule in record.rules:
            if rule.permission == "allow":
                self._allowing += sign


def core_rule(rule: AccessRule) -> dict[str, object]:
    """Return a rule as the core compiles it: without what is as by default, and without its times."""
    fields: dict[str, object] = msgspec.to_builtins(rule)
    fields.pop("created_ms", None)
    fields.pop("updated_ms", None)
    return fields


def core_lists(lists: Iterable[tuple[Principal, Rules | None]]) -> Iterator[CoreList]:
    """Yield lists as the core compiles them; one that is gone is empty."""
    for principal, rules in lists:
        yield (principal.namespace, principal.kind, principal.name, [core_rule(rule) for rule in rules or ()])
