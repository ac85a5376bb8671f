"""PUBLISH packets that the core cannot judge alone: those that reach a remote source of rules.

The core holds the connection's input until it is answered here, so order per client is kept and nobody else waits.
"""

from collections.abc import Awaitable, Callable, Coroutine

from pybroker._core import Engine
from pybroker.ports import Authorizer
from pybroker.types import Topic

DENIED = (False, False)
"""Verdict where judging has failed: not allowed, and asked again the next time."""


class Publisher:
    """Answers every PUBLISH that waits.

    Args:
        engine: holds and routes it.
        authorizer: access control.
        spawn: starts a supervised task.
    """

    def __init__(
        self,
        engine: Engine,
        authorizer: Authorizer,
        spawn: Callable[[str, Coroutine[object, object, object]], object],
    ) -> None:
        self._engine = engine
        self._authorizer = authorizer
        self._spawn = spawn

    def on_authorize(self, conn: int, slot: int, chain: int, step: int, topic: Topic, qos: int, retain: bool) -> None:
        """Let one PUBLISH be judged from a step of the chain on."""
        verdict = self._authorizer.judge_publish(slot, chain, step, topic, qos, retain)
        if isinstance(verdict, tuple):
            self._engine.authorize(conn, *verdict)
        else:
            self._spawn("authorize", self._finish(conn, verdict))

    async def _finish(self, conn: int, awaited: Awaitable[tuple[bool, bool]]) -> None:
        verdict = DENIED
        try:
            verdict = await awaited
        finally:
            self._engine.authorize(conn, *verdict)
