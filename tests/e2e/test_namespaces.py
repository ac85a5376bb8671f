"""Namespaces through real connections and the API: two tenants with the same client ids and topics on one broker."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.e2e.test_admin_identity import call, free_port, log_in
from tests.support import packets
from tests.support.broker import Broker, Setting, Settings
from tests.support.packets import Property, Type, Version, Will
from tests.support.websocket import WebSocketStream
from tests.support.wire import PATIENCE_S, Clients, WireClient

PASSWORD = "Secret-123"
BY_USERNAME = {"expression": "nth(1, tokens(username, '-'))", "set_as_attr": "tns"}
WHOLE_USERNAME = {"expression": "username", "set_as_attr": "tns"}
SUGGESTED = "concat([client_attrs.tns, '-', clientid])"

VERSIONS = (Version.V5, Version.V311)


class Api:
    """The API of one broker, as its default administrator."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._auth = log_in(port, PASSWORD)

    async def __call__(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        return await asyncio.to_thread(call, self._port, method, path, body, self._auth)


class Site:
    """A broker with namespaces: its listeners and its API.

    Args:
        broker: runs.
        port: of the API.
        name: that no other test uses.
    """

    def __init__(self, broker: Broker, port: int, name: str) -> None:
        self.broker = broker
        self.api = Api(port)
        self.name = name
        self._clients: list[Clients] = []

    def at(self, listener: str = "default") -> Clients:
        """Return who opens connections to a TCP listener."""
        clients = Clients(self.broker.address("tcp", listener), self.name)
        self._clients.append(clients)
        return clients

    async def enter(
        self,
        namespace: str | None,
        client_id: str,
        *,
        version: Version = Version.V5,
        listener: str = "default",
        **how: Any,
    ) -> WireClient:
        """Return a connected client of a namespace."""
        username = None if namespace is None else f"{namespace}-x"
        return await self.at(listener).connected(version, client_id, username=username, **how)

    async def knock(
        self,
        namespace: str | None,
        client_id: str,
        *,
        version: Version = Version.V5,
        listener: str = "default",
        **how: Any,
    ) -> int:
        """Return the code of CONNACK; a client that was let in leaves again."""
        client = await self.at(listener).open(version)
        username = None if namespace is None else f"{namespace}-x"
        await client.send(packets.connect(version, client_id, username=username, **how))
        connack = await client.expect(Type.CONNACK)
        if connack.reason:
            await client.expect_closed()
        else:
            await client.disconnect()
        return connack.reason

    async def settle(self, **settings: object) -> None:
        """Put settings of namespaces into force."""
        status, shown = await self.api("PUT", "/mt/settings", settings)
        assert status == 200, shown

    async def aclose(self) -> None:
        for clients in self._clients:
            await clients.aclose()


@pytest.fixture(scope="session")
def port() -> int:
    return free_port()


@pytest.fixture(scope="session")
def second_port() -> int:
    return free_port()


def site_settings(port: int, **more: Setting) -> dict[str, Setting]:
    found = {name.replace("__", "."): value for name, value in more.items()}
    return {
        "dashboard.listeners.http.bind": f"127.0.0.1:{port}",
        "dashboard.default_password": PASSWORD,
        "mqtt.exclusive_subscription": True,
        **found,
    }


@pytest.fixture
async def site(broker_with: Callable[[Settings], Broker], port: int, unique: str) -> AsyncIterator[Site]:
    """Give a broker that isolates client ids and topics."""
    settings = site_settings(
        port,
        listeners__tcp__fixed__bind="127.0.0.1:0",
        listeners__tcp__fixed__mountpoint="fixed",
        listeners__tcp__attr__bind="127.0.0.1:0",
        listeners__tcp__attr__mountpoint="${client_attrs.tns}!",
        listeners__tcp__open__bind="127.0.0.1:0",
        listeners__tcp__open__enable_authn=False,
    )
    found = Site(broker_with(settings), port, unique)
    await found.settle(client_attrs_init=[BY_USERNAME], clientid_override=SUGGESTED, namespace_as_mountpoint=True)
    yield found
    await found.aclose()


@pytest.fixture
async def plain_site(broker_with: Callable[[Settings], Broker], second_port: int, unique: str) -> AsyncIterator[Site]:
    """Give a broker that knows namespaces, the whole user name each, and isolates topics but no client ids."""
    found = Site(broker_with(site_settings(second_port)), second_port, unique)
    await found.settle(client_attrs_init=[WHOLE_USERNAME], namespace_as_mountpoint=True)
    yield found
    await found.aclose()


# Client ids


async def test_two_tenants_use_one_client_id(site: Site) -> None:
    first, second = await site.enter("a", "same"), await site.enter("b", "same")
    for client in (first, second):
        await client.expect_quiet()
    status, body = await site.api("GET", "/clients/a-same")
    assert (status, body["clientid"], body["mountpoint"]) == (200, "a-same", "a/")
    # Each takes over only itself.
    await site.enter("a", "same")
    await first.expect_disconnect(0x8E)
    await second.expect_quiet()


async def test_without_isolation_two_tenants_take_each_other_over(plain_site: Site) -> None:
    first = await plain_site.at().connected(Version.V5, "same", username="a")
    await plain_site.at().connected(Version.V5, "same", username="b")
    await first.expect_disconnect(0x8E)


@pytest.mark.parametrize(("version", "code"), [(Version.V5, 0x85), (Version.V311, 2)])
async def test_two_pairs_with_one_internal_id_do_not_share_a_session(site: Site, version: Version, code: int) -> None:
    # Dashes are split off the user name, so the ambiguity is made by a client without namespace.
    owner = await site.enter("a", "b-c")
    assert await site.knock(None, "a-b-c", version=version) == code
    await owner.expect_quiet()


async def test_assigned_client_id_leads_back_to_the_same_session(site: Site) -> None:
    client = await site.at().open()
    session = [(Property.SESSION_EXPIRY, 60)]
    connack = await client.connect("", username="a-x", properties=session)
    assigned = connack.properties.get(Property.ASSIGNED_CLIENT_ID)
    assert isinstance(assigned, str)
    assert not assigned.startswith("a-")
    await client.disconnect()
    again = await site.at().open()
    assert (await again.connect(assigned, clean=False, username="a-x", properties=session)).is_session_present


async def test_bans_are_on_the_internal_client_id(site: Site) -> None:
    for who in ("banned", "a-banned2"):
        assert (await site.api("POST", "/banned", {"as": "clientid", "who": who}))[0] == 200
    assert await site.knock("a", "banned") == 0
    assert await site.knock("a", "banned2") == 0x8A
    assert await site.knock("a", "banned2", version=Version.V311) == 5


# Topics


async def test_tenants_do_not_see_each_others_topics(site: Site) -> None:
    mine, theirs = await site.enter("a", "s1"), await site.enter("b", "s1")
    for client in (mine, theirs):
        await client.subscribe(("#", 1), ("t", 1), ("+/x", 0))
    publisher = await site.enter("a", "p1")
    await publisher.publish_fully("t", b"for a")
    await mine.expect_publish("t", b"for a", qos=1)
    await theirs.expect_quiet()


async def test_operator_without_namespace_sees_whole_names(site: Site) -> None:
    operator = await site.enter(None, f"{site.name}op")
    await operator.subscribe((f"a/{site.name}/#", 1))
    client = await site.enter("a", "p2")
    await client.publish_fully(f"{site.name}/t", b"x")
    await operator.expect_publish(f"a/{site.name}/t", b"x")
    subscriber = await site.enter("a", "s2")
    await subscriber.subscribe((f"{site.name}/u", 1))
    await operator.publish(f"a/{site.name}/u", b"y")
    await subscriber.expect_publish(f"{site.name}/u", b"y")


@pytest.mark.parametrize("version", VERSIONS)
async def test_client_unsubscribes_by_its_own_name(site: Site, version: Version) -> None:
    client = await site.enter("a", "u1", version=version)
    await client.subscribe(("u/#", 1))
    codes = await client.unsubscribe("u/#", "never")
    assert codes == ((0, 0x11) if version is Version.V5 else ())
    publisher = await site.enter("a", "u2")
    await publisher.publish_fully("u/1", b"x")
    await client.expect_quiet()


async def test_shared_groups_of_one_name_are_each_tenants_own(site: Site) -> None:
    members = [await site.enter(namespace, "m") for namespace in ("a", "b")]
    for member in members:
        assert await member.subscribe(("$share/g/s", 1)) == (1,)
    shown = (await site.api("GET", "/clients/a-m/subscriptions"))[1]
    assert [(one["topic"], one["client_topic"]) for one in shown] == [("$share/g/a/s", "$share/g/s")]
    for namespace, member in zip("ab", members, strict=True):
        publisher = await site.enter(namespace, "mp")
        await publisher.publish_fully("s", namespace.encode())
        await member.expect_publish("s", namespace.encode())
    for member in members:
        await member.expect_quiet()


async def test_will_retained_and_queued_messages_come_with_the_clients_own_topic(site: Site) -> None:
    session = [(Property.SESSION_EXPIRY, 60)]
    subscriber = await site.enter("a", "offline", properties=session)
    await subscriber.subscribe(("w/#", 1))
    await subscriber.disconnect()
    doomed = await site.enter("a", "doomed", will=Will("w/will", b"gone", qos=1))
    publisher = await site.enter("a", "p3")
    await publisher.publish_fully("w/queued", b"q")
    doomed.abort()
    other = await site.enter("b", "watch")
    await other.subscribe(("w/#", 1))
    back = await site.at().open()
    await back.connect("offline", clean=False, username="a-x", properties=session)
    assert {(await back.expect_publish(qos=1)).topic for _ in range(2)} == {"w/queued", "w/will"}
    await publisher.publish_fully("w/kept", b"r", retain=True)
    late = await site.enter("a", "late")
    await late.subscribe(("w/kept", 0))
    await late.expect_publish("w/kept", b"r", retained=True)
    await other.expect_quiet()
    await publisher.publish_fully("w/kept", b"", retain=True)


async def test_aliases_hold_the_clients_own_topics(site: Site) -> None:
    subscriber = await site.enter("a", "al1", properties=[(Property.ALIAS_MAXIMUM, 5)])
    await subscriber.subscribe(("al/t", 1))
    publisher = await site.enter("a", "al2")
    await publisher.publish("al/t", b"1", properties=[(Property.TOPIC_ALIAS, 3)])
    await publisher.publish("", b"2", properties=[(Property.TOPIC_ALIAS, 3)])
    first = await subscriber.expect_publish(payload=b"1")
    assert first.topic == "al/t"
    second = await subscriber.expect_publish(payload=b"2")
    assert second.topic in ("", "al/t")


async def test_delayed_messages_stay_in_their_namespace(site: Site) -> None:
    mine, theirs, delayed = (
        await site.enter("a", "d1"),
        await site.enter("b", "d1"),
        await site.enter("a", "d2"),
    )
    for client in (mine, theirs):
        await client.subscribe(("d/t", 1), ("#", 1))
    await delayed.publish_fully("$delayed/1/d/t", b"later")
    await mine.expect_quiet()
    await mine.expect_publish("d/t", b"later")
    await theirs.expect_quiet()


async def test_exclusive_topics_are_each_tenants_own_and_are_given_back(site: Site) -> None:
    mine, theirs = await site.enter("a", "e1"), await site.enter("b", "e1")
    assert await mine.subscribe(("$exclusive/e", 0)) == (0,)
    assert await theirs.subscribe(("$exclusive/e", 0)) == (0,)
    rival = await site.enter("a", "e2")
    assert await rival.subscribe(("$exclusive/e", 0)) == (0x97,)
    await mine.unsubscribe("$exclusive/e")
    assert await rival.subscribe(("$exclusive/e", 0)) == (0,)
    await rival.disconnect()
    assert await mine.subscribe(("$exclusive/e", 0)) == (0,)


async def test_system_topics_are_not_for_mounted_clients(site: Site) -> None:
    client = await site.enter("a", "sys")
    assert await client.subscribe(("$SYS/#", 0)) == (0,)
    publisher = await site.enter("a", "sysp")
    await publisher.publish_fully("x", b"")
    await client.expect_quiet()


async def test_dollar_topics_inside_a_namespace_are_hidden_from_a_leading_wildcard(site: Site) -> None:
    client = await site.enter("a", "dol")
    await client.subscribe(("#", 0), ("+/d", 0))
    exact = await site.enter("a", "dol2")
    await exact.subscribe(("$x/d", 0))
    publisher = await site.enter("a", "dolp")
    await publisher.publish_fully("$x/d", b"1")
    await exact.expect_publish("$x/d", b"1")
    await client.expect_quiet()


async def test_response_topic_and_properties_pass_untouched(site: Site) -> None:
    client = await site.enter("a", "r1")
    await client.subscribe(("r/q", 1))
    asking = await site.enter("a", "r2")
    await asking.publish_fully(
        "r/q", b"?", properties=[(Property.RESPONSE_TOPIC, "r/answer"), (Property.CORRELATION_DATA, b"7")]
    )
    got = await client.expect_publish("r/q", b"?")
    assert got.properties.get(Property.RESPONSE_TOPIC) == "r/answer"
    assert got.properties.get(Property.CORRELATION_DATA) == b"7"


async def test_subscription_by_rest_has_the_prefix(site: Site) -> None:
    client = await site.enter("a", "rest")
    status, _ = await site.api("POST", "/clients/a-rest/subscribe", {"topic": "by/rest", "qos": 1})
    assert status == 200
    publisher = await site.enter("a", "restp")
    await publisher.publish_fully("by/rest", b"x")
    await client.expect_publish("by/rest", b"x")
    # A publication by REST names topics as a whole.
    body = {"topic": "a/by/rest", "payload": "y", "qos": 1}
    assert (await site.api("POST", "/publish", body))[0] == 200
    await client.expect_publish("by/rest", b"y")


# Mountpoints of listeners


async def test_mountpoint_of_a_listener_goes_before_that_of_the_namespace(site: Site) -> None:
    operator = await site.enter(None, f"{site.name}w")
    await operator.subscribe((f"fixed{site.name}", 1), (f"a!{site.name}", 1))
    constant = await site.enter("a", "lm1", listener="fixed")
    await constant.publish_fully(site.name, b"1")
    await operator.expect_publish(f"fixed{site.name}", b"1")
    rendered = await site.enter("a", "lm2", listener="attr")
    await rendered.publish_fully(site.name, b"2")
    await operator.expect_publish(f"a!{site.name}", b"2")


@pytest.mark.parametrize(("version", "code"), [(Version.V5, 0x87), (Version.V311, 5)])
async def test_client_without_the_attribute_of_a_mountpoint_is_refused(site: Site, version: Version, code: int) -> None:
    assert await site.knock(None, f"{site.name}m", version=version, listener="attr") == code


@pytest.mark.parametrize("name", ["+", "#", "a/b", "$SYS", "$share", "a+", "a#"])
@pytest.mark.parametrize(("version", "code"), [(Version.V5, 0x87), (Version.V311, 5)])
async def test_hostile_namespace_is_refused(plain_site: Site, name: str, version: Version, code: int) -> None:
    client = await plain_site.at().open(version)
    await client.send(packets.connect(version, "hostile", username=name))
    assert (await client.expect(Type.CONNACK)).reason == code


async def test_namespace_may_come_from_a_cookie(plain_site: Site) -> None:
    await plain_site.settle(client_attrs_init=[{"expression": "ws_cookie.tenant", "set_as_attr": "tns"}])
    address = plain_site.broker.address("ws")
    stream = await WebSocketStream.open(address, headers={"Cookie": "x=1; tenant=baker"})
    try:
        client = WireClient(stream, Version.V5)
        await client.connect(f"{plain_site.name}cookie")
        status, shown = await plain_site.api("GET", f"/clients/{plain_site.name}cookie")
        assert (status, shown["mountpoint"]) == (200, "baker/")
    finally:
        stream.abort()
        await stream.wait_closed()


# Gate and quota


@pytest.mark.parametrize("name", ["global", "undefined", "null", "none"])
@pytest.mark.parametrize("listener", ["default", "open"])
async def test_denied_names_are_refused_whatever_the_listener_asks_for(site: Site, name: str, listener: str) -> None:
    assert await site.knock(name, "c", listener=listener) == 0x87
    assert await site.knock(name, "c", listener=listener, version=Version.V311) == 5


@pytest.mark.parametrize(("version", "code"), [(Version.V5, 0x97), (Version.V311, 3)])
async def test_namespace_at_its_quota_refuses_new_clients_only(site: Site, version: Version, code: int) -> None:
    name = f"q{version.value}"
    assert (await site.api("POST", f"/mt/ns/{name}"))[0] == 204
    await site.api("PUT", f"/mt/ns/{name}/config", {"session": {"max_sessions": 1}})
    first = await site.enter(name, "c")
    assert await site.knock(name, "d", version=version) == code
    again = await site.enter(name, "c")
    await first.expect_disconnect(0x8E)
    # What is stored before this change is shown after it.
    await site.api("PUT", f"/mt/ns/{name}/config", {})
    alarms = (await site.api("GET", "/alarms?activated=true"))[1]["data"]
    assert f"namespace_quota/max_sessions/{name}" in [one["name"] for one in alarms]
    await again.disconnect()
    assert await site.knock(name, "d", version=version) == 0


async def test_quota_holds_exactly_under_a_thousand_parallel_connects(site: Site) -> None:
    assert (await site.api("POST", "/mt/ns/crowd"))[0] == 204
    await site.api("PUT", "/mt/ns/crowd/config", {"session": {"max_sessions": 100}})
    address = site.broker.address()

    async def connect(number: int) -> tuple[int, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(packets.connect(Version.V311, f"c{number}", username="crowd-x"))
        return (await reader.readexactly(4))[3], writer

    answers = await asyncio.gather(*(connect(number) for number in range(1_000)))
    assert sorted(code for code, _ in answers) == [0] * 100 + [3] * 900
    assert (await site.api("GET", "/mt/ns/crowd/client_count"))[1] == {"count": 100}
    assert (await site.api("DELETE", "/mt/ns/crowd"))[0] == 204
    for _, writer in answers:
        writer.close()


@pytest.mark.parametrize(("version", "code"), [(Version.V5, 0x97), (Version.V311, 0)])
async def test_publisher_over_its_limit_is_told_and_stays_connected(site: Site, version: Version, code: int) -> None:
    name = f"lim{version.value}"
    assert (await site.api("POST", f"/mt/ns/{name}"))[0] == 204
    limiter = {"limiter": {"client": {"messages": {"rate": "2/1h"}}}}
    assert (await site.api("PUT", f"/mt/ns/{name}/config", limiter))[0] == 200
    subscriber = await site.enter(name, "s")
    await subscriber.subscribe(("t", 1))
    publisher = await site.enter(name, "p", version=version)
    for payload in (b"1", b"2"):
        assert (await publisher.publish_fully("t", payload)).reason == 0
        await subscriber.expect_publish("t", payload)
    await publisher.publish("t", b"lost")
    assert (await publisher.publish_fully("t", b"refused")).reason == code
    await publisher.expect_quiet()
    await subscriber.expect_quiet()
    await site.api("DELETE", f"/mt/ns/{name}")


async def test_quota_of_subscriptions_is_answered_and_raises_an_alarm_that_ends(site: Site) -> None:
    assert (await site.api("POST", "/mt/ns/subs"))[0] == 204
    await site.api("PUT", "/mt/ns/subs/config", {"quota": {"max_subscriptions": 1}})
    client, neighbour = await site.enter("subs", "c"), await site.enter("a", "subs-neighbour")
    assert await client.subscribe(("one", 0), ("two", 0)) == (0, 0x97)
    assert await neighbour.subscribe(("one", 0), ("two", 0)) == (0, 0)
    alarm = "namespace_quota/max_subscriptions/subs"

    async def is_raised() -> bool:
        # An alarm that ends is stored in two steps; each is there before the change that follows it.
        for _ in range(2):
            await site.api("PUT", "/mt/ns/subs/config", {})
        alarms = (await site.api("GET", "/alarms?activated=true"))[1]["data"]
        return alarm in [one["name"] for one in alarms]

    assert await is_raised()
    await client.unsubscribe("one")
    assert await client.subscribe(("two", 0)) == (0,)
    assert not await is_raised()
    await site.api("DELETE", "/mt/ns/subs")


async def test_a_topic_refused_for_the_quota_is_not_locked(site: Site) -> None:
    assert (await site.api("POST", "/mt/ns/locks"))[0] == 204
    await site.api("PUT", "/mt/ns/locks/config", {"quota": {"max_subscriptions": 1}})
    first, second = await site.enter("locks", "first"), await site.enter("locks", "second")
    assert await first.subscribe(("one", 0), ("$exclusive/t", 0)) == (0, 0x97)
    await first.unsubscribe("one")
    assert await second.subscribe(("$exclusive/t", 0)) == (0,)
    await site.api("DELETE", "/mt/ns/locks")


async def test_only_managed_namespaces_are_open_from_the_next_connect_on(plain_site: Site) -> None:
    site = plain_site
    present = await site.at().connected(Version.V5, "present", username="implicit")
    assert (await site.api("POST", "/mt/ns/created"))[0] == 204
    status, shown = await site.api("PUT", "/mt/settings", {"allow_only_managed_namespaces": True})
    try:
        assert (status, shown["unmanaged_clients"]) == (200, 1)
        await present.expect_quiet()
        for version, code in ((Version.V5, 0x87), (Version.V311, 5)):
            for username in (None, "implicit", "new"):
                client = await site.at().open(version)
                await client.send(packets.connect(version, "other", username=username))
                assert (await client.expect(Type.CONNACK)).reason == code
        returning = await site.at().open()
        await returning.send(packets.connect(Version.V5, "present", username="implicit"))
        await returning.expect_refusal(0x87)
        await site.at().connected(Version.V5, "welcome", username="created")
    finally:
        await site.api("PUT", "/mt/settings", {"allow_only_managed_namespaces": False})


# Kicking and deleting


async def test_deleting_a_namespace_ends_its_clients_and_sends_their_wills(site: Site) -> None:
    assert (await site.api("POST", "/mt/ns/gone"))[0] == 204
    operator = await site.enter(None, f"{site.name}o")
    await operator.subscribe(("gone/#", 1))
    five = await site.enter("gone", "five", will=Will("bye", b"5"))
    three = await site.enter("gone", "three", version=Version.V311)
    neighbour = await site.enter("a", "stays")
    assert (await site.api("DELETE", "/mt/ns/gone"))[0] == 204
    await five.expect_disconnect(0x98)
    await three.expect_closed()
    await operator.expect_publish("gone/bye", b"5")
    await neighbour.expect_quiet()

    # What the old one has left behind goes with it; until then nobody may have its name.
    async with asyncio.timeout(PATIENCE_S):
        while (status := (await site.api("POST", "/mt/ns/gone"))[0]) == 409:
            pass
    assert status == 204
    metrics = (await site.api("GET", "/mt/ns/gone/metrics"))[1]
    assert set(metrics["messaging_stats"].values()) == {0}
    await site.api("DELETE", "/mt/ns/gone")


async def test_clients_of_a_namespace_are_listed_by_their_internal_ids(site: Site) -> None:
    for client_id in ("l2", "l1"):
        await site.enter("listed", client_id)
    assert (await site.api("GET", "/mt/ns/listed/client_list"))[1] == ["listed-l1", "listed-l2"]
    assert (await site.api("GET", "/mt/ns/listed/client_count"))[1] == {"count": 2}


async def test_subscriptions_and_retained_messages_are_shown_with_the_prefix(site: Site) -> None:
    client = await site.enter("a", "view")
    await client.subscribe(("v/#", 1))
    await client.publish("v/kept", b"x", retain=True)
    await client.expect_publish("v/kept", b"x")
    shown = (await site.api("GET", "/clients/a-view/subscriptions"))[1]
    assert [(one["topic"], one["client_topic"]) for one in shown] == [("a/v/#", "v/#")]
    everywhere = (await site.api("GET", "/subscriptions?clientid=a-view"))[1]["data"]
    assert [one["client_topic"] for one in everywhere] == ["v/#"]
    status, kept = await site.api("GET", "/mqtt/retainer/message/a%2Fv%2Fkept")
    assert (status, kept["topic"]) == (200, "a/v/kept")
    await client.publish("v/kept", b"", retain=True)
