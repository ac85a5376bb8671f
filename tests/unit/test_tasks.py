"""Supervised tasks: a crash is seen, counted and, where asked, healed; stop leaves nothing running."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from itertools import count

import pytest

from pybroker.tasks import Backoff, TaskSupervisor


async def crash() -> None:
    raise ValueError("broken")


def test_crash_is_counted_and_logged_with_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> TaskSupervisor:
        supervisor = TaskSupervisor()
        await supervisor.spawn("pump", crash())
        return supervisor

    with caplog.at_level(logging.ERROR):
        supervisor = asyncio.run(scenario())
    assert supervisor.crashes == {"pump": 1}
    assert supervisor.names == []
    assert caplog.records[0].exc_info is not None
    assert caplog.records[0].__dict__["task"] == "pump"


def test_normal_end_counts_nothing() -> None:
    async def scenario() -> TaskSupervisor:
        supervisor = TaskSupervisor()
        await supervisor.spawn("once", asyncio.sleep(0))
        return supervisor

    assert asyncio.run(scenario()).crashes == {}


def recording(pauses: list[float]) -> Callable[[float], Awaitable[None]]:
    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    return sleep


def test_restarting_task_backs_off_and_recovers() -> None:
    pauses: list[float] = []
    attempts = count(1)

    async def flaky() -> None:
        if next(attempts) <= 4:
            await crash()

    async def scenario() -> TaskSupervisor:
        supervisor = TaskSupervisor(sleep=recording(pauses))
        await supervisor.spawn_restarting("flaky", flaky, Backoff(first_s=1, limit_s=4))
        return supervisor

    supervisor = asyncio.run(scenario())
    assert pauses == [1, 2, 4, 4]
    assert supervisor.crashes == {"flaky": 4}


def test_stop_cancels_and_waits_for_cleanup() -> None:
    cleaned: list[str] = []

    async def wait_forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append("done")

    async def scenario() -> list[str]:
        supervisor = TaskSupervisor()
        supervisor.spawn("a", wait_forever())
        supervisor.spawn_restarting("b", wait_forever)
        await asyncio.sleep(0)
        await supervisor.stop()
        await supervisor.stop()
        return supervisor.names

    assert asyncio.run(scenario()) == []
    assert cleaned == ["done", "done"]


def test_nothing_starts_after_stop() -> None:
    async def scenario() -> None:
        supervisor = TaskSupervisor()
        await supervisor.stop()
        with pytest.raises(RuntimeError, match="stopped: 'late'"):
            supervisor.spawn("late", asyncio.sleep(0))
        with pytest.raises(RuntimeError, match="stopped: 'later'"):
            supervisor.spawn_restarting("later", crash)

    asyncio.run(scenario())


async def test_work_that_is_stopped_before_it_began_is_closed() -> None:
    supervisor = TaskSupervisor()
    work = asyncio.sleep(60)
    supervisor.spawn("never begun", work)
    await supervisor.stop()
    assert inspect.getcoroutinestate(work) == inspect.CORO_CLOSED
