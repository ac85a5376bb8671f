"""Counters of decisions beside those of the core, and levels with their maxima."""

from typing import cast

from pybroker.events import Client, Departure, EventBus, Refusal
from pybroker.metrics.counters import Counters
from pybroker.ports import Applicant, ListenerTraits
from pybroker.types import ListenerId
from tests.support.fake_core import FakeConnect, FakeEngine


def applicant(username: str | None = None) -> Applicant:
    connect = FakeConnect(username=username).as_core()
    return Applicant(1, connect, ListenerTraits(id=ListenerId("tcp:default")))


def nobody() -> Client:
    return cast("Client", object())  # counted, not looked at


def test_counters_of_the_core_and_of_the_plane_stand_together() -> None:
    engine, events = FakeEngine(), EventBus()
    counters = Counters(engine.as_core(), events)
    engine.counts = {"messages.received": 9, "packets.subscribe.received": 4}
    metrics = counters.metrics()
    assert metrics["messages.received"] == 9
    assert (metrics["client.subscribe"], metrics["client.unsubscribe"]) == (4, 0)
    assert metrics["client.connected"] == 0


def test_admissions_and_refusals_are_counted() -> None:
    events = EventBus()
    counters = Counters(FakeEngine().as_core(), events)
    events.client_admitted.emit(applicant())
    events.client_admitted.emit(applicant("ann"))
    events.client_refused.emit(Refusal(applicant(), 0x87))
    events.client_refused.emit(Refusal(applicant(), 0x85))
    metrics = counters.metrics()
    assert metrics["client.connect"] == metrics["client.connack"] == 4
    assert metrics["client.authenticate"] == 3
    assert (metrics["authentication.success"], metrics["authentication.success.anonymous"]) == (2, 1)
    assert (metrics["authentication.failure"], metrics["client.auth.anonymous"]) == (1, 1)


def test_lives_of_clients_and_sessions_are_counted() -> None:
    events = EventBus()
    counters = Counters(FakeEngine().as_core(), events)
    gone = cast("Client", applicant())  # has a listener, which is all that is looked at
    events.client_disconnected.emit(Departure(gone, "normal", 0))
    names = {
        "client.connected": events.client_connected,
        "client.acl.deny": events.subscription_denied,
        "session.created": events.session_created,
        "session.resumed": events.session_resumed,
        "session.takenover": events.session_taken_over,
        "session.discarded": events.session_discarded,
        "session.terminated": events.session_terminated,
    }
    for times, signal in enumerate(names.values(), 1):
        for _ in range(times):
            signal.emit(nobody())
    metrics = counters.metrics()
    assert metrics["client.disconnected"] == 1
    assert [metrics[name] for name in names] == list(range(1, len(names) + 1))


def test_levels_have_a_maximum() -> None:
    engine = FakeEngine()
    counters = Counters(engine.as_core(), EventBus())
    engine.levels = {"connections": 3, "sessions": 7}
    counters.stats()
    engine.levels = {"connections": 1, "sessions": 5}
    stats = counters.stats()
    assert (stats["live_connections.count"], stats["live_connections.max"]) == (1, 3)
    assert (stats["connections.count"], stats["connections.max"]) == (5, 7)
    assert (stats["retained.count"], stats["retained.max"]) == (0, 0)
