"""The pump: every event reaches its handler, and a failing handler costs one connection."""

import asyncio
import gc
from typing import Any, cast

import pytest
import structlog

from pybroker._core import (
    CLOSE_KICKED,
    CLOSE_TCP,
    EVENT_AUTH,
    EVENT_CLOSED,
    EVENT_CONNECT,
    EVENT_LOG,
    EVENT_SHARD_FAILED,
    EVENT_SUBSCRIBE,
    EVENT_UNSUBSCRIBE,
)
from pybroker.plane.pump import BATCH
from pybroker.ports import Applicant
from tests.support.fake_core import FakeConnect, request
from tests.unit.plane.conftest import Plane


class FakeLoop:
    """Readers and timers of a loop, for looking at."""

    def __init__(self) -> None:
        self.readers: dict[int, Any] = {}
        self.timers: list[LoopTimer] = []

    def add_reader(self, descriptor: int, callback: Any) -> None:
        self.readers[descriptor] = callback

    def remove_reader(self, descriptor: int) -> None:
        del self.readers[descriptor]

    def call_later(self, delay_s: float, callback: Any) -> "LoopTimer":
        timer = LoopTimer(self, delay_s, callback)
        self.timers.append(timer)
        return timer

    def as_loop(self) -> asyncio.AbstractEventLoop:
        return cast("asyncio.AbstractEventLoop", self)  # has what the pump calls


class LoopTimer:
    """A timer of the loop."""

    def __init__(self, loop: FakeLoop, delay_s: float, callback: Any) -> None:
        self._loop = loop
        self.delay_s = delay_s
        self.callback = callback

    def cancel(self) -> None:
        self._loop.timers.remove(self)


def connect_event(conn: int, connect: FakeConnect | None = None) -> tuple[object, ...]:
    return (EVENT_CONNECT, conn, connect or FakeConnect())


def test_each_kind_reaches_its_handler(plane: Plane) -> None:
    plane.engine.waiting = [
        connect_event(1, FakeConnect(session_expiry_s=9)),
        (EVENT_SUBSCRIBE, 1, 0, 5, 0, [request("a", 1)]),
        (EVENT_UNSUBSCRIBE, 1, 0, 6, ["a"]),
        (EVENT_AUTH, 1, 0, 0x19, "m", None),
        (EVENT_CLOSED, 1, 0, CLOSE_TCP, 0, -1, True),
        (EVENT_SHARD_FAILED, 3, "out of memory"),
        (EVENT_CLOSED, 77, -1, CLOSE_TCP, 0, -1, True),
    ]
    assert plane.pump.drain() == 7
    names = [call[0] for call in plane.engine.calls]
    assert names == ["create_session", "accept", "grant", "release", "disconnect"]
    assert not plane.session().is_online
    assert plane.failures == ["shard 3 has failed: out of memory"]


def test_answers_of_a_batch_wake_the_shards_once(plane: Plane) -> None:
    plane.engine.waiting = [connect_event(conn, FakeConnect(client_id=str(conn))) for conn in range(3)]
    plane.pump.drain()
    assert [[call[0] for call in calls] for calls in plane.engine.deliveries] == [["create_session", "accept"] * 3]
    assert plane.engine.gathering_since is None


def test_answers_are_delivered_where_the_batch_is_broken_off(plane: Plane) -> None:
    def fail(applicant: Applicant) -> bool:
        if applicant.client_id == "2":
            raise KeyboardInterrupt
        return False

    plane.bans.is_banned = fail  # type: ignore[method-assign]  # where the pipeline calls out
    plane.engine.waiting = [connect_event(conn, FakeConnect(client_id=str(conn))) for conn in (1, 2)]
    with pytest.raises(KeyboardInterrupt):
        plane.pump.drain()
    assert [[call[0] for call in calls] for calls in plane.engine.deliveries] == [["create_session", "accept"]]


def test_log_events_go_to_the_log(plane: Plane) -> None:
    plane.engine.waiting = [(EVENT_LOG, 30, "handshake_failed", {"listener": "ssl:default", "peer": "192.0.2.7:1"})]
    with structlog.testing.capture_logs() as lines:
        plane.pump.drain()
    assert lines == [
        {"event": "handshake_failed", "log_level": "warning", "listener": "ssl:default", "peer": "192.0.2.7:1"}
    ]


