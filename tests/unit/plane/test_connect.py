"""The connect pipeline: who is let in under which name, and with which code the others are refused."""

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import cast

import pytest

from pybroker._core import CLOSE_PROTOCOL, AccessRules
from pybroker.events import Refusal
from pybroker.plane.connect import RETURN_CODES
from pybroker.plane.registry import NEVER_S
from pybroker.plane.settings import ConnectSettings
from pybroker.ports import Applicant, ClientAcl, ListenerTraits, Renewal, Verdict
from pybroker.types import ClientId, ListenerId, Mountpoint, Namespace, Username
from tests.support.fake_core import FakeConnect
from tests.support.spec import spec
from tests.unit.plane.conftest import Plane, plane_with


class Chain:
    """An authenticator that answers what it is told to."""

    def __init__(self, *verdicts: Verdict | Awaitable[Verdict]) -> None:
        self.verdicts = list(verdicts)
        self.asked: list[object] = []

    def authenticate(self, applicant: Applicant) -> Verdict | Awaitable[Verdict]:
        self.asked.append(applicant.client_id)
        return self.verdicts.pop(0)

    def proceed(self, applicant: Applicant, data: bytes) -> Verdict | Awaitable[Verdict]:
        self.asked.append(data)
        return self.verdicts.pop(0)

    def authenticate_again(self, renewal: Renewal, data: bytes) -> Verdict | Awaitable[Verdict]:
        self.asked.append((renewal.client_id, renewal.method, data))
        return self.verdicts.pop(0)


def with_chain(plane: Plane, *verdicts: Verdict | Awaitable[Verdict]) -> Chain:
    chain = Chain(*verdicts)
    plane.connector = type(plane.connector)(
        plane.engine.as_core(),
        plane.sessions,
        plane.listeners,
        chain,
        plane.bans,
        plane.namespaces,
        plane.events,
        lambda name, work: plane.spawned.append(work),
        plane.settings,
    )
    return chain


async def verdict_later(verdict: Verdict) -> Verdict:
    return verdict


async def fail_later() -> Verdict:
    raise ConnectionError("the server does not answer")


def run(work: Coroutine[object, object, object]) -> None:
    asyncio.run(cast("Coroutine[None, None, object]", work))  # the tasks of the plane are plain coroutines


# Expiry, keep alive and what is told


@spec("MQTT3-3.1.2-4", row=46)
@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize(("clean", "expiry_s"), [(True, 0), (False, 7_200)])
def test_3x_sessions_live_by_clean_session(plane: Plane, version: int, clean: bool, expiry_s: int) -> None:
    plane.connect(1, FakeConnect(version=version, is_clean_start=clean))
    assert plane.session().expiry_s == expiry_s


@spec("MQTT5-3.1.2-23", row=45)
@pytest.mark.parametrize(("asked_s", "granted_s"), [(0, 0), (99, 99), (100, 100), (101, 100), (NEVER_S, 100)])
def test_5_expiry_is_bounded_and_told_when_it_differs(asked_s: int, granted_s: int) -> None:
    plane = plane_with(max_session_expiry_s=100)
    plane.connect(1, FakeConnect(session_expiry_s=asked_s))
    assert plane.session().expiry_s == granted_s
    assert (plane.answer[5] is not None) == (asked_s != granted_s)


def test_5_expiry_without_bound_may_be_endless(plane: Plane) -> None:
    plane.connect(1, FakeConnect(session_expiry_s=NEVER_S))
    assert plane.session().expiry_s == NEVER_S
    assert plane.answer[5] is None


@spec("MQTT5-3.2.2-21", "MQTT5-3.2.2-22", row=38)
@pytest.mark.parametrize(("version", "in_force_s", "is_told"), [(5, 30, True), (4, 60, False), (3, 60, False)])
def test_server_keep_alive_is_for_those_who_can_be_told(version: int, in_force_s: int, is_told: bool) -> None:
    plane = plane_with(server_keep_alive_s=30)
    plane.connect(1, FakeConnect(version=version))
    assert plane.answer[4] == in_force_s == plane.session().keep_alive_s
    assert (plane.answer[5] is not None) == is_told


@spec("MQTT5-3.1.2-22", row=51)
def test_keep_alive_zero_is_kept(plane: Plane) -> None:
    plane.connect(1, FakeConnect(keep_alive_s=0))
    assert plane.answer[4] == 0


@pytest.mark.parametrize(
    ("configured", "asks", "is_told"), [("r/", True, True), ("r/", False, False), ("", True, False)]
)
def test_response_information_is_told_on_request(configured: str, asks: bool, is_told: bool) -> None:
    plane = plane_with(response_information=configured)
    plane.connect(1, FakeConnect(requests_response_information=asks))
    assert (plane.answer[5] is not None) == is_told


