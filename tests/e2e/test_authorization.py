"""Access control as clients meet it: rules by REST, packets on the wire, every answer byte by byte.

The traps are those of the EMQX contract; each test names the one that it is about in its own words.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.protocol.versions import every_version, v3_only
from tests.support.broker import Broker
from tests.support.packets import Property, Type, Version, Will
from tests.support.rest import Rest, dashboard_settings, free_port
from tests.support.wire import Clients, WireClient, eventually

RULES = "/authorization/sources/built_in_database/rules"


class House:
    """A broker and its administrator; every test begins without rules, in blacklist mode."""

    def __init__(self, broker: Broker, rest: Rest) -> None:
        self.broker, self.rest = broker, rest

    def begin(self) -> None:
        self.settings()
        extra = {"on_revoke": "unsubscribe", "subscribe_match": "strict", "sys_topics": "nobody"}
        self.rest.call("PUT", "/authorization/extra_settings", extra)
        for kind, name in (("clients", "clientid"), ("users", "username")):
            for one in self.rest.call("GET", f"{RULES}/{kind}?limit=1000")["data"]:
                self.rest.call("DELETE", f"{RULES}/{kind}/{one[name]}")
        self.rest.call("DELETE", f"{RULES}/all")

    def settings(self, **changed: object) -> None:
        """Put settings in force; what is not named returns to its default."""
        self.rest.call("PUT", "/authorization/settings", changed)

    def extra(self, **changed: object) -> None:
        self.rest.call("PUT", "/authorization/extra_settings", changed)

    def client(self, client_id: str, *rules: dict[str, object]) -> None:
        """Write the rules of a client."""
        self.rest.call("PUT", f"{RULES}/clients/{client_id}", {"clientid": client_id, "rules": rules})

    def user(self, username: str, *rules: dict[str, object]) -> None:
        """Write the rules of a user."""
        self.rest.call("PUT", f"{RULES}/users/{username}", {"username": username, "rules": rules})

    def all(self, *rules: dict[str, object]) -> None:
        """Write the rules of all users."""
        self.rest.call("POST", f"{RULES}/all", {"rules": rules})

    def metrics(self) -> dict[str, int]:
        found: Any = self.rest.call("GET", "/metrics")
        return dict(found[0] if isinstance(found, list) else found)


def rule(permission: str, topic: str, action: str = "all", **more: object) -> dict[str, object]:
    return {"permission": permission, "topic": topic, "action": action, **more}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Give a broker whose API is known."""
    port = free_port()
    settings = {**dashboard_settings(port), "authorization.sys_topics": "nobody"}
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
    opened = Clients(house.broker.address(), f"az{abs(hash(request.node.nodeid)) % 1_000_000}")
    yield opened
    await opened.aclose()


async def may_publish(client: WireClient, topic: str, qos: int = 1, retain: bool = False) -> bool:
    """Publish as a 5.0 client and return whether it was allowed."""
    return (await client.publish_fully(topic, b"x", qos=qos, retain=retain)).reason != 0x87


async def grants(client: WireClient, *filters: str, qos: int = 0) -> list[bool]:
    """Subscribe as a 5.0 client and return what was granted."""
    return [code < 0x80 for code in await client.subscribe(*((filter, qos) for filter in filters))]


# What rules match


async def test_allow_rule_must_cover_the_whole_filter_unless_read_as_emqx(house: House, clients: Clients) -> None:
    house.settings(no_match="deny")
    house.all(rule("allow", "a/+"))
    client = await clients.connected()
    assert await grants(client, "a/+", "a/#", "a") == [True, False, False]
    house.extra(subscribe_match="emqx")
    assert await grants(client, "a/#") == [True]


async def test_deny_rule_does_not_cut_a_hole_into_a_wider_filter(house: House, clients: Clients) -> None:
    house.all(rule("deny", "a/b", "subscribe"))
    client = await clients.connected()
    assert await grants(client, "a/#", "a/b") == [True, False]
    await client.publish("a/b", b"x")
    await client.expect_publish("a/b", b"x")
    house.extra(subscribe_match="strict_overlap", on_revoke="ignore")
    assert await grants(client, "a/#") == [False]


