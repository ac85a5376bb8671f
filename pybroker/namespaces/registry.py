"""The namespaces that are known, the sessions of each, and the places that applicants hold in them.

A namespace is known from its first session on, or once an operator has created it. A place is one client id of one
namespace: it is held by an applicant from the gate on, by its session after that, and counted once. Everything happens
on the loop, so a quota holds exactly, however many applicants wait for their authentication at a time.
"""

from collections.abc import Iterator
from heapq import nsmallest

from pybroker.clock import Clock
from pybroker.events import Client, EventBus
from pybroker.namespaces.rate import TokenBucket
from pybroker.types import ClientId, Namespace

MAX_IDLE = 10_000
"""Namespaces that nobody created and nobody is in; of more the oldest is forgotten: names that clients make up must not
fill the memory."""

MAX_IDLE_NAME = 256
"""Characters of a name that is remembered while nobody is in it; an operator can create no longer one."""


class Tenant:
    """One namespace. `created_at_ms` (wall clock) 0: nobody but applicants is in it, so it is not known yet.

    `is_broken`: its stored configuration cannot be read. `is_full`: somebody was refused because of `max_sessions`.
    `is_leaving`: it was deleted, and goes with the last of those who were in it then.
    `places`: client ids with their session, `None` while only applicants hold the place.

    Args:
        name: of the namespace.
    """

    __slots__ = (
        "_reserved",
        "connect_rate",
        "created_at_ms",
        "is_broken",
        "is_full",
        "is_leaving",
        "is_managed",
        "max_sessions",
        "name",
        "places",
        "session_count",
    )

    def __init__(self, name: Namespace) -> None:
        self.name = name
        self.created_at_ms = 0
        self.is_managed = False
        self.is_broken = False
        self.is_full = False
        self.is_leaving = False
        self.max_sessions: int | None = None
        self.connect_rate: TokenBucket | None = None
        self.session_count = 0
        self.places: dict[ClientId, Client | None] = {}
        self._reserved: dict[ClientId, int] | None = None

    @property
    def is_known(self) -> bool:
        """Whether it had a session or was created by an operator."""
        return self.created_at_ms != 0

    @property
    def sessions(self) -> Iterator[Client]:
        """Iterate over its sessions, oldest place first; nobody may come or go meanwhile."""
        return (session for session in self.places.values() if session is not None)

    def reserve(self, client_id: ClientId) -> None:
        """Hold a place for an applicant; two of one client id share it."""
        if self._reserved is None:
            self._reserved = {}
        self._reserved[client_id] = self._reserved.get(client_id, 0) + 1
        self.places.setdefault(client_id, None)

    def release(self, client_id: ClientId) -> None:
        """Give back what `reserve` has held once."""
        reserved = self._reserved
        if reserved is None:
            return
        left = reserved[client_id] - 1
        if left:
            reserved[client_id] = left
            return
        del reserved[client_id]
        if self.places[client_id] is None:
            del self.places[client_id]
        if not reserved:
            self._reserved = None

    def enter(self, session: Client) -> None:
        """Give a place to a session that begins."""
        self.places[session.client_id] = session
        self.session_count += 1

    def leave(self, session: Client) -> None:
        """Take its place from a session that ends, unless an applicant waits for it."""
        if self.places.get(session.client_id) is not session:
            return
        self.session_count -= 1
        if self._reserved is not None and session.client_id in self._reserved:
            self.places[session.client_id] = None
        else:
            del self.places[session.client_id]