# Authentication


@spec("MQTT5-§3.2.2.2", "MQTT3-§3.2.2.3", row=28)
@pytest.mark.parametrize("version", [3, 4, 5])
def test_anonymous_may_be_refused(plane: Plane, version: int) -> None:
    plane.chain.allows_anonymous = False
    plane.connect(1, FakeConnect(version=version))
    assert plane.answer == ("refuse", 1, 0x87, 5)
    assert not plane.has_session()


def test_listener_may_skip_the_chain(plane: Plane) -> None:
    plane.chain.allows_anonymous = False
    plane.listeners[1] = ListenerTraits(id=ListenerId("tcp:default"), enable_authn=False)
    plane.connect(1)
    assert plane.is_admitted
    plane.connect(2, FakeConnect(authentication_method="m"))
    assert plane.answer == ("refuse", 2, 0x8C, 5)


def test_listener_may_refuse_anonymous_clients_at_once(plane: Plane) -> None:
    chain = with_chain(plane, Verdict(0))
    plane.listeners[1] = ListenerTraits(id=ListenerId("tcp:default"), enable_authn="quick_deny_anonymous")
    plane.connect(1)
    assert plane.answer == ("refuse", 1, 0x87, 5)
    assert chain.asked == []
    plane.connect(2, FakeConnect(username="ann"))
    assert plane.is_admitted


def test_anonymous_clients_are_refused_before_their_namespace_is_looked_at(plane: Plane) -> None:
    plane.namespaces.before = 0x97
    plane.listeners[1] = ListenerTraits(id=ListenerId("tcp:default"), enable_authn="quick_deny_anonymous")
    plane.connect(1)
    assert plane.answer == ("refuse", 1, 0x87, 5)
    plane.connect(2, FakeConnect(username="ann"))
    assert plane.answer == ("refuse", 2, 0x97, 3)


@spec("MQTT5-4.12.0-1", row=40)
def test_unknown_authentication_method_is_refused(plane: Plane) -> None:
    plane.connect(1, FakeConnect(authentication_method="none such"))
    assert plane.answer == ("refuse", 1, 0x8C, 5)


@pytest.mark.parametrize(
    ("reason", "return_code"), [(0x86, 4), (0x87, 5), (0x88, 3), (0x89, 3), (0x8A, 5), (0x97, 3), (0x85, 2), (0x81, 0)]
)
def test_reason_codes_become_return_codes(plane: Plane, reason: int, return_code: int) -> None:
    with_chain(plane, Verdict(reason, reason_string="because"))
    seen: list[Refusal] = []
    plane.events.client_refused.listen(seen.append)
    plane.connect(1)
    assert plane.answer == ("refuse", 1, reason, return_code)
    assert seen[0].reason == reason


def test_return_codes_are_those_of_3x() -> None:
    assert set(RETURN_CODES.values()) == {1, 2, 3, 4, 5}


def test_superuser_and_namespace_come_from_the_verdict(plane: Plane) -> None:
    with_chain(plane, Verdict(0, is_superuser=True, namespace=Namespace("t")))
    plane.connect(1)
    assert plane.session().is_superuser
    assert plane.session().namespace == "t"


def test_everything_a_verdict_says_holds_for_the_session(plane: Plane) -> None:
    acl = ClientAcl(rules=AccessRules.compile([]), is_final=True)
    verdict = Verdict(
        0,
        acl=acl,
        expire_at_s=1_900_000_000,
        attributes={"tns": "t", "site": "north"},
        client_id=ClientId("t-c"),
        zone="outside",
        disconnects_at_expiry=False,
    )
    with_chain(plane, verdict)
    plane.connect(1)
    session = plane.session("t-c")
    assert session.declared_client_id == "c"
    assert session.namespace == "t"
    assert session.attributes == {"tns": "t", "site": "north"}
    assert session.zone == "outside"
    assert session.acl is acl
    assert session.expire_at_s == 1_900_000_000
    assert not session.disconnects_at_expiry


def test_rights_of_the_last_connection_count(plane: Plane) -> None:
    with_chain(plane, Verdict(0, expire_at_s=7, attributes={"a": "1"}), Verdict(0))
    plane.connect(1, FakeConnect(session_expiry_s=10))
    plane.connect(2, FakeConnect(session_expiry_s=10))
    assert plane.session().expire_at_s is None
    assert plane.session().attributes is None


