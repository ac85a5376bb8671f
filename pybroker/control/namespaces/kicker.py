"""Ending all sessions of a namespace: in batches, with a pause after each, one run for a namespace at a time."""

import asyncio
from collections.abc import Awaitable, Callable

from pybroker.control.plane import Plane
from pybroker.errors import Refused
from pybroker.namespaces.registry import Tenant
from pybroker.types import ClientId

BATCH = 1_000
PAUSE_S = 0.25
"""Pause after each batch. Contract: namespaces, 5.5."""


class Kicker:
    """Ends sessions; queued messages are lost, 5.0 clients are told 0x98, wills are sent.

    Args:
        plane: has the sessions.
        pause: waits for some seconds.
    """

    def __init__(self, plane: Plane, pause: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
        self._plane = plane
        self._pause = pause
        self._running: dict[str, asyncio.Task[None]] = {}

    def is_running(self, namespace: str) -> bool:
        """Whether clients of a namespace are still being ended."""
        return namespace in self._running

    def start(self, tenant: Tenant) -> None:
        """End every session that a namespace has now.

        Raises:
            Refused: `CONFLICT`: that is being done.
        """
        name = str(tenant.name)
        if name in self._running:
            raise Refused("CONFLICT", "Kick process already underway")
        client_ids = [session.client_id for session in tenant.sessions]
        self._running[name] = asyncio.get_running_loop().create_task(self._run(tenant, client_ids))

    async def settle(self) -> None:
        """Wait until nothing is being done any more."""
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    def stop(self) -> None:
        """Leave the rest of the clients alone; the broker stops."""
        for task in self._running.values():
            task.cancel()

    async def _run(self, tenant: Tenant, client_ids: list[ClientId]) -> None:
        try:
            for start in range(0, len(client_ids), BATCH):
                if start:
                    await self._pause(PAUSE_S)
                for client_id in client_ids[start : start + BATCH]:
                    # One that has gone to another namespace meanwhile is left alone.
                    if tenant.places.get(client_id) is not None:
                        self._plane.sessions.kick(client_id)
        finally:
            del self._running[str(tenant.name)]
