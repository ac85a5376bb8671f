"""Ending all sessions of a namespace: in batches, with a pause after each, one run for a namespace at a time.

A run is over when the sessions have ended, not when that was asked for: until then their wills may come.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine

from pybroker.control.plane import Plane
from pybroker.errors import Refused
from pybroker.namespaces.registry import Tenant

BATCH = 1_000
PAUSE_S = 0.25
"""Pause after each batch. Contract: namespaces, 5.5."""

LOOK_S = 0.05
"""Pause between two looks at connections that are still being closed."""


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
        self._begin(name, self._end_all(tenant))

    def start_last(self, tenant: Tenant, finish: Callable[[], Awaitable[None]]) -> None:
        """End every session that a namespace has, after those that are being ended, and then finish its deletion."""

        async def work() -> None:
            if former is not None:
                await asyncio.wait([former])
            await self._end_all(tenant)
            await finish()

        former = self._running.get(str(tenant.name))
        self._begin(str(tenant.name), work())

    async def settle(self) -> None:
        """Wait until nothing is being done any more."""
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    def stop(self) -> None:
        """Leave the rest of the clients alone; the broker stops."""
        for task in self._running.values():
            task.cancel()

    def _begin(self, name: str, work: Coroutine[object, object, None]) -> None:
        async def run() -> None:
            try:
                await work
            finally:
                if self._running.get(name) is task:
                    del self._running[name]

        task = self._running[name] = asyncio.get_running_loop().create_task(run())

    async def _end_all(self, tenant: Tenant) -> None:
        sessions = list(tenant.sessions)
        for start in range(0, len(sessions), BATCH):
            if start:
                await self._pause(PAUSE_S)
            for session in sessions[start : start + BATCH]:
                # One that has gone to another namespace meanwhile is left alone.
                if tenant.places.get(session.client_id) is not None:
                    self._plane.sessions.kick(session.client_id)
        for session in sessions:
            while tenant.places.get(session.client_id) is session:
                await self._pause(LOOK_S)
