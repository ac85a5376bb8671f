"""Access control while something changes: each test lets a change come between a packet and what follows from it."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.e2e.test_authorization import AccessService, House, grants, may_publish, rule, wait_for_subscriptions
from tests.support.broker import Broker
from tests.support.packets import Property, Type, Version, Will
from tests.support.rest import Rest, dashboard_settings, free_port
from tests.support.wire import Clients, eventually


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Give a broker whose API is known and that has exclusive topics."""
    port = free_port()
    settings = {**dashboard_settings(port), "mqtt.exclusive_subscription": True}
    broker = Broker.start(tmp_path_factory.mktemp("broker"), settings)
    yield House(broker, Rest(port))
    broker.stop()


@pytest.fixture
def house(running: House) -> House:
    """Give a broker without rules."""
    running.begin()
    return running


@pytest.fixture
async def clients(house: House, request: pytest.FixtureRequest) -> AsyncIterator[Clients]:
    """Give clients of that broker."""
    opened = Clients(house.broker.address(), f"rc{abs(hash(request.node.nodeid)) % 1_000_000}")
    yield opened
    await opened.aclose()


@pytest.fixture
async def service(house: House) -> AsyncIterator[AccessService]:
    """Give a web service that is the last source of the broker."""
    service = AccessService()
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    service.port = server.sockets[0].getsockname()[1]
    body = {name: f"${{{name}}}" for name in ("clientid", "topic", "action", "qos", "retain")}
    source = {"type": "http", "method": "post", "url": f"http://127.0.0.1:{service.port}/", "body": body}
    await asyncio.to_thread(house.rest.call, "POST", "/authorization/sources", source)
    await asyncio.to_thread(house.rest.call, "POST", "/authorization/sources/http/move", {"position": "rear"})
    yield service
    service.gate.set()
    await asyncio.to_thread(house.rest.call, "DELETE", "/authorization/sources/http")
    server.close()
    await service.close()


async def test_rule_that_comes_while_a_service_judges_holds_for_the_filters_judged_before(
    house: House, clients: Clients, service: AccessService
) -> None:
    house.all(rule("allow", "early"))
    client = await clients.connected(client_id="between")
    asked = len(service.asked)
    service.gate.clear()
    waiting = asyncio.ensure_future(grants(client, "early", "late", "other"))
    await eventually(lambda: len(service.asked) > asked)
    house.all(rule("deny", "early"), rule("deny", "late"))
    service.gate.set()
    assert await waiting == [False, False, True]
    await wait_for_subscriptions(house, "between", ["other"])


async def test_exclusive_topic_of_a_revoked_subscription_is_free(house: House, clients: Clients) -> None:
    holder = await clients.connected(client_id="holder")
    other = await clients.connected(client_id="other")
    assert await grants(holder, "$exclusive/lock", "keep") == [True, True]
    assert await grants(other, "$exclusive/lock") == [False]
    house.client("holder", rule("deny", "lock", "subscribe"))
    await wait_for_subscriptions(house, "holder", ["keep"])
    assert await grants(holder, "$exclusive/lock") == [False]
    assert await grants(other, "$exclusive/lock") == [True]


async def test_denied_exclusive_subscription_leaves_the_topic_free(house: House, clients: Clients) -> None:
    house.client("denied", rule("deny", "lock2"))
    denied = await clients.connected(client_id="denied")
    other = await clients.connected()
    assert await grants(denied, "$exclusive/lock2") == [False]
    assert await grants(other, "$exclusive/lock2") == [True]


async def test_member_that_lost_its_right_gets_no_share_of_a_group(house: House, clients: Clients) -> None:
    lost = await clients.connected(client_id="lost")
    stays = await clients.connected(client_id="stays")
    for member in (lost, stays):
        assert await grants(member, "$share/g/jobs/#", qos=1) == [True]
    house.client("lost", rule("deny", "jobs/#", "subscribe"))
    await wait_for_subscriptions(house, "lost", [])
    publisher = await clients.connected()
    for number in range(6):
        await publisher.publish_fully(f"jobs/{number}", b"x")
        await stays.settle(await stays.expect_publish(f"jobs/{number}"))
    await lost.expect_quiet()


async def test_unanswered_message_of_a_revoked_share_goes_to_nobody_who_is_denied(
    house: House, clients: Clients
) -> None:
    lost, _ = await clients.persistent(Version.V5, "lost2")
    assert await grants(lost, "$share/g2/jobs2", qos=1) == [True]
    await lost.disconnect()
    publisher = await clients.connected()
    await publisher.publish_fully("jobs2", b"x")
    house.client("lost2", rule("deny", "jobs2", "subscribe"))
    await wait_for_subscriptions(house, "lost2", [])
    again, _ = await clients.persistent(Version.V5, "lost2")
    await again.expect_quiet()


