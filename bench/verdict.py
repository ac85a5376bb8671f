"""Say what holds of a results file: promises kept, targets met, and one broker held against another.

python -m bench.verdict build/bench.json
python -m bench.verdict bench/results/growth.json --strict
python -m bench.verdict build/bench-shards.json --base pybroker:one-shard --within 10
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_ALWAYS = ("duplicated", "out_of_order", "foreign")
_PROMISED = ("lost", "refused")
"""Faults only from QoS 1 on: QoS 0 may be lost, and a broker says so in its counters."""

Results = Mapping[str, Any]


def broken_promises(results: Results, brokers: str) -> list[str]:
    """Return a line for each run of `brokers` (start of the name) that failed, or whose messages were not as promised.

    A message of QoS 1 or 2 may not be lost, doubled or misordered; one of QoS 0 may only be lost, and then the broker
    has counted it: neither one more nor one less.
    """
    lines = []
    for run in results["runs"]:
        if not run["broker"].startswith(brokers):
            continue
        name = f"{run['scenario']} {run['broker']} run {run.get('repeat', 0)}"
        if "error" in run:
            lines.append(f"failed: {name}: {run['error']}")
            continue
        qos = results["scenarios"][run["scenario"]]["load"].get("qos", 0)
        counted = _ALWAYS + (_PROMISED if qos else ())
        faults = {fault: run["balance"][fault] for fault in counted if run["balance"][fault]}
        drops = run.get("drops", {"missing": 0, "counted": 0})
        if drops["missing"] != drops["counted"]:
            lines.append(f"wrong count: {name}: {drops['missing']} missing, {drops['counted']} counted as dropped")
        if faults:
            lines.append(f"broken promise: {name}: {', '.join(f'{n} {fault}' for fault, n in faults.items())}")
    return lines


def targets(results: Results, broker: str) -> Iterator[tuple[str, str, float, float, bool]]:
    """Yield scenario, figure, value, bound and whether it holds: every target, then the bound against mosquitto."""
    for name, about in results["scenarios"].items():
        figures = results["medians"].get(name, {}).get(broker, {}).get("figures", {})
        for figure, bound in about["targets"].items():
            if figure in figures:
                yield name, figure, figures[figure], bound, figures[figure] <= bound
        ratio = results["ratios"].get(name, {}).get(broker)
        if ratio is not None and about["mosquitto_ratio"]:
            yield name, "ratio to mosquitto", ratio, about["mosquitto_ratio"], ratio <= about["mosquitto_ratio"]


def grown(results: Results, broker: str) -> Iterator[tuple[str, float, float, bool]]:
    """Yield each further step of a sweep, its figure divided by that of the first step, the bound, and the verdict.

    As in `against`, what is beyond by no more than the runs differ among themselves holds.
    """
    first: dict[str, Mapping[str, Any]] = {}
    for name, about in results["scenarios"].items():
        one = results["medians"].get(name, {}).get(broker, {"figures": {}})
        figure, bound = about["figure"], about.get("at_most")
        base = first.setdefault(name.partition("@")[0], one)
        if bound is not None and base is not one and base["figures"].get(figure) and figure in one["figures"]:
            ratio = one["figures"][figure] / base["figures"][figure]
            yield name, ratio, bound, ratio <= max(bound, 1 + one["spread"], 1 + base["spread"])


def floor(results: Results) -> str | None:
    """Return the name of the server without any logic of a broker that took part, or `None`."""
    return next((name for name, one in results["brokers"].items() if not one.get("is_broker", True)), None)


def target_here(results: Results, scenario: str, figure: str) -> float | None:
    """Return a target as it reads on this machine, or `None` where that cannot be said.

    Targets were set on another machine, where a server without any logic cost `limit`. The same multiple of what it
    costs here is the target here.
    """
    about, relay = results["scenarios"][scenario], floor(results)
    if relay is None or figure != about["figure"] or figure not in about["targets"] or not about.get("limit"):
        return None
    cost = results["medians"].get(scenario, {}).get(relay, {}).get("figures", {}).get(figure)
    return None if cost is None else float(about["targets"][figure] * cost / about["limit"])


def beside_floor(results: Results, scenario: str, figure: str) -> str:
    """Return what a bound is to be read beside: the target here, else that of the server without logic, if any."""
    here = target_here(results, scenario, figure)
    if here is not None:
        return f", here {here:.3g}"
    relay = floor(results)
    value = results["medians"].get(scenario, {}).get(relay, {}).get("figures", {}).get(figure)
    if relay is None or value is None:
        return ""
    return f", {results['brokers'][relay]['title']} {value:,.0f}"


def against(results: Results, base: str, within: float) -> Iterator[tuple[str, str, float, float, bool]]:
    """Yield scenario, broker, cost and rate divided by those of `base`, and whether the cost stays `within` percent.

    A cost beyond that by no more than the runs differ among themselves holds as well: it proves nothing.
    """
    for name, brokers in results["medians"].items():
        figure = results["scenarios"][name]["figure"]
        reference = brokers.get(base, {"figures": {}})
        for broker, one in brokers.items():
            if broker == base or not reference["figures"].get(figure) or figure not in one["figures"]:
                continue
            cost = one["figures"][figure] / reference["figures"][figure]
            noise = max(one["spread"], reference["spread"])
            yield name, broker, cost, _rate(one) / (_rate(reference) or 1.0), cost - 1 <= max(within / 100, noise)


def _rate(one: Mapping[str, Any]) -> float:
    figures: Mapping[str, float] = one["figures"]
    return next((value for name, value in figures.items() if name.endswith("_rate_per_s")), 0.0)


def main() -> int:
    """Print the verdicts; 1 if a promise was broken, a cost grew beyond its bound or a broker is beyond the base."""
    parser = argparse.ArgumentParser(description="Say what holds of a results file.")
    parser.add_argument("results", type=Path)
    parser.add_argument("--broker", default="pybroker", help="whose targets are looked at")
    parser.add_argument("--base", help="a broker of the same file that the others are held against")
    parser.add_argument("--within", type=float, default=10.0, help="percent that another may cost more than the base")
    parser.add_argument("--strict", action="store_true", help="a missed target fails as well")
    options = parser.parse_args()
    results = json.loads(options.results.read_text(encoding="utf-8"))
    failed = broken_promises(results, "pybroker")
    for name, figure, value, bound, holds in targets(results, options.broker):
        print(
            f"{'met   ' if holds else 'missed'} {name:<28}{figure:<26}{value:>12.2f}  bound {bound:g}"
            f"{beside_floor(results, name, figure)}"
        )
        if options.strict and not holds:
            failed.append(f"missed: {name} {figure}")
    for name, ratio, bound, holds in grown(results, options.broker):
        print(f"{'holds ' if holds else 'grown '} {name:<29}{'of the first step':<25}{ratio:>12.2f}  bound {bound:g}")
        if not holds:
            failed.append(f"grown: {name}: {ratio:.2f} times the first step, bound {bound:g}")
    if options.base:
        for name, broker, cost, rate, holds in against(results, options.base, options.within):
            print(f"{'holds ' if holds else 'beyond'} {name:<28}{broker:<26}cost x {cost:.2f}  rate x {rate:.2f}")
            if not holds:
                failed.append(f"beyond {options.base} by more than {options.within:g} %: {name} {broker}")
    print("".join(f"{line}\n" for line in failed), end="")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
