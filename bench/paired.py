"""What a feature adds to the cost of a message: two ways into one broker, held against each other span by span.

    python -m bench.paired access-rules mounted --output bench/results/features.json

Two processes of one broker differ by more than a feature costs, because their memory lies elsewhere. So one process
serves both ways, short spans take turns, and each span is divided only by its neighbour. What is shown is the median of
these ratios and the interval that holds it with 95 % certainty. A feature is beyond its bound if the median is; that
it is within is proven only where the whole interval is.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench import beside, counters
from bench import peer as peers
from bench import scenario as scenarios
from bench.run import LoadFailedError
from bench.summary import median_interval

_FEWEST_PAIRS = 6
"""With fewer, no interval of 95 % is smaller than all there is."""
_BOUND = 1.10
"""Of scenarios for which nothing narrower was promised."""
_SOURCE = "/api/v5/authorization/sources/built_in_database"
_HITS = "emqx_authorization_cache_hit"
_JUDGED = 0.9
"""Messages of which a kept verdict was used, at least; the first of each client has none yet."""
_SETTLED_S = 2.0
_LOOK_S = 0.05
_RESTING = 0.3
"""A process rests if it uses less than this part of a core."""
_TRIES = 3
"""A span of a crowded machine may pass without a delivery; it is taken again."""
_OF_ALL = 100
_OF_EACH = 4_950

Judgement = Literal["proven", "within", "beyond", "too few pairs"]


@dataclass(frozen=True)
class Way:
    """One way into the broker: the port, options of the load generator, and whether access rules are in force.

    `has_rules` is `None` where there are none to switch.
    """

    title: str
    port: str = "tcp_port"
    options: Sequence[str] = ()
    has_rules: bool | None = None


def _load_rules(port: int) -> None:
    """Load 10,000 rules that are about others, of all three kinds; what none of them decides is allowed."""
    api = beside.Api(port)
    token = api.log_in()
    for kind in ("clientid", "username"):
        lines = (f"{kind}-{number},plant/site-{number}/+/state,pub,allow" for number in range(_OF_EACH))
        text = "\n".join([f"{kind},topic,action,access", *lines])
        api.call("POST", f"{_SOURCE}/rules/import?kind={kind}", token, text.encode(), "text/csv")
    topics = (f"plant/site-{number}/line/#" for number in range(_OF_ALL))
    rules = [{"topic": topic, "permission": "deny", "action": "publish"} for topic in topics]
    api.call("POST", f"{_SOURCE}/rules/all", token, json.dumps({"rules": rules}).encode())


@dataclass(frozen=True)
class Comparison:
    """A way without the feature, one with it, and what it may cost by scenario, as a factor."""

    title: str
    variant: str
    plain: Way
    featured: Way
    bounds: Mapping[str, float] = field(default_factory=dict)
    prepare: Callable[[int], None] = lambda _: None


COMPARISONS = {
    "itself": Comparison(
        "the same way twice",
        "two-listeners",
        Way("one listener"),
        Way("the same listener"),
    ),
    "access-rules": Comparison(
        "10,000 access rules, verdict kept",
        "judged",
        Way("no rules in force", has_rules=False),
        Way("10,000 rules", has_rules=True),
        {"fanin-qos0": 1.05},
        _load_rules,
    ),
    "mounted": Comparison(
        "mountpoint of a listener",
        "two-listeners",
        Way("listener without"),
        Way("listener with", "second_port"),
        {"fanin-qos0": 1.03, "pairs-qos0": 1.03},
    ),
    "namespaced": Comparison(
        "namespace as mountpoint",
        "named-tenants",
        Way("clients of none"),
        Way("clients of one", options=("--username", "tenant")),
        {"fanin-qos0": 1.03, "pairs-qos0": 1.03},
    ),
}


def main() -> int:
    """Measure, write the results file; 1 if a median is beyond its bound."""
    options = _parse()
    results = measure(options)
    beside.write(results, options.output, table(results["comparisons"]))
    return int(any(one["judgement"] == "beyond" for one in results["comparisons"]))


def _parse() -> argparse.Namespace:
    about = "Measure what features add to the cost of a message."
    parser = beside.parser(about, "paired", repeat=30, seconds=0.5)
    parser.add_argument("comparisons", nargs="+", choices=COMPARISONS)
    parser.add_argument("--scenarios", nargs="*", default=["fanin-qos0", "pairs-qos0"], help="names of scenario files")
    parser.add_argument("--warmup", type=float, default=0.2, help="before each span")
    return parser.parse_args()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the results of every comparison in every scenario, a fresh broker for each comparison."""
    known = {one.name: one for one in scenarios.load_all()}
    if unknown := set(options.scenarios) - known.keys():
        sys.exit(f"no such scenario: {min(unknown)}")
    found: list[dict[str, Any]] = []
    for name in options.comparisons:
        comparison = COMPARISONS[name]
        with beside.broker(options.pybroker, comparison.variant) as running:
            bench = Bench(comparison, running, options)
            found.extend({"name": name, **bench.compare(known[scenario])} for scenario in options.scenarios)
    circumstances = beside.circumstances(pairs=options.repeat, seconds=options.seconds, warmup=options.warmup)
    return {**circumstances, "comparisons": found}


