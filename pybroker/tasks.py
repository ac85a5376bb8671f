"""Background work that must not die unseen.

A supervised task that ends with an exception is logged with its traceback, counted by name and, if it asked for it,
started again after a growing pause. Work that answers a client does not belong here; it has a caller who waits.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from types import MappingProxyType
from typing import NamedTuple

logger = logging.getLogger(__name__)


class Backoff(NamedTuple):
    """How long to wait before a crashed task is started again.

    The pause doubles from `first_s` up to `limit_s` and falls back to `first_s` after the task ran for `limit_s`.
    """

    first_s: float = 0.1
    limit_s: float = 30.0


class TaskSupervisor:
    """Owner of a set of background tasks on the running loop.

    Args:
        sleep: waits a number of seconds; tests replace it.
    """

    def __init__(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._sleep = sleep
        self._tasks: set[asyncio.Task[None]] = set()
        self._crashes: dict[str, int] = {}
        self._is_stopping = False

    @property
    def crashes(self) -> Mapping[str, int]:
        """Return how often each task name ended with an exception; names without a crash are absent."""
        return MappingProxyType(self._crashes)

    @property
    def names(self) -> list[str]:
        """Return the names of the tasks that still run, sorted."""
        return sorted(task.get_name() for task in self._tasks)

    def spawn(self, name: str, work: Coroutine[object, object, object]) -> asyncio.Task[None]:
        """Start `work` once; its result is dropped and its exception logged and counted.

        Raises:
            RuntimeError: `stop` has been called; `work` is closed then.
        """
        if self._is_stopping:
            work.close()
            raise RuntimeError(f"task supervisor is stopped: {name!r}")
        task = self._start(name, self._run_single(name, work))
        # One that is cancelled before its first step would leave the work unfinished and unclosed.
        task.add_done_callback(lambda _: work.close())
        return task

    def spawn_restarting(
        self, name: str, work: Callable[[], Coroutine[object, object, object]], backoff: Backoff | None = None
    ) -> asyncio.Task[None]:
        """Start what `work` returns and start it anew after each crash, until it returns normally or `stop` is called.

        Raises:
            RuntimeError: `stop` has been called.
        """
        if self._is_stopping:
            raise RuntimeError(f"task supervisor is stopped: {name!r}")
        return self._start(name, self._run_restarting(name, work, backoff or Backoff()))

    async def stop(self) -> None:
        """Cancel every task and wait until all have ended; crashes on the way out are logged too. Idempotent."""
        self._is_stopping = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, name: str, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _run_single(self, name: str, work: Coroutine[object, object, object]) -> None:
        await self._run_once(name, work)

    async def _run_once(self, name: str, work: Coroutine[object, object, object]) -> bool:
        """Await `work` and return whether it ended normally."""
        try:
            await work
        except Exception:
            self._crashes[name] = self._crashes.get(name, 0) + 1
            logger.exception("background task crashed", extra={"task": name, "crashes": self._crashes[name]})
            return False
        return True

    async def _run_restarting(
        self, name: str, work: Callable[[], Coroutine[object, object, object]], backoff: Backoff
    ) -> None:
        loop = asyncio.get_running_loop()
        pause_s = backoff.first_s
        while True:
            started_s = loop.time()
            if await self._run_once(name, work()):
                return
            if loop.time() - started_s >= backoff.limit_s:
                pause_s = backoff.first_s
            await self._sleep(pause_s)
            pause_s = min(pause_s * 2, backoff.limit_s)
