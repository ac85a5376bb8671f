"""Medians, marks and verdicts of results files."""

from typing import Any

import pytest

from bench import compare, report, summary


def run(broker: str, value: float, **changed: Any) -> dict[str, Any]:
    balance = dict.fromkeys(("lost", "duplicated", "out_of_order", "foreign", "refused"), 0)
    return {
        "scenario": "s",
        "figure": "cost",
        "broker": broker,
        "variant": "default",
        "figures": {"cost": value},
        "balance": {**balance, "lost": changed.pop("lost", 0)},
        "generator_limited": False,
        **changed,
    }


def results(*runs: dict[str, Any]) -> dict[str, Any]:
    return {
        "medians": summary.summarize(runs),
        "brokers": {name: {"title": name, "version": "1"} for name in dict.fromkeys(one["broker"] for one in runs)},
        "scenarios": {
            "s": {"title": "Some load", "tier": "table", "figure": "cost", "targets": {"cost": 2.0}, "sweep": None}
        },
    }


def test_median_spread_and_faults_are_per_broker() -> None:
    medians = summary.summarize([run("a", 1.0), run("a", 1.1, lost=3), run("a", 1.4), run("b", 5.0)])
    one = medians["s"]["a"]
    assert one["figures"]["cost"] == 1.1
    assert one["spread"] == pytest.approx(0.4 / 1.1)
    assert one["is_noisy"]
    assert one["faults"]["lost"] == 3
    assert not medians["s"]["b"]["is_noisy"]


def test_failed_runs_are_counted_and_do_not_move_the_median() -> None:
    failed = {"scenario": "s", "figure": "cost", "broker": "a", "variant": "default", "error": "closed"}
    assert summary.summarize([run("a", 1.0), failed])["s"]["a"]["failed"] == 1
    only = summary.summarize([failed])["s"]["a"]
    assert (only["figures"], only["error"]) == ({}, "closed")


def test_ratio_is_against_the_base_of_the_same_run() -> None:
    medians = summary.summarize([run("a", 1.0), run("mosquitto", 4.0)])
    assert summary.ratios(medians, {"s": "cost"}, "mosquitto") == {"s": {"a": 0.25, "mosquitto": 1.0}}
    assert summary.ratios(medians, {"s": "cost"}, "absent") == {}


@pytest.mark.parametrize(("after", "verdict"), [(1.02, "same"), (1.2, "worse"), (0.5, "better")])
def test_change_within_the_noise_is_no_change(after: float, verdict: str) -> None:
    (change,) = compare.changes(results(run("a", 1.0)), results(run("a", after)))
    assert change.verdict == verdict
    (noisy,) = compare.changes(results(run("a", 0.8), run("a", 1.6)), results(run("a", after)))
    assert noisy.verdict == "same"


def test_table_marks_noise_and_lost_messages() -> None:
    text = report.table(results(run("a", 1.0), run("a", 2.0, lost=1), run("b", 200.0)))
    assert "| Some load | cost | 1.50~! | 200 | 2 |" in text


def test_readme_block_is_replaced_between_its_markers_only() -> None:
    text = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    assert report.insert(text, "new\n") == f"before\n{report.BEGIN}\nnew\n{report.END}\nafter\n"
    assert report.insert("no markers", "new\n") == "no markers"