def test_failing_connect_is_refused_and_the_next_is_served(plane: Plane) -> None:
    def fail(applicant: Applicant) -> bool:
        if applicant.client_id == "bad":
            raise RuntimeError("a defect")
        return False

    plane.bans.is_banned = fail  # type: ignore[method-assign]  # the defect is put where the pipeline calls out
    plane.engine.waiting = [connect_event(1, FakeConnect(client_id="bad")), connect_event(2)]
    with structlog.testing.capture_logs() as lines:
        plane.pump.drain()
    assert plane.engine.named("refuse", "accept") == [("refuse", 1, 0x83, 3), ("accept", 2, 0, False, 60, None)]
    assert (lines[0]["clientid"], lines[0]["listener"], lines[0]["log_level"]) == ("bad", "1", "error")
    assert isinstance(lines[0]["exc_info"], RuntimeError)


def test_failing_subscribe_ends_its_connection(plane: Plane) -> None:
    plane.connect(1)
    plane.engine.raises = RuntimeError("a defect")
    plane.engine.waiting = [(EVENT_SUBSCRIBE, 1, 0, 5, 0, [request("a")])]
    with structlog.testing.capture_logs() as lines:
        plane.pump.drain()
    assert plane.engine.calls[-1] == ("disconnect", 1, 0x83, CLOSE_KICKED)
    assert (lines[0]["clientid"], lines[0]["listener"]) == ("c", "tcp:default")


def test_defect_elsewhere_is_only_logged(plane: Plane) -> None:
    plane.engine.waiting = [(EVENT_CLOSED, 1, 0), (EVENT_SHARD_FAILED,), (99, 1), (EVENT_LOG, "x", "y", {})]
    with structlog.testing.capture_logs() as lines:
        plane.pump.drain()
    assert [line["event"] for line in lines] == ["event_failed"] * 4
    assert plane.engine.calls == []


def test_loop_gets_its_turn_between_batches(plane: Plane) -> None:
    plane.engine.waiting = [connect_event(conn, FakeConnect(client_id=str(conn))) for conn in range(BATCH + 1)]
    assert plane.pump.drain() == BATCH
    assert len(plane.engine.waiting) == 1
    plane.pump.drain_all()
    assert len(plane.registry) == BATCH + 1


def test_threads_need_one_reader(plane: Plane) -> None:
    loop = FakeLoop()
    plane.pump.start(loop.as_loop())
    assert loop.readers == {10: plane.pump.drain}
    plane.pump.stop()
    plane.pump.stop()
    assert loop.readers == {}
    assert plane.engine.calls == []


def test_driven_shard_turns_when_readable_and_when_due(plane: Plane) -> None:
    loop = FakeLoop()
    plane.engine.is_driven = True
    plane.engine.turn_due_ms = 250
    plane.pump.start(loop.as_loop())
    assert len(plane.engine.named("turn")) == 1
    assert [timer.delay_s for timer in loop.timers] == [0.25]
    loop.readers[11]()
    assert len(plane.engine.named("turn")) == 2
    assert len(loop.timers) == 1
    loop.timers[0].callback()
    assert len(plane.engine.named("turn")) == 3
    drive = loop.readers[11]
    plane.engine.turn_due_ms = None
    drive()
    assert loop.timers == []
    plane.pump.stop()
    assert loop.readers == {}
    drive()
    assert len(plane.engine.named("turn")) == 4


def test_stopping_forgets_the_timer_of_a_driven_shard(plane: Plane) -> None:
    loop = FakeLoop()
    plane.engine.is_driven = True
    plane.engine.turn_due_ms = 250
    plane.pump.start(loop.as_loop())
    plane.pump.stop()
    assert loop.timers == []


def test_storm_of_connects_makes_no_task_and_no_timer(plane: Plane) -> None:
    plane.engine.waiting = [
        connect_event(conn, FakeConnect(client_id=f"client{conn}", version=4, is_clean_start=True))
        for conn in range(10_000)
    ]
    plane.pump.drain_all()
    assert len(plane.engine.named("accept")) == len(plane.registry) == 10_000
    assert plane.spawned == []
    assert plane.timers.set_count == 0
    plane.engine.waiting = [(EVENT_CLOSED, conn, conn, CLOSE_TCP, 0, -1, True) for conn in range(10_000)]
    plane.pump.drain_all()
    assert len(plane.registry) == 0
    assert plane.timers.set_count == 0


@pytest.mark.parametrize("version", [4, 5])
def test_nothing_of_an_applicant_stays_with_its_session(plane: Plane, version: int) -> None:
    plane.pump.drain_all()
    plane.connect(1, FakeConnect(version=version))
    gc.collect()
    assert not [one for one in gc.get_objects() if isinstance(one, Applicant)]
