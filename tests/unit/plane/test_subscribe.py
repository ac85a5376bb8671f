"""SUBSCRIBE and UNSUBSCRIBE: what is granted, what is refused and with which code."""

import contextlib
from collections.abc import Coroutine

import pytest

from pybroker._core import CLOSE_NOT_AUTHORIZED
from pybroker.events import Subscribed, Unsubscribed
from pybroker.plane.settings import SubscribeSettings
from pybroker.ports import FilterRequest, ListenerTraits
from pybroker.types import ListenerId
from tests.support.fake_core import FakeConnect, request
from tests.support.spec import spec
from tests.unit.plane.conftest import Plane


def connected(plane: Plane, conn: int = 1, client_id: str = "c", **fields: object) -> int:
    """Connect a client with a session of 100 s and return its slot."""
    connect = FakeConnect(client_id=client_id, session_expiry_s=100)
    for name, value in fields.items():
        setattr(connect, name, value)
    plane.connect(conn, connect)
    return plane.session(client_id).slot


def codes_for(plane: Plane, *requests: FilterRequest, conn: int = 1, slot: int = 0) -> bytes | None:
    """Let a SUBSCRIBE arrive and return the codes of its answer."""
    plane.subscriber.on_subscribe(conn, slot, 10, list(requests))
    call = plane.engine.named("grant")[-1]
    assert call[:3] == ("grant", conn, 10)
    codes = call[3]
    assert codes is None or isinstance(codes, bytes)
    return codes


def test_everything_allowed_costs_no_list(plane: Plane) -> None:
    connected(plane)
    assert codes_for(plane, request("a/+", 2), request("$share/g/a", 1), request("b")) is None


@spec("MQTT5-3.8.4-6", "MQTT3-3.8.4-5", row=90)
def test_refused_filter_does_not_spoil_its_neighbours(plane: Plane) -> None:
    plane.authorizer.denied = {"$SYS/#"}
    connected(plane)
    assert codes_for(plane, request("a", 1), request("$SYS/#", 0), request("b", 2)) == bytes([1, 0x87, 2])


def test_syntax_code_of_the_core_stays(plane: Plane) -> None:
    connected(plane)
    assert codes_for(plane, request("a", 1), request("a/#/b", 1, 0x8F)) == bytes([1, 0x8F])


def test_granted_codes_are_lowered_to_the_maximum(plane: Plane) -> None:
    plane.subscriber.settings = SubscribeSettings(max_qos=1)
    connected(plane)
    assert codes_for(plane, request("a", 2), request("b", 0, 0x8F)) == bytes([1, 0x8F])


@pytest.mark.parametrize(
    ("settings", "filter", "code"),
    [
        (SubscribeSettings(allows_wildcards=False), "a/+", 0xA2),
        (SubscribeSettings(allows_wildcards=False), "$share/g/#", 0xA2),
        (SubscribeSettings(allows_shared=False), "$share/g/a", 0x9E),
        (SubscribeSettings(allows_shared=False), "$queue/a", 0x9E),
        (SubscribeSettings(), "$exclusive/a", 0x8F),
    ],
)
def test_features_that_are_off_have_their_codes(
    plane: Plane, settings: SubscribeSettings, filter: str, code: int
) -> None:
    plane.subscriber.settings = settings
    connected(plane)
    assert codes_for(plane, request(filter)) == bytes([code])
    assert codes_for(plane, request("a")) is None


# Access control


def run(work: Coroutine[object, object, object]) -> None:
    """Run a coroutine that waits for nothing."""
    with contextlib.suppress(StopIteration):
        work.send(None)


def test_denied_filter_is_told_and_a_granted_sys_topic_too(plane: Plane) -> None:
    connected(plane)
    plane.authorizer.denied = {"$SYS/#"}
    assert codes_for(plane, request("$SYS/#")) == bytes([0x87])
    assert "subscription_denied" in plane.heard
    assert "sys_subscribed" not in plane.heard
    assert codes_for(plane, request("$share/g/$SYS/brokers")) is None
    assert "sys_subscribed" in plane.heard


def test_rules_see_the_filter_without_its_prefix_and_the_qos_that_is_asked_for(plane: Plane) -> None:
    plane.subscriber.settings = SubscribeSettings(max_qos=0)
    connected(plane)
    codes_for(plane, request("$share/g/a/+", 2), request("$queue/b", 1))
    assert plane.authorizer.asked == [("subscribe", 0, "a/+", 2), ("subscribe", 0, "b", 1)]


def test_remote_verdict_holds_the_answer_back_until_it_is_there(plane: Plane) -> None:
    connected(plane)
    plane.authorizer.slow, plane.authorizer.denied = {"a", "b"}, {"b", "c"}
    requests = [request("a", 1), request("b"), request("c"), request("d", 2)]
    plane.subscriber.on_subscribe(1, 0, 10, requests)
    assert not plane.engine.named("grant")
    run(plane.spawned.pop())
    assert plane.engine.named("grant") == [("grant", 1, 10, bytes([1, 0x87, 0x87, 2]))]


