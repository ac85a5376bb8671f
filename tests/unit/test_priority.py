"""Which threads give way to which."""

import os
import threading

import pytest

from pybroker.priority import run_behind, step_back


def priority() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


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


async def test_work_behind_others_ends_its_thread_with_its_result_or_error() -> None:
    own = priority()
    assert await run_behind(priority) == min(own + 10, 19)
    assert priority() == own
    with pytest.raises(ValueError, match="'x'"):
        await run_behind(int, "x")
    thread = await run_behind(threading.current_thread)
    thread.join(10)
    assert not thread.is_alive()
