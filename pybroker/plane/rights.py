"""Clients whose rights end at a time that their login has set: their connection ends then, or goes on without rights.

Only clients whose verdict names such a time cost anything here. What their checks say from then on is the core's.
"""

from collections.abc import Callable

from pybroker._core import CLOSE_KICKED, Engine
from pybroker.clock import Clock
from pybroker.events import EventBus
from pybroker.plane.deadlines import Deadline, Deadlines, Handle
from pybroker.plane.registry import Session

NOT_AUTHORIZED = 0x87


class RightsEnds:
    """The ends that are awaited, one a connection.

    Args:
        events: is told of those who stay without their rights.
        engine: ends connections.
        clock: tells the time; a wall clock that jumps moves no end that is awaited already.
        call_later: sets a timer of the loop, in seconds.
    """

    def __init__(
        self,
        events: EventBus,
        engine: Engine,
        clock: Clock,
        call_later: Callable[[float, Callable[[], None]], Handle],
    ) -> None:
        self._events = events
        self._engine = engine
        self._clock = clock
        self._deadlines: Deadlines[tuple[Session, int]] = Deadlines(clock, call_later, self._on_due)
        self._awaited: dict[int, Deadline[tuple[Session, int]]] = {}

    def __len__(self) -> int:
        return len(self._awaited)

    def watch(self, session: Session) -> None:
        """Wait for the end of the rights of a session's connection; nothing to do if they do not end."""
        if session.expire_at_s is None:
            return
        left_ms = session.expire_at_s * 1_000 - self._clock.wall_ms()
        due_ms, conn = self._clock.now_ms() + max(0, left_ms), session.conn
        self._awaited[conn] = self._deadlines.set((session, conn), due_ms)

    def forget(self, conn: int) -> None:
        """Await nothing for a connection that has ended."""
        if self._awaited and (deadline := self._awaited.pop(conn, None)) is not None:
            self._deadlines.cancel(deadline)

    def stop(self) -> None:
        """Set no timer any more."""
        self._deadlines.stop()
        self._awaited.clear()

    def _on_due(self, owner: tuple[Session, int]) -> None:
        session, conn = owner
        del self._awaited[conn]
        if session.disconnects_at_expiry:
            self._engine.disconnect(conn, NOT_AUTHORIZED, CLOSE_KICKED)
        else:
            self._events.rights_ended.emit(session)
