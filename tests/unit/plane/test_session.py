"""The life of sessions: resume, take-over, expiry; and when wills are sent. Time is moved by hand."""

import contextlib

import pytest

from pybroker._core import CLOSE_KICKED, CLOSE_NORMAL, CLOSE_STALE, CLOSE_TAKEN_OVER, CLOSE_TCP, CLOSE_WITH_WILL
from pybroker.events import Departure
from pybroker.plane.registry import NEVER_S, OFFLINE
from pybroker.plane.settings import ConnectSettings
from pybroker.plane.will import Wills
from pybroker.ports import ListenerTraits
from pybroker.types import ClientId, ListenerId, Namespace
from tests.support.fake_core import FakeConnect, FakeWill
from tests.support.spec import spec
from tests.unit.plane.conftest import Plane

V3_VERSIONS = [3, 4]


def kept(**overrides: object) -> FakeConnect:
    """Return a 5.0 CONNECT whose session lives for 100 s; `overrides` replace its fields."""
    connect = FakeConnect(session_expiry_s=100)
    for name, value in overrides.items():
        setattr(connect, name, value)
    return connect


def test_first_connect_makes_a_session(plane: Plane) -> None:
    plane.connect(7)
    assert plane.engine.calls == [("create_session", "c", "", 0), ("accept", 7, 0, False, 60, None)]
    assert plane.heard == ["client_admitted", "session_created", "client_connected"]
    session = plane.session()
    assert (session.conn, session.slot, session.peer, session.is_online) == (7, 0, "127.0.0.1:40000", True)


@spec("MQTT5-3.1.2-5", "MQTT5-3.2.2-3", row=33)
def test_offline_session_is_resumed(plane: Plane) -> None:
    plane.connect(1, kept())
    plane.close(1)
    assert plane.session().conn == OFFLINE
    plane.connect(2, kept(peer=("::1", 9), username="u"))
    assert plane.answer[:4] == ("accept", 2, 0, True)
    assert plane.engine.named("drop_session") == []
    assert (plane.session().peer, plane.session().username) == ("[::1]:9", "u")
    assert plane.heard[-3:] == ["client_admitted", "session_resumed", "client_connected"]


@spec("MQTT5-3.1.2-4", "MQTT3-3.1.2-6", row=32)
def test_clean_start_drops_the_old_session_first(plane: Plane) -> None:
    plane.connect(1, kept())
    plane.close(1)
    plane.connect(2, kept(is_clean_start=True))
    assert [call[0] for call in plane.engine.calls[-3:]] == ["drop_session", "create_session", "accept"]
    assert plane.answer[3] is False
    assert "session_discarded" in plane.heard
    assert len(plane.registry) == 1


def test_session_of_another_mountpoint_is_not_resumed(plane: Plane) -> None:
    plane.listeners[2] = ListenerTraits(id=ListenerId("tcp:b"), mountpoint="b/")
    plane.connect(1, kept())
    plane.close(1)
    plane.connect(2, kept(listener=2))
    assert plane.answer[3] is False
    assert plane.engine.named("create_session")[-1][1:3] == ("c", "b/")


@spec("MQTT5-3.1.4-3", "MQTT3-3.1.4-2", row=30)
def test_take_over_leaves_the_older_connection_to_the_engine(plane: Plane) -> None:
    plane.connect(1, kept())
    plane.connect(2, kept())
    # `accept` for a session that has a connection ends that one first, with 0x8E; so does `drop_session`.
    assert plane.engine.calls[-2:] == [("accept", 1, 0, False, 60, None), ("accept", 2, 0, True, 60, None)]
    assert plane.heard[-5:] == [
        "client_admitted",
        "client_disconnected",
        "session_taken_over",
        "session_resumed",
        "client_connected",
    ]


def test_older_connection_is_ended_though_the_newer_one_has_gone(plane: Plane) -> None:
    plane.connect(1, kept(will=FakeWill()))
    plane.connect(2, kept())
    plane.close(2, cause=CLOSE_STALE)
    assert plane.engine.calls[-1] == ("disconnect", 1, 0x8E, CLOSE_TAKEN_OVER)
    plane.close(1, cause=CLOSE_TAKEN_OVER)
    assert len(plane.wills) == 1
    assert plane.has_session()
    assert not plane.session().is_online


def test_only_the_connection_that_was_to_be_replaced_is_ended(plane: Plane) -> None:
    plane.connect(1, kept(client_id="a"))
    plane.connect(2, kept(client_id="a"))
    plane.connect(3, kept(client_id="b"))
    plane.close(3, 1, CLOSE_STALE)
    plane.close(1, 0, CLOSE_TAKEN_OVER)
    plane.close(2, 0, CLOSE_STALE)
    assert plane.engine.named("disconnect") == []


