"""Subscriptions are judged again after a change, and those that lost their right are taken away."""

import asyncio

import pytest

from pybroker._core import AccessClient, AccessSubject, Engine
from pybroker.auth import revocation
from pybroker.auth.authorizer import Authorizer
from pybroker.auth.revocation import Revoker
from pybroker.auth.sources.opener import Openers
from pybroker.auth.sources.source import Answer, Question
from pybroker.config.sections.access import AuthorizationSettings, HttpSource, NodeCache, Source
from pybroker.events import EventBus, Unsubscribed
from pybroker.plane.registry import OFFLINE, Registry, Session
from pybroker.plane.subscribe import ExclusiveLocks
from pybroker.ports import Applicant, ListenerTraits
from pybroker.types import ClientId, ListenerId, Mountpoint
from tests.support.clock import FakeClock
from tests.support.fake_core import FakeConnect


class Remote:
    """A remote source that denies one filter."""

    rules = None
    status = "connected"

    def __init__(self, source: Source) -> None:
        self.source = source
        self.asked: list[tuple[str, str]] = []

    async def judge(self, question: Question) -> Answer:
        self.asked.append((question.subject.client_id, question.topic))
        return "deny" if question.topic == "denied" else "allow"

    def forget(self) -> None: ...

    async def close(self) -> None: ...


class House:
    """Sessions with subscriptions on the real core, without connections."""

    def __init__(self, **settings: object) -> None:
        self.engine, self.registry, self.events = Engine(0, "n"), Registry(), EventBus()
        self.locks = ExclusiveLocks()
        openers = Openers(FakeClock(), NodeCache())
        openers.open_http = self._open  # type: ignore[method-assign]  # nothing is asked over the network here
        self.settings = AuthorizationSettings(**settings)  # type: ignore[arg-type]  # each test names fields that exist
        self.authorizer = Authorizer(self.engine, self.settings, openers=openers)
        self.slept: list[float] = []
        self.revoker = Revoker(self.engine, self.registry, self.locks, self.events, self.authorizer, sleep=self._sleep)
        self.gone: list[tuple[str, str]] = []
        self.events.client_unsubscribed.listen(self._hear)

    async def _open(self, source: Source) -> Remote:
        self.remote = Remote(source)
        return self.remote

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def _hear(self, event: Unsubscribed) -> None:
        self.gone.append((event.client.client_id, event.filter))

    def session(self, client_id: str, *filters: str, mountpoint: str = "", is_superuser: bool = False) -> Session:
        """Make a session that has no connection."""
        connect = FakeConnect(client_id=client_id).as_core()
        applicant = Applicant(OFFLINE, connect, ListenerTraits(id=ListenerId("tcp:default")))
        applicant.mountpoint = Mountpoint(mountpoint)
        slot = self.engine.create_session(client_id, mountpoint)
        client = AccessClient(client_id, mountpoint=mountpoint)
        self.engine.set_subject(slot, AccessSubject(client, is_superuser=is_superuser))
        session = Session(slot, applicant, 0)
        self.registry.add(session)
        for filter in filters:
            self.engine.subscribe(slot, filter, 1)
        return session

    def filters(self, session: Session) -> set[str]:
        return {row[0] for row in self.engine.subscriptions(session.slot)}

    async def deny(self, *topics: str) -> None:
        """Deny topics to all and let the change take effect."""
        rules = [{"topic": topic, "permission": "deny", "action": "subscribe"} for topic in topics]
        await self.authorizer.built_in.load([(None, "all", "", rules)])
        await self.revoker.work()


@pytest.fixture
def house() -> House:
    """Give a house with the default settings."""
    return House()


async def test_subscription_that_is_denied_now_is_taken_away_and_no_other(house: House) -> None:
    session = house.session("c", "a/+", "b", "$share/g/c", "$exclusive/d")
    house.locks.take(session, "d")
    await house.deny("a/+", "c", "d")
    assert house.filters(session) == {"b"}
    assert sorted(house.gone) == [("c", "$share/g/c"), ("c", "a/+"), ("c", "d")]
    other = house.session("other")
    assert house.locks.take(other, "d")
    metrics = house.engine.metrics()
    assert metrics["authorization.revoked"] == 3
    assert [metrics[f"authorization.{name}"] for name in ("allow", "deny", "nomatch", "matched.deny")] == [0] * 4
    assert house.authorizer.metrics("built_in_database").total == 0


async def test_mounted_subscription_is_judged_as_its_client_wrote_it(house: House) -> None:
    session = house.session("c", "a", "$queue/b", mountpoint="m/")
    await house.deny("a", "b", "m/a")
    assert house.filters(session) == set()
    assert sorted(house.gone) == [("c", "$queue/b"), ("c", "a")]


