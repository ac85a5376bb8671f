"""Two ways into one broker: what the ratios say of a bound, the order of the spans, and the page."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bench import counters, paired, scenario
from bench.peer import RunningPeer
from bench.run import LoadFailedError

_SCENARIO = scenario.Scenario("fanin-qos0", "Fan-in", "table", "cost", {"mode": "fanin"})


class _Bench(paired.Bench):
    """Spans that cost 2 one way and 3 the other; says in which order they were taken."""

    def __init__(self, kept: tuple[float, float] = (0.0, 1.0), repeat: int = 6) -> None:
        options = argparse.Namespace(repeat=repeat)
        running = RunningPeer(0, {"other_port": 0}, Path())
        comparison = paired.COMPARISONS["access-rules"]
        self._comparison, self._running, self._options = comparison, running, options
        self._kept = kept
        self.order: list[str] = []

    def _span(self, scenario: scenario.Scenario, way: paired.Way) -> Mapping[str, float]:
        self.order.append(way.title)
        is_featured = bool(way.has_rules)
        return {"cost": 2.0 + is_featured, "is_limited": False, "verdicts_kept": self._kept[is_featured]}


def test_every_other_pair_begins_with_the_other_way() -> None:
    bench = _Bench(repeat=2)
    bench.compare(_SCENARIO)
    assert bench.order == ["no rules in force", "10,000 rules", "10,000 rules", "no rules in force"]


def test_ratio_is_that_of_neighbours_with_the_feature_above() -> None:
    result = _Bench().compare(_SCENARIO)
    assert (result["ratio"], result["interval"], result["judgement"]) == (1.5, [1.5, 1.5], "beyond")
    assert (result["bound"], result["cost"]) == (1.05, {"plain": 2.0, "featured": 3.0})


@pytest.mark.parametrize("kept", [(0.1, 1.0), (0.0, 0.5)])
def test_spans_in_which_the_wrong_messages_were_judged_are_refused(kept: tuple[float, float]) -> None:
    with pytest.raises(LoadFailedError, match="verdicts per message"):
        _Bench(kept).compare(_SCENARIO)


@pytest.mark.parametrize(
    ("median", "high", "pairs", "expected"),
    [
        (1.02, 1.04, 30, "proven"),
        (1.04, 1.07, 30, "within"),
        (1.06, 1.07, 30, "beyond"),
        (1.06, 1.07, 5, "too few pairs"),
    ],
)
def test_the_median_decides_and_the_interval_proves(median: float, high: float, pairs: int, expected: str) -> None:
    assert paired.judge(median, high, 1.05, pairs) == expected


def test_section_shows_ratio_interval_and_judgement(tmp_path: Path) -> None:
    assert paired.section(tmp_path) == ""
    results: dict[str, Any] = {
        "machine": {"cores": 2, "cpu": "c"},
        "commit": "0123",
        "time": "now",
        "settings": {"pairs": 6, "seconds": 0.5, "warmup": 0.2},
        "comparisons": [{"name": "access-rules", **_Bench().compare(_SCENARIO)}],
    }
    (tmp_path / "features.json").write_text(json.dumps(results), encoding="utf-8")
    text = paired.section(tmp_path)
    row = "| 10,000 access rules, verdict kept | Fan-in | 2.000 | 3.000 | 1.500 | 1.500 to 1.500 | 1.05 | beyond |"
    assert row in text
    assert "6 pairs of neighbouring spans of 0.5 s" in text


class _Idle(_Bench):
    """A way on which nothing is delivered in the first so many spans."""

    def __init__(self, idle: int) -> None:
        super().__init__()
        self._api_port = 0
        self._idle = idle

    _span = paired.Bench._span

    def _load(self, scenario: scenario.Scenario, way: paired.Way) -> dict[str, Any]:
        self._idle -= 1
        figures = {"cost": 2.0} if self._idle < 0 else {}
        return {"figures": figures, "balance": {"sent": 10}, "generator_limited": False}


def test_span_without_a_delivery_is_taken_again_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "read", lambda port, names: 0)
    assert _Idle(2)._span(_SCENARIO, paired.Way("w"))["cost"] == 2.0
    with pytest.raises(LoadFailedError, match="nothing was delivered in 3 spans: fanin-qos0, w"):
        _Idle(3)._span(_SCENARIO, paired.Way("w"))


def test_span_begins_only_when_the_broker_rests_again(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    used = iter([0.0, 0.05, 0.1, 0.1])
    paired.settle(lambda: next(used))
    assert len(slept) == 3
