"""A listener is changed by the API while clients are connected: they stay, and new ones meet what holds now."""

from collections.abc import Callable

import pytest

from tests.support.broker import Broker, Settings
from tests.support.dialer import Dialer, is_served
from tests.support.packets import Property
from tests.support.rest import Rest, dashboard_settings, free_port

BrokerWith = Callable[[Settings], Broker]


@pytest.fixture
def port() -> int:
    """Give a free port for the API."""
    return free_port()


@pytest.fixture
def broker(broker_factory: Callable[..., Broker], port: int) -> Broker:
    """Give a broker of its own, for it is changed."""
    return broker_factory({**dashboard_settings(port), "zones.small.mqtt.receive_maximum": 5})


async def test_clients_stay_and_new_ones_meet_what_holds_now(broker: Broker, port: int, dial: Dialer) -> None:
    rest, address = Rest(port), broker.address()
    client = await dial.connected(address)
    await client.subscribe(("a/t", 0))
    named = {"id": "tcp:default", "type": "tcp"}
    rest.call("PUT", "/listeners/tcp:default", {**named, "mountpoint": "a/", "max_connections": 2, "zone": "small"})
    shown = rest.call("GET", "/listeners/tcp:default")
    assert (shown["mountpoint"], shown["running"], shown["current_connections"]) == ("a/", True, 1)
    mounted = await dial(address)
    assert (await mounted.connect()).properties.get(Property.RECEIVE_MAXIMUM) == 5
    # The old one counts, and is not mounted.
    assert not await is_served(dial, address)
    await mounted.publish("t", b"1")
    await client.expect_publish("a/t", b"1")


async def test_zone_that_changes_reaches_its_listeners(broker: Broker, port: int, dial: Dialer) -> None:
    rest, address = Rest(port), broker.address()
    client = await dial.connected(address)
    rest.call("PUT", "/configs", {"zones": {"default": {"mqtt": {"receive_maximum": 7}}}})
    newer = await dial(address)
    assert (await newer.connect()).properties.get(Property.RECEIVE_MAXIMUM) == 7
    await client.subscribe(("t", 0))


async def test_settings_that_cannot_be_leave_clients_and_listener_alone(
    broker: Broker, port: int, dial: Dialer
) -> None:
    rest, address = Rest(port), broker.address()
    client = await dial.connected(address)
    named = {"id": "tcp:default", "type": "tcp"}
    rest.call("PUT", "/listeners/tcp:default", {**named, "max_connections": 0}, status=400)
    await client.subscribe(("t", 0))
    assert await is_served(dial, address)
