"""Namespaces of the core as Python sees them: levels, pages, limits that are refused."""

from typing import Any, cast

import pytest

from pybroker._core import Engine


def engine() -> Engine:
    return Engine(0, "n@127.0.0.1")


def test_a_session_counts_for_its_namespace() -> None:
    core = engine()
    slot = core.create_session("c", "n1/", "n1")
    core.create_session("d", "", None)
    core.subscribe(slot, "a/#", 1)
    stats = core.namespace_stats("n1")
    assert stats == {"sessions": 1, "subscriptions": 1, "retained": 0, "retained_bytes": 0, "queued_bytes": 0}


def test_an_implicit_namespace_ends_with_its_last_session() -> None:
    core = engine()
    slot = core.create_session("c", "", "n1")
    core.subscribe(slot, "a", 0)
    core.drop_session(slot)
    assert core.namespace_stats("n1") == {}


def test_what_waits_for_offline_sessions_is_a_level_of_the_namespace() -> None:
    core = engine()
    slots = [core.create_session(name, "", "n1") for name in "cd"]
    for slot in slots:
        core.subscribe(slot, "a", 1)
    core.publish("a", b"12345", 1, False)
    assert core.namespace_stats("n1")["queued_bytes"] == 12
    core.drop_session(slots[0])
    assert core.namespace_stats("n1")["queued_bytes"] == 6


def test_a_configured_namespace_is_there_without_clients_and_has_counters() -> None:
    core = engine()
    core.set_namespace("n1", {"has_counters": True})
    assert core.namespace_stats("n1")["messages.received"] == 0
    assert core.drop_namespace("n1")
    assert not core.drop_namespace("n1")
    assert core.namespace_stats("n1") == {}


def test_namespaces_are_paged_by_name() -> None:
    core = engine()
    for name in ("b", "a", "c"):
        core.create_session(name, "", name)
    page, has_more = core.page_namespaces("", 2)
    assert ([name for name, _ in page], has_more) == (["a", "b"], True)
    page, has_more = core.page_namespaces("b", 2)
    assert ([(name, stats["sessions"]) for name, stats in page], has_more) == ([("c", 1)], False)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_retained": -1}, "max_retained must be of another type: -1"),
        ({"maximum": 1}, "unknown key of a namespace: maximum"),
        ({"on_exceed": "wait"}, "on_exceed must be reject or pause: wait"),
        ({"tenant": {"subscribes": {}}}, "unknown key of tenant: subscribes"),
        ({"client": {"messages": {"rate": (0, 1000)}}}, r"client.messages.rate must be None or .*: \(0, 1000\)"),
        ({"client": {"bytes": {"burst": (5, 0)}}}, r"client.bytes.burst must be None or .*: \(5, 0\)"),
        ({"client": {"bytes": {"speed": 1}}}, "unknown key of client.bytes: speed"),
    ],
)
def test_wrong_limits_are_named_and_change_nothing(limits: dict[str, Any], message: str) -> None:
    core = engine()
    with pytest.raises(ValueError, match=message):
        core.set_namespace("n1", cast("Any", limits))
    assert core.namespace_stats("n1") == {}


def test_the_empty_name_is_no_namespace() -> None:
    core = engine()
    with pytest.raises(ValueError, match="must not be empty"):
        core.set_namespace("", {})
    core.create_session("c", "", "")
    assert core.page_namespaces("", 10) == ([], False)
