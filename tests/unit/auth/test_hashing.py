"""Threads for slow hashes of MQTT logins."""

import os
import threading

from pybroker.auth.hashing import HashingThreads


def priority() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


async def test_hashes_give_way_to_messages_and_the_loop() -> None:
    threads = HashingThreads()
    own = priority()
    try:
        assert await threads.run(priority) == min(own + 10, 19)
    finally:
        threads.close()
    assert priority() == own