async def test_hash_for_all_users_does_not_reach_dollar_topics(house: House, clients: Clients) -> None:
    house.all(rule("deny", "#"))
    client = await clients.connected()
    assert not await may_publish(client, "a")
    assert await may_publish(client, "$foo/x")
    house.settings(no_match="deny")
    assert not await may_publish(client, "$foo/x")


async def test_shared_filter_is_judged_without_its_group(house: House, clients: Clients) -> None:
    house.all(rule("deny", "a/b"), rule("deny", "$share/g/c"))
    client = await clients.connected()
    assert await grants(client, "$share/g/a/b", "$queue/a/b", "$share/g/c") == [False, False, True]


async def test_eq_is_literal_and_a_hash_covers_its_parent(house: House, clients: Clients) -> None:
    house.settings(no_match="deny")
    house.all(rule("allow", "eq e/${clientid}"), rule("allow", "eq e/#"), rule("allow", "a/#"))
    client = await clients.connected(client_id="me")
    assert [await may_publish(client, topic) for topic in ("e/me", "e/${clientid}", "a", "ab")] == [
        False,
        True,
        True,
        False,
    ]
    assert await grants(client, "e/#", "e/x") == [True, False]


@pytest.mark.parametrize("username", [None, "", "+", "x/y", "#"])
async def test_placeholder_without_a_usable_value_opens_nothing(
    house: House, clients: Clients, username: str | None
) -> None:
    house.settings(no_match="deny")
    house.all(rule("allow", "u/${username}/#"), rule("allow", "/${username}/#"))
    client = await clients.connected(username=username)
    for topic in ("u/undefined/x", "u//x", "/x", "u/x/y/z", "u/q/x", "//x"):
        assert not await may_publish(client, topic), topic


async def test_lists_are_asked_from_the_narrowest_to_the_widest(house: House, clients: Clients) -> None:
    house.all(rule("deny", "t"), rule("deny", "u"), rule("deny", "v"))
    house.user("ann", rule("allow", "u"), rule("allow", "t/very/specific"))
    house.client("c1", rule("allow", "t"), rule("deny", "t/#"))
    house.client("empty")
    client = await clients.connected(client_id="c1", username="ann")
    topics = ("t", "u", "v", "t/very/specific")
    assert [await may_publish(client, topic) for topic in topics] == [True, True, False, False]
    other = await clients.connected(client_id="empty", username="ann")
    assert [await may_publish(other, topic) for topic in topics] == [False, True, False, True]


async def test_qos_that_is_denied_is_not_lowered_and_retain_concerns_publishing_only(
    house: House, clients: Clients
) -> None:
    house.settings(no_match="deny")
    house.all(rule("allow", "q", qos=[0]), rule("allow", "r", retain=False))
    client = await clients.connected()
    assert await client.subscribe(("q", 1), ("q", 0), ("r", 2)) == (0x87, 0, 2)
    await client.unsubscribe("q", "r")
    assert [await may_publish(client, "r", retain=retain) for retain in (False, True)] == [True, False]
    assert not await may_publish(client, "q", qos=1)


async def test_delayed_topic_is_judged_as_the_one_behind_it(house: House, clients: Clients) -> None:
    house.all(rule("deny", "a"))
    client = await clients.connected()
    topics = ("$delayed/5/a", "$delayed/5/b", "$delayed/abc")
    assert [await may_publish(client, topic) for topic in topics] == [False, True, False]


# What a client is told


@every_version
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_denied_publish_reaches_nobody_and_is_answered_by_version(
    house: House, clients: Clients, version: Version, qos: int
) -> None:
    house.all(rule("deny", "t", "publish"))
    watcher = await clients.subscriber(Version.V5, ("t", 2), ("after", 0))
    client = await clients.connected(version)
    before = house.metrics()
    packet_id = await client.publish("t", b"x", qos=qos, retain=True)
    denied = 0x87 if version is Version.V5 else 0
    if qos == 1:
        await client.expect_ack(Type.PUBACK, packet_id, denied)
    elif qos == 2:
        await client.expect_ack(Type.PUBREC, packet_id, denied)
        if version is Version.V5:
            # The exchange is over: the same id is free again.
            await client.publish("t", b"x", qos=2, packet_id=packet_id)
            await client.expect_ack(Type.PUBREC, packet_id, 0x87)
        else:
            await client.ack(Type.PUBREL, packet_id)
            await client.expect_ack(Type.PUBCOMP, packet_id, 0)
    await client.publish("after", b"y")
    await watcher.expect_publish("after", b"y")
    late = await clients.subscriber(Version.V5, ("t", 0))
    await late.expect_quiet()
    after = house.metrics()
    count = 2 if qos == 2 and version is Version.V5 else 1
    assert after["packets.publish.auth_error"] - before["packets.publish.auth_error"] == count
    assert after["messages.publish"] - before["messages.publish"] == 1


