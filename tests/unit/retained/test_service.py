"""The sweep of expired retained messages."""

import asyncio

from pybroker.retained.service import RetainedService
from tests.support.fake_core import FakeEngine
from tests.support.wire import eventually


def test_sweep_says_how_many_went() -> None:
    engine = FakeEngine()
    service = RetainedService(engine.as_core(), 0)
    assert service.sweep() == 3
    engine.expired = 0
    assert service.sweep() == 0


async def test_no_interval_means_no_sweep() -> None:
    engine = FakeEngine()
    task = asyncio.create_task(RetainedService(engine.as_core(), 0).run())
    await asyncio.sleep(0)
    assert engine.calls == []
    assert not task.done()
    task.cancel()


async def test_sweep_is_repeated() -> None:
    engine = FakeEngine()
    task = asyncio.create_task(RetainedService(engine.as_core(), 1).run())
    await eventually(lambda: len(engine.calls) >= 2)
    task.cancel()
