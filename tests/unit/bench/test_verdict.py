"""Verdicts over results files: which runs break a promise, which targets are missed, what two shards may cost."""

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
