"""Which threads of the process give way to which, where several want the same core.

Shards come first: they ask for short turns themselves (`rust_core/engine/src/sys.rs`). The loop is as any thread. What
computes for long at a stretch calls `step_back`. Nothing here needs a privilege.
"""

import os
import threading
from contextlib import suppress

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
