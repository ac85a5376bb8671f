"""Every example of a filter or topic held against a rule, written by REST and met by a real client."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.e2e.test_authorization import House, grants, may_publish, rule
from tests.property.test_acl_reference import cases
from tests.support.broker import Broker
from tests.support.packets import Version
from tests.support.rest import Rest, dashboard_settings, free_port
from tests.support.wire import Clients

FILTERS = [case for case in cases("filters.toml") if len(case["filter"]) < 200]
# Nobody but the broker publishes below $SYS, whatever the rules say.
TOPICS = [
    case
    for case in cases("topics.toml")
    if not any(word in case["rule"] for word in ("cert", "attrs", "zone"))
    and not set(case["topic"]) & set("+#")
    and not case["topic"].startswith("$SYS/")
]
READINGS = [
    ("emqx", "allow", "words"),
    ("emqx", "deny", "words"),
    ("strict", "allow", "contains"),
    ("strict", "deny", "words"),
    ("strict_overlap", "allow", "contains"),
    ("strict_overlap", "deny", "overlaps"),
]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Give a broker whose API is known and where `$SYS` is like every other topic."""
    port = free_port()
    broker = Broker.start(tmp_path_factory.mktemp("broker"), dashboard_settings(port))
    yield House(broker, Rest(port))
    broker.stop()


@pytest.fixture
async def clients(house: House) -> AsyncIterator[Clients]:
    """Give clients of that broker."""
    opened = Clients(house.broker.address(), "examples")
    yield opened
    await opened.aclose()


@pytest.mark.parametrize(("mode", "permission", "reading"), READINGS)
async def test_filters_are_granted_as_the_examples_say(
    house: House, clients: Clients, mode: str, permission: str, reading: str
) -> None:
    house.settings(no_match="deny" if permission == "allow" else "allow")
    house.extra(subscribe_match=mode, on_revoke="ignore", sys_topics="everyone")
    client = await clients.connected(Version.V5, "c1")
    found: list[tuple[str, str, Any]] = []
    for case in FILTERS:
        house.client("c1", rule(permission, case["rule"]))
        (is_granted,) = await grants(client, case["filter"])
        found.append((case["filter"], case["rule"], is_granted is (permission == "allow")))
        if is_granted:
            await client.unsubscribe(case["filter"])
    assert found == [(case["filter"], case["rule"], case[reading]) for case in FILTERS]


async def test_topics_are_published_as_the_examples_say(house: House, clients: Clients) -> None:
    house.settings()
    client = await clients.connected(Version.V5, "c1", username="u1")
    found: list[tuple[str, str, Any]] = []
    for case in TOPICS:
        house.client("c1", rule("deny", case["rule"]))
        found.append((case["topic"], case["rule"], not await may_publish(client, case["topic"])))
    assert found == [(case["topic"], case["rule"], case["matches"]) for case in TOPICS]
