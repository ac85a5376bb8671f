"""A namespace that is deleted and made again, with real clients: nothing of the former one reaches the new one."""

from collections.abc import AsyncIterator, Callable

import pytest

from tests.e2e.test_admin_identity import BrokerFactory, free_port
from tests.e2e.test_namespaces import BY_USERNAME, SUGGESTED, Api, Site, site_settings
from tests.support.broker import Broker, Settings
from tests.support.packets import Property, Version, Will

LIVES_ON = [(Property.SESSION_EXPIRY, 3_600)]


@pytest.fixture(scope="module")
def deletion_port() -> int:
    return free_port()


@pytest.fixture
async def site(broker_with: Callable[[Settings], Broker], deletion_port: int, unique: str) -> AsyncIterator[Site]:
    """Give a broker that isolates client ids and topics."""
    found = Site(broker_with(site_settings(deletion_port)), deletion_port, unique)
    await found.settle(client_attrs_init=[BY_USERNAME], clientid_override=SUGGESTED, namespace_as_mountpoint=True)
    yield found
    await found.aclose()


async def make(api: Api, name: str) -> None:
    """Create a namespace as soon as its name is free."""
    status, body = await api("POST", f"/mt/ns/{name}")
    for _ in range(200):
        if status == 204:
            break
        assert status in (400, 409), body
        status, body = await api("POST", f"/mt/ns/{name}")
    assert status == 204, body


async def test_new_namespace_of_a_name_finds_nothing_of_the_former_one(site: Site) -> None:
    await make(site.api, "a")
    will = Will("left/will", b"left", retain=True)
    client = await site.enter("a", "c", will=will, properties=LIVES_ON)
    for topic in ("left/t", "$delayed/1/left/delayed"):
        await client.publish_fully(topic, b"left", retain=True)
    assert await client.subscribe(("$exclusive/only", 1)) == (1,)
    sleeper = await site.enter("a", "sleeper", properties=LIVES_ON)
    assert await sleeper.subscribe(("queued", 1)) == (1,)
    await sleeper.disconnect()
    await client.publish_fully("queued", b"left")
    operators = {"topic": "a/left/by-operator", "payload": "x", "retain": True}
    assert (await site.api("POST", "/publish", operators))[0] == 202

    assert (await site.api("DELETE", "/mt/ns/a"))[0] == 204
    await make(site.api, "a")

    new = await site.at().open(Version.V5)
    connack = await new.connect("sleeper", username="a-x", clean=False, properties=LIVES_ON)
    assert not connack.is_session_present
    assert await new.subscribe(("#", 1), ("$exclusive/only", 1)) == (1, 1)
    # Longer than the delayed message would have waited.
    with pytest.raises(TimeoutError):
        await new.receive(1.5)
    assert (await site.api("GET", "/mt/ns/a/metrics"))[1]["messaging_stats"]["messages.received"] == 0


async def test_deletion_that_a_crash_has_interrupted_is_finished_by_the_next_start(
    broker_factory: BrokerFactory,
) -> None:
    port = free_port()
    settings = site_settings(port, mqtt__namespace_as_mountpoint=True)
    broker = broker_factory(settings)
    site = Site(broker, port, "crash")
    try:
        await site.settle(client_attrs_init=[BY_USERNAME])
        await make(site.api, "a")
        user = {"username": "u", "password": "Secret-123", "description": "", "role": "ns:a::viewer"}
        assert (await site.api("POST", "/users", user))[0] == 200
        for number in range(20):
            client = await site.enter("a", f"c{number}")
            await client.publish_fully(f"left/{number}", b"left", retain=True)
        assert (await site.api("DELETE", "/mt/ns/a"))[0] == 204
    finally:
        broker.kill()
        await site.aclose()
    broker = broker_factory(settings, directory=broker.directory)
    site = Site(broker, port, "after")
    try:
        await make(site.api, "a")
        new = await site.enter("a", "c")
        assert await new.subscribe(("#", 1)) == (1,)
        await new.expect_quiet()
        assert [one["username"] for one in (await site.api("GET", "/users"))[1]] == ["admin"]
    finally:
        await site.aclose()
