"""Scenarios: one TOML file each, what to load a broker with and which figure is compared.

A file with a `[sweep]` becomes one scenario per value; `[sweep.scaled]` has options that grow with the value, by their
factor, and `at_most` bounds the figure of every step as a multiple of the first one's. No process is started here.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "scenarios"
Option = str | int | float | bool

_KEYS = {
    "title", "tier", "smoke", "figure", "target", "targets", "mosquitto_ratio", "limit", "transport", "load",
    "background", "sweep", "seconds", "sample_s", "variant", "shown", "cores", "repeat",
}  # fmt: skip


class ScenarioError(Exception):
    """A scenario file cannot be used; the text names file and key."""


@dataclass(frozen=True)
class Scenario:
    """One measurement.

    `targets` are upper bounds by figure, `mosquitto_ratio` the bound of `figure` against mosquitto's of the same run,
    `limit` the cost of a server without any broker logic. `sweep` is (label, value) for one step of a sweep, `at_most`
    the bound of `figure` as a multiple of what it is at the first step. `variant` is that of a broker which alone can
    do it. `seconds` is a measured time of its own; with `sample_s` the broker's memory is looked at that often
    meanwhile. `shown` names figures that are shown without a target. `cores` puts broker and clients on `one` core
    together or, with `two`, on a core each; without it the system chooses.
    `repeat` is how many runs are enough where one takes long.
    """

    name: str
    title: str
    tier: str
    figure: str
    load: Mapping[str, Option]
    is_smoke: bool = False
    transport: str = "tcp"
    targets: Mapping[str, float] = field(default_factory=dict)
    mosquitto_ratio: float | None = None
    limit: float | None = None
    background: Sequence[Mapping[str, Option]] = ()
    sweep: tuple[str, float] | None = None
    at_most: float | None = None
    variant: str | None = None
    seconds: float | None = None
    sample_s: float | None = None
    shown: Sequence[str] = ()
    cores: str | None = None
    repeat: int | None = None


def arguments(options: Mapping[str, Option]) -> list[str]:
    """Turn options into a command line of the load generator; `pairs` sets both sides."""
    line = [str(options["mode"])]
    for key, value in options.items():
        if key == "pairs":
            line += ["--publishers", str(value), "--subscribers", str(value)]
        elif value is True:
            line.append(f"--{key.replace('_', '-')}")
        elif key != "mode" and value is not False:
            line += [f"--{key.replace('_', '-')}", str(value)]
    return line


def load(path: Path) -> list[Scenario]:
    """Read one file: one scenario, or one per value of its sweep.

    Raises:
        ScenarioError: a key is unknown or missing, or `cores` is neither `one` nor `two`.
    """
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    if unknown := data.keys() - _KEYS:
        raise ScenarioError(f"{path.name}: unknown key: {sorted(unknown)[0]}")
    if data.get("cores", "one") not in ("one", "two"):
        raise ScenarioError(f"{path.name}: cores must be one or two: {data['cores']!r}")
    try:
        targets = dict(data.get("targets", {}))
        if "target" in data:
            targets[data["figure"]] = data["target"]
        scenario = Scenario(
            name=path.stem,
            title=data["title"],
            tier=data["tier"],
            figure=data["figure"],
            load=data["load"],
            is_smoke=data.get("smoke", False),
            transport=data.get("transport", "tcp"),
            targets=targets,
            mosquitto_ratio=data.get("mosquitto_ratio"),
            limit=data.get("limit"),
            background=data.get("background", ()),
            variant=data.get("variant"),
            seconds=data.get("seconds"),
            sample_s=data.get("sample_s"),
            shown=data.get("shown", ()),
            cores=data.get("cores"),
            repeat=data.get("repeat"),
        )
        return _swept(scenario, data["sweep"]) if "sweep" in data else [scenario]
    except KeyError as error:
        raise ScenarioError(f"{path.name}: missing key: {error.args[0]}") from None


def _swept(scenario: Scenario, sweep: Mapping[str, Any]) -> list[Scenario]:
    option = str(sweep["option"])
    steps = []
    for value in sweep["values"]:
        step = replace(
            scenario, name=f"{scenario.name}@{value}", sweep=(sweep["label"], value), at_most=sweep.get("at_most")
        )
        if option.startswith("background."):
            key = option.removeprefix("background.")
            first, *rest = scenario.background
            step = replace(step, background=({**first, key: value}, *rest))
        else:
            scaled = {key: value * factor for key, factor in sweep.get("scaled", {}).items()}
            step = replace(step, load={**scenario.load, option: value, **scaled})
        steps.append(step)
    return steps


def load_all(folder: Path = FOLDER) -> list[Scenario]:
    """Read every scenario of a folder, the table's first, otherwise by name."""
    found = [scenario for path in sorted(folder.glob("*.toml")) for scenario in load(path)]
    return sorted(found, key=lambda scenario: scenario.tier != "table")


def choose(scenarios: Iterable[Scenario], tier: str, patterns: Sequence[str]) -> list[Scenario]:
    """Pick by tier (`table`, `more`, `growth`, `smoke`), or by name patterns, which then ignore the tier.

    `all` is `table` and `more`: what grows takes minutes a step and is asked for by its own name.
    """
    if patterns:
        return [one for one in scenarios if any(fnmatch(one.name, pattern) for pattern in patterns)]
    if tier == "smoke":
        return [one for one in scenarios if one.is_smoke]
    tiers = ("table", "more") if tier == "all" else (tier,)
    return [one for one in scenarios if one.tier in tiers]
