"""Which threads of the process give way to which, where several want the same core.

Shards come first: they ask for short turns themselves (`rust_core/engine/src/sys.rs`). The loop is as any thread. What
hashes passwords steps back. What holds the interpreter for long must not: while it does, the loop waits for it at its
priority. Nothing here needs a privilege.
"""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

STEPS = 10
"""How far: a tenth of the share of another thread that wants the same core all the time, and all of it otherwise.

Not further: a flood of messages would starve logins. Not less: a thread at full priority holds up one message in fifty,
for a millisecond (docs/adr/0004-administration.md).
"""

_LEAST = 19


def step_back() -> None:
    """Lower the priority of the calling thread for good; without effect where the system refuses."""
    thread = threading.get_native_id()
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, thread, min(os.getpriority(os.PRIO_PROCESS, thread) + STEPS, _LEAST))


async def run_behind(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return the result of `work`, computed in a thread of its own that has stepped back; it ends with the work."""
    threads = ThreadPoolExecutor(1, work.__name__, initializer=step_back)
    try:
        return await asyncio.wrap_future(threads.submit(work, *args, **kwargs))
    finally:
        # Not waited for: who is cancelled leaves the work to its thread.
        threads.shutdown(wait=False)
