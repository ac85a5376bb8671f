"""Which threads give way to which."""

import ctypes
import os
import platform
import struct
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from pybroker._core import Engine
from pybroker.priority import run_behind, step_back
from tests.support.wire import eventually


def priority() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


_SCHED_GETATTR = {"x86_64": 315, "aarch64": 275}
_SCHED_ATTR = struct.Struct("=IIQiIQQQ")


def turn_ns(thread: int) -> int:
    """Return the turn on a core that a thread has asked for; 0: the system knows none."""
    libc, found = ctypes.CDLL(None), ctypes.create_string_buffer(_SCHED_ATTR.size)
    number = _SCHED_GETATTR[platform.machine()]
    assert libc.syscall(number, thread, found, _SCHED_ATTR.size, 0) == 0
    return int(_SCHED_ATTR.unpack(found.raw)[5])


def shards() -> set[int]:
    found = set()
    for task in Path("/proc/self/task").iterdir():
        # Those of another test may end meanwhile.
        with suppress(OSError):
            if (task / "comm").read_text(encoding="ascii").startswith("shard-"):
                found.add(int(task.name))
    return found


def in_thread(times: int) -> int:
    found: list[int] = []

    def work() -> None:
        for _ in range(times):
            step_back()
        found.append(priority())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found[0]


def test_thread_steps_back_alone_and_no_further_than_the_system_knows() -> None:
    own = priority()
    assert in_thread(1) == min(own + 10, 19)
    assert in_thread(5) == 19
    assert priority() == own


def test_a_system_that_refuses_leaves_the_thread_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(which: int, who: int, value: int) -> None:
        raise PermissionError(1, "not permitted")

    own = priority()
    monkeypatch.setattr(os, "setpriority", refuse)
    assert in_thread(1) == own


@pytest.mark.skipif(platform.machine() not in _SCHED_GETATTR, reason="the number of the system call is not known here")
async def test_shards_ask_for_shorter_turns_than_other_threads() -> None:
    own = turn_ns(0)
    if own == 0:
        pytest.skip("Linux knows turns from 6.12 on")
    others, engine = shards(), Engine(2, "n")
    engine.start()
    try:
        await eventually(lambda: [turn_ns(thread) for thread in shards() - others] == [100_000] * 2)
        assert turn_ns(0) == own > 100_000
    finally:
        engine.shutdown(0x8B, 0)


async def test_work_behind_others_ends_its_thread_with_its_result_or_error() -> None:
    own = priority()
    assert await run_behind(priority) == min(own + 10, 19)
    assert priority() == own
    with pytest.raises(ValueError, match="'x'"):
        await run_behind(int, "x")
    thread = await run_behind(threading.current_thread)
    thread.join(10)
    assert not thread.is_alive()
