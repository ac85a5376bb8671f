"""Rates of counters from samples."""

from pybroker.control.authorization.rates import Rates
from tests.support.clock import FakeClock


def _run(rates: Rates, clock: FakeClock, *totals: int) -> None:
    for total in totals:
        rates.sample("s", total)
        clock.advance(5_000)


def test_rates_are_of_now_of_five_minutes_and_the_highest() -> None:
    clock = FakeClock()
    rates = Rates(clock)
    _run(rates, clock, 0, 500, 500, 600)
    assert rates.of("s", 600) == {"rate": 20.0, "rate_last5m": 40.0, "rate_max": 100.0}


def test_five_minutes_forget_what_is_older() -> None:
    clock = FakeClock()
    rates = Rates(clock)
    _run(rates, clock, 0, 5_000, *[5_000] * 60)
    assert rates.of("s", 5_000) == {"rate": 0.0, "rate_last5m": 0.0, "rate_max": 1_000.0}


def test_counter_that_was_set_back_begins_anew() -> None:
    clock = FakeClock()
    rates = Rates(clock)
    _run(rates, clock, 0, 1_000, 5)
    assert rates.of("s", 5) == {"rate": 0.0, "rate_last5m": 0.0, "rate_max": 0.0}
    assert rates.of("unknown", 7)["rate"] == 0.0
