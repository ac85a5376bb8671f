"""Listeners: shown, made, changed, started, stopped, deleted; what was done outlives a restart."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pybroker.config.load import load
from tests.support.admin import Api, config_with, open_api

LISTENERS = load(
    sets=[
        'listeners.tcp.default.bind="127.0.0.1:0"',
        "listeners.tcp.default.max_connections=10",
        'listeners.ws.default.bind="127.0.0.1:0"',
        "listeners.ws.default.enable=false",
    ]
).config.listeners
NODE = "pybroker@127.0.0.1"


@pytest.fixture
def config(tmp_path: Path) -> Any:
    return config_with(tmp_path, listeners=LISTENERS)


async def send(api: Api, method: str, path: str, body: object = None) -> Any:
    return await api.call(method, f"/listeners{path}", body, auth=await api.log_in())


def open_listeners(api: Api) -> set[str]:
    return set(api.control.plane.listeners.addresses)


def start(api: Api) -> None:
    api.control.plane.listeners.open_all(api.control.configuration.current.listeners)


async def test_list_shows_state_and_counts(config: Any) -> None:
    async with open_api(config) as api:
        start(api)
        body = (await send(api, "GET", "")).json()
        assert [(row["id"], row["enable"], row["status"]["running"]) for row in body] == [
            ("tcp:default", True, True),
            ("ws:default", False, False),
        ]
        assert body[0]["bind"] == "127.0.0.1:0"
        status = {"running": True, "max_connections": 10, "current_connections": 0}
        assert body[0]["node_status"] == [{"node": NODE, "status": status}]
        assert body[1]["status"]["max_connections"] == "infinity"
        assert [row["id"] for row in (await send(api, "GET", "?type=ws")).json()] == ["ws:default"]
        assert (await send(api, "GET", "?type=quic")).json() == []
        assert (await send(api, "GET", "?type=x")).status_code == 400
        groups = (await api.call("GET", "/listeners_status", auth=await api.log_in())).json()
        assert [(group["type"], group["ids"]) for group in groups] == [("tcp", ["tcp:default"]), ("ws", ["ws:default"])]


async def test_listener_is_made_opened_and_deleted(config: Any) -> None:
    async with open_api(config) as api:
        reply = await send(api, "POST", "", {"type": "tcp", "name": "extra", "bind": "127.0.0.1:0", "mountpoint": "m/"})
        assert reply.status_code == 200, reply.text
        assert (reply.json()["id"], reply.json()["running"], reply.json()["mountpoint"]) == ("tcp:extra", True, "m/")
        assert "tcp:extra" in open_listeners(api)
        again = await send(api, "POST", "", {"type": "tcp", "name": "extra", "bind": "127.0.0.1:0"})
        assert (again.status_code, again.json()["code"]) == (400, "BAD_LISTENER_ID")
        assert (await send(api, "DELETE", "/tcp:extra")).status_code == 204
        assert "tcp:extra" not in open_listeners(api)
        assert (await send(api, "GET", "/tcp:extra")).status_code == 404


async def test_what_is_shown_can_be_sent_back_changed(config: Any) -> None:
    async with open_api(config) as api:
        start(api)
        body = (await send(api, "GET", "/tcp:default")).json()
        reply = await send(api, "PUT", "/tcp:default", {**body, "max_connections": "infinity"})
        assert (reply.status_code, reply.json()["max_connections"]) == (200, "infinity")
        assert reply.json()["running"] is True


@pytest.mark.parametrize("action", ["start", "stop", "restart"])
async def test_actions_answer_200_with_nothing(config: Any, action: str) -> None:
    async with open_api(config) as api:
        start(api)
        reply = await send(api, "POST", f"/tcp:default/{action}")
        assert (reply.status_code, reply.content) == (200, b"")
        assert ("tcp:default" in open_listeners(api)) == (action != "stop")


async def test_restart_opens_a_listener_that_was_disabled(config: Any) -> None:
    async with open_api(config) as api:
        assert (await send(api, "POST", "/ws:default/restart")).status_code == 200
        assert (await send(api, "GET", "/ws:default")).json()["enable"] is True


async def test_stopped_listener_stays_stopped_after_a_restart(config: Any) -> None:
    async with open_api(config) as api:
        start(api)
        await send(api, "POST", "/tcp:default/stop")
        await send(api, "POST", "", {"type": "tcp", "name": "extra", "bind": "127.0.0.1:0"})
        await send(api, "DELETE", "/ws:default")
    async with open_api(config) as api:
        start(api)
        assert open_listeners(api) == {"tcp:extra"}
        assert [row["id"] for row in (await send(api, "GET", "")).json()] == ["tcp:default", "tcp:extra"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/tcp:none", None, 404, "BAD_LISTENER_ID"),
        ("DELETE", "/tcp:none", None, 404, "BAD_LISTENER_ID"),
        ("PUT", "/tcp:none", {"id": "tcp:none", "type": "tcp"}, 404, "BAD_LISTENER_ID"),
        ("POST", "/tcp:none/start", None, 404, "BAD_LISTENER_ID"),
        ("POST", "/nonsense/stop", None, 400, "BAD_REQUEST"),
        ("GET", "/x:y", None, 400, "BAD_REQUEST"),
        ("PUT", "/tcp:default", {"bind": "127.0.0.1:0"}, 400, "BAD_REQUEST"),
        ("PUT", "/tcp:default", {"id": "tcp:other", "type": "tcp"}, 400, "BAD_LISTENER_ID"),
        ("PUT", "/tcp:default", {"id": "tcp:default", "type": "tcp", "bind": "x"}, 400, "BAD_REQUEST"),
        ("POST", "", {"type": "quic", "name": "q", "bind": "127.0.0.1:0"}, 400, "BAD_REQUEST"),
        ("POST", "", {"type": "tcp", "name": "a/b", "bind": "127.0.0.1:0"}, 400, "BAD_REQUEST"),
        ("POST", "", {"type": "tcp", "name": "n"}, 400, "BAD_REQUEST"),
        ("POST", "", {"type": "tcp", "name": "n", "bind": "127.0.0.1:0", "nonsense": 1}, 400, "BAD_REQUEST"),
        ("POST", "", {"type": "ssl", "name": "n", "bind": "127.0.0.1:0"}, 400, "BAD_REQUEST"),
    ],
)
async def test_bad_requests(config: Any, method: str, path: str, body: object, status: int, code: str) -> None:
    async with open_api(config) as api:
        reply = await send(api, method, path, body)
        assert (reply.status_code, reply.json()["code"]) == (status, code), reply.text


async def test_two_who_make_or_delete_the_same_listener_are_told_apart(config: Any) -> None:
    async with open_api(config) as api:
        auth = await api.log_in()
        body = {"type": "tcp", "name": "extra", "bind": "127.0.0.1:0"}
        made = [api.call("POST", "/listeners", {**body, "max_connections": n + 1}, auth=auth) for n in range(3)]
        assert [reply.status_code for reply in await asyncio.gather(*made)] == [200, 400, 400]
        assert (await send(api, "GET", "/tcp:extra")).json()["max_connections"] == 1
        gone = [api.call("DELETE", "/listeners/tcp:extra", auth=auth) for _ in range(3)]
        assert [reply.status_code for reply in await asyncio.gather(*gone)] == [204, 404, 404]


async def test_address_in_use_leaves_everything_as_it_was(config: Any) -> None:
    async with open_api(config) as api:
        start(api)
        taken = api.control.plane.listeners.addresses
        made = await send(api, "POST", "", {"type": "tcp", "name": "a", "bind": next(iter(taken.values()))})
        assert (made.status_code, made.json()["code"]) == (400, "BAD_REQUEST")
        assert open_listeners(api) == {"tcp:default"}
        assert (await send(api, "GET", "/tcp:a")).status_code == 404
