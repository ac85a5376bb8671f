"""Connections whose rights end at a time: ended then, and forgotten when they end before."""

from collections.abc import Callable
from typing import Any

import pytest

from pybroker.ports import Verdict
from tests.support.fake_core import FakeConnect
from tests.unit.plane.conftest import Plane


@pytest.fixture
def admit(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let a client in whose rights end some seconds from now."""

    def enter(conn: int, seconds: int | None, **fields: Any) -> None:
        ends_s = None if seconds is None else plane.clock.wall_s() + seconds
        disconnects = fields.pop("disconnects", True)
        verdict = Verdict(0, expire_at_s=ends_s, disconnects_at_expiry=disconnects)
        monkeypatch.setattr(plane.chain, "authenticate", lambda applicant: verdict)
        plane.connect(conn, FakeConnect(session_expiry_s=1_000, **fields))

    return enter


def ended(plane: Plane) -> list[Any]:
    return plane.engine.named("disconnect")


def test_connection_ends_with_its_rights(plane: Plane, admit: Callable[..., None]) -> None:
    admit(1, 30)
    plane.timers.advance(29_999)
    assert ended(plane) == []
    plane.timers.advance(1)
    assert [call[:3] for call in ended(plane)] == [("disconnect", 1, 0x87)]


def test_client_that_has_left_is_not_ended(plane: Plane, admit: Callable[..., None]) -> None:
    admit(1, 30)
    plane.close(1)
    plane.timers.advance(60_000)
    assert ended(plane) == []


def test_only_the_newest_connection_of_a_session_counts(plane: Plane, admit: Callable[..., None]) -> None:
    admit(1, 30)
    admit(2, 90)
    plane.close(1)
    plane.timers.advance(60_000)
    assert ended(plane) == []
    plane.timers.advance(30_000)
    assert [call[1] for call in ended(plane)] == [2]


def test_client_may_stay_without_its_rights_and_that_is_told(plane: Plane, admit: Callable[..., None]) -> None:
    admit(1, 30, disconnects=False)
    plane.timers.advance(30_000)
    assert ended(plane) == []
    assert plane.heard[-1] == "rights_ended"


def test_rights_without_end_set_no_timer(plane: Plane, admit: Callable[..., None]) -> None:
    admit(1, None)
    assert plane.timers.set_count == 0


def test_nothing_is_ended_after_stop(plane: Plane, admit: Callable[..., None]) -> None:
    admit(1, 30)
    plane.sessions.stop()
    plane.timers.advance(60_000)
    assert ended(plane) == []
