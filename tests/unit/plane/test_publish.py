"""PUBLISH packets that the core cannot judge alone: answered at once, or when a remote source has answered."""

import contextlib

import pytest

from pybroker._core import EVENT_AUTHORIZE
from tests.unit.plane.conftest import Plane


def authorize(plane: Plane, topic: str) -> None:
    """Let a PUBLISH of connection 1 arrive for judgement."""
    plane.engine.waiting.append((EVENT_AUTHORIZE, 1, 0, 7, 2, topic, 1, True))
    plane.pump.drain()


def finish(plane: Plane) -> None:
    with contextlib.suppress(StopIteration):
        plane.spawned.pop().send(None)


@pytest.mark.parametrize("is_slow", [False, True])
@pytest.mark.parametrize("is_denied", [False, True])
def test_verdict_reaches_the_connection_that_waits(plane: Plane, is_slow: bool, is_denied: bool) -> None:
    plane.connect(1)
    plane.authorizer.slow = {"t"} if is_slow else set()
    plane.authorizer.denied = {"t"} if is_denied else set()
    authorize(plane, "t")
    if is_slow:
        assert not plane.engine.named("authorize")
        finish(plane)
    assert plane.engine.named("authorize") == [("authorize", 1, not is_denied, True)]
    assert plane.authorizer.asked == [("publish", 0, 7, 2, "t", 1, True)]


def test_verdict_that_cannot_be_had_denies_and_is_not_kept(plane: Plane) -> None:
    plane.connect(1)
    plane.authorizer.slow = plane.authorizer.broken = {"t"}
    authorize(plane, "t")
    with pytest.raises(RuntimeError):
        finish(plane)
    assert plane.engine.named("authorize") == [("authorize", 1, False, False)]
