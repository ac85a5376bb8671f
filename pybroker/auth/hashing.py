"""Threads for slow hashes, few and with a bounded queue, so that logins hold up neither the loop nor the machine."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from pybroker.priority import step_back

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 2
"""Two bound the memory of argon2id to 38 MiB and leave the other cores to messages."""

MAX_WAITING = 1_000
"""Hashes that may wait: some 10 s of work of argon2id, longer than clients wait for their CONNACK."""


class HashingThreads:
    """The threads; one set for all authenticators.

    Args:
        max_waiting: hashes that may be under way or wait.
    """

    def __init__(self, max_waiting: int = MAX_WAITING) -> None:
        self._max_waiting = max_waiting
        self._waiting = 0
        self._threads = ThreadPoolExecutor(THREADS, "mqtt-password", initializer=step_back)

    @property
    def is_full(self) -> bool:
        """Whether no further hash can be taken."""
        return self._waiting >= self._max_waiting

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of `work`, computed in one of the threads; `is_full` is to be asked before."""
        self._waiting += 1
        try:
            return await asyncio.wrap_future(self._threads.submit(work, *args, **kwargs))
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """End the threads; what waits is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)
