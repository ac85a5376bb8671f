"""How long a piece of work keeps the loop from everybody else.

In CPU time: other work on the machine hardly changes that.
"""

import asyncio
import gc
import time
from collections.abc import Awaitable
from itertools import pairwise
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Stall(NamedTuple):
    """Milliseconds of CPU.

    Args:
        loop_ms: the longest time that the loop worked without a turn for anybody else.
        held_ms: the longest time without a turn in which any thread worked: what a thread does in one step of the
            interpreter holds the loop up as well.
    """

    loop_ms: float
    held_ms: float


async def watch(work: Awaitable[T]) -> tuple[T, Stall]:
    """Await work and return its result, and the longest that it kept the loop.

    What is there before is left to no collector of garbage, as in a broker that has started.
    """
    gc.collect()
    gc.freeze()
    looks: list[tuple[float, float]] = []

    async def look() -> None:
        while True:
            # A turn of the loop lets other threads in, so that this one is in nobody's way.
            await asyncio.sleep(0)
            looks.append((time.thread_time(), time.process_time()))

    looking = asyncio.create_task(look())
    await asyncio.sleep(0)
    looks.append((time.thread_time(), time.process_time()))
    try:
        result = await work
    finally:
        looks.append((time.thread_time(), time.process_time()))
        looking.cancel()
        gc.unfreeze()
    gaps = [(now[0] - then[0], now[1] - then[1]) for then, now in pairwise(looks)]
    return result, Stall(max(own for own, _ in gaps) * 1_000, max(every for _, every in gaps) * 1_000)
