"""Sources, profiles and namespaces as clients meet them: who decides, what is counted, and what a failure means."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.e2e.test_authorization import RULES, House, grants, may_publish, rule
from tests.support.broker import Broker, Setting
from tests.support.packets import Version
from tests.support.rest import Rest, dashboard_settings, free_port
from tests.support.wire import Clients, WireClient

SOURCES = "/authorization/sources"
BY_USERNAME = {"expression": "nth(2, tokens(username, '@'))", "set_as_attr": "tns"}


def _start(tmp_path_factory: pytest.TempPathFactory, **more: Setting) -> House:
    port = free_port()
    settings = {
        **dashboard_settings(port),
        "listeners.tcp.mounted.bind": "127.0.0.1:0",
        "listeners.tcp.mounted.mountpoint": "m/",
        "listeners.tcp.mounted.enable_authn": False,
        "listeners.tcp.default.enable_authn": False,
        "listeners.tcp.login.bind": "127.0.0.1:0",
        **more,
    }
    return House(Broker.start(tmp_path_factory.mktemp("broker"), settings), Rest(port))


@pytest.fixture(scope="module")
def legacy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Give a broker with the default profile."""
    house = _start(tmp_path_factory)
    house.rest.call("PUT", "/mt/settings", {"client_attrs_init": [BY_USERNAME]})
    yield house
    house.broker.stop()


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Give a broker with the hardened profile."""
    house = _start(tmp_path_factory, security_profile="hardened")
    yield house
    house.broker.stop()


@pytest.fixture
def house(legacy: House) -> House:
    """Give the broker of the default profile without rules."""
    legacy.begin()
    return legacy


@pytest.fixture
def hardened(strict: House) -> House:
    """Give the hardened broker without rules."""
    strict.begin()
    return strict


@pytest.fixture
async def opened() -> AsyncIterator[list[Clients]]:
    """Collect clients, and end them with the test."""
    found: list[Clients] = []
    yield found
    for clients in found:
        await clients.aclose()


async def enter(
    opened: list[Clients], house: House, client_id: str, username: str | None = None, listener: str = "default"
) -> WireClient:
    """Connect a 5.0 client."""
    opened.append(Clients(house.broker.address("tcp", listener), "src"))
    return await opened[-1].connected(Version.V5, client_id, username=username)


def counted(house: House, source: str = "built_in_database") -> dict[str, int]:
    """Return the counters of a source, without rates."""
    found: dict[str, Any] = house.rest.call("GET", f"{SOURCES}/{source}/status")["metrics"]
    return {name: found[name] for name in ("total", "allow", "deny", "nomatch", "ignore")}


async def test_deny_all_of_a_file_denies_dollar_topics_and_a_hash_does_not(house: House, opened: list[Clients]) -> None:
    client = await enter(opened, house, "filed")
    for text, is_allowed in (("{deny, all}.", False), ('{deny, all, all, ["#"]}.', True)):
        house.rest.call("POST", SOURCES, {"type": "file", "rules": text})
        try:
            assert await may_publish(client, "$foo/x") is is_allowed
            assert not await may_publish(client, "foo/x")
        finally:
            house.rest.call("DELETE", f"{SOURCES}/file")


async def test_hash_never_stands_for_system_topics_nor_they_for_it(house: House, opened: list[Clients]) -> None:
    house.settings(no_match="deny")
    house.client("all", rule("allow", "#"), rule("allow", "+/#"))
    house.client("sys", rule("allow", "$SYS/#"))
    client, system = await enter(opened, house, "all"), await enter(opened, house, "sys")
    assert await grants(client, "#", "$SYS/#", "$SYS/brokers") == [True, False, False]
    assert await grants(system, "#", "+/#", "$SYS/#") == [False, False, True]


async def test_user_name_that_is_a_wildcard_matches_nothing_or_denies(
    house: House, hardened: House, opened: list[Clients]
) -> None:
    for place, is_allowed in ((house, True), (hardened, False)):
        place.all(rule("allow", "u/${username}"))
        for name in ("+", "x/y", "#"):
            client = await enter(opened, place, "wild", name)
            assert await may_publish(client, "u/a") is is_allowed, name
            assert await may_publish(client, "v/a"), name


async def test_every_rule_of_an_attribute_that_is_missing_is_passed_over(house: House, opened: list[Clients]) -> None:
    house.settings(no_match="deny")
    house.all(rule("allow", "${client_attrs.site}/#"), rule("allow", "${cert_common_name}/#"))
    client = await enter(opened, house, "bare")
    for topic in ("a", "/a", "undefined/a", "${client_attrs.site}/a"):
        assert not await may_publish(client, topic), topic
    assert await grants(client, "#", "/#") == [False, False]


async def test_rule_of_its_own_keeps_a_namespace_from_the_global_ones(house: House, opened: list[Clients]) -> None:
    house.all(rule("deny", "t"))
    house.rest.call("POST", "/mt/ns/spaced")
    inside = await enter(opened, house, "c1", "ann@spaced")
    outside = await enter(opened, house, "c2", "ann")
    assert [await may_publish(one, "t") for one in (inside, outside)] == [False, False]
    own = {"clientid": "someone else", "rules": [rule("allow", "x")]}
    house.rest.call("PUT", f"{RULES}/clients/someone%20else?ns=spaced", own)
    assert [await may_publish(one, "t") for one in (inside, outside)] == [True, False]
    house.rest.call("DELETE", f"{RULES}/clients/someone%20else?ns=spaced")
    assert [await may_publish(one, "t") for one in (inside, outside)] == [False, False]
    house.rest.call("DELETE", "/mt/ns/spaced")


async def test_rules_of_one_topic_hold_side_by_side_and_of_equal_ones_the_last(
    house: House, opened: list[Clients]
) -> None:
    house.settings(no_match="deny")
    twice = [rule("allow", "same"), rule("deny", "same")]
    house.client("sides", rule("allow", "t", "publish"), rule("deny", "t", "subscribe"), *twice)
    client = await enter(opened, house, "sides")
    assert (await may_publish(client, "t"), await grants(client, "t")) == (True, [False])
    assert not await may_publish(client, "same")
    shown = house.rest.call("GET", f"{RULES}/clients/sides")["rules"]
    assert [one["permission"] for one in shown[2:]] == ["allow", "deny"]


async def test_rules_see_what_the_client_wrote_unless_the_mountpoint_is_included(
    house: House, opened: list[Clients]
) -> None:
    house.settings(no_match="deny")
    house.all(rule("allow", "bare"), rule("allow", "m/whole"))
    client = await enter(opened, house, "mounted", listener="mounted")
    topics = ("bare", "whole", "m/whole")
    assert [await may_publish(client, topic) for topic in topics] == [True, False, True]
    assert await grants(client, *topics) == [True, False, True]
    house.settings(no_match="deny", include_mountpoint=True)
    assert [await may_publish(client, topic) for topic in topics] == [False, True, False]


async def test_precondition_that_does_not_hold_moves_two_counters(house: House, opened: list[Clients]) -> None:
    house.all(rule("deny", "t"))
    source = {"type": "built_in_database"}
    house.rest.call("PUT", f"{SOURCES}/built_in_database", {**source, "precondition": "str_eq(clientid, 'x')"})
    house.rest.call("POST", f"{SOURCES}/built_in_database/metrics/reset")
    try:
        client, named = await enter(opened, house, "y"), await enter(opened, house, "x")
        assert await may_publish(client, "t")
        assert counted(house) == {"total": 1, "allow": 0, "deny": 0, "nomatch": 0, "ignore": 1}
        assert not await may_publish(named, "t")
        assert counted(house) == {"total": 2, "allow": 0, "deny": 1, "nomatch": 0, "ignore": 1}
    finally:
        house.rest.call("PUT", f"{SOURCES}/built_in_database", source)


async def test_superuser_passes_every_rule_and_moves_no_source(house: House, opened: list[Clients]) -> None:
    login = "password_based:built_in_database"
    house.rest.call("POST", "/authentication", {"mechanism": "password_based", "backend": "built_in_database"})
    user = {"user_id": "root", "password": "pw", "is_superuser": True}
    house.rest.call("POST", f"/authentication/{login}/users", user)
    house.all(rule("deny", "#"), rule("deny", "$SYS/#"))
    try:
        opened.append(Clients(house.broker.address("tcp", "login"), "super"))
        client = await opened[-1].connected(username="root", password=b"pw")
        before, metrics = counted(house), house.metrics()
        for _ in range(3):
            assert await may_publish(client, "t")
        assert await grants(client, "#", "$SYS/#") == [True, True]
        assert counted(house) == before
        # The second and third PUBLISH are answered from the cache.
        assert house.metrics()["authorization.superuser"] - metrics["authorization.superuser"] == 3
    finally:
        house.rest.call("DELETE", f"/authentication/{login}")


@asynccontextmanager
async def broken_service(house: House, status: int) -> AsyncIterator[None]:
    """Have a web service that answers every question with a status in front of the other sources."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline() not in (b"\r\n", b""):
            """Header lines are of no interest."""
        writer.write(f"HTTP/1.1 {status} no\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    source = {"type": "http", "method": "get", "url": f"http://127.0.0.1:{port}/?t=${{topic}}", "headers": {}}
    await asyncio.to_thread(house.rest.call, "POST", SOURCES, source)
    try:
        yield
    finally:
        await asyncio.to_thread(house.rest.call, "DELETE", f"{SOURCES}/http")
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("status", [400, 500])
async def test_service_that_answers_with_an_error_is_ignored_or_denies(
    house: House, hardened: House, opened: list[Clients], status: int
) -> None:
    for place, is_allowed in ((house, True), (hardened, False)):
        async with broken_service(place, status):
            place.rest.call("POST", f"{SOURCES}/http/metrics/reset")
            client = await enter(opened, place, f"broken{status}")
            assert await may_publish(client, f"t/{status}") is is_allowed
            assert await grants(client, f"t/{status}") == [is_allowed]
            found = await asyncio.to_thread(counted, place, "http")
            assert found == {"total": 2, "allow": 0, "deny": 0, "nomatch": 0, "ignore": 2}