def test_report_of_a_taken_over_connection_is_stale(plane: Plane) -> None:
    plane.connect(1, kept())
    plane.connect(2, kept())
    plane.close(1, 0, CLOSE_TAKEN_OVER)
    assert plane.session().conn == 2
    assert plane.heard.count("client_disconnected") == 1


def test_stale_report_does_not_touch_a_reused_slot(plane: Plane) -> None:
    plane.connect(1, FakeConnect(client_id="a"))
    plane.connect(2, FakeConnect(client_id="a"))  # expiry 0: the old session ends and its slot is used again
    assert plane.session("a").slot == 0
    plane.close(1, 0, CLOSE_TAKEN_OVER)
    assert plane.session("a").conn == 2


@spec("MQTT5-3.1.2-23", "MQTT3-3.1.2-6", row=46)
@pytest.mark.parametrize("version", [3, 4, 5])
def test_take_over_of_a_session_that_ends_with_its_connection_finds_nothing(plane: Plane, version: int) -> None:
    plane.connect(1, FakeConnect(version=version, is_clean_start=True))
    plane.connect(2, FakeConnect(version=version, is_clean_start=False, session_expiry_s=100))
    assert plane.answer[3] is False
    assert plane.engine.named("drop_session") == [("drop_session", 0)]


@spec("MQTT3-3.1.2-8", row=31)
@pytest.mark.parametrize("version", V3_VERSIONS)
@pytest.mark.parametrize("clean", [True, False])
def test_3x_will_is_sent_when_the_connection_is_taken_over(plane: Plane, version: int, clean: bool) -> None:
    plane.connect(1, FakeConnect(version=version, is_clean_start=clean, will=FakeWill()))
    plane.connect(2, FakeConnect(version=version, is_clean_start=clean))
    assert plane.wills == []
    plane.close(1, 0, CLOSE_TAKEN_OVER)
    assert plane.wills == [("will", plane.session().slot, "c", "")]


@spec("MQTT5-3.1.2-8", "MQTT5-3.1.3-9", row=31)
@pytest.mark.parametrize(
    ("delay_s", "expiry_s", "clean", "is_sent"),
    [(0, 100, False, True), (9, 100, False, False), (9, 0, False, True), (9, 100, True, True), (0, 0, True, True)],
)
def test_5_will_is_sent_or_cancelled_by_a_take_over(
    plane: Plane, delay_s: int, expiry_s: int, clean: bool, is_sent: bool
) -> None:
    plane.connect(1, kept(will=FakeWill(delay_s=delay_s), session_expiry_s=expiry_s))
    plane.connect(2, kept(is_clean_start=clean))
    plane.close(1, 0, CLOSE_TAKEN_OVER)
    plane.timers.advance(200_000)
    assert len(plane.wills) == is_sent


@spec("MQTT5-3.1.2-10", row=55)
def test_goodbye_that_was_overtaken_by_the_next_connect_deletes_the_will(plane: Plane) -> None:
    plane.connect(1, FakeConnect(will=FakeWill()))
    plane.connect(2)
    plane.close(1, 0, CLOSE_NORMAL, sends_will=False)
    assert plane.wills == []


def test_will_of_a_taken_over_connection_is_sent_though_no_session_is_left(plane: Plane) -> None:
    plane.connect(1, FakeConnect(will=FakeWill()))
    plane.connect(2)
    plane.close(2)
    plane.close(1, 0, CLOSE_TAKEN_OVER)
    assert plane.wills == [("will", -1, "c", "")]


def test_wills_are_kept_under_the_namespace_of_their_client(plane: Plane) -> None:
    plane.namespaces.tenant = Namespace("n1")
    plane.connect(1, FakeConnect(will=FakeWill()))
    plane.connect(2, FakeConnect(will=FakeWill()))
    plane.close(1, 0, CLOSE_TAKEN_OVER)
    plane.close(2)
    assert plane.engine.will_namespaces == ["n1", "n1"]


@pytest.mark.parametrize(("forgotten", "is_sent"), [("n1", 0), ("n2", 1)])
def test_will_that_a_remote_source_judges_is_not_sent_once_its_namespace_has_gone(
    plane: Plane, forgotten: str, is_sent: int
) -> None:
    plane.namespaces.tenant = Namespace("n1")
    plane.authorizer.slow = {"will"}
    plane.connect(1, FakeConnect(will=FakeWill()))
    plane.close(1)
    plane.sessions.forget_wills(Namespace(forgotten))
    with contextlib.suppress(StopIteration):
        plane.spawned.pop().send(None)
    assert len(plane.wills) == is_sent