@pytest.mark.parametrize("value", ["a\x00b", "a\x1b", "\x7f", "a\x9f", "\ud800"])
def test_attribute_that_cannot_be_a_text_is_left_out(plane: Plane, value: str) -> None:
    with_chain(plane, Verdict(0, attributes={"tns": value, "site": "north"}))
    plane.connect(1)
    assert plane.session().namespace is None
    assert plane.session().attributes == {"site": "north"}


def test_empty_attribute_erases_nothing(plane: Plane) -> None:
    with_chain(plane, Verdict(0, namespace=Namespace("t"), attributes={"tns": "s"}), Verdict(0, attributes={"tns": ""}))
    plane.connect(1)
    assert plane.session().attributes == {"tns": "t"}
    plane.connect(2, FakeConnect(client_id="d"))
    assert plane.session("d").namespace is None


def test_asynchronous_verdict_is_awaited(plane: Plane) -> None:
    with_chain(plane, verdict_later(Verdict(0)))
    plane.connect(1)
    assert plane.engine.calls == []
    run(plane.spawned.pop())
    assert plane.is_admitted


def test_asynchronous_refusal_is_answered(plane: Plane) -> None:
    with_chain(plane, verdict_later(Verdict(0x86)))
    plane.connect(1)
    run(plane.spawned.pop())
    assert plane.answer == ("refuse", 1, 0x86, 4)


def test_failing_authenticator_refuses_its_client(plane: Plane) -> None:
    with_chain(plane, fail_later())
    plane.connect(1)
    with pytest.raises(ConnectionError):
        run(plane.spawned.pop())
    assert plane.answer == ("refuse", 1, 0x80, 1)


def test_applicant_who_left_while_waiting_takes_over_nobody(plane: Plane) -> None:
    plane.connect(1, FakeConnect(session_expiry_s=10))
    with_chain(plane, verdict_later(Verdict(0)))
    plane.connect(2)
    plane.connector.on_closed(2)
    run(plane.spawned.pop())
    assert plane.session().conn == 1


def test_enhanced_authentication_takes_steps(plane: Plane) -> None:
    chain = with_chain(plane, Verdict(0x18, data=b"1"), Verdict(0x18, data=b"2"), Verdict(0, data=b"3"))
    plane.connect(1, FakeConnect(authentication_method="m"))
    assert plane.answer == ("challenge", 1, 0x18)
    plane.connector.on_auth(1, -1, "m", b"a")
    assert plane.answer == ("challenge", 1, 0x18)
    plane.connector.on_auth(1, -1, "m", b"b")
    assert plane.is_admitted
    assert plane.engine.calls[-1][5] is not None
    assert chain.asked == ["c", b"a", b"b"]


def test_ban_that_comes_between_two_steps_refuses(plane: Plane) -> None:
    chain = with_chain(plane, Verdict(0x18, data=b"1"), Verdict(0))
    plane.connect(1, FakeConnect(authentication_method="m"))
    plane.bans.banned.add("c")
    plane.connector.on_auth(1, -1, "m", b"a")
    assert plane.answer[:3] == ("refuse", 1, 0x8A)
    assert (chain.asked, plane.has_session()) == (["c"], False)


def test_user_name_that_is_proved_is_held_against_the_bans(plane: Plane) -> None:
    with_chain(plane, Verdict(0, username=Username("ann")))
    plane.connect(1)
    assert plane.session("c").username == "ann"
    plane.bans.is_banned = lambda applicant: applicant.username == "ann"  # type: ignore[method-assign]  # by user name
    with_chain(plane, Verdict(0, username=Username("ann")))
    plane.connect(2, FakeConnect(client_id="d"))
    assert plane.answer[:3] == ("refuse", 2, 0x8A)


def test_enhanced_authentication_may_be_asynchronous(plane: Plane) -> None:
    with_chain(plane, Verdict(0x18), verdict_later(Verdict(0)))
    plane.connect(1, FakeConnect(authentication_method="m"))
    plane.connector.on_auth(1, -1, "m", b"a")
    run(plane.spawned.pop())
    assert plane.is_admitted


@spec("MQTT5-4.12.1-2", row=40)
@pytest.mark.parametrize("is_later", [False, True])
def test_authenticating_again_is_answered_or_ends_the_connection(plane: Plane, is_later: bool) -> None:
    answers = [Verdict(0x18), Verdict(0), Verdict(0x87)]
    chain = with_chain(plane, Verdict(0), *(verdict_later(one) if is_later else one for one in answers))
    plane.connect(1, FakeConnect(authentication_method="m"))
    for data in (b"a", b"b", b"c"):
        plane.connector.on_auth(1, 0, "m", data)
        if is_later:
            run(plane.spawned.pop())
    assert plane.engine.calls[-3:] == [
        ("challenge", 1, 0x18),
        ("challenge", 1, 0x00),
        ("disconnect", 1, 0x87, CLOSE_PROTOCOL),
    ]
    assert chain.asked[1] == ("c", "m", b"a")


