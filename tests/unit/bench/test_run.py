"""What a results file says about the command that made it."""

from bench import run


def test_places_of_this_machine_are_left_out_of_the_command() -> None:
    given = ["--scenarios", "pairs-*", "--load", "/here/load", "--pybroker=/there/python -m pybroker", "--repeat", "3"]
    assert run._shareable(given) == ["--scenarios", "'pairs-*'", "--repeat", "3"]
