"""Turn results files into what readers see: Markdown tables and SVG charts, for the README and the docs.

    python -m bench.report

Reads the files of `bench/results` that have a section below. Every figure of the README and of docs/benchmarks.md comes
from here; nothing is typed by hand.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import admin, paired, plot, tenants, verdict

_ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
_UNITS = {
    "cpu_us_per_delivery": "CPU us per delivered message",
    "cpu_us_per_connect": "CPU us per connect and disconnect",
    "cpu_us_per_queued": "CPU us per queued message",
    "bytes_per_connection": "bytes",
    "bytes_per_subscription": "bytes",
    "latency_p50_us": "latency p50, us",
    "latency_p99_us": "latency p99, us",
    "rss_growth_bytes": "bytes after the first minute",
}

Results = Mapping[str, Any]


@dataclass(frozen=True)
class Section:
    """One results file and what the page says about it."""

    file: str
    title: str
    command: str
    base: str = ""


SECTIONS = (
    Section("table", "Beside other brokers", "make bench"),
    Section("peers", "Every scenario", "make bench-peers"),
    Section("shards", "One shard and two", "make bench-shards", base="pybroker:one-shard"),
    Section("growth", "As things grow", "make bench-growth"),
)


def table(results: Results, tier: str | None = None) -> str:
    """Return the Markdown table: a row per figure that is compared or has a target, a column per broker, the target.

    Where a server without any logic took part, the last column has the target as it reads on this machine. `tier`
    leaves out the rows of other tiers, and those that only repeat a row on cores of their own.
    """
    brokers, has_floor = list(results["brokers"]), verdict.floor(results) is not None
    head = ["scenario", "figure", *(results["brokers"][name]["title"] for name in brokers), "target"]
    head += ["target here"] if has_floor else []
    rows = [head, ["---"] * 2 + ["---:"] * (len(head) - 2)]
    for name, about in results["scenarios"].items():
        if tier and (about["tier"] != tier or about.get("cores")):
            continue
        for figure in dict.fromkeys([about["figure"], *about["targets"], *about.get("shown", ())]):
            cells = [cell(results["medians"].get(name, {}).get(broker), figure) for broker in brokers]
            target = about["targets"].get(figure)
            title = f"{about['title']}: {about['sweep'][1]:,}" if about["sweep"] else about["title"]
            row = [title, _UNITS.get(figure, figure), *cells, "" if target is None else f"{target:,g}"]
            here = verdict.target_here(results, name, figure)
            rows.append([*row, "" if here is None else f"{here:,.3g}"] if has_floor else row)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def note(results: Results) -> str:
    """Return what a reader has to know of the columns that are no broker's; empty if there are none."""
    relay = verdict.floor(results)
    if relay is None:
        return ""
    return (
        f"\nThe {results['brokers'][relay]['title']} is no broker: one thread that copies messages from socket to"
        " socket, the floor of what the kernel takes. The targets were set on another machine, where such a server cost"
        " less or more; `target here` is the same multiple of what it costs here. A latency is to be"
        " read beside the relay's.\n"
    )


def cell(summary: Mapping[str, Any] | None, figure: str) -> str:
    """Return one value with its marks: `~` noisy, `!` lost or doubled messages, `^` the generator was the limit."""
    if summary is None:
        return "-"
    value = summary["figures"].get(figure)
    if value is None:
        return "failed"
    text = f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.2f}"
    marks = {
        "~": summary["is_noisy"],
        "!": any(summary["faults"].values()),
        "^": summary["generator_limited"],
    }
    return text + "".join(mark for mark, is_set in marks.items() if is_set)


def page(found: Mapping[Section, Results], pictures: Mapping[Section, list[str]]) -> str:
    """Return the whole Markdown page: what the marks mean, then a section per results file."""
    sections = "".join(_section(one, results, pictures.get(one, [])) for one, results in found.items())
    return (
        "# Benchmarks\n\nLoad and broker share the machine over loopback; payload 64 bytes unless stated. Lower is"
        " better everywhere. What the figures mean, and how to repeat them: `bench/README.md`; where the time goes:"
        " [performance](performance.md). This page is made by `make docs` from `bench/results`.\n\n"
        "`~` runs differ by more than 15 %, `!` messages were lost, doubled or misordered, `^` the load generator was"
        f" the limit, `-` not measured.\n{sections}"
    )


