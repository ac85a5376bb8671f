"""The decisions that are kept for one connected client."""

import asyncio
from typing import NamedTuple

from pybroker.clock import Clock
from pybroker.control.clients import Clients
from pybroker.control.plane import Plane


class KeptDecision(NamedTuple):
    """A decision on a publication.

    Args:
        decided_ms: wall time.
    """

    topic: str
    qos: int
    retain: bool
    is_allowed: bool
    decided_ms: int


class KeptDecisions:
    """Reader of what is kept.

    Args:
        plane: keeps it.
        clients: finds the client.
        clock: tells the time.
    """

    def __init__(self, plane: Plane, clients: Clients, clock: Clock) -> None:
        self._plane = plane
        self._clients = clients
        self._clock = clock

    async def of(self, client_id: str) -> list[KeptDecision]:
        """Return what is kept for a client, oldest first; nothing for one that is not connected.

        Raises:
            Refused: `CLIENTID_NOT_FOUND`.
        """
        session = self._clients.find(client_id)
        rows = await asyncio.to_thread(self._plane.engine.access_cache, session.slot) if session.is_online else []
        now_ms = self._clock.wall_ms()
        return [KeptDecision(topic, qos, retain, allowed, now_ms - age) for topic, qos, retain, allowed, age in rows]

    def forget(self, client_id: str) -> None:
        """Forget what is kept for a client.

        Raises:
            Refused: `CLIENTID_NOT_FOUND`.
        """
        self._plane.engine.forget_access(self._clients.find(client_id).slot)