async def test_retained_message_does_not_reach_a_client_that_lost_its_right(house: House, clients: Clients) -> None:
    publisher = await clients.connected()
    await publisher.publish_fully("kept/a", b"x", retain=True)
    client = await clients.connected(client_id="reader")
    house.client("reader", rule("deny", "kept/#", "subscribe"))
    assert await grants(client, "kept/#", "kept/a", "$share/g/kept/a") == [False, False, False]
    await client.expect_quiet()
    await publisher.publish_fully("kept/a", b"", retain=True)


async def test_topic_alias_of_a_denied_publish_is_known_and_judged_again(house: House, clients: Clients) -> None:
    house.all(rule("deny", "alias/no"))
    client = await clients.connected()
    watcher = await clients.subscriber(Version.V5, ("alias/#", 0))
    packet_id = await client.publish("alias/no", qos=1, properties=[(Property.TOPIC_ALIAS, 1)])
    await client.expect_ack(Type.PUBACK, packet_id, 0x87)
    house.all()
    packet_id = await client.publish("", b"now", qos=1, properties=[(Property.TOPIC_ALIAS, 1)])
    await client.expect_ack(Type.PUBACK, packet_id, 0)
    await watcher.expect_publish("alias/no", b"now")


async def test_repeated_qos_2_message_is_not_judged_again_once_it_is_taken(house: House, clients: Clients) -> None:
    watcher = await clients.subscriber(Version.V5, ("twice", 0))
    client = await clients.connected()
    packet_id = await client.publish("twice", b"x", qos=2)
    await client.expect_ack(Type.PUBREC, packet_id)
    await watcher.expect_publish("twice", b"x")
    house.all(rule("deny", "twice", "publish"))
    await client.publish("twice", b"x", qos=2, packet_id=packet_id, dup=True)
    await client.expect(Type.PUBREC)
    await client.ack(Type.PUBREL, packet_id)
    await client.expect(Type.PUBCOMP)
    await watcher.expect_quiet()


async def test_will_is_judged_by_the_rules_at_its_end_even_if_they_were_wider_before(
    house: House, clients: Clients
) -> None:
    watcher = await clients.subscriber(Version.V5, ("will/#", 0))
    client = await clients.connected(client_id="mortal", will=Will("will/a", b"x", 1, True))
    house.client("mortal", rule("deny", "will/a", "publish"))
    client.abort()
    await watcher.expect_quiet()
    late = await clients.subscriber(Version.V5, ("will/#", 0))
    await late.expect_quiet()


async def test_kick_while_a_service_judges_leaves_nothing_behind(
    house: House, clients: Clients, service: AccessService
) -> None:
    watcher = await clients.subscriber(Version.V5, ("kick/#", 0))
    client = await clients.connected(client_id="kicked")
    asked = len(service.asked)
    service.gate.clear()
    await client.publish("kick/a", b"x", qos=1)
    await eventually(lambda: len(service.asked) > asked)
    await asyncio.to_thread(house.rest.call, "DELETE", "/clients/kicked")
    other = await clients.connected(client_id="kicked")
    service.gate.set()
    await watcher.expect_quiet()
    await other.expect_quiet()
    assert await may_publish(other, "kick/b")


async def test_takeover_while_a_service_judges_gives_the_new_connection_no_old_grant(
    house: House, clients: Clients, service: AccessService
) -> None:
    first, _ = await clients.persistent(Version.V5, "over")
    asked = len(service.asked)
    service.gate.clear()
    waiting = asyncio.ensure_future(first.subscribe(("over/a", 1)))
    await eventually(lambda: len(service.asked) > asked)
    second, _ = await clients.persistent(Version.V5, "over")
    service.gate.set()
    with pytest.raises(AssertionError):
        await waiting
    assert house.rest.call("GET", "/clients/over/subscriptions") == []
    assert await grants(second, "over/b") == [True]


async def test_many_changes_and_publishes_never_let_a_denied_one_through(house: House, clients: Clients) -> None:
    client = await clients.connected(client_id="flip")
    watcher = await clients.subscriber(Version.V5, ("flip", 0))
    for _ in range(25):
        house.client("flip", rule("deny", "flip", "publish"))
        assert not await may_publish(client, "flip")
        house.client("flip", rule("allow", "flip", "publish"))
        assert await may_publish(client, "flip")
        await watcher.expect_publish("flip")
    await watcher.expect_quiet()


async def test_rest_publish_is_not_judged_and_rest_subscription_is_revoked(house: House, clients: Clients) -> None:
    client = await clients.connected(client_id="made")
    await asyncio.to_thread(house.rest.call, "POST", "/clients/made/subscribe", {"topic": "made/a", "qos": 1})
    house.all(rule("deny", "made/#"))
    await wait_for_subscriptions(house, "made", [])
    await asyncio.to_thread(house.rest.call, "POST", "/publish", {"topic": "made/a", "payload": "x"}, 202)
    await client.expect_quiet()
