"""What an operator changes by REST, and connected clients that obey from the next packet on."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.test_admin_identity import call, free_port, log_in, settings
from tests.support.broker import Broker
from tests.support.dialer import Dialer
from tests.support.packets import Version
from tests.support.wire import WireClient, eventually

_BUILT_IN = "/authorization/sources/built_in_database"
_RECORDS = f"{_BUILT_IN}/records"
_NOT_AUTHORIZED = 0x87
_NOBODY = 0x10


class Operated:
    """A broker, and an administrator of it."""

    def __init__(self, broker: Broker, port: int) -> None:
        self.broker = broker
        self._port = port
        self._token = log_in(port, "Secret-123")

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Call the API, which must succeed, and return the decoded reply."""
        status, answer = call(self._port, method, path, body, self._token)
        assert status in (200, 204), (path, status, answer)
        return answer

    def put(self, **record: object) -> None:
        """Store one access rule."""
        self.call("PUT", _RECORDS, {"action": "all", "permission": "allow", **record})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    port = free_port()
    folder = tmp_path_factory.mktemp("authorization")
    broker = Broker.start(folder, settings(port, **{"dashboard.default_password": "Secret-123"}))
    yield Operated(broker, port)
    broker.stop()


@pytest.fixture
def operated(whole: Operated) -> Operated:
    """Give the broker with no rules, in blacklist mode."""
    whole.call("PUT", "/authorization/settings", {})
    sources = whole.call("GET", "/authorization/sources")["sources"]
    for source in sources:
        whole.call("DELETE", f"/authorization/sources/{source['type']}")
    whole.call("POST", "/authorization/sources", {"type": "built_in_database"})
    return whole


async def _reason(client: WireClient, topic: str, **options: Any) -> int:
    """Publish at QoS 1 and return the reason code."""
    return (await client.publish_fully(topic, b"x", **options)).reason


@pytest.mark.parametrize("version", [Version.V311, Version.V5])
async def test_mode_holds_from_the_next_packet_on(operated: Operated, dial: Dialer, version: Version) -> None:
    client = await dial.connected(operated.broker.address(), version=version)
    listener = await dial.connected(operated.broker.address())
    operated.put(clientid=listener.client_id, topic="#")
    assert await listener.subscribe(("mode/#", 1)) == (1,)
    for mode, is_allowed in (("blacklist", True), ("whitelist", False), ("blacklist", True)):
        operated.call("PUT", "/authorization/mode", {"mode": mode})
        await _reason(client, "mode/a")
        if is_allowed:
            await listener.settle(await listener.expect_publish("mode/a"))
        else:
            await listener.expect_quiet()
            denied = 0x80 if version is Version.V311 else _NOT_AUTHORIZED
            assert await client.subscribe(("mode/b", 0)) == (denied,)
    operated.call("PUT", "/authorization/mode", {"mode": "whitelist"})
    operated.put(clientid=client.client_id, topic="mode/${clientid}/up", action="pub")
    await _reason(client, f"mode/{client.client_id}/up")
    await listener.settle(await listener.expect_publish(f"mode/{client.client_id}/up"))


async def test_record_that_is_changed_or_deleted_holds_at_once(operated: Operated, dial: Dialer) -> None:
    client = await dial.connected(operated.broker.address())
    for _ in range(3):
        assert await _reason(client, "r/1") == _NOBODY
        operated.put(clientid=client.client_id, topic="r/1", permission="deny")
        assert await _reason(client, "r/1") == _NOT_AUTHORIZED
        assert await _reason(client, "r/1") == _NOT_AUTHORIZED
        operated.put(clientid=client.client_id, topic="r/1", permission="deny", qos=[0])
        assert await _reason(client, "r/1") == _NOBODY
        operated.call("DELETE", f"{_RECORDS}?clientid={client.client_id}&topic=r/1")


async def test_import_holds_at_once_and_takes_subscriptions_away(operated: Operated, dial: Dialer) -> None:
    client = await dial.connected(operated.broker.address())
    name = client.client_id
    assert await client.subscribe(("i/1", 1), ("i/2", 1)) == (1, 1)
    rows = [
        {"clientid": name, "topic": "i/1", "action": "pubsub", "access": "deny"},
        *({"clientid": f"other{at}", "topic": "i/#", "action": "pub", "access": "deny"} for at in range(1_000)),
    ]
    report = operated.call("POST", f"{_BUILT_IN}/rules/import", rows)
    assert report["success"] == 1_001
    assert await _reason(client, "i/1") == _NOT_AUTHORIZED
    await eventually(lambda: _topics(operated, name) == ["i/2"], 5.0)


def _topics(operated: Operated, client_id: str) -> list[str]:
    return [row["topic"] for row in operated.call("GET", f"/clients/{client_id}/subscriptions")]


