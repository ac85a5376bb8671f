"""Medians, spreads and ratios of many runs. Pure functions over the dictionaries that the results files hold."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import comb
from statistics import median
from typing import Any

NOISY_SPREAD = 0.15
"""A figure whose runs differ by more than this part of their median is marked."""

Run = Mapping[str, Any]
Medians = dict[str, dict[str, dict[str, Any]]]


def summarize(runs: Iterable[Run]) -> Medians:
    """Return scenario -> broker -> median of every figure, and what a reader has to know about the runs.

    `spread` is (highest - lowest) / median of the compared figure; `faults` sums lost, duplicated and misordered
    messages over all runs.
    """
    grouped: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        grouped[run["scenario"], run["broker"]].append(run)
    medians: Medians = {}
    for (scenario, broker), group in grouped.items():
        medians.setdefault(scenario, {})[broker] = _summary(group)
    return medians


def _summary(group: Sequence[Run]) -> dict[str, Any]:
    good = [run for run in group if "error" not in run]
    summary: dict[str, Any] = {"runs": len(good), "failed": len(group) - len(good), "variant": group[0]["variant"]}
    if not good:
        return {**summary, "error": group[0]["error"], "figures": {}, "is_noisy": False}
    names = set.intersection(*(set(run["figures"]) for run in good))
    figures = {name: median(run["figures"][name] for run in good) for name in sorted(names)}
    figure = good[0]["figure"]
    spread = spread_of([run["figures"][figure] for run in good if figure in run["figures"]])
    balances = [run["balance"] for run in good]
    return {
        **summary,
        "figures": figures,
        "spread": spread,
        "is_noisy": spread > NOISY_SPREAD,
        "generator_limited": sum(run["generator_limited"] for run in good),
        "faults": {
            name: sum(balance[name] for balance in balances)
            for name in ("lost", "duplicated", "out_of_order", "foreign", "refused")
        },
    }


def spread_of(values: Sequence[float]) -> float:
    """Return (highest - lowest) / median, 0 for fewer than two values or a median of 0."""
    middle = median(values) if len(values) > 1 else 0.0
    return (max(values) - min(values)) / abs(middle) if middle else 0.0


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median, and the interval that holds that of endless repetitions with at least 95 % certainty.

    Order statistics of the sign test: nothing is assumed of how the values are spread. Fewer than six values bound
    nothing: the interval is then all of them.
    """
    ordered, count = sorted(values), len(values)
    outside, tail = 0, 0.0
    for below in range(count // 2):
        tail += comb(count, below) / 2**count
        if 2 * tail > 0.05:
            break
        outside = below
    return median(ordered), ordered[outside], ordered[-1 - outside]


def ratios(medians: Medians, figure_of: Mapping[str, str], base: str) -> dict[str, dict[str, float]]:
    """Return scenario -> broker -> its compared figure divided by that of `base`."""
    result: dict[str, dict[str, float]] = {}
    for scenario, brokers in medians.items():
        figure = figure_of[scenario]
        reference = brokers.get(base, {}).get("figures", {}).get(figure)
        if not reference:
            continue
        result[scenario] = {
            broker: summary["figures"][figure] / reference
            for broker, summary in brokers.items()
            if figure in summary["figures"]
        }
    return result
