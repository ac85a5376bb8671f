"""Retained messages: the sweep of those that have expired.

The core never delivers an expired message; the sweep only frees what nobody asks for.
"""

import asyncio

import structlog

from pybroker._core import Engine

logger = structlog.get_logger(__name__)

_DISABLED_S = 10.0


class RetainedService:
    """The broker's housekeeping of retained messages.

    Args:
        engine: holds them.
        clear_interval_ms: pause between sweeps; 0: none; may be changed while running.
    """

    def __init__(self, engine: Engine, clear_interval_ms: int) -> None:
        self._engine = engine
        self.clear_interval_ms = clear_interval_ms

    def sweep(self) -> int:
        """Drop what has expired; return how many messages that were. O(retained messages), GIL released."""
        dropped = self._engine.retained_expire()
        if dropped:
            logger.debug("retained_expired", messages=dropped)
        return dropped

    async def run(self) -> None:
        """Sweep until cancelled; look again after a while if no interval is set."""
        while True:
            interval_ms = self.clear_interval_ms
            await asyncio.sleep(interval_ms / 1_000 if interval_ms else _DISABLED_S)
            if interval_ms:
                await asyncio.to_thread(self.sweep)
