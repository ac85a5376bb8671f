"""Users who may do less than before, and what that means for their clients that are connected or have a session."""

import asyncio
from typing import Literal

from pybroker.control.clients import WINDOW
from pybroker.control.plane import Plane
from pybroker.types import ClientId, Namespace


class RightsWatch:
    """Takes the rights of a superuser from the sessions of a user who is none any more, and has the rest judged again.

    Args:
        plane: holds the sessions.
    """

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._tasks: set[asyncio.Task[None]] = set()

    def on_lost(
        self, namespace: Namespace | None, user_id: str, kind: Literal["username", "clientid"], is_superuser: bool
    ) -> None:
        """Follow a user who was deleted or demoted; the sessions are visited in the background."""
        task = asyncio.get_running_loop().create_task(self._follow(namespace, user_id, kind))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Wait until everything that was followed is done."""
        await asyncio.gather(*self._tasks)

    async def _follow(self, namespace: Namespace | None, user_id: str, kind: Literal["username", "clientid"]) -> None:
        registry = self._plane.registry
        if kind == "clientid":
            session = registry.find(ClientId(user_id))
            if session is not None:
                self._plane.revoker.demote(session)
            return
        for slot in range(0, registry.slots, WINDOW):
            for session in registry.window(slot, WINDOW):
                if session.username == user_id and (namespace is None or session.namespace == namespace):
                    self._plane.revoker.demote(session)
            await asyncio.sleep(0)
