"""Counting failures."""

import pytest

from pybroker.control import throttle
from pybroker.control.throttle import Limits, Throttle
from tests.support.clock import FakeClock


def test_key_is_shut_after_so_many_failures_and_opens_again() -> None:
    clock = FakeClock()
    counted = Throttle(clock, lambda: Limits(3, 1_000, 5_000))
    assert [counted.fail("a") for _ in range(3)] == [False, False, True]
    assert counted.is_shut("a")
    assert not counted.is_shut("b")
    clock.advance(5_000)
    assert not counted.is_shut("a")
    assert not counted.fail("a")


def test_failures_outside_the_interval_do_not_count() -> None:
    clock = FakeClock()
    counted = Throttle(clock, lambda: Limits(2, 1_000, 5_000))
    counted.fail("a")
    clock.advance(1_000)
    assert not counted.fail("a")


def test_forgetting_opens() -> None:
    counted = Throttle(FakeClock(), lambda: Limits(1, 1_000, 5_000))
    counted.fail("a")
    counted.forget("a")
    assert not counted.is_shut("a")


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "_MAX_KEYS", 2)
    counted = Throttle(FakeClock(), lambda: Limits(1, 1_000, 5_000))
    for key in "abc":
        counted.fail(key)
    assert [counted.is_shut(key) for key in "abc"] == [False, True, True]
