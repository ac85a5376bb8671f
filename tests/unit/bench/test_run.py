"""What a results file says about the command that made it."""

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
