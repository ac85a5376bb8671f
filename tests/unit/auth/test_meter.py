"""Rates of an authenticator."""

from pybroker.auth.meter import Meter
from tests.support.clock import FakeClock


def test_rates_are_those_of_whole_seconds() -> None:
    clock = FakeClock()
    meter = Meter(clock)
    for _ in range(6):
        meter.count("success")
    clock.advance(1_000)
    meter.count("failed")
    read = meter.read()
    assert (read["total"], read["success"], read["failed"]) == (7, 6, 1)
    assert (read["rate"], read["rate_max"], read["rate_last5m"]) == (6.0, 6.0, 0.02)
    clock.advance(5_000)
    assert meter.read()["rate"] == 0.0


def test_old_seconds_leave_the_mean() -> None:
    clock = FakeClock()
    meter = Meter(clock)
    for _ in range(300):
        meter.count("nomatch")
    assert meter.read()["rate_last5m"] == 1.0
    clock.advance(400_000)
    read = meter.read()
    assert (read["rate_last5m"], read["rate_max"], read["nomatch"]) == (0.0, 300.0, 300)
    meter.reset()
    assert set(meter.read().values()) == {0}
