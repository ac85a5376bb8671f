"""Wills: when one is due, and the wills of connections that were taken over but have not reported their end yet.

Whether a will is sent at all is known to the engine alone, which has read DISCONNECT or not; so the will of a live
connection that loses its session waits here for the report of its end.
"""

from collections.abc import Awaitable, Callable, Coroutine
from typing import NamedTuple

import structlog

from pybroker._core import AccessSubject, Engine, Will
from pybroker.plane.registry import NEVER_S, Registry, Session
from pybroker.ports import Authorizer
from pybroker.types import ClientId, Mountpoint, Namespace

logger = structlog.get_logger(__name__)

NOT_AUTHORIZED = 0x87
NO_SESSION = -1
"""Session of a will whose client has none any more."""


class PartedWill(NamedTuple):
    """The will of a connection whose session went on or ended without it."""

    will: Will
    client_id: ClientId
    mountpoint: Mountpoint
    namespace: Namespace | None
    subject: AccessSubject | None


def delay_s_of(will: Will, expiry_s: int) -> int:
    """Return the seconds from the end of the connection to the sending of its will: the earlier of both ends.

    Spec: MQTT 5.0, 3.1.3.2.2. [MQTT5-3.1.2-8]
    """
    return will.delay_s if expiry_s == NEVER_S else min(will.delay_s, expiry_s)


class Wills:
    """The wills that were accepted.

    Args:
        engine: publishes them.
        registry: finds the session that a client has now.
        authorizer: judges a will when it is about to be sent.
        spawn: starts a supervised task, for a will that a remote source must judge.
    """

    __slots__ = ("_authorizer", "_awaited", "_engine", "_parted", "_registry", "_spawn")

    def __init__(
        self,
        engine: Engine,
        registry: Registry,
        authorizer: Authorizer,
        spawn: Callable[[str, Coroutine[object, object, object]], object],
    ) -> None:
        self._engine = engine
        self._registry = registry
        self._authorizer = authorizer
        self._spawn = spawn
        self._parted: dict[int, PartedWill] = {}
        self._awaited: dict[int, PartedWill] = {}

    def __len__(self) -> int:
        """Return how many wills wait for the end of a connection that was taken over."""
        return len(self._parted)

    def part(self, session: Session, ends_session: bool) -> None:
        """Take the will from a live session whose connection is being taken over.

        It will be sent unless its client has just said goodbye, or its delay gives the session the time to go on.
        [MQTT5-3.1.3-9] [MQTT3-3.1.2-8]
        """
        will = session.will
        if will is None:
            return
        session.will = None
        if ends_session or will.delay_s == 0:
            self._parted[session.conn] = self._parted_from(session, will)

    def on_parted_end(self, conn: int, sends_will: bool) -> None:
        """Send the will of a taken-over connection now that its end is reported, if it had one."""
        parted = self._parted.pop(conn, None)
        if parted is None or not sends_will:
            return
        self._publish(parted)

    def send(self, session: Session) -> None:
        """Send the will of a session now, if it has one; a will is sent once.

        Spec: [MQTT5-3.1.2-10]
        """
        will = session.will
        if will is None:
            return
        session.will = None
        self._publish(self._parted_from(session, will))

    def forget(self, namespace: Namespace) -> None:
        """Send none of the wills of a namespace that wait for the end of a connection or for a remote source."""
        for waiting in (self._parted, self._awaited):
            for key in [key for key, parted in waiting.items() if parted.namespace == namespace]:
                del waiting[key]

    def _parted_from(self, session: Session, will: Will) -> PartedWill:
        subject = self._engine.subject(session.slot)
        return PartedWill(will, session.client_id, session.mountpoint, session.namespace, subject)

    def _publish(self, parted: PartedWill) -> None:
        """Judge a will as its client was when it had it, and publish it if it may."""
        reason = 0 if parted.subject is None else self._authorizer.judge_will(parted.subject, parted.will)
        if isinstance(reason, int):
            self._conclude(parted, reason)
        else:
            self._awaited[id(parted)] = parted
            self._spawn("authorize_will", self._finish(parted, reason))

    async def _finish(self, parted: PartedWill, awaited: Awaitable[int]) -> None:
        reason = NOT_AUTHORIZED
        try:
            reason = await awaited
        finally:
            if self._awaited.pop(id(parted), None) is not None:
                self._conclude(parted, reason)

    def _conclude(self, parted: PartedWill, reason: int) -> None:
        will, client_id = parted.will, parted.client_id
        if reason == 0:
            session = self._registry.find(client_id)
            slot = NO_SESSION if session is None else session.slot
            reason = self._engine.publish_will(will, slot, client_id, parted.mountpoint, parted.namespace)
        if reason >= 0x80:
            logger.warning("will_dropped", clientid=client_id, topic=will.topic, reason=reason)
