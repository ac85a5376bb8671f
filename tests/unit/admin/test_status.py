"""`/status`, as health probes read it."""

from pathlib import Path

import pytest

from tests.support.admin import Api, config_with, open_api

_NODE = "pybroker@127.0.0.1"


@pytest.mark.parametrize("path", ["/status", "/api/v5/status", "/status?format=text", "/status?format=other"])
async def test_running_broker_says_so_in_two_lines(api: Api, path: str) -> None:
    reply = await api.client.get(path)
    assert reply.status_code == 200
    assert reply.text == f"Node {_NODE} is started\npybroker is running"
    assert reply.headers["retry-after"] == "15"
    assert reply.headers["content-type"].startswith("text/plain")


async def test_probe_may_ask_with_head(api: Api) -> None:
    assert (await api.client.head("/status")).status_code == 200


async def test_stopping_broker_is_unavailable(tmp_path: Path) -> None:
    async with open_api(config_with(tmp_path), runs=False) as api:
        reply = await api.client.get("/status")
    assert reply.status_code == 503
    assert reply.text == f"Node {_NODE} is stopped\npybroker is not running"


@pytest.mark.parametrize(("runs", "state", "app"), [(True, "started", "running"), (False, "stopped", "not_running")])
async def test_status_as_json(tmp_path: Path, runs: bool, state: str, app: str) -> None:
    async with open_api(config_with(tmp_path), runs=runs) as api:
        reply = await api.client.get("/api/v5/status?format=json")
    assert reply.json() == {"node_name": _NODE, "cluster": "pybroker", "broker_status": state, "app_status": app}
