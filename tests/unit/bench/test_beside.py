"""What the benchmarks of one thing beside another share: spans that take turns, and what is said of them."""

import signal
import threading
from collections.abc import Callable, Mapping

import pytest

from bench import beside


def spans(**cases: list[float]) -> list[dict[str, object]]:
    return [{"case": case, "p99": value} for case, values in cases.items() for value in values]


def test_cases_take_turns() -> None:
    seen: list[str] = []

    def case(name: str) -> Callable[[], Mapping[str, float]]:
        def work() -> Mapping[str, float]:
            seen.append(name)
            return {"p99": len(seen)}

        return work

    found = beside.take_turns(2, {"quiet": case("quiet"), "busy": case("busy")})
    assert seen == ["quiet", "busy"] * 2
    assert found[3] == {"case": "busy", "p99": 4}


def test_median_is_taken_of_each_figure_by_itself() -> None:
    found = [{"case": "busy", "a": value, "b": -value} for value in (1, 5, 2)]
    assert beside.medians([*found, {"case": "quiet", "a": 9, "b": 9}], "busy") == {"a": 2, "b": -2}


def test_ratio_holds_each_span_against_its_neighbour() -> None:
    # The machine became slow in the third turn: the ratio of medians would be 1.8.
    found = spans(quiet=[100, 100, 500], busy=[150, 180, 600])
    assert beside.ratio(found, "busy", "quiet", "p99") == pytest.approx(1.5)


def test_options_have_the_defaults_of_their_benchmark() -> None:
    options = beside.parser("about", "noise", repeat=7, seconds=2.5).parse_args([])
    assert (options.repeat, options.seconds, options.output.name) == (7, 2.5, "bench-noise.json")


def test_what_hangs_is_ended_and_says_so() -> None:
    with pytest.raises(TimeoutError, match="not finished within 0 s"), beside.within(0.001):
        threading.Event().wait(60)
    with beside.within(60):
        pass
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