async def test_messages_that_wait_for_a_revoked_subscription_go_with_it(house: House) -> None:
    session = house.session("c", "a", "b/#", "b/c")
    for topic in ("a", "b/c", "b/d", "a"):
        house.engine.publish(topic, b"x", 1, False)
    assert house.engine.session_stats(session.slot)["mqueue_len"] == 4
    await house.deny("a", "eq b/#")
    assert house.filters(session) == {"b/c"}
    queued = house.engine.session_messages(session.slot, "mqueue", None, 10)[0]
    assert [row[2] for row in queued] == ["b/c"]
    assert house.engine.metrics()["delivery.dropped.revoked"] == 3
    assert house.engine.session_stats(session.slot)["mqueue_dropped"] == 3


async def test_change_of_the_mode_takes_everything_that_has_no_rule(house: House) -> None:
    sessions = [house.session(f"c{n}", "t") for n in range(3)]
    await house.authorizer.built_in.load(
        [(None, "clientid", "c1", [{"topic": "t", "permission": "allow", "action": "all"}])]
    )
    await house.authorizer.apply(AuthorizationSettings(no_match="deny"))
    await house.revoker.work()
    assert [len(house.filters(session)) for session in sessions] == [0, 1, 0]


async def test_nothing_is_taken_where_the_policy_is_to_ignore() -> None:
    house = House(on_revoke="ignore")
    session = house.session("c", "a")
    await house.deny("a")
    assert house.filters(session) == {"a"}


async def test_demotion_of_a_superuser_concerns_that_client(house: House) -> None:
    session, other = house.session("c", "a", is_superuser=True), house.session("d", "a", is_superuser=True)
    await house.deny("a")
    assert house.filters(session) == house.filters(other) == {"a"}
    house.revoker.demote(session)
    await house.revoker.work()
    assert (house.filters(session), house.filters(other)) == (set(), {"a"})


async def test_rights_that_end_while_a_client_stays_are_judged(house: House) -> None:
    session = house.session("c", "a")
    house.engine.set_subject(session.slot, AccessSubject(AccessClient("c"), expire_at_s=1))
    house.events.rights_ended.emit(session)
    await house.revoker.work()
    assert house.filters(session) == set()


async def test_expired_rights_end_the_subscriptions(house: House) -> None:
    session = house.session("c", "a")
    house.engine.set_subject(session.slot, AccessSubject(AccessClient("c"), expire_at_s=1))
    house.revoker.request_client(ClientId("c"))
    await house.revoker.work()
    assert house.filters(session) == set()


async def test_remote_sources_are_asked_for_connected_clients_only_and_slowly() -> None:
    house = House(sources=(HttpSource(type="http"),))
    online, offline = house.session("on", "denied", "allowed"), house.session("off", "denied")
    online.conn = 77
    await house.authorizer.apply(house.settings)
    await house.revoker.work()
    assert (house.filters(online), house.filters(offline)) == ({"allowed"}, {"denied"})
    assert sorted(house.remote.asked) == [("on", "allowed"), ("on", "denied")]
    assert len(house.slept) == 2
    assert house.authorizer.metrics("http").total == 0


async def test_worker_wakes_at_every_change(house: House) -> None:
    session = house.session("c", "a")
    work = asyncio.ensure_future(house.revoker.run())
    await house.authorizer.built_in.load([(None, "all", "", [{"topic": "a", "permission": "deny", "action": "all"}])])
    gone = asyncio.Event()
    house.events.client_unsubscribed.listen(lambda event: gone.set())
    await asyncio.wait_for(gone.wait(), 5)
    assert house.filters(session) == set()
    work.cancel()


async def test_subscription_that_came_into_being_behind_the_first_look_is_found_by_the_second(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocation, "SETTLE_S", 0.01)
    session = house.session("c", "a")
    gone = asyncio.Event()
    house.events.client_unsubscribed.listen(lambda event: gone.set())
    work = asyncio.ensure_future(house.revoker.run())
    await house.authorizer.built_in.load([(None, "all", "", [{"topic": "a", "permission": "deny", "action": "all"}])])
    await asyncio.wait_for(gone.wait(), 5)
    gone.clear()
    house.engine.subscribe(session.slot, "a", 1)
    await asyncio.wait_for(gone.wait(), 5)
    assert house.filters(session) == set()
    work.cancel()


async def test_more_sessions_than_one_call_judges_are_all_judged(house: House) -> None:
    sessions = [house.session(f"c{n}", "a", "b") for n in range(1_200)]
    await house.deny("a")
    assert {frozenset(house.filters(session)) for session in sessions} == {frozenset({"b"})}