def test_session_that_ends_with_its_connection_is_not_prolonged_by_its_goodbye(plane: Plane) -> None:
    plane.connect(1)
    plane.close(1, cause=CLOSE_NORMAL, expiry_s=60)
    assert not plane.has_session()


@spec("MQTT5-3.1.2-8", "MQTT3-3.1.2-8", row=54)
def test_will_is_sent_before_the_session_is_dropped(plane: Plane) -> None:
    plane.connect(1, FakeConnect(will=FakeWill()))
    plane.close(1)
    assert [call[0] for call in plane.engine.calls[-2:]] == ["publish_will", "drop_session"]
    assert not plane.has_session()
    assert plane.heard[-2:] == ["client_disconnected", "session_terminated"]


@spec("MQTT5-3.1.2-10", "MQTT3-3.1.2-10", row=55)
def test_goodbye_deletes_the_will_for_good(plane: Plane) -> None:
    plane.connect(1, kept(will=FakeWill()))
    plane.close(1, cause=CLOSE_NORMAL, sends_will=False)
    plane.timers.advance(100_000)
    assert plane.wills == []
    assert not plane.has_session()


@spec("MQTT5-3.1.2-8", "MQTT5-§3.1.3.2.2", row=56)
@pytest.mark.parametrize(
    ("delay_s", "expiry_s", "sent_after_s"),
    [(0, 100, 0), (5, 100, 5), (100, 5, 5), (5, 5, 5), (5, 0, 0), (5, NEVER_S, 5), (NEVER_S, 5, 5)],
)
def test_will_waits_for_the_earlier_of_its_delay_and_the_session_end(
    plane: Plane, delay_s: int, expiry_s: int, sent_after_s: int
) -> None:
    plane.connect(1, kept(will=FakeWill(delay_s=delay_s), session_expiry_s=expiry_s))
    plane.close(1)
    if sent_after_s:
        plane.timers.advance(sent_after_s * 1_000 - 1)
        assert plane.wills == []
        plane.timers.advance(1)
    assert len(plane.wills) == 1
    plane.timers.advance(1_000_000)
    assert len(plane.wills) == 1


@spec("MQTT5-3.1.3-9", row=57)
@pytest.mark.parametrize("has_new_will", [False, True])
def test_resuming_within_the_delay_cancels_the_will(plane: Plane, has_new_will: bool) -> None:
    plane.connect(1, kept(will=FakeWill("old", delay_s=5)))
    plane.close(1)
    plane.timers.advance(4_999)
    plane.connect(2, kept(will=FakeWill("new") if has_new_will else None))
    plane.timers.advance(60_000)
    assert plane.wills == []
    plane.close(2)
    assert [will[0] for will in plane.wills] == (["new"] if has_new_will else [])


@spec("MQTT5-3.1.2-8", "MQTT5-§3.1.4", row=57)
def test_clean_start_within_the_delay_sends_the_will_before_the_new_session(plane: Plane) -> None:
    plane.connect(1, kept(will=FakeWill(delay_s=50)))
    plane.close(1)
    plane.connect(2, kept(is_clean_start=True))
    assert [call[0] for call in plane.engine.calls[-4:]] == [
        "publish_will",
        "drop_session",
        "create_session",
        "accept",
    ]
    plane.timers.advance(60_000)
    assert len(plane.wills) == 1


@spec("MQTT5-3.1.2-23", "MQTT5-4.1.0-2", row=45)
def test_session_ends_when_its_expiry_has_passed(plane: Plane) -> None:
    plane.connect(1, kept())
    plane.close(1)
    plane.timers.advance(99_999)
    assert plane.has_session()
    plane.timers.advance(1)
    assert not plane.has_session()
    assert plane.engine.calls[-1] == ("drop_session", 0)
    assert plane.heard[-1] == "session_terminated"


def test_session_that_was_resumed_does_not_end(plane: Plane) -> None:
    plane.connect(1, kept())
    plane.close(1)
    plane.timers.advance(50_000)
    plane.connect(2, kept())
    plane.timers.advance(500_000)
    assert plane.session().conn == 2


def test_session_without_end_waits_for_nothing(plane: Plane) -> None:
    plane.connect(1, kept(session_expiry_s=NEVER_S))
    plane.close(1)
    assert plane.timers.pending == []
    plane.timers.advance(NEVER_S * 1_000)
    assert plane.has_session()


@spec("MQTT5-§3.14.2.2.2", row=47)
@pytest.mark.parametrize(("final_s", "ends_after_s"), [(0, 0), (5, 5), (200, 200)])
def test_disconnect_may_change_the_expiry(plane: Plane, final_s: int, ends_after_s: int) -> None:
    plane.connect(1, kept())
    plane.close(1, cause=CLOSE_NORMAL, expiry_s=final_s, sends_will=False)
    if ends_after_s:
        plane.timers.advance(ends_after_s * 1_000 - 1)
        assert plane.has_session()
        plane.timers.advance(1)
    assert not plane.has_session()


