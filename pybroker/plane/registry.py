"""`Session`, and the index that finds it by client id or by its number in the engine.

An idle client costs one `Session`, two entries of the index and its own strings; everything else is shared.
Client ids name sessions for the whole broker: where namespaces isolate them, the id that arrives here is the rendered
one. The rules of a session's life stand in `session.py`, none here.
"""

from collections.abc import Iterator, Mapping
from itertools import islice

from pybroker._core import Will
from pybroker.plane.deadlines import Deadline
from pybroker.ports import Applicant, ClientAcl, ListenerTraits
from pybroker.types import ClientId, Mountpoint, Namespace, Username

NEVER_S = 0xFFFF_FFFF
"""Session expiry that means without end. Spec: MQTT 5.0, 3.1.2.11.2."""

OFFLINE = -1
"""`Session.conn` while no connection is attached."""


class Session:
    """One client: who it is, and its connection while there is one.

    `ends_ms` (monotonic) and `deadline` mean something only while it is offline; `ends_ms` 0: without end. What
    authentication found (`attributes`, `acl`, `expire_at_s`, ...) is that of the last connection.

    Args:
        slot: number of its state in the engine.
        applicant: who was let in.
        created_at_ms: wall clock.
    """

    __slots__ = (
        "acl",
        "attributes",
        "client_id",
        "conn",
        "connected_at_ms",
        "created_at_ms",
        "deadline",
        "declared_client_id",
        "disconnected_at_ms",
        "disconnects_at_expiry",
        "ends_ms",
        "expire_at_s",
        "expiry_s",
        "is_clean_start",
        "is_superuser",
        "keep_alive_s",
        "listener",
        "mountpoint",
        "namespace",
        "peer",
        "slot",
        "username",
        "version",
        "will",
        "zone",
    )

    def __init__(self, slot: int, applicant: Applicant, created_at_ms: int) -> None:
        self.slot = slot
        self.client_id: ClientId = applicant.client_id
        self.declared_client_id: ClientId = applicant.declared_client_id
        self.namespace: Namespace | None = applicant.namespace
        self.mountpoint: Mountpoint = applicant.mountpoint
        self.created_at_ms = created_at_ms
        self.disconnected_at_ms = 0
        self.deadline: Deadline[Session] | None = None
        self.ends_ms = 0
        self.attach(applicant, created_at_ms)

    def attach(self, applicant: Applicant, now_ms: int) -> None:
        """Take what belongs to the connection from the applicant; the session goes on with it."""
        self.conn = applicant.conn
        self.username: Username | None = applicant.username
        self.peer: str = applicant.peer
        self.listener: ListenerTraits = applicant.listener
        self.version = applicant.version
        self.keep_alive_s = applicant.keep_alive_s
        self.expiry_s = applicant.expiry_s
        self.is_clean_start = applicant.is_clean_start
        self.is_superuser = applicant.is_superuser
        self.zone: str = applicant.zone
        self.attributes: Mapping[str, str] | None = applicant.attributes
        self.acl: ClientAcl | None = applicant.acl
        self.expire_at_s: int | None = applicant.expire_at_s
        self.disconnects_at_expiry = applicant.disconnects_at_expiry
        self.will: Will | None = applicant.connect.will
        self.connected_at_ms = now_ms

    @property
    def is_online(self) -> bool:
        """Whether a connection is attached."""
        return self.conn != OFFLINE


class Registry:
    """Every session of the broker, connected or not."""

    __slots__ = ("_by_client_id", "_by_slot")

    def __init__(self) -> None:
        self._by_client_id: dict[ClientId, Session] = {}
        self._by_slot: list[Session | None] = []

    def __len__(self) -> int:
        return len(self._by_client_id)

    def __iter__(self) -> Iterator[Session]:
        """Iterate over a copy of the list of sessions, oldest entry first; O(n)."""
        return iter(list(self._by_client_id.values()))

    def find(self, client_id: ClientId) -> Session | None:
        """Return the session of a client, or `None`."""
        return self._by_client_id.get(client_id)

    def at(self, slot: int) -> Session | None:
        """Return the session of an engine's number, or `None`; any integer may be asked for."""
        if 0 <= slot < len(self._by_slot):
            return self._by_slot[slot]
        return None

    @property
    def slots(self) -> int:
        """One more than the highest number that a session has had."""
        return len(self._by_slot)

    def window(self, slot: int, width: int) -> list[Session]:
        """Return the sessions whose numbers are from `slot` on, below `slot + width`, in that order; O(width)."""
        return [session for session in self._by_slot[slot : slot + width] if session is not None]

    def page(self, offset: int, limit: int) -> list[Session]:
        """Return up to `limit` sessions behind the first `offset`, by their numbers; O(offset), nothing is copied."""
        return list(islice(filter(None, self._by_slot), offset, offset + limit))

    def connected_at(self, slot: int, conn: int) -> Session | None:
        """Return the session of a number if `conn` is its connection now, else `None`: the event is stale."""
        if 0 <= slot < len(self._by_slot):
            session = self._by_slot[slot]
            if session is not None and session.conn == conn:
                return session
        return None

    def add(self, session: Session) -> None:
        """Enter a session; neither its client id nor its slot may be taken."""
        by_slot = self._by_slot
        # The engine hands numbers out from 0 and reuses them, so the list stays as long as the most sessions at a time.
        if session.slot >= len(by_slot):
            by_slot.extend([None] * (session.slot + 1 - len(by_slot)))
        by_slot[session.slot] = session
        self._by_client_id[session.client_id] = session

    def remove(self, session: Session) -> None:
        """Take a session out; it must be in."""
        self._by_slot[session.slot] = None
        del self._by_client_id[session.client_id]
