"""`/status`, as health probes read it."""

import httpx
import pytest

from admin.app import create_app


async def get(path: str, *, runs: bool = True) -> httpx.Response:
    transport = httpx.ASGITransport(app=create_app("n@h", lambda: runs))
    async with httpx.AsyncClient(transport=transport, base_url="http://broker") as client:
        return await client.get(path)


@pytest.mark.parametrize("path", ["/status", "/api/v5/status", "/status?format=text", "/status?format=other"])
async def test_running_broker_says_so_in_two_lines(path: str) -> None:
    reply = await get(path)
    assert reply.status_code == 200
    assert reply.text == "Node n@h is started\npybroker is running"
    assert reply.headers["retry-after"] == "15"
    assert reply.headers["content-type"].startswith("text/plain")


async def test_stopping_broker_is_unavailable() -> None:
    reply = await get("/status", runs=False)
    assert reply.status_code == 503
    assert reply.text == "Node n@h is stopped\npybroker is not running"


@pytest.mark.parametrize(("runs", "state", "app"), [(True, "started", "running"), (False, "stopped", "not_running")])
async def test_status_as_json(runs: bool, state: str, app: str) -> None:
    reply = await get("/api/v5/status?format=json", runs=runs)
    assert reply.json() == {"node_name": "n@h", "broker_status": state, "app_status": app}