@v3_only
async def test_denied_filter_of_an_old_client_is_a_failure(house: House, clients: Clients, version: Version) -> None:
    house.all(rule("deny", "b", "subscribe"))
    client = await clients.connected(version)
    # 3.1 has no code for a failure.
    failure = 0x80 if version is Version.V311 else 0
    assert await client.subscribe(("a", 1), ("b", 1), ("c", 2)) == (1, failure, 2)
    await client.publish("b", b"x")
    await client.expect_quiet()


async def test_denied_publish_is_reported_before_what_the_broker_cannot_do(house: House, clients: Clients) -> None:
    house.all(rule("deny", "$SYS/x"), rule("deny", "t/#"))
    client = await clients.connected()
    deep = "t/" + "/".join("x" * 200)
    assert not await may_publish(client, deep)


@every_version
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_denied_publish_ends_the_connection_where_that_is_the_policy(
    house: House, clients: Clients, version: Version, qos: int
) -> None:
    house.settings(deny_action="disconnect")
    house.all(rule("deny", "t", "publish"), rule("deny", "w2"))
    watcher = await clients.subscriber(Version.V5, ("#", 0))
    client = await clients.connected(version, will=Will("w1", b"gone"))
    await client.publish("t", b"x", qos=qos)
    await client.expect_fault(0x87)
    await watcher.expect_publish("w1", b"gone")


async def test_one_denied_filter_of_three_ends_the_connection_without_any_subscription(
    house: House, clients: Clients
) -> None:
    house.settings(deny_action="disconnect")
    house.all(rule("deny", "b"))
    client, _ = await clients.persistent(Version.V5, "three")
    with pytest.raises(AssertionError, match="DISCONNECT"):
        await client.subscribe(("a", 0), ("b", 0), ("c", 0))
    await client.expect_closed()
    assert house.rest.call("GET", "/clients/three/subscriptions") == []


async def test_will_to_a_denied_topic_vanishes(house: House, clients: Clients) -> None:
    house.all(rule("deny", "w/no"))
    watcher = await clients.subscriber(Version.V5, ("w/#", 0))
    for topic in ("w/no", "w/yes"):
        client = await clients.connected(will=Will(topic, b"gone"))
        client.abort()
    await watcher.expect_publish("w/yes", b"gone")
    await watcher.expect_quiet()


async def test_will_is_judged_when_it_is_sent(house: House, clients: Clients) -> None:
    house.all(rule("deny", "w"))
    watcher = await clients.connected()
    client = await clients.connected(will=Will("w", b"gone"))
    house.all()
    assert await grants(watcher, "w") == [True]
    client.abort()
    await watcher.expect_publish("w", b"gone")


async def test_topic_alias_is_judged_by_its_topic(house: House, clients: Clients) -> None:
    house.all(rule("deny", "t"))
    client = await clients.connected()
    for topic in ("t", ""):
        packet_id = await client.publish(topic, qos=1, properties=[(Property.TOPIC_ALIAS, 1)])
        await client.expect_ack(Type.PUBACK, packet_id, 0x87)


# Changes


async def test_rule_and_mode_take_effect_on_the_next_packet(house: House, clients: Clients) -> None:
    client = await clients.connected(client_id="next")
    for _ in range(3):
        assert await may_publish(client, "t")
    house.client("next", rule("deny", "t"))
    assert not await may_publish(client, "t")
    house.client("next")
    assert await may_publish(client, "t")
    house.rest.call("PUT", "/authorization/mode", {"mode": "whitelist"})
    assert not await may_publish(client, "t")
    house.rest.call("PUT", "/authorization/mode", {"mode": "blacklist"})
    assert await may_publish(client, "t")


