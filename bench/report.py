"""Turn a results file into what readers see: a Markdown table and SVG charts, for the README and the docs.

    python -m bench.report bench/results/peers.json

Every figure outside `bench/results` comes from here; nothing is typed by hand.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import plot

_ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
_UNITS = {
    "cpu_us_per_delivery": "CPU us per delivered message",
    "cpu_us_per_connect": "CPU us per connect and disconnect",
    "cpu_us_per_queued": "CPU us per queued message",
    "bytes_per_connection": "bytes",
    "bytes_per_subscription": "bytes",
    "latency_p99_us": "latency p99, us",
}

Results = Mapping[str, Any]


def table(results: Results, tier: str | None = None) -> str:
    """Return the Markdown table: a row per scenario without sweep, a column per broker, then the target."""
    brokers = list(results["brokers"])
    head = ["scenario", "figure", *(results["brokers"][name]["title"] for name in brokers), "target"]
    rows = [head, ["---"] * 2 + ["---:"] * (len(brokers) + 1)]
    for name, about in results["scenarios"].items():
        if about["sweep"] or (tier and about["tier"] != tier):
            continue
        cells = [cell(results["medians"][name].get(broker), about["figure"]) for broker in brokers]
        target = about["targets"].get(about["figure"])
        unit = _UNITS.get(about["figure"], about["figure"])
        rows.append([about["title"], unit, *cells, "" if target is None else f"{target:g}"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def cell(summary: Mapping[str, Any] | None, figure: str) -> str:
    """Return one value with its marks: `~` noisy, `!` lost or doubled messages, `^` the generator was the limit."""
    if summary is None:
        return "-"
    value = summary["figures"].get(figure)
    if value is None:
        return "failed"
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
    marks = {
        "~": summary["is_noisy"],
        "!": any(summary["faults"].values()),
        "^": summary["generator_limited"],
    }
    return text + "".join(mark for mark, is_set in marks.items() if is_set)


def page(results: Results) -> str:
    """Return the whole Markdown page: how it was measured, the tables, and what the marks mean."""
    machine, settings = results["machine"], results["settings"]
    brokers = "".join(f"* {one['title']}: {one['version']}\n" for one in results["brokers"].values())
    where = f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_gib']} GiB, Linux {machine['kernel']}"
    how = f"the median of {settings['repeat']} interleaved runs of {settings['seconds']:g} s with a fresh broker each"
    return (
        f"# Benchmarks\n\nMeasured on {where}, commit {results['commit']}, {results['time']}. Load and broker share the"
        f" machine over loopback; payload 64 bytes unless stated. Each value is {how}. Lower is better everywhere.\n\n"
        f"{brokers}\n{table(results)}\n"
        "`~` runs differ by more than 15 %, `!` messages were lost, doubled or misordered, `^` the load generator was"
        " the limit, `-` the broker lacks the transport. The file that this page is made from, and how to repeat it:"
        " `bench/README.md`.\n"
    )


def charts(results: Results) -> dict[str, str]:
    """Return file name -> SVG: costs beside the peers, latency, and one line chart per sweep."""
    titles = {name: one["title"] for name, one in results["brokers"].items()}
    made = {}
    costs: dict[str, dict[str, float]] = {}
    for name, about in results["scenarios"].items():
        if about["tier"] == "table" and about["figure"].startswith("cpu_us"):
            values = {
                titles[broker]: summary["figures"][about["figure"]]
                for broker, summary in results["medians"][name].items()
                if about["figure"] in summary["figures"]
            }
            if values:
                costs[about["title"]] = values
    if costs:
        made["bench-cost.svg"] = plot.bars(
            "What one message costs the broker", "CPU microseconds, lower is better", costs
        )
    made.update(_latency_charts(results, titles))
    made.update(_sweep_charts(results, titles))
    return made


def _latency_charts(results: Results, titles: Mapping[str, str]) -> dict[str, str]:
    made = {}
    for name, about in results["scenarios"].items():
        if about["load"].get("mode") != "paced" or about["sweep"]:
            continue
        curves = {}
        for broker, title in titles.items():
            curve = _median_curve(results, name, broker)
            if curve:
                curves[title] = curve
        if curves:
            made[f"bench-latency-{name}.svg"] = plot.lines(
                f"Latency: {about['title']}", "one message in N is slower", "microseconds", curves
            )
    return made


def _median_curve(results: Results, scenario: str, broker: str) -> list[tuple[float, float]]:
    """Return (one in N, microseconds) of the run whose p99 is the median."""
    runs = [
        run
        for run in results["runs"]
        if (run["scenario"], run["broker"]) == (scenario, broker) and run.get("latency_curve")
    ]
    if not runs:
        return []
    runs.sort(key=lambda run: float(run["figures"]["latency_p99_us"]))
    curve = runs[len(runs) // 2]["latency_curve"]
    return [(100 / (100 - percentile), micros) for percentile, micros in curve if percentile <= 99.99 and micros > 0]


def _sweep_charts(results: Results, titles: Mapping[str, str]) -> dict[str, str]:
    lines: dict[str, dict[str, list[tuple[float, float]]]] = {}
    about_of: dict[str, Mapping[str, Any]] = {}
    for name, about in results["scenarios"].items():
        if not about["sweep"]:
            continue
        base = name.partition("@")[0]
        about_of[base] = about
        for broker, summary in results["medians"][name].items():
            value = summary["figures"].get(about["figure"])
            if value and value > 0:
                lines.setdefault(base, {}).setdefault(titles[broker], []).append((about["sweep"][1], value))
    return {
        f"bench-{base}.svg": plot.lines(
            about_of[base]["title"], about_of[base]["sweep"][0], _UNITS.get(about_of[base]["figure"], ""), series
        )
        for base, series in lines.items()
    }


def insert(text: str, block: str) -> str:
    """Replace what stands between the two markers; a text without markers comes back unchanged."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{begin}\n{block}{end}{after}" if begin and end else text


def main() -> None:
    """Write docs/benchmarks.md, docs/images/bench-*.svg, and the table of the README."""
    parser = argparse.ArgumentParser(description="Make tables and charts from a results file.")
    parser.add_argument("results", type=Path)
    parser.add_argument("--root", type=Path, default=_ROOT, help="where README.md and docs/ are")
    options = parser.parse_args()
    results = json.loads(options.results.read_text(encoding="utf-8"))
    images = options.root / "docs" / "images"
    images.mkdir(parents=True, exist_ok=True)
    made = charts(results)
    for name, svg in made.items():
        (images / name).write_text(svg, encoding="utf-8")
    pictures = "".join(f"\n![{name.removesuffix('.svg')}](images/{name})\n" for name in made)
    (options.root / "docs" / "benchmarks.md").write_text(page(results) + pictures, encoding="utf-8")
    readme = options.root / "README.md"
    if readme.exists():
        text = readme.read_text(encoding="utf-8")
        readme.write_text(insert(text, table(results, "table")), encoding="utf-8")
    print(f"written: docs/benchmarks.md, {len(made)} charts in docs/images")


if __name__ == "__main__":
    main()
