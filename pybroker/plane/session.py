"""The life of a session: opened, resumed, taken over, left, ended; and when its will is sent.

`on_closed` is the only way by which a connection leaves its session. An event whose connection is not the session's
own any more is stale: it settles a parted will and nothing else. Who may connect is not asked here.
"""

from collections.abc import Callable, Coroutine

from pybroker._core import CLOSE_KICKED, CLOSE_NAMES, CLOSE_STALE, CLOSE_TAKEN_OVER, Engine
from pybroker.clock import Clock
from pybroker.events import Client, Departure, EventBus, Signal
from pybroker.plane.deadlines import Deadlines, Handle
from pybroker.plane.registry import NEVER_S, OFFLINE, Registry, Session
from pybroker.plane.rights import RightsEnds
from pybroker.plane.subject import subject_of
from pybroker.plane.will import Wills, delay_s_of
from pybroker.ports import Applicant, Authorizer
from pybroker.types import ClientId, Namespace

SESSION_TAKEN_OVER = 0x8E
ADMINISTRATIVE_ACTION = 0x98


class Sessions:
    """Every session's life.

    Args:
        engine: holds their QoS state.
        registry: finds them; changed here only.
        clock: tells the time.
        events: is told what happens.
        call_later: sets a timer of the loop, in seconds.
        on_end: called with each session that ends, while it is still registered.
        authorizer: judges wills.
        spawn: starts a supervised task, for wills that a remote source must judge.
        max_expiry_s: longest session expiry; 0xFFFFFFFF: no bound.
    """

    def __init__(
        self,
        engine: Engine,
        registry: Registry,
        clock: Clock,
        events: EventBus,
        call_later: Callable[[float, Callable[[], None]], Handle],
        on_end: Callable[[Session], None],
        authorizer: Authorizer,
        spawn: Callable[[str, Coroutine[object, object, object]], object],
        max_expiry_s: int = NEVER_S,
    ) -> None:
        self.max_expiry_s = max_expiry_s
        self._engine = engine
        self._registry = registry
        self._clock = clock
        self._events = events
        self._on_end = on_end
        self._wills = Wills(engine, registry, authorizer, spawn)
        # Connections whose session was given to another one, until their end is reported.
        self._replaced_by: dict[int, int] = {}
        self._deadlines: Deadlines[Session] = Deadlines(clock, call_later, self._on_due)
        self._rights_ends = RightsEnds(events, engine, clock, call_later)

    def open(self, applicant: Applicant) -> tuple[Session, bool]:
        """Give an admitted applicant its session; return it and whether it was there before.

        A live connection with the same client id is ended by the engine, with DISCONNECT 0x8E, when its session is
        dropped or the new connection is accepted. [MQTT5-3.1.4-3] [MQTT3-3.1.4-2]
        """
        session, is_present = self._find_or_create(applicant)
        self._rights_ends.watch(session)
        return session, is_present

    def on_closed(self, conn: int, slot: int, cause: int, reason: int, final_expiry_s: int, sends_will: bool) -> None:
        """Let a connection leave its session.

        Args:
            conn: connection that ended.
            slot: its session's number; any number if it had none.
            cause: index into `CLOSE_NAMES`.
            reason: reason code sent or received.
            final_expiry_s: session expiry that DISCONNECT set; -1: none.
            sends_will: whether the end is one that sends the will. [MQTT5-3.1.2-8] [MQTT5-3.1.2-10]
        """
        self._rights_ends.forget(conn)
        session = self._registry.connected_at(slot, conn)
        if session is None:
            self._replaced_by.pop(conn, None)
            self._wills.on_parted_end(conn, sends_will)
            return
        if cause == CLOSE_STALE:
            self._end_replaced(conn)
        session.conn = OFFLINE
        session.disconnected_at_ms = self._clock.wall_ms()
        # One that ends with its connection, as one that was kicked does, is not prolonged. [MQTT5-3.14.2-2]
        if final_expiry_s >= 0 and session.expiry_s != 0:
            session.expiry_s = min(final_expiry_s, self.max_expiry_s)
        if not sends_will:
            session.will = None
        if self._events.client_disconnected:
            self._events.client_disconnected.emit(Departure(session, CLOSE_NAMES[cause], reason))
        if session.expiry_s == 0:
            self._end(session, self._events.session_terminated)
            return
        self._wait(session)

    def connected_at(self, slot: int, conn: int) -> Session | None:
        """Return the session whose connection `conn` is; `None` if it has none any more."""
        return self._registry.connected_at(slot, conn)

    def kick(
        self, client_id: ClientId, reason: int = ADMINISTRATIVE_ACTION, *, sends_will: bool = True, ends: bool = True
    ) -> bool:
        """End a client's connection by decision of an operator or a rule.

        Args:
            client_id: whom.
            reason: told to a 5.0 client in DISCONNECT.
            sends_will: false where the client is banned: its will is dropped.
            ends: whether its session ends too.

        Returns:
            Whether there was such a session.
        """
        session = self._registry.find(client_id)
        if session is None:
            return False
        if not sends_will:
            session.will = None
        if session.conn != OFFLINE:
            if ends:
                session.expiry_s = 0
            self._engine.disconnect(session.conn, reason, CLOSE_KICKED)
        elif ends:
            self._end(session, self._events.session_terminated)
        return True

    def forget_wills(self, namespace: Namespace) -> None:
        """Send no will any more of the sessions of a namespace that have ended, though access control still thinks."""
        self._wills.forget(namespace)

    def stop(self) -> None:
        """Set no timer any more; sessions and delayed wills end with the process."""
        self._deadlines.stop()
        self._rights_ends.stop()

    def _find_or_create(self, applicant: Applicant) -> tuple[Session, bool]:
        old = self._registry.find(applicant.client_id)
        if old is None:
            return self._create(applicant), False
        is_kept = not applicant.is_clean_start and _can_go_on(old, applicant)
        if old.conn != OFFLINE:
            self._take_over(old, applicant.conn, is_kept)
        if not is_kept:
            # [MQTT5-3.1.2-4] [MQTT3-3.1.2-6] A will that was still delayed is sent before the new session begins.
            self._end(old, self._events.session_discarded)
            return self._create(applicant), False
        self._resume(old, applicant)
        return old, True

    def _create(self, applicant: Applicant) -> Session:
        slot = self._engine.create_session(applicant.client_id, applicant.mountpoint, applicant.namespace)
        self._engine.set_subject(slot, subject_of(applicant))
        session = Session(slot, applicant, self._clock.wall_ms())
        if session.username is not None:
            self._engine.set_username(slot, session.username)
        self._registry.add(session)
        self._events.session_created.emit(session)
        return session

    def _take_over(self, session: Session, conn: int, is_kept: bool) -> None:
        """Take a session from its connection for a newer one; the report of its end arrives later and is stale then."""
        self._wills.part(session, not is_kept)
        self._replaced_by[session.conn] = conn
        session.conn = OFFLINE
        session.disconnected_at_ms = self._clock.wall_ms()
        if self._events.client_disconnected:
            cause = CLOSE_NAMES[CLOSE_TAKEN_OVER] if is_kept else "discarded"
            self._events.client_disconnected.emit(Departure(session, cause, SESSION_TAKEN_OVER))
        if is_kept:
            self._events.session_taken_over.emit(session)

    def _end_replaced(self, conn: int) -> None:
        """End the connection that `conn` was to replace: `conn` had gone, so the engine left the older one alone."""
        for older, newer in self._replaced_by.items():
            if newer == conn:
                self._engine.disconnect(older, SESSION_TAKEN_OVER, CLOSE_TAKEN_OVER)

    def _resume(self, session: Session, applicant: Applicant) -> None:
        if session.deadline is not None:
            self._deadlines.cancel(session.deadline)
            session.deadline = None
        # [MQTT5-3.1.3-9] `attach` replaces the will that was delayed, also by none.
        former = session.username
        session.attach(applicant, self._clock.wall_ms())
        self._engine.set_subject(session.slot, subject_of(applicant))
        if session.username != former:
            self._engine.set_username(session.slot, session.username)
        self._events.session_resumed.emit(session)

    def _wait(self, session: Session) -> None:
        """Set what an offline session waits for: the sending of its will, then its end, whichever there are."""
        now_ms = self._clock.now_ms()
        session.ends_ms = 0 if session.expiry_s == NEVER_S else now_ms + session.expiry_s * 1_000
        due_ms = session.ends_ms
        will = session.will
        if will is not None:
            delay_s = delay_s_of(will, session.expiry_s)
            if delay_s == 0:
                self._wills.send(session)
            else:
                due_ms = now_ms + delay_s * 1_000
        if due_ms:
            session.deadline = self._deadlines.set(session, due_ms)

    def _on_due(self, session: Session) -> None:
        session.deadline = None
        if session.ends_ms and self._clock.now_ms() >= session.ends_ms:
            self._end(session, self._events.session_terminated)
            return
        self._wills.send(session)
        if session.ends_ms:
            session.deadline = self._deadlines.set(session, session.ends_ms)

    def _end(self, session: Session, signal: Signal[Client]) -> None:
        """End an offline session. Its will, if it still has one, goes out first: the session's end is its last date."""
        self._wills.send(session)
        if session.deadline is not None:
            self._deadlines.cancel(session.deadline)
            session.deadline = None
        self._on_end(session)
        self._registry.remove(session)
        self._engine.drop_session(session.slot)
        signal.emit(session)


def _can_go_on(session: Session, applicant: Applicant) -> bool:
    """Return whether a session may be resumed by an applicant who does not ask for a clean start.

    One that ends with its connection ends when that is taken over [MQTT5-3.1.2-23] [MQTT3-3.1.2-6], and one that lived
    below another prefix is of no use.
    """
    ends_now = session.expiry_s == 0 and session.conn != OFFLINE
    return not ends_now and session.mountpoint == applicant.mountpoint and session.namespace == applicant.namespace