async def test_verdict_is_kept_for_its_qos_and_retain_flag_only(house: House, clients: Clients) -> None:
    house.all(rule("deny", "t", qos=[1]), rule("deny", "t", retain=True))
    client = await clients.connected()
    for _ in range(2):
        assert await may_publish(client, "t", qos=2)
        assert not await may_publish(client, "t", qos=1)
        assert not await may_publish(client, "t", qos=2, retain=True)


async def test_repeated_publish_is_answered_from_the_cache(house: House, clients: Clients) -> None:
    house.all(rule("deny", "other"))
    client = await clients.connected()
    before = house.metrics()
    for _ in range(5):
        assert await may_publish(client, "t")
    await grants(client, "t")
    after = house.metrics()
    moved = {name: after[f"authorization.{name}"] - before[f"authorization.{name}"] for name in ("allow", "deny")}
    moved |= {
        name: after[f"authorization.{name}"] - before[f"authorization.{name}"] for name in ("cache_hit", "cache_miss")
    }
    assert moved == {"allow": 6, "deny": 0, "cache_hit": 4, "cache_miss": 2}
    assert after["client.authorize"] - before["client.authorize"] == 2


async def test_kept_verdicts_of_a_client_are_listed_and_forgotten(house: House, clients: Clients) -> None:
    house.all(rule("deny", "no"))
    client = await clients.connected(client_id="kept")
    await may_publish(client, "no", qos=1)
    await may_publish(client, "yes", qos=2)
    await grants(client, "sub")
    path = "/clients/kept/authorization/cache"
    listed = await asyncio.to_thread(house.rest.call, "GET", path)
    assert [(one["topic"], one["result"], one["access"]) for one in listed] == [
        ("no", "deny", {"action_type": "publish", "qos": 1, "retain": False}),
        ("yes", "allow", {"action_type": "publish", "qos": 2, "retain": False}),
    ]
    house.rest.call("DELETE", path)
    assert await asyncio.to_thread(house.rest.call, "GET", path) == []


async def test_excluded_topic_is_judged_each_time(house: House, clients: Clients) -> None:
    house.all(rule("deny", "other"))
    house.settings(cache={"excludes": ["t/#"]})
    client = await clients.connected()
    before = house.metrics()
    for _ in range(3):
        assert await may_publish(client, "t/a")
    after = house.metrics()
    assert after["authorization.cache_hit"] == before["authorization.cache_hit"]
    assert after["client.authorize"] - before["client.authorize"] == 3


# Revocation


async def wait_for_subscriptions(house: House, client_id: str, expected: list[str]) -> None:
    """Wait until a client has these subscriptions."""
    async with asyncio.timeout(5):
        while True:
            found = house.rest.call("GET", f"/clients/{client_id}/subscriptions")
            if sorted(one["topic"] for one in found) == expected:
                return
            await asyncio.sleep(0.02)


async def test_subscription_that_lost_its_right_receives_nothing_more(house: House, clients: Clients) -> None:
    client = await clients.connected(client_id="live")
    assert await grants(client, "a", "b") == [True, True]
    offline, _ = await clients.persistent(Version.V5, "stored")
    assert await grants(offline, "a", "b", qos=1) == [True, True]
    await offline.disconnect()
    publisher = await clients.connected()
    await publisher.publish_fully("a", b"queued")
    await client.expect_publish("a", b"queued")
    house.all(rule("deny", "a", "subscribe"))
    await wait_for_subscriptions(house, "live", ["b"])
    await wait_for_subscriptions(house, "stored", ["b"])
    await publisher.publish_fully("a", b"late")
    await publisher.publish_fully("b", b"kept")
    await client.expect_publish("b", b"kept")
    again, connack = await clients.persistent(Version.V5, "stored")
    assert connack.is_session_present
    await again.expect_publish("b", b"kept")
    await again.expect_quiet()


