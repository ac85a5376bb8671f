"""The stored lists of access rules, one record for each principal, and what is counted over them.

Memory follows the disk as in every `RecordTable`; counts and the order of names follow with it. Whether a change is
allowed is not decided here.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from pybroker.persistence.records import AccessListRecord, AccessRule, PrincipalKind
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

EVERY_QOS = (0, 1, 2)
CONDITIONS = ("clientid_re", "username_re", "ipaddr", "zone", "zone_re", "listener", "listener_re")
"""Fields of a rule that must hold beside its topic."""

Rules = tuple[AccessRule, ...]
Group = tuple[str | None, PrincipalKind]

_FEW = 64
"""Changes up to which the order of names is mended instead of made anew."""


class Principal(NamedTuple):
    """Whose rules a list has.

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
        self._groups: dict[Group, _Names] = {}
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
        for record in self.records.values():
            self._count(record, len(record.rules))
            self._group(record).add(record.name)

    def rules_of(self, principal: Principal) -> Rules | None:
        """Return the rules of a principal, `None` if it has no list."""
        record = self.get(principal.key)
        return None if record is None else record.rules

    def names(self, namespace: str | None, kind: PrincipalKind) -> Sequence[str]:
        """Return the names that have a list, sorted; not to be changed. O(names) after many changes."""
        group = self._groups.get((namespace, kind))
        return () if group is None else group.in_order()

    def count(self, namespace: str | None, kind: PrincipalKind) -> int:
        """Return how many rules of that kind a namespace has."""
        return self._counts[namespace, kind]

    def principals_of(self, namespace: str | None) -> Iterator[Principal]:
        """Yield every principal of a namespace that has a list."""
        for owner, kind in list(self._groups):
            if owner == namespace:
                for name in list(self.names(owner, kind)):
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
        if before is None and record is not None:
            self._group(record).add(record.name)
        elif before is not None and record is None:
            self._group(before).discard(before.name)
        if before is not None:
            self._count(before, -len(before.rules))
        if record is not None:
            self._count(record, len(record.rules))

    def _group(self, record: AccessListRecord) -> "_Names":
        return self._groups.setdefault((record.namespace, record.kind), _Names())

    def _count(self, record: AccessListRecord, growth: int) -> None:
        self._counts[record.namespace, record.kind] += growth
        self.total += growth


class _Names:
    """The names of one group: a set that is put in order when somebody looks."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._ordered: list[str] = []
        self._changes: list[str] = []

    def add(self, name: str) -> None:
        self._names.add(name)
        self._changes.append(name)

    def discard(self, name: str) -> None:
        self._names.discard(name)
        self._changes.append(name)

    def in_order(self) -> list[str]:
        if len(self._changes) > _FEW:
            self._ordered = sorted(self._names)
        else:
            for name in self._changes:
                at = bisect_left(self._ordered, name)
                is_listed = at < len(self._ordered) and self._ordered[at] == name
                if name in self._names and not is_listed:
                    self._ordered.insert(at, name)
                elif name not in self._names and is_listed:
                    del self._ordered[at]
        self._changes.clear()
        return self._ordered


def core_rule(rule: AccessRule) -> dict[str, object]:
    """Return a rule as the core compiles it."""
    fields: dict[str, object] = {"topic": rule.topic, "permission": rule.permission, "action": rule.action}
    if rule.qos != EVERY_QOS:
        fields["qos"] = rule.qos
    if rule.retain != "all":
        fields["retain"] = rule.retain
    for name in CONDITIONS:
        value = getattr(rule, name)
        if value is not None:
            fields[name] = value
    return fields


def core_lists(lists: Iterable[tuple[Principal, Rules | None]]) -> Iterator[CoreList]:
    """Yield lists as the core compiles them; one that is gone is empty."""
    for principal, rules in lists:
        yield (principal.namespace, principal.kind, principal.name, [core_rule(rule) for rule in rules or ()])