def test_auth_of_nobody_is_refused(plane: Plane) -> None:
    plane.connector.on_auth(9, -1, "m", b"")
    assert plane.answer == ("refuse", 9, 0x8C, 0)


def test_chain_knows_no_method(plane: Plane) -> None:
    plane.connect(1, FakeConnect(session_expiry_s=5))
    plane.connector.on_auth(1, 0, "m", b"")
    assert plane.engine.calls[-1] == ("disconnect", 1, 0x8C, CLOSE_PROTOCOL)
    applicant = Applicant(1, FakeConnect().as_core(), plane.listeners[1])
    assert plane.chain.proceed(applicant, b"").reason == 0x8C


# Listener, bans, namespaces, mountpoint


def test_connect_through_a_listener_that_was_closed_is_refused(plane: Plane) -> None:
    plane.connect(1, FakeConnect(listener=99))
    assert plane.answer == ("refuse", 1, 0x88, 3)


def test_banned_client_is_refused(plane: Plane) -> None:
    plane.bans.banned.add("c")
    plane.connect(1)
    assert plane.answer == ("refuse", 1, 0x8A, 5)


def test_client_id_that_is_settled_late_may_be_banned(plane: Plane) -> None:
    plane.bans.banned.add("t-c")
    plane.namespaces.final = ClientId("t-c")
    plane.connect(1)
    assert plane.answer == ("refuse", 1, 0x8A, 5)
    with_chain(plane, Verdict(0, client_id=ClientId("t-c")))
    plane.connect(2)
    assert plane.answer == ("refuse", 2, 0x8A, 5)


@pytest.mark.parametrize("reason", [0, 0x86])
def test_what_an_applicant_holds_is_given_back_with_the_answer(plane: Plane, reason: int) -> None:
    with_chain(plane, verdict_later(Verdict(reason)))
    plane.connect(1)
    assert plane.namespaces.let_go_of == []
    run(plane.spawned.pop())
    assert plane.namespaces.let_go_of == [1]


def test_what_an_applicant_holds_is_given_back_when_it_leaves(plane: Plane) -> None:
    with_chain(plane, verdict_later(Verdict(0)))
    plane.connect(1)
    plane.connector.on_closed(1)
    assert plane.namespaces.let_go_of == [1]
    run(plane.spawned.pop())
    assert plane.engine.calls == []


@pytest.mark.parametrize("is_later", [False, True])
def test_what_an_applicant_holds_is_given_back_after_a_defect(plane: Plane, is_later: bool) -> None:
    with_chain(plane, verdict_later(Verdict(0)) if is_later else Verdict(0))
    plane.engine.raises = RuntimeError("no answer")
    if is_later:
        plane.connect(1)
    with pytest.raises(RuntimeError):
        run(plane.spawned.pop()) if is_later else plane.connect(1)
    assert 1 in plane.namespaces.let_go_of


def test_what_an_applicant_holds_is_given_back_after_a_defect_of_a_later_step(plane: Plane) -> None:
    with_chain(plane, Verdict(0x18), Verdict(0))
    plane.connect(1, FakeConnect(authentication_method="m"))
    plane.engine.raises = RuntimeError("no answer")
    with pytest.raises(RuntimeError):
        plane.connector.on_auth(1, -1, "m", b"a")
    assert 1 in plane.namespaces.let_go_of


@pytest.mark.parametrize("gate", ["before", "middle", "after"])
def test_namespace_gates_refuse(plane: Plane, gate: str) -> None:
    setattr(plane.namespaces, gate, 0x97)
    plane.connect(1)
    assert plane.answer == ("refuse", 1, 0x97, 3)


def test_namespace_gives_mountpoint_and_override(plane: Plane) -> None:
    plane.namespaces.prefix = Mountpoint("t/")
    plane.namespaces.override = ClientId("t-c")
    plane.connect(1)
    assert plane.session("t-c").mountpoint == "t/"
    assert plane.engine.named("create_session")[0][1:3] == ("t-c", "t/")


