"""Probes, nodes, levels and counters."""

from pathlib import Path

import pytest

from pybroker.control.nodes import render_bytes
from tests.support.admin import Api, config_with, open_api

NODE = "pybroker@127.0.0.1"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/api/v5/livez", "/api/v5/readyz"])
async def test_probes_need_no_credential(api: Api, path: str) -> None:
    reply = await api.client.get(path)
    assert (reply.status_code, reply.text) == (200, "ok")


async def test_broker_that_stops_is_alive_but_not_ready(tmp_path: Path) -> None:
    async with open_api(config_with(tmp_path), runs=False) as api:
        assert (await api.client.get("/livez")).status_code == 200
        assert (await api.client.get("/readyz")).status_code == 503


async def test_node_tells_what_it_is_and_uses(api: Api) -> None:
    api.clock.advance(5_000)
    token = await api.log_in()
    nodes = (await api.call("GET", "/nodes", auth=token)).json()
    one = (await api.call("GET", f"/nodes/{NODE}", auth=token)).json()
    assert [node["node"] for node in nodes] == [NODE]
    assert (one["node_status"], one["role"], one["version"], one["uptime"]) == ("running", "core", "9.9.9", 5_000)
    assert one["memory_used"].endswith(("M", "G"))
    assert (one["connections"], one["live_connections"]) == (0, 0)


@pytest.mark.parametrize("path", ["/nodes/x@y", "/nodes/x@y/stats", "/nodes/x@y/metrics"])
async def test_unknown_node_is_not_found(api: Api, path: str) -> None:
    reply = await api.call("GET", path, auth=await api.log_in())
    assert (reply.status_code, reply.json()["code"]) == (404, "NOT_FOUND")


async def test_stats_of_nodes_and_of_all(api: Api) -> None:
    token = await api.log_in()
    by_node = (await api.call("GET", "/stats", auth=token)).json()
    together = (await api.call("GET", "/stats?aggregate=true", auth=token)).json()
    assert by_node[0].pop("node") == NODE
    assert by_node[0].pop("durable_subscriptions.count") == 0
    assert by_node[0] == together
    for name in ("channels", "connections", "live_connections", "cluster_sessions", "subscriptions.shared", "retained"):
        assert together[f"{name}.count"] == 0
        assert together[f"{name}.max"] == 0


async def test_metrics_of_nodes_and_of_all(api: Api) -> None:
    token = await api.log_in()
    api.control.plane.engine.publish("t", b"x", 0, False)
    together = (await api.call("GET", "/metrics?aggregate=true", auth=token)).json()
    assert together["messages.publish"] == 1
    assert together["messages.dropped.no_subscribers"] == 1
    assert together["rules.matched"] == 0
    assert (await api.call("GET", "/metrics", auth=token)).json()[0]["node"] == NODE
    assert (await api.call("GET", f"/nodes/{NODE}/metrics", auth=token)).json()["node"] == NODE
    assert (await api.call("GET", "/metrics?node=x@y", auth=token)).json() == []


@pytest.mark.parametrize(
    ("size", "text"), [(1_023, "1023"), (1_024, "1.00K"), (512 << 20, "512.00M"), (3 << 29, "1.50G")]
)
def test_sizes_are_written_as_emqx_does(size: int, text: str) -> None:
    assert render_bytes(size) == text