def test_rules_that_change_while_a_verdict_is_awaited_hold_for_every_filter(plane: Plane) -> None:
    connected(plane)
    plane.authorizer.slow = {"slow"}
    plane.subscriber.on_subscribe(1, 0, 10, [request("early", 1), request("slow", 1), request("other", 2)])
    plane.authorizer.version, plane.authorizer.denied = 2, {"early", "slow"}
    run(plane.spawned.pop())
    assert plane.engine.named("grant") == [("grant", 1, 10, bytes([0x87, 0x87, 2]))]


def test_rights_that_end_while_a_verdict_is_awaited_end_for_every_filter(plane: Plane) -> None:
    connected(plane)
    plane.authorizer.slow = {"slow"}
    plane.subscriber.on_subscribe(1, 0, 10, [request("early", 1), request("slow", 1), request("other", 2)])
    plane.authorizer.ended = {"early", "slow"}
    run(plane.spawned.pop())
    assert plane.engine.named("grant") == [("grant", 1, 10, bytes([0x87, 0x87, 2]))]


def test_rules_that_do_not_change_are_asked_once(plane: Plane) -> None:
    connected(plane)
    plane.authorizer.slow = {"slow"}
    plane.subscriber.on_subscribe(1, 0, 10, [request("early"), request("slow")])
    run(plane.spawned.pop())
    assert [asked[0] for asked in plane.authorizer.asked] == ["subscribe", "subscribe"]


def test_remote_verdict_that_fails_denies(plane: Plane) -> None:
    connected(plane)
    plane.authorizer.slow = plane.authorizer.broken = {"a"}
    plane.subscriber.on_subscribe(1, 0, 10, [request("a"), request("b")])
    with pytest.raises(RuntimeError):
        run(plane.spawned.pop())
    assert plane.engine.named("grant") == [("grant", 1, 10, bytes([0x87, 0]))]


def test_remote_verdict_for_a_client_that_has_gone_is_dropped(plane: Plane) -> None:
    connected(plane)
    plane.authorizer.slow = {"a"}
    plane.subscriber.on_subscribe(1, 0, 10, [request("a")])
    plane.close(1)
    run(plane.spawned.pop())
    assert not plane.engine.named("grant")


def test_one_denied_filter_ends_the_connection_where_that_is_the_policy(plane: Plane) -> None:
    connected(plane)
    plane.authorizer.disconnects, plane.authorizer.denied = True, {"b"}
    plane.subscriber.settings = SubscribeSettings(allows_exclusive=True)
    plane.subscriber.on_subscribe(1, 0, 10, [request("a"), request("b"), request("$exclusive/c")])
    assert plane.engine.named("grant", "disconnect") == [("disconnect", 1, 0x87, CLOSE_NOT_AUTHORIZED)]
    connected(plane, 2, "other")
    assert codes_for(plane, request("$exclusive/c"), conn=2, slot=1) is None


# Exclusive


@pytest.fixture
def exclusive(plane: Plane) -> Plane:
    """Give a plane with exclusive subscriptions and two clients: `a` (conn 1, slot 0) and `b` (conn 2, slot 1)."""
    plane.subscriber.settings = SubscribeSettings(allows_exclusive=True)
    connected(plane, 1, "a")
    connected(plane, 2, "b")
    return plane


def test_exclusive_topic_has_one_holder(exclusive: Plane) -> None:
    assert codes_for(exclusive, request("$exclusive/t", 1)) is None
    assert codes_for(exclusive, request("$exclusive/t", 1), request("x"), conn=2, slot=1) == bytes([0x97, 0])
    assert codes_for(exclusive, request("$exclusive/t", 2)) is None
    assert codes_for(exclusive, request("t"), conn=2, slot=1) is None


def test_exclusive_topic_is_free_after_unsubscribing(exclusive: Plane) -> None:
    codes_for(exclusive, request("$exclusive/t"))
    exclusive.subscriber.on_unsubscribe(2, 1, 5, ["$exclusive/t"])
    assert codes_for(exclusive, request("$exclusive/t"), conn=2, slot=1) == bytes([0x97])
    exclusive.subscriber.on_unsubscribe(1, 0, 5, ["$exclusive/other", "$exclusive/t", "$exclusive/t"])
    assert codes_for(exclusive, request("$exclusive/t"), conn=2, slot=1) is None


def test_exclusive_topic_is_free_after_unsubscribing_by_its_bare_name(exclusive: Plane) -> None:
    assert codes_for(exclusive, request("$exclusive/a")) is None
    exclusive.subscriber.on_unsubscribe(1, 0, 11, ["a"])
    assert codes_for(exclusive, request("$exclusive/a"), conn=2, slot=1) is None


