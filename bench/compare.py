"""Compare two results files: which figures moved, and whether by more than the noise of their runs.

    python -m bench.compare before.json after.json [--fail-above 10]

All compared figures are costs: lower is better.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LEAST_CHANGE = 0.03
"""Changes below this part are never called a change; a quiet machine repeats itself to about 2 %."""


@dataclass(frozen=True)
class Change:
    """One compared figure of one broker; `ratio` is after / before, `noise` the larger spread of both."""

    scenario: str
    broker: str
    figure: str
    before: float
    after: float
    noise: float

    @property
    def ratio(self) -> float:
        """Return after / before."""
        return self.after / self.before

    @property
    def verdict(self) -> str:
        """Return `better`, `worse` or `same`; a change within the noise is `same`."""
        if abs(self.ratio - 1) <= max(_LEAST_CHANGE, self.noise):
            return "same"
        return "better" if self.ratio < 1 else "worse"


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    """Yield what both results have, in the order of `after`."""
    for scenario, brokers in after["medians"].items():
        figure = after["scenarios"][scenario]["figure"]
        for broker, new in brokers.items():
            old = before["medians"].get(scenario, {}).get(broker)
            if old is None or not old["figures"].get(figure) or figure not in new["figures"]:
                continue
            noise = max(old["spread"], new["spread"])
            yield Change(scenario, broker, figure, old["figures"][figure], new["figures"][figure], noise)


def main() -> int:
    """Print the table; 1 if a figure of pybroker is worse by more than `--fail-above` percent and the noise."""
    parser = argparse.ArgumentParser(description="Compare two results files.")
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--fail-above", type=float, help="percent")
    options = parser.parse_args()
    before, after = (json.loads(path.read_text(encoding="utf-8")) for path in (options.before, options.after))
    for key in ("cpu", "cores", "kernel"):
        if before["machine"][key] != after["machine"][key]:
            print(f"different machines: {key}: {before['machine'][key]} and {after['machine'][key]}")
    found = list(changes(before, after))
    print(f"{'scenario':<28}{'broker':<14}{'before':>12}{'after':>12}{'ratio':>8}{'noise':>8}  figure")
    for one in found:
        mark = {"better": "+", "worse": "-", "same": " "}[one.verdict]
        print(
            f"{one.scenario:<28}{one.broker:<14}{one.before:>12.3f}{one.after:>12.3f}"
            f"{one.ratio:>8.2f}{one.noise:>8.0%} {mark} {one.figure}"
        )
    if options.fail_above is None:
        return 0
    bound = 1 + options.fail_above / 100
    return int(any(one.verdict == "worse" and one.ratio > bound and one.broker.startswith("pybroker") for one in found))


if __name__ == "__main__":
    sys.exit(main())