async def test_dry_run_leaves_clients_alone(operated: Operated, dial: Dialer) -> None:
    client = await dial.connected(operated.broker.address())
    rows = [{"clientid": client.client_id, "topic": "#", "action": "pub", "access": "deny"}]
    assert operated.call("POST", f"{_BUILT_IN}/rules/import?dry_run=true", rows)["success"] == 1
    assert await _reason(client, "d/1") == _NOBODY


async def test_simulation_says_what_then_happens(operated: Operated, dial: Dialer) -> None:
    client = await dial.connected(operated.broker.address())
    assert await client.subscribe(("s/1", 0), ("s/2", 0)) == (0, 0)
    rules = [{"topic": "s/2", "permission": "deny", "action": "subscribe"}]
    tried = {"rules": [{"clientid": client.client_id, "rules": rules}]}
    page = operated.call("POST", "/authorization/simulate", tried)
    assert [(row["topic"], row["change"]) for row in page["data"]] == [("s/2", "lost")]
    assert sorted(_topics(operated, client.client_id)) == ["s/1", "s/2"]
    operated.call(
        "PUT", f"{_BUILT_IN}/rules/clients/{client.client_id}", {"clientid": client.client_id, "rules": rules}
    )
    await eventually(lambda: _topics(operated, client.client_id) == ["s/1"], 5.0)


async def test_explanation_is_what_the_client_meets(operated: Operated, dial: Dialer) -> None:
    client = await dial.connected(operated.broker.address())
    operated.put(all=True, topic="e/+/open")
    operated.put(all=True, topic="e/#", permission="deny")
    for topic in ("e/1/open", "e/1/shut", "f"):
        asked = {"clientid": client.client_id, "action": "publish", "topic": topic, "qos": 1}
        found = operated.call("POST", "/authorization/explain", asked)
        denied = await _reason(client, topic) == _NOT_AUTHORIZED
        assert (found["decision"], found["facts"]["has_session"]) == ("deny" if denied else "allow", True)


async def test_kept_decisions_are_listed_and_forgotten(operated: Operated, dial: Dialer) -> None:
    client = await dial.connected(operated.broker.address())
    operated.put(clientid=client.client_id, topic="k/1", permission="deny", action="pub")
    path = f"/clients/{client.client_id}/authorization/cache"
    assert await client.subscribe(("k/2", 1)) == (1,)
    assert await _reason(client, "k/1") == _NOT_AUTHORIZED
    assert await _reason(client, "k/3", retain=True) == _NOBODY
    shown = operated.call("GET", path)
    assert [(row["topic"], row["access"]["qos"], row["access"]["retain"], row["result"]) for row in shown] == [
        ("k/1", 1, False, "deny"),
        ("k/3", 1, True, "allow"),
    ]
    operated.call("DELETE", path)
    assert operated.call("GET", path) == []


async def test_statistics_follow_the_clients(operated: Operated, dial: Dialer) -> None:
    client = await dial.connected(operated.broker.address())
    operated.put(clientid=client.client_id, topic="n/1", permission="deny")
    operated.call("POST", "/authorization/statistics/reset")
    for topic in ("n/1", "n/2", "n/1"):
        await _reason(client, topic)
    view = operated.call("GET", "/authorization/statistics")
    assert (view["allow"], view["deny"], view["total"], view["cache_hit"]) == (1, 2, 3, 1)
    metrics = view["sources"][0]["metrics"]
    assert (metrics["total"], metrics["deny"], metrics["nomatch"]) == (2, 1, 1)
    status = operated.call("GET", f"{_BUILT_IN}/status")["metrics"]
    assert status["total"] == metrics["total"]


async def test_denied_disconnect_ends_the_connection(operated: Operated, dial: Dialer) -> None:
    client = await dial.connected(operated.broker.address())
    operated.put(clientid=client.client_id, topic="x", permission="deny")
    operated.call("PUT", "/authorization/settings", {"deny_action": "disconnect"})
    await client.publish("x", b"", qos=1)
    await client.expect_fault(_NOT_AUTHORIZED)


async def test_file_in_front_decides_before_the_rules(operated: Operated, dial: Dialer) -> None:
    client = await dial.connected(operated.broker.address())
    operated.put(clientid=client.client_id, topic="#", permission="allow")
    text = f'{{deny, {{clientid, "{client.client_id}"}}, publish, ["file/#"]}}.\n'
    operated.call("POST", "/authorization/sources", {"type": "file", "rules": text})
    assert await _reason(client, "file/1") == _NOT_AUTHORIZED
    operated.call("POST", "/authorization/sources/file/move", {"position": "rear"})
    assert await _reason(client, "file/1") == _NOBODY
    operated.call("PUT", "/authorization/sources/order", [{"type": "file"}, {"type": "built_in_database"}])
    assert await _reason(client, "file/1") == _NOT_AUTHORIZED
    operated.call("DELETE", "/authorization/sources/file")
    assert await _reason(client, "file/1") == _NOBODY
