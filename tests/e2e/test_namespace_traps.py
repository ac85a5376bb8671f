"""What is easily got wrong about namespaces, with real clients: expressions that fail, and who is judged when."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from tests.e2e.test_admin_identity import free_port
from tests.e2e.test_authentication import Service
from tests.e2e.test_namespaces import BY_USERNAME, SUGGESTED, VERSIONS, Site, site_settings
from tests.support import packets
from tests.support.broker import Broker, Settings
from tests.support.packets import Property, Type, Version
from tests.support.wire import PATIENCE_S, WireClient, eventually

DEFAULTS: dict[str, object] = {
    "allow_only_managed_namespaces": False,
    "client_attrs_init": [BY_USERNAME],
    "clientid_override": SUGGESTED,
    "namespace_as_mountpoint": True,
    "post_auth_tns_expression": "",
}
REFUSED = {Version.V5: 0x87, Version.V311: 5}
FULL = {Version.V5: 0x97, Version.V311: 3}


@pytest.fixture(scope="module")
def trap_port() -> int:
    return free_port()


@pytest.fixture
async def site(broker_with: Callable[[Settings], Broker], trap_port: int, unique: str) -> AsyncIterator[Site]:
    """Give a broker that isolates client ids and topics; it is as before after each test."""
    found = Site(broker_with(site_settings(trap_port)), trap_port, unique)
    await found.settle(**DEFAULTS)
    yield found
    await found.settle(**DEFAULTS)
    for one in (await found.api("GET", "/authentication"))[1]:
        await found.api("DELETE", f"/authentication/{one['id']}")
    await found.aclose()


@pytest.fixture
def service() -> Iterator[Service]:
    opened = Service()
    yield opened
    opened.close()


async def ask(site: Site, service: Service) -> None:
    """Let a service decide who enters; it is asked once for each name, client id and password."""
    body = {"user": "${username}", "id": "${clientid}", "password": "${password}"}
    how = {"mechanism": "password_based", "backend": "http", "url": service.url, "body": body}
    status, shown = await site.api("POST", "/authentication", how)
    assert status == 200, shown


async def create(site: Site, name: str, **session: object) -> None:
    assert (await site.api("POST", f"/mt/ns/{name}"))[0] == 204
    if session:
        assert (await site.api("PUT", f"/mt/ns/{name}/config", {"session": session}))[0] == 200


async def begin(site: Site, namespace: str, client_id: str) -> WireClient:
    """Send CONNECT and leave the answer open."""
    client = await site.at().open()
    await client.send(packets.connect(Version.V5, client_id, username=f"{namespace}-x", password=b"pw"))
    return client


@pytest.mark.parametrize("expression", ["cn", "''", "nth(0, tokens(username, '-'))", "unescape('a\\x1b')"])
@pytest.mark.parametrize("version", VERSIONS)
async def test_expression_without_a_result_refuses_nobody(site: Site, expression: str, version: Version) -> None:
    attributes = [{"expression": expression, "set_as_attr": "tns"}]
    await site.settle(client_attrs_init=attributes, clientid_override=expression, namespace_as_mountpoint=False)
    name = f"{site.name}keeps"
    client = await site.enter("a", name, version=version)
    status, shown = await site.api("GET", f"/clients/{name}")
    assert (status, shown["clientid"], shown["client_attrs"]) == (200, name, {})
    await client.expect_quiet()


async def test_address_of_the_client_can_be_joined_into_a_name(site: Site) -> None:
    await site.settle(client_attrs_init=[{"expression": "concat(['n', peerhost])", "set_as_attr": "tns"}])
    await site.enter(None, "addressed")
    assert (await site.api("GET", "/mt/ns/n127.0.0.1/client_list"))[1] == ["n127.0.0.1-addressed"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_unsubscribing_needs_no_permission(site: Site, version: Version) -> None:
    client = await site.enter("a", "unsub", version=version)
    assert await client.subscribe(("u/#", 0)) == (0,)
    kept = (await site.api("GET", "/authorization/settings"))[1]
    try:
        assert (await site.api("PUT", "/authorization/settings", {**kept, "no_match": "deny"}))[0] == 200
        codes = await client.unsubscribe("never")
        assert codes == ((0x11,) if version is Version.V5 else ())
    finally:
        await site.api("PUT", "/authorization/settings", kept)


# A namespace that authentication gives


async def test_namespace_from_authentication_is_judged_like_any_other(site: Site, service: Service) -> None:
    await create(site, "given", max_sessions=1)
    await ask(site, service)
    for version in VERSIONS:
        service.answer = (200, {"result": "allow", "client_attrs": {"tns": "null"}})
        assert await site.knock("before", "c", version=version, password=b"1") == REFUSED[version]
    service.answer = (200, {"result": "allow", "client_attrs": {"tns": "given"}})
    first = await site.enter("before", "one", password=b"2")
    assert (await site.api("GET", "/clients/given-one"))[1]["mountpoint"] == "given/"
    for version in VERSIONS:
        assert await site.knock("before", "two", version=version, password=b"2") == FULL[version]
    await first.disconnect()
    # The places that were held in the first namespace are free again.
    assert "before" not in (await site.api("GET", "/mt/ns_list"))[1]
    service.answer = (200, {"result": "allow", "client_attrs": {"tns": "unmanaged"}})
    await create(site, "claimed")
    await site.settle(allow_only_managed_namespaces=True)
    assert await site.knock("claimed", "c", password=b"3") == 0x87
    for name in ("given", "claimed"):
        await site.api("DELETE", f"/mt/ns/{name}")


async def test_expression_after_authentication_decides_alone(site: Site) -> None:
    await create(site, "settled", max_sessions=1)
    await site.settle(allow_only_managed_namespaces=True, post_auth_tns_expression="'settled'")
    first = await site.enter("nobody", "c")
    assert (await site.api("GET", "/mt/ns/settled/client_list"))[1] == ["settled-c"]
    for version in VERSIONS:
        assert await site.knock("nobody", "d", version=version) == FULL[version]
    await first.disconnect()
    await site.settle(post_auth_tns_expression="client_attrs.nosuch")
    for version in VERSIONS:
        assert await site.knock("settled", "c", version=version) == REFUSED[version]
    await site.settle(allow_only_managed_namespaces=False)
    for version in VERSIONS:
        assert await site.knock("null", "c", version=version) == REFUSED[version]
    name = f"{site.name}stripped"
    stripped = await site.enter("a", name)
    shown = (await site.api("GET", f"/clients/{name}"))[1]
    assert (shown["mountpoint"], "tns" in shown["client_attrs"]) == (None, False)
    await stripped.disconnect()
    await site.api("DELETE", "/mt/ns/settled")


# What changes while somebody waits for the answer of a service


async def test_namespace_that_is_deleted_while_a_client_waits_is_closed_to_it(site: Site, service: Service) -> None:
    await create(site, "dying")
    await site.settle(allow_only_managed_namespaces=True)
    await ask(site, service)
    service.answer = (200, {"result": "allow"})
    service.pause.clear()
    waiting = await begin(site, "dying", "late")
    await eventually(lambda: len(service.asked) == 1)
    assert (await site.api("DELETE", "/mt/ns/dying"))[0] == 204
    service.pause.set()
    await waiting.expect_refusal(0x87)
    assert (await site.api("GET", "/mt/ns/dying/client_count"))[0] == 404


async def test_name_that_is_denied_while_a_client_waits_is_closed_to_it(site: Site, service: Service) -> None:
    await ask(site, service)
    service.answer = (200, {"result": "allow"})
    service.pause.clear()
    waiting = await begin(site, "blocked", "late")
    await eventually(lambda: len(service.asked) == 1)
    kept = (await site.api("GET", "/mt/settings"))[1]["deny_namespaces"]
    await site.settle(deny_namespaces=[*kept, "blocked"])
    service.pause.set()
    try:
        await waiting.expect_refusal(0x87)
    finally:
        await site.settle(deny_namespaces=kept)


async def test_client_that_leaves_while_it_waits_frees_its_place(site: Site, service: Service) -> None:
    await create(site, "narrow", max_sessions=1)
    await ask(site, service)
    service.answer = (200, {"result": "allow"})
    service.pause.clear()
    waiting = await begin(site, "narrow", "first")
    await eventually(lambda: len(service.asked) == 1)
    rival = await begin(site, "narrow", "second")
    await rival.expect_refusal(0x97)
    waiting.abort()
    await waiting.stream.wait_closed()
    service.pause.set()

    async def is_let_in() -> bool:
        return await site.knock("narrow", "second", password=b"pw") == 0

    # Nothing tells a client when the broker has seen the end of another one.
    async with asyncio.timeout(PATIENCE_S):
        while not await is_let_in():
            pass
    await site.api("DELETE", "/mt/ns/narrow")


async def test_kicked_namespace_leaves_a_waiting_client_its_new_session(site: Site, service: Service) -> None:
    await create(site, "kicked")
    await ask(site, service)
    service.answer = (200, {"result": "allow"})
    old = await site.enter("kicked", "same", password=b"1")
    service.pause.clear()
    waiting = await begin(site, "kicked", "same")
    await eventually(lambda: len(service.asked) == 2)
    assert (await site.api("POST", "/mt/ns/kicked/kick_all_clients"))[0] == 202
    await old.expect_disconnect(0x98)
    service.pause.set()
    await waiting.expect_connack(0)
    assert (await site.api("GET", "/mt/ns/kicked/client_count"))[1] == {"count": 1}
    await site.api("DELETE", "/mt/ns/kicked")
    await waiting.expect_disconnect(0x98)


# What a session of one namespace leaves behind


async def test_session_is_not_resumed_from_another_namespace(site: Site) -> None:
    await site.settle(clientid_override="disabled")
    session: Any = [(Property.SESSION_EXPIRY, 60)]
    name = f"{site.name}moves"
    first = await site.enter("a", name, properties=session)
    await first.subscribe(("secret/#", 1), ("$exclusive/lock", 0))
    await first.disconnect()
    publisher = await site.enter("a", f"{site.name}pub")
    await publisher.publish_fully("secret/1", b"for a")
    thief = await site.at().open()
    connack = await thief.connect(name, clean=False, username="b-x", properties=session)
    assert not connack.is_session_present
    await thief.expect_quiet()
    assert (await site.api("GET", f"/clients/{name}/subscriptions"))[1] == []
    rival = await site.enter("a", f"{site.name}rival")
    assert await rival.subscribe(("$exclusive/lock", 0)) == (0,)
    assert (await site.api("GET", "/mt/ns/a/client_list"))[1] == sorted((f"{site.name}pub", f"{site.name}rival"))


async def test_imported_namespace_is_open_before_anybody_was_in_it(site: Site) -> None:
    body = [{"ns": "imported", "config": {"session": {"max_sessions": 1}}}]
    assert (await site.api("POST", "/mt/bulk_import_configs", body))[0] == 204
    await site.settle(allow_only_managed_namespaces=True)
    client = await site.enter("imported", "c")
    assert await site.knock("imported", "d") == 0x97
    await client.disconnect()
    await site.api("DELETE", "/mt/ns/imported")


async def test_refused_connects_leave_no_place_taken(site: Site) -> None:
    await create(site, "refusing", max_sessions=2)
    assert (await site.api("POST", "/banned", {"as": "clientid", "who": "refusing-banned"}))[0] == 200
    for number in range(5):
        assert await site.knock("refusing", "banned") == 0x8A
        # An unknown mechanism is refused by the chain, which comes after the gate.
        client = await site.at().open()
        method: Any = [(Property.AUTH_METHOD, "nosuch")]
        await client.send(packets.connect(Version.V5, f"m{number}", username="refusing-x", properties=method))
        assert (await client.expect(Type.CONNACK)).reason == 0x8C
    for client_id in ("one", "two"):
        await site.enter("refusing", client_id)
    assert await site.knock("refusing", "three") == 0x97
    await site.api("DELETE", "/mt/ns/refusing")


async def test_topic_that_is_too_long_with_its_prefix_reaches_nobody(site: Site) -> None:
    operator = await site.enter(None, f"{site.name}long")
    await operator.subscribe(("#", 0))
    # 65,536 bytes with the prefix; cut to what a packet holds it would end within a character.
    topic = "é" * 32_767
    client = await site.enter("a", "long")
    await client.publish(topic, b"x", qos=1)
    await client.expect_fault(0x90)
    other = await site.enter("a", "long2")
    await other.publish_fully(f"{site.name}/after", b"y")
    await operator.expect_publish(f"a/{site.name}/after", b"y")


@pytest.mark.parametrize(
    ("quota", "tight", "wide"),
    [
        ("max_sessions", {"session": {"max_sessions": 0}}, {"session": {"max_sessions": "infinity"}}),
        ("max_conn_rate", {"quota": {"max_conn_rate": "1/1h"}}, {"quota": {"max_conn_rate": "infinity"}}),
    ],
)
async def test_quota_that_is_raised_ends_its_alarm(
    site: Site, quota: str, tight: dict[str, Any], wide: dict[str, Any]
) -> None:
    name = quota.replace("_", "")
    await create(site, name)
    path, alarm = f"/mt/ns/{name}/config", f"namespace_quota/{quota}/{name}"

    async def is_raised() -> bool:
        # An alarm that ends is stored in two steps; each is there before the change that follows it.
        for _ in range(2):
            await site.api("PUT", path, {})
        return alarm in [one["name"] for one in (await site.api("GET", "/alarms?activated=true"))[1]["data"]]

    assert (await site.api("PUT", path, tight))[0] == 200
    assert 0x97 in [await site.knock(name, "c") for _ in range(2)]
    assert await is_raised()
    assert (await site.api("PUT", path, wide))[0] == 200
    assert not await is_raised()
    await site.api("DELETE", f"/mt/ns/{name}")
