"""Series and scrapes of a real process, also after it was killed."""

from collections.abc import Callable
from typing import Any

from tests.support.broker import Broker
from tests.support.packets import Version
from tests.support.rest import Rest, dashboard_settings, free_port
from tests.support.wire import Clients


def with_messages(points: list[dict[str, Any]]) -> bool:
    return any(point.get("received") for point in points)


async def test_series_and_scrape_tell_of_real_clients_and_survive_a_crash(
    broker_factory: Callable[..., Broker], unique: str
) -> None:
    port = free_port()
    settings = {**dashboard_settings(port), "dashboard.sample_interval": "1s"}
    broker = broker_factory(settings)
    rest, clients = Rest(port), Clients(broker.address(), unique)
    client = await clients.connected(Version.V5)
    await client.publish_fully(clients.topic("t"), b"x")
    points = rest.wait_for("/monitor?latest=60", with_messages)
    assert any(point.get("live_connections") == 1 for point in points)
    scraped = rest.raw("GET", "/prometheus/stats").decode()
    assert "\nemqx_live_connections_count 1\n" in scraped
    assert "\nemqx_messages_qos1_received 1\n" in scraped
    assert '\npybroker_listener_connections{listener="tcp:default"} 1\n' in scraped
    await clients.aclose()
    broker.kill()
    broker_factory(settings, directory=broker.directory)
    assert with_messages(Rest(port).call("GET", "/monitor?latest=600"))