@pytest.mark.parametrize(
    ("template", "username", "prefix"),
    [
        ("a/", None, "a/"),
        ("${clientid}/", None, "c/"),
        ("x/${username}/", "ann", "x/ann/"),
        ("${peerhost}/", None, "127.0.0.1/"),
        ("x${$}/", None, "x$/"),
        ("${username}/", "${clientid}", "${clientid}/"),
    ],
)
def test_mountpoint_of_the_listener_is_rendered_once(
    plane: Plane, template: str, username: str | None, prefix: str
) -> None:
    plane.namespaces.prefix = Mountpoint("unused/")
    plane.listeners[1] = ListenerTraits(id=ListenerId("tcp:default"), mountpoint=template)
    plane.connect(1, FakeConnect(username=username))
    if prefix.startswith("$"):
        assert plane.answer == ("refuse", 1, 0x87, 5)
    else:
        assert plane.session().mountpoint == prefix


@pytest.mark.parametrize(
    ("template", "username"),
    [
        ("${username}/", None),
        ("${unknown}/", "u"),
        ("${username}/", "+"),
        ("a/${username}", "#"),
        ("${username}", "$SYS"),
        ("${username}/", "a\x01"),
        ("${client_attrs.tns}/", None),
    ],
)
def test_mountpoint_that_cannot_be_used_refuses_the_client(plane: Plane, template: str, username: str | None) -> None:
    plane.listeners[1] = ListenerTraits(id=ListenerId("tcp:default"), mountpoint=template)
    plane.connect(1, FakeConnect(username=username))
    assert plane.answer == ("refuse", 1, 0x87, 5)


@pytest.mark.parametrize(
    ("template", "prefix"),
    [
        ("x/${username}/", "x/${username}/"),
        ("${client_attrs.tns}/", "${client_attrs.tns}/"),
        ("a/${unknown}/", "a/${unknown}/"),
    ],
)
def test_placeholder_without_a_value_may_stay_as_text(template: str, prefix: str) -> None:
    plane = plane_with(keeps_placeholders=True)
    plane.listeners[1] = ListenerTraits(id=ListenerId("tcp:default"), mountpoint=template)
    plane.connect(1)
    assert plane.session().mountpoint == prefix


@pytest.mark.parametrize("tns", ["+", "#", "a/b", "$SYS"])
def test_hostile_namespace_is_no_part_of_a_listeners_mountpoint(plane: Plane, tns: str) -> None:
    plane.listeners[1] = ListenerTraits(id=ListenerId("tcp:default"), mountpoint="tenants/${client_attrs.tns}/")
    with_chain(plane, Verdict(0, attributes={"tns": tns}))
    plane.connect(1)
    assert plane.answer == ("refuse", 1, 0x87, 5)


def test_namespace_that_cannot_be_a_mountpoint_refuses_its_client(plane: Plane) -> None:
    plane.namespaces.prefix = None
    plane.connect(1)
    assert plane.answer == ("refuse", 1, 0x87, 5)


def test_settings_of_the_listeners_zone_hold(plane: Plane) -> None:
    plane.connector.zones = {"outside": ConnectSettings(max_client_id_bytes=23)}
    plane.listeners[2] = ListenerTraits(id=ListenerId("tcp:b"), zone="outside")
    plane.connect(1, FakeConnect(client_id="x" * 24))
    assert plane.is_admitted
    plane.connect(2, FakeConnect(client_id="x" * 24, listener=2))
    assert plane.answer == ("refuse", 2, 0x85, 2)


def test_assigned_client_id_is_told_as_it_was_before_the_override(plane: Plane) -> None:
    plane.namespaces.override = ClientId("t-made")
    plane.connect(1, FakeConnect(client_id=""))
    session = plane.session("t-made")
    assert len(session.declared_client_id) == 22
    # The core alone reads a `Connack`; that the id is told, and which, is a test through the wire.
    assert plane.answer[5] is not None


def test_client_that_connects_too_often_is_refused_as_banned(plane: Plane) -> None:
    plane.bans.flapping.add("c")
    plane.connect(1)
    assert plane.answer == ("refuse", 1, 0x8A, 5)


def test_banned_client_is_not_counted_and_a_refused_one_is(plane: Plane) -> None:
    plane.bans.banned.add("banned")
    plane.chain.allows_anonymous = False
    for client_id in ("banned", "refused"):
        plane.connect(1, FakeConnect(client_id=client_id))
    assert plane.bans.counted == ["refused"]


async def test_ban_that_comes_while_authentication_waits_refuses(plane: Plane) -> None:
    with_chain(plane, asyncio.sleep(0, Verdict(0)))
    plane.connect(1)
    plane.bans.banned.add("c")
    await plane.spawned.pop()
    assert plane.answer == ("refuse", 1, 0x8A, 5)
    assert not plane.has_session()
