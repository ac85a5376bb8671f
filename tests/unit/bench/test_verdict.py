"""Verdicts over results files: which runs break a promise, which targets are missed, what two shards may cost."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import summary, verdict

_BALANCE = dict.fromkeys(("lost", "duplicated", "out_of_order", "foreign", "refused"), 0)


def run(broker: str, cost: float = 1.0, **faults: int) -> dict[str, Any]:
    return {
        "scenario": "s",
        "figure": "cost",
        "broker": broker,
        "variant": "default",
        "figures": {"cost": cost, "delivery_rate_per_s": 100.0 / cost},
        "balance": {**_BALANCE, **faults},
        "generator_limited": False,
    }


def results(*runs: dict[str, Any], qos: int = 0) -> dict[str, Any]:
    medians = summary.summarize(runs)
    about = {"figure": "cost", "targets": {"cost": 2.0}, "mosquitto_ratio": 0.5, "load": {"qos": qos}}
    return {
        "runs": list(runs),
        "medians": medians,
        "scenarios": {"s": about},
        "ratios": summary.ratios(medians, {"s": "cost"}, "mosquitto"),
    }


@pytest.mark.parametrize(
    ("qos", "fault", "is_broken"),
    [
        (0, "lost", False),
        (0, "duplicated", True),
        (0, "out_of_order", True),
        (1, "lost", True),
        (1, "duplicated", True),
        (2, "out_of_order", True),
        (2, "refused", True),
        (2, "foreign", True),
    ],
)
def test_only_a_lost_qos_0_message_keeps_the_promise(qos: int, fault: str, is_broken: bool) -> None:
    found = results(run("pybroker", **{fault: 3}), qos=qos)
    assert bool(verdict.broken_promises(found, "pybroker")) is is_broken


def test_broken_promise_names_scenario_broker_and_fault() -> None:
    (line,) = verdict.broken_promises(results(run("pybroker:one-shard", lost=2), qos=1), "pybroker")
    assert line == "broken promise: s pybroker:one-shard run 0: 2 lost"


def test_faults_of_other_brokers_are_not_ours_and_a_failed_run_is() -> None:
    failed = {"scenario": "s", "figure": "cost", "broker": "pybroker", "variant": "default", "error": "closed"}
    lines = verdict.broken_promises(results(failed, run("mosquitto", lost=9), qos=1), "pybroker")
    assert lines == ["failed: s pybroker run 0: closed"]


def test_targets_are_bounds_by_figure_and_against_mosquitto() -> None:
    found = list(verdict.targets(results(run("pybroker", 1.5), run("mosquitto", 2.0)), "pybroker"))
    assert found == [("s", "cost", 1.5, 2.0, True), ("s", "ratio to mosquitto", 0.75, 0.5, False)]


@pytest.mark.parametrize(("cost", "holds"), [(0.8, True), (1.1, True), (1.2, False)])
def test_another_broker_may_cost_so_many_percent_more(cost: float, holds: bool) -> None:
    found = results(run("pybroker:one-shard"), run("pybroker:two-shards", cost))
    ((name, broker, ratio, rate, verdict_holds),) = verdict.against(found, "pybroker:one-shard", 10.5)
    assert (name, broker, verdict_holds) == ("s", "pybroker:two-shards", holds)
    assert ratio == pytest.approx(cost)
    assert rate == pytest.approx(1 / cost)


def test_a_difference_within_the_noise_of_the_runs_holds() -> None:
    noisy = [run("pybroker:two-shards", cost) for cost in (1.0, 1.2, 1.4)]
    ((*_, holds),) = verdict.against(results(run("pybroker:one-shard"), *noisy), "pybroker:one-shard", 10)
    assert holds


@pytest.mark.parametrize(("counted", "is_broken"), [(2, True), (3, False), (4, True)])
def test_a_broker_counts_what_it_drops_to_the_message(counted: int, is_broken: bool) -> None:
    found = results({**run("pybroker", lost=3), "drops": {"missing": 3, "counted": counted}})
    lines = [f"wrong count: s pybroker run 0: 3 missing, {counted} counted as dropped"] if is_broken else []
    assert verdict.broken_promises(found, "pybroker") == lines


def swept(*costs: float | None, at_most: float | None = 1.3) -> dict[str, Any]:
    runs = [{**run("pybroker", cost), "scenario": f"s@{step}"} for step, cost in enumerate(costs) if cost is not None]
    about: dict[str, Any] = {"figure": "cost", "targets": {}, "mosquitto_ratio": None, "load": {}, "at_most": at_most}
    return {
        "runs": runs,
        "brokers": {"pybroker": {"is_broker": True}},
        "medians": summary.summarize(runs),
        "scenarios": {f"s@{step}": about for step in range(len(costs))},
        "ratios": {},
    }


@pytest.mark.parametrize(("cost", "holds"), [(1.0, True), (2.6, True), (2.8, False)])
def test_a_step_of_a_sweep_is_held_against_the_first_one(cost: float, holds: bool) -> None:
    assert list(verdict.grown(swept(2.0, cost), "pybroker")) == [("s@1", cost / 2, 1.3, holds)]


def test_a_sweep_without_a_bound_or_a_first_step_has_no_verdict() -> None:
    assert not list(verdict.grown(swept(2.0, 9.0, at_most=None), "pybroker"))
    assert not list(verdict.grown(swept(None, 9.0), "pybroker"))


def test_noise_of_a_step_is_no_growth() -> None:
    found = swept(2.0, 3.0)
    found["medians"]["s@1"]["pybroker"]["spread"] = 0.6
    assert [holds for *_, holds in verdict.grown(found, "pybroker")] == [True]


@pytest.mark.parametrize(("strict", "costs", "code"), [(False, (3.0,), 0), (True, (3.0,), 1), (False, (1.0, 1.4), 1)])
def test_growth_fails_the_command_and_a_missed_target_only_if_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, strict: bool, costs: tuple[float, ...], code: int
) -> None:
    found = swept(*costs)
    found["scenarios"]["s@0"]["targets"] = {"cost": 2.0}
    file = tmp_path / "growth.json"
    file.write_text(json.dumps(found), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["verdict", str(file), *(["--strict"] if strict else [])])
    assert verdict.main() == code
