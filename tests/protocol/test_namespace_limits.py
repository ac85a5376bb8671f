"""Limits, quotas and counters of a namespace, as its clients and their neighbours see them.

Rates are per hour, so that what passes is counted exactly; how buckets refill is shown where the clock can be moved.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from pybroker.errors import QuotaExceeded
from tests.protocol.versions import v3_only, v311_and_v5
from tests.support import packets
from tests.support.bare_engine import BareEngine
from tests.support.packets import Type, Version
from tests.support.wire import WireClient, eventually

HOUR_MS = 3_600_000


@pytest.fixture
async def engine() -> AsyncIterator[BareEngine]:
    async with BareEngine(2, {}) as running:
        yield running


def per_hour(amount: int) -> dict[str, Any]:
    return {"rate": (amount, HOUR_MS)}


def limit(engine: BareEngine, namespace: str = "n1", **limits: Any) -> None:
    engine.core.set_namespace(namespace, cast("Any", {"has_counters": True, **limits}))


async def expect_silence(client: WireClient) -> None:
    """Not even a ping is answered: the socket is not read."""
    await client.send(packets.PINGREQ)
    with pytest.raises(TimeoutError):
        await client.receive(0.1)


async def subscriber(engine: BareEngine, client_id: str, interest: tuple[str, int]) -> WireClient:
    client = await engine.clients.connected(client_id=client_id)
    assert await client.subscribe(interest) == (interest[1],)
    return client


async def answers(client: WireClient, count: int, payload: bytes = b"x", qos: int = 1) -> list[int]:
    return [(await client.publish_fully("t", payload, qos=qos)).reason for _ in range(count)]


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_client_over_its_messages_is_told_and_stays(engine: BareEngine, qos: int) -> None:
    limit(engine, client={"messages": per_hour(3)})
    client = await engine.clients.connected(client_id="n1:a")
    assert await answers(client, 5, qos=qos) == [0x10, 0x10, 0x10, 0x97, 0x97]
    other = await engine.clients.connected(client_id="n1:b")
    assert await answers(other, 1) == [0x10]


async def test_bytes_are_payload_bytes(engine: BareEngine) -> None:
    limit(engine, client={"bytes": per_hour(100)})
    client = await engine.clients.connected(client_id="n1:a")
    assert await answers(client, 3, b"x" * 50) == [0x10, 0x10, 0x97]


async def test_qos_0_over_the_limit_is_dropped_and_counted(engine: BareEngine) -> None:
    limit(engine, client={"messages": per_hour(2)})
    receiver = await subscriber(engine, "n1:s", ("t", 0))
    client = await engine.clients.connected(client_id="n1:a")
    for number in range(4):
        await client.publish("t", bytes([number]))
    assert (await client.publish_fully("u", qos=1)).reason == 0x97
    assert [(await receiver.expect_publish("t")).payload for _ in range(2)] == [b"\x00", b"\x01"]
    await receiver.expect_quiet()
    await eventually(lambda: engine.core.metrics()["messages.dropped.quota_exceeded"] == 3)


@v3_only
async def test_a_3_x_client_over_the_limit_gets_an_ordinary_puback(engine: BareEngine, version: Version) -> None:
    limit(engine, client={"messages": per_hour(1)})
    client = await engine.clients.connected(version, client_id="n1:a")
    for _ in range(3):
        packet_id = await client.publish("t", qos=1)
        await client.expect_ack(Type.PUBACK, packet_id, None)
    await eventually(lambda: engine.core.metrics()["messages.dropped.quota_exceeded"] == 2)


@v3_only
async def test_a_3_x_client_over_the_limit_finishes_qos_2(engine: BareEngine, version: Version) -> None:
    limit(engine, client={"messages": per_hour(1)})
    client = await engine.clients.connected(version, client_id="n1:a")
    for _ in range(3):
        await client.publish_fully("t", qos=2)
    await eventually(lambda: engine.core.metrics()["messages.dropped.quota_exceeded"] == 2)


async def test_a_topic_alias_over_the_limit_is_still_learned(engine: BareEngine) -> None:
    limit(engine, client={"messages": per_hour(1)})
    client = await engine.clients.connected(client_id="n1:a")
    await answers(client, 1)
    receiver = await subscriber(engine, "s", ("t", 0))
    await client.publish("t", b"over", properties=[(0x23, 1)])
    await client.expect_quiet()
    engine.core.drop_namespace("n1")
    await client.publish("", b"by alias", properties=[(0x23, 1)])
    assert (await receiver.expect_publish("t")).payload == b"by alias"


async def test_a_publication_that_is_sent_again_is_not_paid_twice(engine: BareEngine) -> None:
    limit(engine, client={"messages": per_hour(1)})
    client = await engine.clients.connected(client_id="n1:a")
    for is_dup in (False, True, True):
        await client.publish("t", qos=2, packet_id=7, dup=is_dup)
        assert (await client.expect_ack(Type.PUBREC, 7, None)).reason in (0, 0x10)
    assert (await client.publish_fully("t", qos=2)).reason == 0x97


async def test_a_publication_that_waits_for_a_release_is_paid_and_counted_once() -> None:
    async with BareEngine(1, {}) as engine:
        engine.core.configure({"max_awaiting_rel": 1})
        limit(engine, client={"messages": per_hour(3)})
        client = await engine.clients.connected(Version.V311, client_id="n1:a")
        for packet_id in (1, 2, 3):
            await client.publish("t", qos=2, packet_id=packet_id)
        for packet_id in (1, 2, 3):
            await client.expect_ack(Type.PUBREC, packet_id, None)
            await client.ack(Type.PUBREL, packet_id)
            await client.expect_ack(Type.PUBCOMP, packet_id, None)
        await eventually(lambda: engine.core.namespace_stats("n1")["messages.received"] == 3)
        assert engine.core.namespace_stats("n1")["messages.dropped.quota_exceeded"] == 0


async def test_all_clients_of_a_tenant_share_its_bucket_and_neighbours_do_not(engine: BareEngine) -> None:
    limit(engine, tenant={"messages": per_hour(10)})
    clients = [await engine.clients.connected(client_id=f"n1:{number}") for number in range(4)]
    passed = 0
    for _ in range(5):
        for client in clients:
            passed += (await answers(client, 1))[0] < 0x80
    assert passed == 10
    neighbour = await engine.clients.connected(client_id="n2:a")
    assert await answers(neighbour, 20) == [0x10] * 20


async def test_a_burst_is_a_bucket_of_its_own(engine: BareEngine) -> None:
    limit(engine, tenant={"messages": {"rate": (2, HOUR_MS), "burst": (3, HOUR_MS)}})
    client = await engine.clients.connected(client_id="n1:a")
    assert await answers(client, 6) == [0x10] * 5 + [0x97]


async def test_numbers_change_for_live_clients_and_a_new_limiter_for_new_ones(engine: BareEngine) -> None:
    early = await engine.clients.connected(client_id="n1:early")
    limit(engine, client={"messages": per_hour(1)})
    late = await engine.clients.connected(client_id="n1:late")
    assert (await answers(early, 2), await answers(late, 2)) == ([0x10, 0x10], [0x10, 0x97])
    limit(engine, client={"messages": {"rate": (1_000, 1)}})
    async with asyncio.timeout(5):
        while await answers(late, 1) != [0x10]:
            pass


async def test_a_deleted_namespace_limits_nobody(engine: BareEngine) -> None:
    limit(engine, client={"messages": per_hour(1)}, tenant={"messages": per_hour(1)}, max_subscriptions=0)
    client = await engine.clients.connected(client_id="n1:a")
    assert await answers(client, 2) == [0x10, 0x97]
    engine.core.drop_namespace("n1")
    assert await answers(client, 3) == [0x10] * 3
    assert await client.subscribe(("a", 0)) == (0,)


async def test_pausing_reads_no_further_but_loses_nothing(engine: BareEngine) -> None:
    limit(engine, client={"messages": {"rate": (2, 100)}}, on_exceed="pause")
    client = await engine.clients.connected(client_id="n1:a")
    assert await answers(client, 8) == [0x10] * 8


async def test_a_tenant_that_pauses_holds_all_its_clients(engine: BareEngine) -> None:
    limit(engine, tenant={"messages": per_hour(2)}, on_exceed="pause")
    client = await engine.clients.connected(client_id="n1:a")
    assert await answers(client, 2) == [0x10] * 2
    await expect_silence(client)


@pytest.mark.parametrize("limits", [None, {"messages": {"rate": None}}], ids=["listener", "client limiter"])
async def test_the_client_limiter_takes_the_place_of_the_listeners_rates(limits: dict[str, Any] | None) -> None:
    async with BareEngine(1, {"messages_rate": 0.01}) as engine:
        limit(engine, client=limits)
        client = await engine.clients.connected(client_id="n1:a")
        for _ in range(4):
            await client.publish("t", qos=1)
        if limits is None:
            assert [(await client.expect(Type.PUBACK)).reason for _ in range(2)] == [0x10] * 2
            await expect_silence(client)
        else:
            assert [(await client.expect(Type.PUBACK)).reason for _ in range(4)] == [0x10] * 4


async def test_the_tenant_limiter_adds_to_the_listeners_rates() -> None:
    async with BareEngine(1, {"messages_rate": 0.01}) as engine:
        limit(engine, tenant={"messages": per_hour(1)})
        client = await engine.clients.connected(client_id="n1:a")
        for _ in range(4):
            await client.publish("t", qos=1)
        # The tenant's bucket refuses the second one, the listener's lets nobody read the third.
        assert [(await client.expect(Type.PUBACK)).reason for _ in range(2)] == [0x10, 0x97]
        await expect_silence(client)


@v311_and_v5
async def test_a_subscribe_over_the_limit_fails_for_every_filter(engine: BareEngine, version: Version) -> None:
    limit(engine, client={"subscribes": per_hour(1)})
    client = await engine.clients.connected(version, client_id="n1:a")
    assert await client.subscribe(("a", 0), ("b", 1)) == (0, 1)
    assert await client.subscribe(("c", 0), ("d", 1)) == ((0x97,) if version is Version.V5 else (0x80,)) * 2
    assert engine.core.namespace_stats("n1")["subscriptions"] == 2


async def test_deliveries_over_the_limit_drop_qos_0(engine: BareEngine) -> None:
    limit(engine, client={"delivery_messages": per_hour(2)})
    slow = await subscriber(engine, "n1:s", ("t", 0))
    neighbour = await subscriber(engine, "n2:s", ("t", 0))
    publisher = await engine.clients.connected(client_id="p")
    for number in range(5):
        await publisher.publish("t", bytes([number]))
    assert [(await neighbour.expect_publish("t")).payload[0] for _ in range(5)] == [0, 1, 2, 3, 4]
    assert [(await slow.expect_publish("t")).payload[0] for _ in range(2)] == [0, 1]
    await slow.expect_quiet()
    assert engine.core.metrics()["delivery.dropped.qos0_msg"] == 3


async def test_deliveries_over_the_limit_wait_at_qos_1_and_come_in_order(engine: BareEngine) -> None:
    limit(engine, client={"delivery_messages": {"rate": (2, 100)}})
    slow = await subscriber(engine, "n1:s", ("t", 1))
    publisher = await engine.clients.connected(client_id="p")
    for number in range(8):
        await publisher.publish_fully("t", bytes([number]))
    received = []
    for _ in range(8):
        received.append(await slow.expect_publish("t"))
        await slow.settle(received[-1])
    assert [packet.payload[0] for packet in received] == list(range(8))


async def test_retained_messages_wait_for_the_delivery_limit(engine: BareEngine) -> None:
    limit(engine, client={"delivery_bytes": {"rate": (40, 100)}})
    publisher = await engine.clients.connected(client_id="p")
    for number in range(6):
        await publisher.publish_fully(f"r/{number}", b"x" * 20, retain=True)
    slow = await subscriber(engine, "n1:s", ("r/#", 0))
    topics = {(await slow.expect(Type.PUBLISH)).topic for _ in range(6)}
    assert topics == {f"r/{number}" for number in range(6)}


@v311_and_v5
async def test_the_quota_of_subscriptions_refuses_one_more_and_tells_once(engine: BareEngine, version: Version) -> None:
    limit(engine, max_subscriptions=2)
    client = await engine.clients.connected(version, client_id="n1:a")
    refused = 0x97 if version is Version.V5 else 0x80
    assert await client.subscribe(("a", 0), ("b", 0), ("c", 0), ("d", 0)) == (0, 0, refused, refused)
    assert await client.subscribe(("a", 1)) == (1,), "another QoS for what it has"
    neighbour = await engine.clients.connected(version, client_id="n2:a")
    assert await neighbour.subscribe(("c", 0)) == (0,)
    await eventually(lambda: engine.quota_events == [("n1", "max_subscriptions", True, 2, 2)])
    await client.unsubscribe("b")
    await eventually(lambda: engine.quota_events[1:] == [("n1", "max_subscriptions", False, 1, 2)])
    assert await client.subscribe(("e", 0)) == (0,)


async def test_a_refused_subscription_matches_nothing(engine: BareEngine) -> None:
    limit(engine, max_subscriptions=0)
    client = await engine.clients.connected(client_id="n1:a")
    assert await client.subscribe(("t", 1)) == (0x97,)
    publisher = await engine.clients.connected(client_id="p")
    assert await answers(publisher, 1) == [0x10]
    with pytest.raises(QuotaExceeded, match="max_subscriptions is used up: 0"):
        engine.core.subscribe(engine.sessions["n1:a"], "t", 0)


async def test_the_quota_of_retained_messages_refuses_a_new_topic_only(engine: BareEngine) -> None:
    limit(engine, max_retained=2)
    client = await engine.clients.connected(client_id="n1:a")

    async def retain(topic: str, payload: bytes = b"x") -> int:
        return (await client.publish_fully(topic, payload, retain=True)).reason

    assert [await retain(topic) for topic in ("a", "b", "c", "a")] == [0x10, 0x10, 0x97, 0x10]
    assert engine.core.retained_get("c") is None
    neighbour = await engine.clients.connected(client_id="n2:a")
    assert (await neighbour.publish_fully("c", b"x", retain=True)).reason == 0x10
    assert await retain("a", b"") == 0x10
    assert await retain("d") == 0x10
    assert [event[1:3] for event in engine.quota_events] == [("max_retained", True), ("max_retained", False)]


async def test_the_quota_of_retained_bytes_counts_what_is_replaced(engine: BareEngine) -> None:
    limit(engine, max_retained_bytes=101)
    client = await engine.clients.connected(client_id="n1:a")
    sizes = (60, 100, 101, 10, 100)
    reasons = [(await client.publish_fully("a", b"x" * size, retain=True)).reason for size in sizes]
    assert reasons == [0x10, 0x10, 0x97, 0x10, 0x10]
    assert engine.core.namespace_stats("n1")["retained_bytes"] == 101
    assert engine.core.retained_delete("#") == 1
    assert engine.core.namespace_stats("n1")["retained_bytes"] == 0


async def test_the_quota_of_queued_bytes_costs_its_owner_messages_and_nobody_else(engine: BareEngine) -> None:
    limit(engine, max_queued_bytes=30)
    for name in ("n1:a", "n1:b", "n2:a"):
        offline, _ = await engine.clients.persistent(Version.V5, name)
        await offline.subscribe((f"q/{name}", 1))
        await offline.disconnect()
    publisher = await engine.clients.connected(client_id="p")
    for name in ("n1:a", "n1:b", "n2:a"):
        for number in range(4):
            await publisher.publish_fully(f"q/{name}", bytes([number]) * 4)
    assert engine.core.namespace_stats("n1")["queued_bytes"] == 30
    assert engine.core.namespace_stats("n2")["queued_bytes"] == 40
    kept = {}
    for name, expected in (("n1:a", 3), ("n1:b", 0), ("n2:a", 4)):
        returned, _ = await engine.clients.persistent(Version.V5, name)
        kept[name] = [(await returned.expect(Type.PUBLISH)).payload[0] for _ in range(expected)]
        await returned.expect_quiet()
    assert kept == {"n1:a": [1, 2, 3], "n1:b": [], "n2:a": [0, 1, 2, 3]}
    assert engine.quota_events[0] == ("n1", "max_queued_bytes", True, 30, 30)
    assert engine.core.metrics()["delivery.dropped.queue_full"] == 5
    await eventually(lambda: engine.core.namespace_stats("n1")["queued_bytes"] == 0)
    assert engine.quota_events[1][2] is False


async def test_what_goes_out_at_once_needs_no_room_in_the_queues(engine: BareEngine) -> None:
    limit(engine, max_queued_bytes=0)
    receiver = await subscriber(engine, "n1:s", ("t", 1))
    publisher = await engine.clients.connected(client_id="p")
    for _ in range(3):
        assert (await publisher.publish_fully("t", b"x")).reason == 0
        await receiver.settle(await receiver.expect_publish("t"))
    assert engine.quota_events == []


async def test_traffic_counts_for_its_namespace_and_for_the_broker(engine: BareEngine) -> None:
    for namespace in ("n1", "n2"):
        limit(engine, namespace)
    own = await subscriber(engine, "n1:s", ("t", 1))
    foreign = await subscriber(engine, "n2:s", ("t", 0))
    uncounted = await subscriber(engine, "n3:s", ("t", 0))
    publisher = await engine.clients.connected(client_id="n1:p")
    assert await answers(publisher, 3) == [0] * 3
    for _ in range(3):
        await own.settle(await own.expect_publish("t"))
        await foreign.expect_publish("t")
        await uncounted.expect_publish("t")
    names = ("messages.received", "messages.qos1.received", "packets.puback.sent", "messages.sent", "messages.acked")

    def counted(stats: dict[str, int]) -> list[int]:
        return [stats.get(name, -1) for name in names]

    await eventually(lambda: counted(engine.core.namespace_stats("n1")) == [3, 3, 3, 3, 3])
    await eventually(lambda: counted(engine.core.namespace_stats("n2")) == [0, 0, 0, 3, 0])
    assert counted(engine.core.namespace_stats("n3")) == [-1] * 5
    assert counted(engine.core.metrics()) == [3, 3, 3, 9, 3]
    stats, connects = engine.core.namespace_stats("n1"), engine.core.metrics()["packets.connect.received"]
    assert (stats["packets.connect.received"], connects) == (0, 4), "who connects has no namespace yet"
    assert stats["bytes.received"] > 0
    assert stats["bytes.sent"] > 0


async def test_what_the_limits_drop_counts_for_the_namespace(engine: BareEngine) -> None:
    limit(engine, client={"messages": per_hour(1), "delivery_messages": per_hour(1)})
    limit(engine, "n2", client={"delivery_messages": per_hour(1)})
    await subscriber(engine, "n2:s", ("t", 0))
    publisher = await engine.clients.connected(client_id="n1:p")
    assert await answers(publisher, 3) == [0, 0x97, 0x97]
    await answers(await engine.clients.connected(client_id="n4:p"), 2)
    await eventually(lambda: engine.core.namespace_stats("n1")["messages.dropped.quota_exceeded"] == 2)
    await eventually(lambda: engine.core.namespace_stats("n2")["delivery.dropped.qos0_msg"] == 2)
    assert engine.core.namespace_stats("n1")["delivery.dropped"] == 0


async def test_a_namespace_that_is_made_again_counts_from_zero(engine: BareEngine) -> None:
    limit(engine)
    client = await engine.clients.connected(client_id="n1:a")
    await answers(client, 2)
    await eventually(lambda: engine.core.namespace_stats("n1")["messages.received"] == 2)
    engine.core.drop_namespace("n1")
    assert "messages.received" not in engine.core.namespace_stats("n1")
    limit(engine)
    assert engine.core.namespace_stats("n1")["messages.received"] == 0