def test_exclusive_topic_is_held_while_the_session_lives(exclusive: Plane) -> None:
    codes_for(exclusive, request("$exclusive/t"), request("$exclusive/u"))
    exclusive.close(1)
    assert codes_for(exclusive, request("$exclusive/t"), conn=2, slot=1) == bytes([0x97])
    exclusive.timers.advance(100_000)
    assert codes_for(exclusive, request("$exclusive/t"), request("$exclusive/u"), conn=2, slot=1) is None


def test_exclusive_topics_of_two_mountpoints_do_not_meet(plane: Plane) -> None:
    plane.subscriber.settings = SubscribeSettings(allows_exclusive=True)
    plane.listeners[2] = ListenerTraits(id=ListenerId("tcp:b"), mountpoint="b/")
    connected(plane, 1, "a")
    connected(plane, 2, "b", listener=2)
    assert codes_for(plane, request("$exclusive/t")) is None
    assert codes_for(plane, request("$exclusive/t"), conn=2, slot=1) is None


def test_refused_exclusive_filter_takes_no_lock(exclusive: Plane) -> None:
    exclusive.authorizer.denied = {"$SYS/x"}
    assert codes_for(exclusive, request("$exclusive/$SYS/x")) == bytes([0x87])
    exclusive.authorizer.denied = set()
    assert codes_for(exclusive, request("$exclusive/$SYS/x"), conn=2, slot=1) is None


# Limit


def test_subscriptions_are_limited(plane: Plane) -> None:
    plane.subscriber.settings = SubscribeSettings(max_subscriptions=3, allows_exclusive=True)
    slot = connected(plane)
    plane.engine.held[slot] = ["a", "$share/g/b"]
    wanted = [request("c"), request("d"), request("a", 1), request("$share/g/b"), request("c")]
    assert codes_for(plane, *wanted) == bytes([0, 0x97, 1, 0, 0])
    assert codes_for(plane, request("c")) is None


def test_replacing_is_no_subscription_more(plane: Plane) -> None:
    plane.subscriber.settings = SubscribeSettings(max_subscriptions=1, allows_exclusive=True)
    plane.listeners[1] = ListenerTraits(id=ListenerId("tcp:default"), mountpoint="m/")
    for client, held, filter in [
        ("a", "m/x", "x"),
        ("b", "m/x", "$exclusive/x"),
        ("c", "$share/$queue/m/x", "$queue/x"),
        ("d", "$share/g/m/x/y", "$share/g/x/y"),
    ]:
        conn = ord(client)
        slot = connected(plane, conn, client)
        plane.engine.held[slot] = [held]
        assert codes_for(plane, request(filter), conn=conn, slot=slot) is None
        assert codes_for(plane, request("other"), conn=conn, slot=slot) == bytes([0x97])


# Stale packets, UNSUBSCRIBE and events


def test_packets_of_a_connection_that_lost_its_session_are_dropped(plane: Plane) -> None:
    connected(plane)
    plane.subscriber.on_subscribe(99, 0, 1, [request("a")])
    plane.subscriber.on_unsubscribe(99, 0, 1, ["a"])
    assert plane.engine.named("grant", "release") == []


def test_unsubscribing_is_never_refused(plane: Plane) -> None:
    plane.authorizer.denied = {"$SYS/#"}
    connected(plane)
    plane.subscriber.on_unsubscribe(1, 0, 7, ["$SYS/#", "a"])
    assert plane.engine.calls[-1] == ("release", 1, 7)


def test_what_was_granted_and_given_up_is_told(plane: Plane) -> None:
    granted: list[Subscribed] = []
    given_up: list[Unsubscribed] = []
    plane.events.client_subscribed.listen(granted.append)
    plane.events.client_unsubscribed.listen(given_up.append)
    plane.subscriber.settings = SubscribeSettings(max_qos=1)
    connected(plane)
    codes_for(plane, request("a", 0x2E), request("b", 0, 0x8F))
    plane.subscriber.on_unsubscribe(1, 0, 7, ["a"])
    assert [(event.filter, event.options) for event in granted] == [("a", 0x2D)]
    assert [event.filter for event in given_up] == ["a"]


def test_two_filters_may_be_refused_at_once_and_nobody_need_listen() -> None:
    plane = Plane(has_listeners=False)
    connected(plane)
    wanted = [request("a", 1), request("b", 1, 0x8F), request("c", 1, 0x8F)]
    assert codes_for(plane, *wanted) == bytes([1, 0x8F, 0x8F])
    plane.subscriber.on_unsubscribe(1, 0, 5, ["a"])
    assert plane.engine.calls[-1] == ("release", 1, 5)


def test_giving_one_of_two_exclusive_topics_back_keeps_the_other(exclusive: Plane) -> None:
    codes_for(exclusive, request("$exclusive/t"), request("$exclusive/u"))
    exclusive.subscriber.on_unsubscribe(1, 0, 5, ["$exclusive/t"])
    assert codes_for(exclusive, request("$exclusive/u"), request("$exclusive/t"), conn=2, slot=1) == bytes([0x97, 0])
