"""The clock: what it promises, and that the fake keeps the same promises."""

import threading
import time

from pybroker.clock import Clock
from tests.support.clock import FakeClock


def test_monotonic_time_never_goes_back() -> None:
    clock = Clock()
    readings = [clock.now_ms() for _ in range(1_000)]
    assert readings == sorted(readings)


def test_waiting_takes_no_processor_time() -> None:
    clock = Clock()
    start = clock.cpu_ms()
    threading.Event().wait(0.05)
    assert clock.cpu_ms() - start < 50


def test_wall_time_is_unix_milliseconds() -> None:
    assert abs(Clock().wall_ms() - time.time() * 1_000) < 5_000


def test_wall_seconds_are_cut_from_milliseconds() -> None:
    assert FakeClock(wall_ms=1_999).wall_s() == 1


def test_fake_clock_moves_only_by_hand() -> None:
    clock = FakeClock(now_ms=5, wall_ms=100)
    clock.advance(250)
    assert (clock.now_ms(), clock.wall_ms()) == (255, 350)


def test_fake_wall_clock_may_jump_alone() -> None:
    clock = FakeClock(now_ms=5, wall_ms=100)
    clock.set_wall(7)
    assert (clock.now_ms(), clock.wall_ms()) == (5, 7)
