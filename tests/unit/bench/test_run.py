"""What a results file says about the command that made it."""

import os

import pytest

from bench import peer as peers
from bench import run, scenario


def test_places_of_this_machine_are_left_out_of_the_command() -> None:
    given = ["--scenarios", "pairs-*", "--load", "/here/load", "--pybroker=/there/python -m pybroker", "--repeat", "3"]
    assert run._shareable(given) == ["--scenarios", "'pairs-*'", "--repeat", "3"]


def test_scenario_of_one_variant_is_only_for_a_broker_that_has_it() -> None:
    one = scenario.Scenario("s", "S", "more", "cost", {"mode": "storm"}, variant="users")
    peer = peers.load("pybroker", {"pybroker": "true"})
    pinned = peers.load("pybroker:two-shards", {"pybroker": "true"})
    assert run._reason_against(peer, one) is None
    assert run._reason_against(pinned, one) == "it has no variant for it: users"


@pytest.mark.parametrize(
    ("cores", "clients", "broker"), [(None, None, None), ("one", {7}, {7}), ("two", {3}, {7})], ids=str
)
def test_cores_are_shared_or_apart(
    monkeypatch: pytest.MonkeyPatch, cores: str | None, clients: set[int] | None, broker: set[int] | None
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {7, 3, 5})
    one = scenario.Scenario("s", "S", "table", "cost", {"mode": "paced"}, cores=cores)
    assert run._cores_of(one) == (clients, broker)


def test_a_single_core_is_shared_by_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2})
    one = scenario.Scenario("s", "S", "table", "cost", {"mode": "paced"}, cores="two")
    assert run._cores_of(one) == ({2}, {2})


@pytest.mark.parametrize(("own", "asked", "runs"), [(None, 3, 3), (2, 3, 2), (3, 1, 1)])
def test_scenario_that_takes_long_is_run_no_more_often_than_it_says(own: int | None, asked: int, runs: int) -> None:
    class Counting(run.Runner):
        def __init__(self) -> None:
            pass

        def run(self, *_: object) -> dict[str, object]:
            return {"scenario": "s", "broker": "pybroker", "error": "not run"}

    one = scenario.Scenario("s", "S", "table", "cost", {"mode": "idle"}, repeat=own)
    peer = peers.load("pybroker", {"pybroker": "true"})
    assert len(list(run._all_runs(Counting(), [one], [peer], asked))) == runs