class Bench:
    """One broker with two ways in."""

    def __init__(self, comparison: Comparison, running: peers.RunningPeer, options: argparse.Namespace) -> None:
        self._comparison = comparison
        self._running = running
        self._options = options
        self._api_port = running.ports["other_port"]
        comparison.prepare(self._api_port)
        self._token = "" if comparison.plain.has_rules is None else beside.Api(self._api_port).log_in()

    def compare(self, scenario: scenarios.Scenario) -> dict[str, Any]:
        """Return the cost of both ways in one scenario and the ratios of neighbouring spans."""
        comparison = self._comparison
        pairs = [self._pair(scenario, turn) for turn in range(self._options.repeat)]
        self._check_verdicts(pairs)
        costs = {"plain": [plain["cost"] for plain, _ in pairs], "featured": [with_it["cost"] for _, with_it in pairs]}
        ratios = [with_it["cost"] / plain["cost"] for plain, with_it in pairs]
        median, low, high = median_interval(ratios)
        bound = comparison.bounds.get(scenario.name, _BOUND)
        result = {
            "scenario": scenario.name,
            "titles": [comparison.title, scenario.title, comparison.plain.title, comparison.featured.title],
            "figure": scenario.figure,
            "cost": {way: statistics.median(values) for way, values in costs.items()},
            "ratio": median,
            "interval": [low, high],
            "bound": bound,
            "judgement": judge(median, high, bound, len(ratios)),
            "generator_limited": sum(span["is_limited"] for pair in pairs for span in pair),
            "verdicts_kept": {
                "plain": statistics.median(plain["verdicts_kept"] for plain, _ in pairs),
                "featured": statistics.median(with_it["verdicts_kept"] for _, with_it in pairs),
            },
            "spans": costs,
        }
        print(f"{comparison.title}, {scenario.title}: {median:.3f} [{low:.3f}, {high:.3f}]", flush=True)
        return result

    def _check_verdicts(self, pairs: Sequence[tuple[Mapping[str, float], Mapping[str, float]]]) -> None:
        """Check that rules, where they are switched, judged every message of the one way and none of the other.

        Raises:
            LoadFailedError: they did not, so the ratios say nothing.
        """
        if self._comparison.plain.has_rules is None:
            return
        for plain, featured in pairs:
            if plain["verdicts_kept"] or featured["verdicts_kept"] < _JUDGED:
                raise LoadFailedError(f"verdicts per message: {plain['verdicts_kept']}, {featured['verdicts_kept']}")

    def _pair(self, scenario: scenarios.Scenario, turn: int) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Return the figures of a span of each way; every other pair begins with the other one."""
        ways = (self._comparison.plain, self._comparison.featured)
        if turn % 2:
            second, first = (self._span(scenario, way) for way in reversed(ways))
            return first, second
        first, second = (self._span(scenario, way) for way in ways)
        return first, second

    def _span(self, scenario: scenarios.Scenario, way: Way) -> Mapping[str, float]:
        """Put the load on one way with clients of its own.

        Raises:
            LoadFailedError: the generator failed, messages were lost that may not be, or none was delivered.
        """
        if way.has_rules is not None:
            setting = json.dumps({"type": "built_in_database", "enable": way.has_rules}).encode()
            beside.Api(self._api_port).call("PUT", _SOURCE, self._token, setting)
            settle(lambda: _cpu_s(self._running.pid))
        for _ in range(_TRIES):
            before = counters.read(self._api_port, [_HITS])
            report = self._load(scenario, way)
            hits = counters.read(self._api_port, [_HITS]) - before
            if cost := report["figures"].get(scenario.figure):
                return {
                    "cost": cost,
                    "is_limited": report["generator_limited"],
                    "verdicts_kept": hits / max(report["balance"]["sent"], 1),
                }
        raise LoadFailedError(f"nothing was delivered in {_TRIES} spans: {scenario.name}, {way.title}")

    def _load(self, scenario: scenarios.Scenario, way: Way) -> dict[str, Any]:
        command = [
            str(self._options.load), *scenarios.arguments(scenario.load), *way.options,
            "--target", f"127.0.0.1:{self._running.ports[way.port]}", "--pid", str(self._running.pid),
            "--duration", str(self._options.seconds), "--warmup", str(self._options.warmup),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0:
            raise LoadFailedError(f"{done.stderr.strip()}; broker: {self._running.log_tail()}")
        report: dict[str, Any] = json.loads(done.stdout)
        if scenario.load.get("qos", 0) and report["balance"]["lost"]:
            raise LoadFailedError(f"{report['balance']['lost']} messages were lost: {scenario.name}")
        return report


def settle(cpu_s: Callable[[], float]) -> None:
    """Wait until a process rests: what a switch of rules leaves to do is no cost of the next messages.

    Args:
        cpu_s: the time that it has used so far.
    """
    deadline, before = time.monotonic() + _SETTLED_S, cpu_s()
    while time.monotonic() < deadline:
        time.sleep(_LOOK_S)
        if (now := cpu_s()) - before < _RESTING * _LOOK_S:
            return
        before = now


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def judge(median: float, high: float, bound: float, pairs: int) -> Judgement:
    """Return what the ratios say of a bound."""
    if pairs < _FEWEST_PAIRS:
        return "too few pairs"
    if median > bound:
        return "beyond"
    return "proven" if high <= bound else "within"


def section(folder: Path) -> str:
    """Return the section of docs/benchmarks.md, empty if a folder of results has no figures of this."""
    paths = [folder / f"{name}.json" for name in ("features", "namespaced")]
    found = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]
    if not found:
        return ""
    where, settings = found[0]["machine"], found[0]["settings"]
    commits = ", ".join(dict.fromkeys(f"{one['commit']}, {one['time']}" for one in found))
    rows = [one for results in found for one in results["comparisons"]]
    return (
        f"\n## What features add to a message\n\n`make bench-features` and `make bench-tenants` on {where['cores']}"
        f" cores of {where['cpu']}, commit {commits}. Both ways into one process, {settings['pairs']} pairs of"
        f" neighbouring spans of {settings['seconds']:g} s each; CPU microseconds per delivered message. `ratio` is the"
        " median of the pairs, beside it the interval that holds it with 95 % certainty. `proven`: the whole interval"
        " is within the bound; `within`: the median is; `beyond`: it is not, and the command fails. The same way"
        " twice shows what the method cannot tell apart.\n\n"
        f"{table(rows)}"
    )


def table(comparisons: Sequence[Mapping[str, Any]]) -> str:
    """Return the Markdown table, a row per comparison and scenario."""
    return "\n".join(_rows(comparisons)) + "\n"


def _rows(comparisons: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "| feature | scenario | without | with | ratio | 95 % interval | bound | |"
    yield "| --- | --- | ---: | ---: | ---: | --- | ---: | --- |"
    for one in comparisons:
        feature, scenario, *_ = one["titles"]
        low, high = one["interval"]
        mark = "^" if one["generator_limited"] else ""
        yield (
            f"| {feature} | {scenario} | {one['cost']['plain']:.3f} | {one['cost']['featured']:.3f}{mark} |"
            f" {one['ratio']:.3f} | {low:.3f} to {high:.3f} | {one['bound']:g} | {one['judgement']} |"
        )


if __name__ == "__main__":
    sys.exit(main())
