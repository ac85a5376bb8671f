"""Medians, marks and verdicts of results files."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench import compare, report, summary, verdict


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
        "runs": list(runs),
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


def test_table_has_a_row_for_every_figure_with_a_target() -> None:
    found = results(run("a", 1.0))
    found["scenarios"]["s"]["targets"]["latency_p99_us"] = 110
    found["medians"]["s"]["a"]["figures"]["latency_p99_us"] = 90.4
    assert "| Some load | latency p99, us | 90.40 | 110 |" in report.table(found)


def test_figures_without_a_target_are_shown_and_rows_on_cores_of_their_own_are_not_in_the_short_table() -> None:
    found = results(run("a", 1.0))
    found["scenarios"]["s"] |= {"shown": ["latency_p50_us"], "cores": "one"}
    found["medians"]["s"]["a"]["figures"]["latency_p50_us"] = 60.5
    assert "| Some load | latency p50, us | 60.50 |  |" in report.table(found)
    assert "Some load" not in report.table(found, "table")


def with_relay(cost: float) -> dict[str, Any]:
    """Return results in which a server without any logic cost `cost`, and 0.5 where the target of 2 was set."""
    found = results(run("pybroker", 3.0), run("relay", cost))
    found["brokers"]["relay"] |= {"title": "bare relay", "is_broker": False, "cannot": {"s": "it keeps nothing"}}
    found["scenarios"]["s"]["limit"] = 0.5
    return found


def test_target_here_is_the_same_multiple_of_what_the_relay_costs_here() -> None:
    found = with_relay(1.2)
    assert verdict.target_here(found, "s", "cost") == pytest.approx(4.8)
    assert verdict.beside_floor(found, "s", "cost") == ", here 4.8"
    text = report.table(found)
    assert "| scenario | figure | pybroker | bare relay | target | target here |" in text
    assert "| Some load | cost | 3 | 1.20 | 2 | 4.8 |" in text


def test_target_here_is_empty_where_there_is_no_limit_or_no_relay() -> None:
    found = with_relay(1.2)
    found["scenarios"]["s"]["targets"]["latency_p99_us"] = 110
    assert verdict.target_here(found, "s", "latency_p99_us") is None
    found["scenarios"]["s"]["limit"] = None
    assert verdict.target_here(found, "s", "cost") is None
    assert "| Some load | cost | 3 | 1.20 | 2 |  |" in report.table(found)
    assert verdict.beside_floor(found, "s", "latency_p99_us") == ""
    found["medians"]["s"]["relay"]["figures"]["latency_p99_us"] = 351.4
    assert verdict.beside_floor(found, "s", "latency_p99_us") == ", bare relay 351"
    assert "target here" not in report.table(results(run("pybroker", 3.0)))


def test_relay_is_explained_where_it_took_part_and_is_no_broker_that_cannot() -> None:
    assert "The bare relay is no broker" in report.note(with_relay(1.2))
    assert report.note(results(run("pybroker", 3.0))) == ""
    assert "it keeps nothing" not in report._left_out(with_relay(1.2))


def test_page_and_charts_are_made_from_every_results_file_with_a_section(tmp_path: Path) -> None:
    found = results(run("a", 1.0), run("b", 2.0))
    found |= {"machine": {"cores": 2, "cpu": "c", "memory_gib": 1, "kernel": "k"}, "commit": "0123", "time": "now"}
    found |= {"settings": {"repeat": 1, "seconds": 1.0}, "ratios": {}}
    found["scenarios"]["s"] |= {"figure": "cpu_us_per_delivery", "load": {}, "mosquitto_ratio": None}
    for one in found["runs"]:
        one["figures"]["cpu_us_per_delivery"] = 3.0
    found["medians"] = summary.summarize(found["runs"])
    found["brokers"]["b"]["cannot"] = {"s": "its listener is too small"}
    (tmp_path / "table.json").write_text(json.dumps(found), encoding="utf-8")
    (tmp_path / "notes.json").write_text("not read", encoding="utf-8")
    (tmp_path / "README.md").write_text(f"{report.BEGIN}\n{report.END}\n", encoding="utf-8")
    assert report.write(report.read(tmp_path), tmp_path) == 1
    page = (tmp_path / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert "## Beside other brokers" in page
    assert "* b, Some load: its listener is too small" in page
    assert "images/bench-table-cost.svg" in page
    assert (tmp_path / "docs" / "images" / "bench-table-cost.svg").read_text(encoding="utf-8").startswith("<svg")
    assert "Some load" in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_readme_block_is_replaced_between_its_markers_only() -> None:
    text = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    assert report.insert(text, "new\n") == f"before\n{report.BEGIN}\nnew\n{report.END}\nafter\n"
    assert report.insert("no markers", "new\n") == "no markers"


def test_interval_leaves_out_as_many_as_the_sign_test_allows() -> None:
    count_to = {count: summary.median_interval([float(n) for n in range(1, count + 1)]) for count in (5, 6, 9, 30)}
    assert count_to == {5: (3.0, 1.0, 5.0), 6: (3.5, 1.0, 6.0), 9: (5.0, 2.0, 8.0), 30: (15.5, 10.0, 21.0)}