def test_expiry_of_disconnect_is_bounded_too() -> None:
    plane = Plane(settings=ConnectSettings(max_session_expiry_s=50))
    plane.connect(1, kept(session_expiry_s=10))
    plane.close(1, expiry_s=NEVER_S)
    plane.timers.advance(50_000)
    assert not plane.has_session()


@spec("MQTT5-3.1.2-8", row=56)
def test_expiry_zero_in_disconnect_sends_the_delayed_will_at_once(plane: Plane) -> None:
    plane.connect(1, kept(will=FakeWill(delay_s=90)))
    plane.close(1, cause=CLOSE_WITH_WILL, reason=4, expiry_s=0)
    assert len(plane.wills) == 1
    assert not plane.has_session()


def test_connection_that_was_gone_before_its_answer_counts_as_cut(plane: Plane) -> None:
    plane.connect(1, FakeConnect(will=FakeWill()))
    plane.close(1, cause=CLOSE_STALE)
    assert len(plane.wills) == 1
    assert not plane.has_session()


def test_departure_names_cause_and_reason(plane: Plane) -> None:
    seen: list[Departure] = []
    plane.events.client_disconnected.listen(seen.append)
    plane.connect(1, kept())
    plane.close(1, cause=CLOSE_KICKED, reason=0x98)
    assert (seen[0].cause, seen[0].reason, seen[0].client.client_id) == ("kicked", 0x98, "c")


@pytest.mark.parametrize("slot", [-1, 0, 99])
def test_end_of_an_unknown_connection_changes_nothing(plane: Plane, slot: int) -> None:
    plane.close(5, slot)
    assert plane.engine.calls == []
    assert plane.heard == []


def test_kick_ends_connection_and_session(plane: Plane) -> None:
    plane.connect(1, kept(will=FakeWill()))
    assert plane.sessions.kick(ClientId("c"))
    assert plane.engine.calls[-1] == ("disconnect", 1, 0x98, CLOSE_KICKED)
    plane.close(1, cause=CLOSE_KICKED, reason=0x98)
    assert len(plane.wills) == 1
    assert not plane.has_session()


def test_kick_of_a_banned_client_sends_no_will(plane: Plane) -> None:
    plane.connect(1, kept(will=FakeWill()))
    assert plane.sessions.kick(ClientId("c"), sends_will=False)
    plane.close(1, cause=CLOSE_KICKED, reason=0x98)
    assert plane.wills == []


def test_kick_may_leave_the_session(plane: Plane) -> None:
    plane.connect(1, kept())
    assert plane.sessions.kick(ClientId("c"), ends=False)
    plane.close(1, cause=CLOSE_KICKED)
    assert plane.sessions.kick(ClientId("c"), ends=False)
    assert plane.has_session()
    assert plane.sessions.kick(ClientId("c"))
    assert not plane.has_session()


def test_kick_of_an_unknown_client_says_so(plane: Plane) -> None:
    assert not plane.sessions.kick(ClientId("nobody"))


def test_will_that_may_not_be_published_is_dropped(plane: Plane) -> None:
    plane.engine.will_reason = 0x87
    plane.connect(1, FakeConnect(will=FakeWill()))
    plane.close(1)
    assert not plane.has_session()


def test_stop_leaves_no_timer(plane: Plane) -> None:
    plane.connect(1, kept())
    plane.close(1)
    plane.sessions.stop()
    assert plane.timers.pending == []
    plane.sessions.stop()


def test_registry_lists_and_finds(plane: Plane) -> None:
    plane.connect(1, kept(client_id="a"))
    plane.connect(2, kept(client_id="b"))
    assert [session.client_id for session in plane.registry] == ["a", "b"]
    assert plane.registry.at(1) is plane.session("b")
    assert plane.registry.at(-1) is None
    assert plane.registry.at(2) is None
    plane.close(1, 0, CLOSE_TCP, expiry_s=0)
    assert plane.registry.at(0) is None


def test_plane_that_nobody_listens_to_works_the_same() -> None:
    plane = Plane(has_listeners=False)
    plane.connect(1, kept())
    plane.connect(2, kept())
    plane.close(2)
    assert not plane.session().is_online
    assert plane.heard == []


def test_wills_that_wait_for_the_end_of_their_connection_are_counted(plane: Plane) -> None:
    wills = Wills(plane.engine.as_core(), plane.registry, plane.authorizer, lambda name, work: None)
    plane.connect(1, kept(will=FakeWill()))
    wills.part(plane.session(), ends_session=False)
    assert len(wills) == 1
    wills.on_parted_end(1, sends_will=True)
    assert len(wills) == 0
