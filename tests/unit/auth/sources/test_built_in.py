"""The compiled rules of the broker's own database: loaded whole, replaced in part, swapped at once."""

import pytest

from pybroker._core import AccessClient, RulesError
from pybroker.auth.sources.built_in import BuiltInRules, RuleList


def deny(topic: str) -> dict[str, object]:
    return {"topic": topic, "permission": "deny", "action": "all"}


def decision(rules: BuiltInRules, client_id: str, topic: str) -> str:
    return rules.rules.check(AccessClient(client_id), "publish", topic)[0]


async def test_load_takes_the_place_of_everything_and_replace_of_what_it_names() -> None:
    rules = BuiltInRules()
    swaps: list[int] = []
    rules.listen(lambda: swaps.append(len(rules.rules)))
    await rules.load([(None, "clientid", "a", [deny("t")]), (None, "clientid", "b", [deny("t")])])
    await rules.replace([(None, "clientid", "a", []), (None, "all", "", [deny("u"), deny("v")])])
    assert [decision(rules, client, "t") for client in ("a", "b")] == ["nomatch", "deny"]
    await rules.load([(None, "clientid", "a", [deny("t")])])
    assert [decision(rules, client, "t") for client in ("a", "b")] == ["deny", "nomatch"]
    assert swaps == [2, 3, 1]


async def test_list_with_a_fault_changes_nothing() -> None:
    rules = BuiltInRules()
    faulty: RuleList = (None, "clientid", "a", [deny("t/#/x")])
    await rules.load([(None, "clientid", "a", [deny("t")])])
    with pytest.raises(RulesError):
        await rules.replace([faulty])
    with pytest.raises(RulesError):
        await rules.load([faulty])
    assert decision(rules, "a", "t") == "deny"


async def test_characters_that_values_may_hold_are_changed_for_all_lists_that_are_kept() -> None:
    rules = BuiltInRules()
    kept: list[RuleList] = [(None, "all", "", [deny("t/${clientid}")])]
    swaps: list[int] = []
    rules.read_from(lambda: kept)
    await rules.load(kept)
    rules.listen(lambda: swaps.append(len(rules.rules)))
    assert decision(rules, "a/b", "t/a/b") == "nomatch"
    await rules.allow(["slash"])
    await rules.allow(["slash"])
    assert decision(rules, "a/b", "t/a/b") == "deny"
    assert swaps == [1]
    await rules.replace([(None, "clientid", "x", [deny("u/${clientid}")])])
    await rules.allow([])
    assert decision(rules, "a/b", "t/a/b") == "nomatch"