def _section(section: Section, results: Results, pictures: list[str]) -> str:
    machine, settings = results["machine"], results["settings"]
    where = f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_gib']} GiB, Linux {machine['kernel']}"
    repeat = settings["repeat"]
    command = " ".join(["python -m bench.run", *settings["arguments"]]) if "arguments" in settings else section.command
    how = f"the median of {repeat} interleaved runs" if repeat > 1 else "one run"
    how += " (fewer of those that take long)" if any(one.get("repeat") for one in results["scenarios"].values()) else ""
    brokers = "".join(f"* {one['title']}: {one['version']}\n" for one in results["brokers"].values())
    shown = "".join(f"\n![{name.removesuffix('.svg')}](images/{name})\n" for name in pictures)
    return (
        f"\n## {section.title}\n\n`{command}` on {where}, commit {results['commit']}, {results['time']}. Each"
        f" value is {how} of {settings['seconds']:g} s with a fresh broker each.\n\n{brokers}\n{table(results)}"
        f"{note(results)}{_left_out(results)}{_verdicts(section, results)}{shown}"
    )


def _left_out(results: Results) -> str:
    titles = {name: about["title"] for name, about in results["scenarios"].items()}
    lines = [
        f"* {one['title']}, {titles[name]}: {reason}\n"
        for one in results["brokers"].values()
        if one.get("is_broker", True)
        for name, reason in one.get("cannot", {}).items()
    ]
    return f"\nNot measured:\n\n{''.join(lines)}" if lines else ""


def _verdicts(section: Section, results: Results) -> str:
    if section.base:
        found = list(verdict.against(results, section.base, 10.0))
        beyond = [f"{name} {broker} x {cost:.2f}" for name, broker, cost, _, holds in found if not holds]
        return f"\nRows that cost over 10 % more, and more than the noise: {', '.join(beyond) or 'none'}.\n"
    missed = [
        f"{name} {_UNITS.get(figure, figure)}: {value:.2f}"
        f" (bound {bound:g}{verdict.beside_floor(results, name, figure)})"
        for name, figure, value, bound, holds in verdict.targets(results, "pybroker")
        if not holds
    ]
    return f"\nTargets missed: {'; '.join(missed) or 'none'}.\n"


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
    made.update(_memory_charts(results, titles))
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


def _memory_charts(results: Results, titles: Mapping[str, str]) -> dict[str, str]:
    series: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for run in results["runs"]:
        if run.get("memory"):
            points = [(at / 60, size / 2**20) for at, size in run["memory"]]
            series.setdefault(run["scenario"], {})[titles[run["broker"]]] = points
    return {
        f"bench-{name}.svg": plot.lines(
            results["scenarios"][name]["title"], "minutes", "resident set, MiB", lines, log_y=False
        )
        for name, lines in series.items()
    }


def insert(text: str, block: str) -> str:
    """Replace what stands between the two markers; a text without markers comes back unchanged."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{begin}\n{block}{end}{after}" if begin and end else text


def read(folder: Path) -> dict[Section, Results]:
    """Read the results files of a folder that have a section, in the order of the sections."""
    paths = {section: folder / f"{section.file}.json" for section in SECTIONS}
    return {one: json.loads(path.read_text(encoding="utf-8")) for one, path in paths.items() if path.exists()}


def write(found: Mapping[Section, Results], root: Path, more: str = "") -> int:
    """Write docs/benchmarks.md, docs/images/bench-*.svg, and the table of the README; return the number of charts.

    `more` ends the page.
    """
    images = root / "docs" / "images"
    images.mkdir(parents=True, exist_ok=True)
    for old in images.glob("bench-*.svg"):
        old.unlink()
    made: dict[str, str] = {}
    pictures: dict[Section, list[str]] = {}
    for section, results in found.items():
        fresh = {_named(section, name): svg for name, svg in charts(results).items()}
        pictures[section] = list(fresh)
        made.update(fresh)
    for name, svg in made.items():
        (images / name).write_text(svg, encoding="utf-8")
    (root / "docs" / "benchmarks.md").write_text(page(found, pictures) + more, encoding="utf-8")
    readme, first = root / "README.md", next(iter(found.values()))
    if readme.exists():
        text = readme.read_text(encoding="utf-8")
        readme.write_text(insert(text, table(first, "table") + note(first)), encoding="utf-8")
    return len(made)


def _named(section: Section, chart: str) -> str:
    """Put the section into the name of a chart, once."""
    return f"bench-{section.file}-{chart.removeprefix('bench-').removeprefix(f'{section.file}-')}"


def main() -> None:
    """Make the page, the charts and the README's table from a folder of results."""
    parser = argparse.ArgumentParser(description="Make tables and charts from results files.")
    parser.add_argument("--results", type=Path, default=_ROOT / "bench" / "results", help="folder of the files")
    parser.add_argument("--root", type=Path, default=_ROOT, help="where README.md and docs/ are")
    options = parser.parse_args()
    found = read(options.results)
    if not found:
        parser.error(f"no results: {options.results}: a file is named {', '.join(one.file for one in SECTIONS)}.json")
    more = "".join(part.section(options.results) for part in (paired, admin, tenants))
    count = write(found, options.root, more)
    print(f"written: docs/benchmarks.md, {count} charts in docs/images")


if __name__ == "__main__":
    main()
