"""What is left of a namespace in the core when it is deleted, and what its clients can still leave behind."""

from collections.abc import AsyncIterator

import pytest

from tests.support.bare_engine import BareEngine
from tests.support.wire import WireClient


@pytest.fixture
async def engine() -> AsyncIterator[BareEngine]:
    async with BareEngine(2, {}) as running:
        yield running


async def leave(client: WireClient, topic: str) -> None:
    """Retain a message, and let another one wait."""
    for name in (topic, f"$delayed/60/{topic}"):
        await client.publish_fully(name, b"left", retain=True)


def left(engine: BareEngine) -> tuple[int, int]:
    """Return how many retained and delayed messages there are."""
    stats = engine.core.stats()
    return stats["retained"], stats["delayed"]


async def test_what_a_namespace_has_left_is_dropped_and_nothing_of_others(engine: BareEngine) -> None:
    for name in ("n1", "n2"):
        await leave(await engine.clients.connected(client_id=f"{name}:c"), f"t/{name}")
    engine.core.drop_namespace("n1")
    assert engine.core.empty_namespace("n1", "") == 2
    assert left(engine) == (1, 1)
    assert engine.core.retained_get("t/n2") is not None


async def test_clients_of_a_deleted_namespace_leave_and_clear_nothing(engine: BareEngine) -> None:
    client = await engine.clients.connected(client_id="n1:c")
    engine.core.publish("kept", b"x", 0, True)
    engine.core.drop_namespace("n1")
    await leave(client, "t")
    await client.publish_fully("kept", b"", retain=True)
    assert left(engine) == (1, 0)


async def test_whoever_comes_by_the_name_of_a_deleted_namespace_may_leave_something(engine: BareEngine) -> None:
    await engine.clients.connected(client_id="n1:former")
    engine.core.drop_namespace("n1")
    await leave(await engine.clients.connected(client_id="n1:new"), "t")
    assert left(engine) == (1, 1)
    assert engine.core.namespace_stats("n1")["sessions"] == 1


async def test_messages_of_others_below_the_mountpoint_go_too(engine: BareEngine) -> None:
    for topic in ("n1/t", "n1", "n12/t"):
        engine.core.publish(topic, b"x", 0, True)
        engine.core.publish(f"$delayed/60/{topic}", b"x", 0, False)
    assert engine.core.empty_namespace("n1", "n1/") == 2
    assert left(engine) == (2, 2)