class Tenants:
    """Every namespace.

    Args:
        clock: tells when a namespace began.
        events: tells which sessions begin and end.
    """

    def __init__(self, clock: Clock, events: EventBus) -> None:
        self._clock = clock
        self._by_name: dict[Namespace, Tenant] = {}
        self._idle: dict[Namespace, None] = {}
        self._sorted: list[Namespace] | None = None
        events.session_created.listen(self._on_created)
        events.session_discarded.listen(self._on_ended)
        events.session_terminated.listen(self._on_ended)

    def __iter__(self) -> Iterator[Tenant]:
        """Iterate over a copy of the list of known namespaces, in no order."""
        return iter([tenant for tenant in self._by_name.values() if tenant.is_known])

    def find(self, name: Namespace) -> Tenant | None:
        """Return a namespace, known or not; `None` if not even an applicant is in it."""
        return self._by_name.get(name)

    def known(self, name: str) -> Tenant | None:
        """Return a known namespace, or `None`."""
        tenant = self._by_name.get(Namespace(name))
        return tenant if tenant is not None and tenant.is_known else None

    def at(self, name: Namespace) -> Tenant:
        """Return a namespace; one that is not there begins, not known yet."""
        tenant = self._by_name.get(name)
        if tenant is None:
            tenant = self._by_name[name] = Tenant(name)
        return tenant

    def names(self) -> list[Namespace]:
        """Return the names of the known ones in byte order; sorted again after a change only. Not to be changed."""
        if self._sorted is None:
            # Code points sort as the bytes of UTF-8 do.
            self._sorted = sorted(tenant.name for tenant in self._by_name.values() if tenant.is_known)
        return self._sorted

    def manage(self, name: Namespace, created_at_ms: int) -> Tenant:
        """Take a namespace that an operator has created; it is known from then on."""
        tenant = self.at(name)
        if not tenant.is_known:
            self._sorted = None
        self._idle.pop(name, None)
        tenant.created_at_ms = created_at_ms
        tenant.is_managed = True
        tenant.is_leaving = False
        return tenant

    def unmanage(self, name: Namespace) -> None:
        """Take what an operator has given to a namespace away; it is forgotten when nobody is in it any more."""
        tenant = self._by_name.get(name)
        if tenant is None:
            return
        tenant.is_managed = tenant.is_broken = False
        tenant.max_sessions = tenant.connect_rate = None
        tenant.is_leaving = True
        if not tenant.places:
            self._forget(tenant)

    def drop_if_unused(self, tenant: Tenant) -> None:
        """Forget a namespace that was never known and that nobody waits for any more; one that was is idle now."""
        if tenant.places or tenant.is_managed:
            return
        if tenant.is_known:
            self._on_idle(tenant)
        else:
            self._forget(tenant)

    def unmanaged_sessions(self) -> int:
        """Return how many sessions are in namespaces that nobody created."""
        return sum(tenant.session_count for tenant in self._by_name.values() if not tenant.is_managed)

    def _forget(self, tenant: Tenant) -> None:
        del self._by_name[tenant.name]
        self._idle.pop(tenant.name, None)
        self._sorted = None

    def _on_created(self, session: Client) -> None:
        if session.namespace is None:
            return
        tenant = self.at(session.namespace)
        if not tenant.session_count:
            self._idle.pop(tenant.name, None)
        tenant.enter(session)
        if not tenant.is_known or tenant.is_leaving:
            # Whoever comes after it was deleted makes it anew.
            tenant.is_leaving = False
            tenant.created_at_ms = self._clock.wall_ms()
            self._sorted = None

    def _on_ended(self, session: Client) -> None:
        if session.namespace is None:
            return
        tenant = self._by_name.get(session.namespace)
        if tenant is not None:
            tenant.leave(session)
            if not tenant.places and not tenant.is_managed:
                self._on_idle(tenant)

    def _on_idle(self, tenant: Tenant) -> None:
        """Forget a namespace that nobody is in and nobody created, at once or when too many are so."""
        if tenant.is_leaving or len(tenant.name) > MAX_IDLE_NAME:
            self._forget(tenant)
            return
        self._idle[tenant.name] = None
        if len(self._idle) > MAX_IDLE:
            oldest = self._by_name[next(iter(self._idle))]
            if oldest.places:
                # An applicant waits for it; it comes to the end again with him or his session.
                del self._idle[oldest.name]
            else:
                self._forget(oldest)


def first_client_ids(tenant: Tenant, after: str, count: int, *, is_inclusive: bool) -> list[ClientId]:
    """Return client ids of a namespace in byte order; O(its sessions).

    Args:
        after: where they begin.
        is_inclusive: whether `after` itself belongs to them.
    """
    if is_inclusive:
        return nsmallest(count, (one.client_id for one in tenant.sessions if one.client_id >= after))
    return nsmallest(count, (one.client_id for one in tenant.sessions if one.client_id > after))
