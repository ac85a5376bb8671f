"""One heap and one timer for everything that sessions wait for."""

from pybroker.plane.deadlines import BATCH, Deadlines
from tests.support.clock import FakeClock
from tests.support.fake_core import FakeTimers


def parts() -> tuple[Deadlines[str], FakeTimers, list[str]]:
    clock = FakeClock()
    timers = FakeTimers(clock)
    met: list[str] = []
    return Deadlines(clock, timers.call_later, met.append), timers, met


def test_deadlines_are_met_in_order_with_one_timer() -> None:
    deadlines, timers, met = parts()
    now = timers.clock.now_ms()
    for name, after in (("late", 300), ("early", 100), ("middle", 200)):
        deadlines.set(name, now + after)
        assert len(timers.pending) == 1
    timers.advance(250)
    assert met == ["early", "middle"]
    timers.advance(50)
    assert met == ["early", "middle", "late"]
    assert timers.pending == []


def test_cancelled_deadline_is_not_met() -> None:
    deadlines, timers, met = parts()
    now = timers.clock.now_ms()
    first = deadlines.set("first", now + 100)
    deadlines.set("second", now + 100)
    deadlines.cancel(first)
    deadlines.cancel(first)
    assert len(deadlines) == 1
    timers.advance(100)
    assert met == ["second"]
    assert len(deadlines) == 0


def test_cancelled_deadlines_do_not_pile_up() -> None:
    deadlines, timers, met = parts()
    far = timers.clock.now_ms() + 1_000_000
    deadlines.set("stays", far)
    for _ in range(10_000):
        deadlines.cancel(deadlines.set("goes", far))
    assert len(deadlines) == 1
    assert len(deadlines._heap) < 200
    assert timers.set_count == 1
    timers.advance(1_000_000)
    assert met == ["stays"]


def test_many_at_once_leave_the_loop_its_turn() -> None:
    deadlines, timers, met = parts()
    due = timers.clock.now_ms() + 10
    for number in range(BATCH + 1):
        deadlines.set(str(number), due)
    timers.clock.advance(10)
    timers.timers.pop().callback()
    assert len(met) == BATCH
    timers.advance(0)
    assert len(met) == BATCH + 1


def test_owner_may_set_its_next_deadline_when_one_is_met() -> None:
    clock = FakeClock()
    timers = FakeTimers(clock)
    met: list[int] = []

    def again(owner: str) -> None:
        met.append(clock.now_ms())
        deadlines.set(owner, clock.now_ms() + 100)

    deadlines: Deadlines[str] = Deadlines(clock, timers.call_later, again)
    deadlines.set("a", clock.now_ms() + 100)
    for _ in range(3):
        timers.advance(100)
    assert met == [1_100, 1_200, 1_300]