async def test_revocation_may_end_the_connection(house: House, clients: Clients) -> None:
    house.extra(on_revoke="disconnect")
    client = await clients.connected()
    assert await grants(client, "a") == [True]
    house.all(rule("deny", "a"))
    await client.expect_disconnect(0x87)


async def test_revocation_may_be_switched_off(house: House, clients: Clients) -> None:
    house.extra(on_revoke="ignore")
    client = await clients.connected(client_id="lucky")
    assert await grants(client, "a") == [True]
    house.all(rule("deny", "a", "subscribe"))
    assert await grants(client, "a") == [False]
    await client.publish("a", b"still")
    await client.expect_publish("a", b"still")


# Remote sources


class AccessService:
    """A web service that denies topics that begin with `no` and answers only when it may."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked: list[dict[str, str]] = []
        self.port = 0
        self._writers: list[asyncio.StreamWriter] = []

    async def close(self) -> None:
        """Let nobody wait any more, and end the connections."""
        self.gate.set()
        for writer in self._writers:
            writer.close()
            await writer.wait_closed()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        while await reader.readline():
            length = 0
            while (header := await reader.readline()) not in (b"\r\n", b""):
                name, _, value = header.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            question = json.loads(await reader.readexactly(length))
            self.asked.append(question)
            await self.gate.wait()
            body = json.dumps({"result": "deny" if question["topic"].startswith("no") else "ignore"}).encode()
            head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()


@pytest.fixture
async def service(house: House) -> AsyncIterator[AccessService]:
    """Give a web service that is the first source of the broker."""
    service = AccessService()
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    service.port = server.sockets[0].getsockname()[1]
    body = {name: f"${{{name}}}" for name in ("clientid", "topic", "action", "qos", "retain")}
    source = {"type": "http", "method": "post", "url": f"http://127.0.0.1:{service.port}/", "body": body}
    await asyncio.to_thread(house.rest.call, "POST", "/authorization/sources", source)
    yield service
    service.gate.set()
    await asyncio.to_thread(house.rest.call, "DELETE", "/authorization/sources/http")
    server.close()
    await service.close()


@pytest.mark.parametrize("qos", [1, 2])
async def test_publish_waits_for_the_service_and_order_holds(
    house: House, clients: Clients, service: AccessService, qos: int
) -> None:
    watcher = await clients.subscriber(Version.V5, ("ok/#", 0), ("+/1", 0))
    client, other = await clients.connected(client_id="slow"), await clients.connected()
    asked_before = len(service.asked)
    service.gate.clear()
    ids = [await client.publish(topic, b"x", qos=qos) for topic in ("ok/1", "no/1", "ok/2")]
    await eventually(lambda: len(service.asked) == asked_before + 1)
    service.gate.set()
    kind = Type.PUBACK if qos == 1 else Type.PUBREC
    for packet_id, reason in zip(ids, (0, 0x87, 0), strict=True):
        await client.expect_ack(kind, packet_id, reason)
    for packet_id in (ids[0], ids[2]) if qos == 2 else ():
        await client.ack(Type.PUBREL, packet_id)
        await client.expect_ack(Type.PUBCOMP, packet_id)
    for topic in ("ok/1", "ok/2"):
        await watcher.expect_publish(topic)
    await watcher.expect_quiet()
    asked = len(service.asked)
    assert await may_publish(client, "ok/1", qos=qos)
    assert len(service.asked) == asked
    assert await may_publish(other, "ok/1", qos=qos)


async def test_subscribe_and_will_are_judged_by_the_service_too(
    house: House, clients: Clients, service: AccessService
) -> None:
    watcher = await clients.connected()
    assert await grants(watcher, "no/x", "w/#", "no/y") == [False, True, False]
    for topic in ("no/w", "w/yes"):
        client = await clients.connected(will=Will(topic, b"gone"))
        client.abort()
    await watcher.expect_publish("w/yes", b"gone")


async def test_nobody_else_waits_for_the_service(house: House, clients: Clients, service: AccessService) -> None:
    client = await clients.connected(client_id="waits")
    service.gate.clear()
    await client.publish("ok/a", qos=1)
    other = await clients.connected()
    await other.send(b"\xc0\x00")
    await other.expect(Type.PINGRESP)
    service.gate.set()
    await client.expect(Type.PUBACK)
