"""Scenario files: each can be read, and options become the command line that they mean."""

from pathlib import Path

import pytest

from bench import scenario as scenarios


def test_every_shipped_scenario_is_readable_and_named_once() -> None:
    found = scenarios.load_all()
    names = [one.name for one in found]
    assert len(names) == len(set(names)) >= 30
    assert all(one.tier in ("table", "more", "growth") and one.transport in ("tcp", "tls", "ws") for one in found)


def test_options_become_a_command_line() -> None:
    line = scenarios.arguments({"mode": "pairs", "pairs": 7, "v5": True, "tls": False, "step_limit": 2.5})
    assert line == ["pairs", "--publishers", "7", "--subscribers", "7", "--v5", "--step-limit", "2.5"]


def test_sweep_becomes_one_scenario_per_value(tmp_path: Path) -> None:
    file = tmp_path / "growth.toml"
    file.write_text(
        'title = "t"\ntier = "more"\nfigure = "f"\n[load]\nmode = "pairs"\n[[background]]\nmode = "idle"\n'
        '[sweep]\nlabel = "idle"\noption = "background.connections"\nvalues = [1, 20]\n',
        encoding="utf-8",
    )
    steps = scenarios.load(file)
    assert [one.name for one in steps] == ["growth@1", "growth@20"]
    assert steps[1].background[0]["connections"] == 20
    assert steps[1].sweep == ("idle", 20)


def test_option_that_is_scaled_grows_with_the_value(tmp_path: Path) -> None:
    file = tmp_path / "growth.toml"
    file.write_text(
        'title = "t"\ntier = "growth"\nfigure = "f"\n[load]\nmode = "fanout"\n'
        '[sweep]\nlabel = "subscribers"\noption = "subscribers"\nvalues = [1, 10]\n[sweep.scaled]\noutstanding = 100\n',
        encoding="utf-8",
    )
    assert [one.load["outstanding"] for one in scenarios.load(file)] == [100, 1000]


def test_every_growth_has_a_bound() -> None:
    found = scenarios.choose(scenarios.load_all(), "growth", [])
    assert {one.name.partition("@")[0] for one in found if one.at_most is None and not one.targets} == set()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('title = "t"\ntyer = "more"', "unknown key: tyer"),
        ('title = "t"\ntier = "more"\n[load]\nmode = "pairs"', "missing key: figure"),
        ('title = "t"\ncores = "three"', "cores must be one or two: 'three'"),
    ],
)
def test_bad_file_is_refused_with_its_key(tmp_path: Path, text: str, error: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(scenarios.ScenarioError, match=error):
        scenarios.load(file)


def test_patterns_choose_across_tiers() -> None:
    found = scenarios.load_all()
    assert {one.tier for one in scenarios.choose(found, "smoke", ["pairs-*"])} == {"table", "more"}
    assert all(one.is_smoke for one in scenarios.choose(found, "smoke", []))
    assert {one.tier for one in scenarios.choose(found, "all", [])} == {"table", "more"}
    assert {one.tier for one in scenarios.choose(found, "growth", [])} == {"growth"}
