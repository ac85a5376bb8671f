"""Traces by REST: made, refused, ended, read, and kept apart by namespace."""

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.admin import Api, add_client, config_with, open_api

NODE = "pybroker@127.0.0.1"


async def create(api: Api, auth: str = "", **body: object) -> Any:
    asked = {"name": "t", "type": "clientid", "clientid": "c", **body}
    reply = await api.call("POST", "/trace", asked, auth=auth or await api.log_in())
    assert reply.status_code == 200, reply.text
    return reply.json()


async def refusal(api: Api, **body: object) -> tuple[int, str]:
    asked = {"name": "t", "type": "clientid", "clientid": "c", **body}
    reply = await api.call("POST", "/trace", asked, auth=await api.log_in())
    return reply.status_code, reply.json()["code"]


async def log_of(api: Api, name: str = "t", query: str = "?bytes=100000") -> Any:
    reply = await api.call("GET", f"/trace/{name}/log{query}", auth=await api.log_in())
    assert reply.status_code == 200, reply.text
    return reply.json()


async def test_trace_runs_for_ten_minutes_unless_told_otherwise(api: Api) -> None:
    made = await create(api)
    assert {name: made[name] for name in ("name", "type", "clientid", "status", "namespace", "log_size")} == {
        "name": "t",
        "type": "clientid",
        "clientid": "c",
        "status": "running",
        "namespace": None,
        "log_size": {NODE: 0},
    }
    assert (made["payload_encode"], made["payload_limit"], made["formatter"]) == ("text", 1_024, "text")
    api.clock.advance(599_000)
    assert (await listed(api))[0]["status"] == "running"
    api.clock.advance(1_000)
    assert (await listed(api))[0]["status"] == "stopped"


async def listed(api: Api, auth: str = "", query: str = "") -> list[dict[str, Any]]:
    reply = await api.call("GET", f"/trace{query}", auth=auth or await api.log_in())
    assert reply.status_code == 200, reply.text
    rows: list[dict[str, Any]] = reply.json()
    return rows


async def test_trace_waits_for_its_start(api: Api) -> None:
    start_s = api.clock.wall_s() + 60
    made = await create(api, start_at=start_s, end_at=start_s + 60)
    assert made["status"] == "waiting"
    api.clock.advance(60_000)
    assert (await listed(api))[0]["status"] == "running"


async def test_newest_trace_comes_first(api: Api) -> None:
    await create(api, name="old", clientid="a")
    api.clock.advance(1_000)
    await create(api, name="new", clientid="b")
    assert [row["name"] for row in await listed(api)] == ["new", "old"]


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"name": "../x"}, (400, "BAD_REQUEST")),
        ({"name": "a/b"}, (400, "BAD_REQUEST")),
        ({"name": "x" * 201}, (400, "BAD_REQUEST")),
        ({"clientid": None}, (400, "BAD_REQUEST")),
        ({"type": "nonsense"}, (400, "BAD_REQUEST")),
        ({"start_at": "yesterday"}, (400, "BAD_REQUEST")),
        ({"formatter": "xml"}, (400, "BAD_REQUEST")),
        ({"nonsense": 1}, (400, "BAD_REQUEST")),
        ({"type": "ruleid", "ruleid": "r"}, (400, "INVALID_PARAMS")),
        ({"type": "topic", "topic": "a/#/b"}, (400, "INVALID_PARAMS")),
        ({"type": "topic", "topic": "$share/g/a"}, (400, "INVALID_PARAMS")),
        ({"type": "ip_address", "ip_address": "10.0.0.300"}, (400, "INVALID_PARAMS")),
        ({"end_at": 1_000}, (400, "INVALID_PARAMS")),
        ({"start_at": 1_900_000_000, "end_at": 1_900_000_000}, (400, "INVALID_PARAMS")),
    ],
)
async def test_trace_that_cannot_be_is_refused(api: Api, body: dict[str, object], answer: tuple[int, str]) -> None:
    assert await refusal(api, **body) == answer
    assert await listed(api) == []


async def test_name_and_condition_are_taken_once(api: Api) -> None:
    await create(api)
    assert await refusal(api, clientid="d") == (409, "ALREADY_EXISTS")
    assert await refusal(api, name="u") == (409, "DUPLICATE_CONDITION")
    await api.call("PUT", "/trace/t/stop", auth=await api.log_in())
    await create(api, name="u")


async def test_there_are_only_so_many_traces(api: Api) -> None:
    token = await api.log_in()
    reply = await api.call("PUT", "/tracing", {"max_traces": 2}, auth=token)
    assert (reply.status_code, reply.json()) == (200, {"max_traces": 2, "max_file_size": "128MB"})
    for number in range(2):
        await create(api, name=f"t{number}", clientid=str(number))
    assert await refusal(api) == (400, "EXCEED_LIMIT")


async def test_stop_answers_name_and_enable_alone(api: Api) -> None:
    token = await api.log_in()
    await create(api)
    reply = await api.call("PUT", "/trace/t/stop", auth=token)
    assert (reply.status_code, reply.json()) == (200, {"name": "t", "enable": False})
    assert (await listed(api))[0]["status"] == "stopped"


@pytest.mark.parametrize(
    ("method", "path"),
    [("DELETE", ""), ("PUT", "/stop"), ("GET", "/log"), ("GET", "/log_detail"), ("GET", "/download")],
)
async def test_unknown_trace_is_not_found(api: Api, method: str, path: str) -> None:
    reply = await api.call(method, f"/trace/none{path}", auth=await api.log_in())
    assert (reply.status_code, reply.json()["code"]) == (404, "NOT_FOUND")


async def test_life_of_the_traced_client_alone_is_written(api: Api) -> None:
    await create(api)
    add_client(api.control, "other", is_offline=True)
    add_client(api.control, "c", is_offline=True)
    api.control.plane.engine.publish("t", b"x", 0, False)
    text = (await log_of(api))["items"]
    assert "[DISCONNECT] c@127.0.0.1:40000 msg: client_disconnected, reason: tcp_closed" in text
    assert "other" not in text


async def test_nothing_is_listened_to_while_nothing_is_traced(api: Api) -> None:
    events = api.control.plane.events
    assert not events.client_subscribed
    await create(api)
    assert events.client_subscribed
    await api.call("DELETE", "/trace/t", auth=await api.log_in())
    assert not events.client_subscribed


async def test_log_is_read_piece_by_piece(api: Api) -> None:
    await create(api)
    add_client(api.control, "c", is_offline=True)
    first = await log_of(api, query="?bytes=10")
    assert (len(first["items"]), first["meta"]["bytes"], "hint" in first["meta"]) == (10, 10, False)
    rest = await log_of(api, query=f"?bytes=100000&position={first['meta']['position']}")
    assert rest["meta"]["hint"] == "retry"
    whole = (await log_of(api))["items"]
    assert first["items"] + rest["items"] == whole
    await api.call("PUT", "/trace/t/stop", auth=await api.log_in())
    assert (await log_of(api))["meta"]["hint"] == "eof"


async def test_position_of_an_earlier_trace_is_stale(api: Api) -> None:
    token = await api.log_in()
    await create(api)
    position = (await log_of(api))["meta"]["position"]
    await api.call("DELETE", "/trace/t", auth=token)
    api.clock.advance(1)
    await create(api)
    reply = await api.call("GET", f"/trace/t/log?position={position}", auth=token)
    assert (reply.status_code, reply.json()["code"]) == (400, "STALE_CURSOR")
    reply = await api.call("GET", "/trace/t/log?position=x", auth=token)
    assert (reply.status_code, reply.json()["code"]) == (400, "INVALID_PARAMETER")


async def test_download_is_an_archive_that_leaves_nothing_behind(api: Api, tmp_path: Path) -> None:
    token = await api.log_in()
    await create(api)
    assert (await api.call("GET", "/trace/t/download", auth=token)).status_code == 404
    add_client(api.control, "c", is_offline=True)
    reply = await api.call("GET", "/trace/t/download", auth=token)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
        assert b"client_disconnected" in archive.read(f"{NODE}-t.log")
    assert sorted(path.name for path in (tmp_path / "trace").iterdir()) == ["t.log"]
    detail = (await api.call("GET", "/trace/t/log_detail", auth=token)).json()
    assert (detail[0]["node"], detail[0]["size"] > 0) == (NODE, True)


async def test_full_file_ends_its_trace(api: Api) -> None:
    token = await api.log_in()
    assert (await api.call("PUT", "/tracing", {"max_file_size": "1KB"}, auth=token)).status_code == 200
    await create(api)
    for _ in range(20):
        add_client(api.control, "c", is_offline=True)
        api.control.plane.sessions.kick(api.control.clients.find("c").client_id)
    await api.control.traces.tick()
    await api.control.traces.tick()
    (row,) = await listed(api)
    assert (row["status"], 0 < row["log_size"][NODE] <= 1_024) == ("stopped", True)


async def test_deleted_trace_takes_its_file_along(api: Api, tmp_path: Path) -> None:
    token = await api.log_in()
    await create(api)
    add_client(api.control, "c", is_offline=True)
    assert (await log_of(api))["items"]
    assert (await api.call("DELETE", "/trace", auth=token)).status_code == 204
    assert await listed(api) == []
    assert list((tmp_path / "trace").iterdir()) == []


async def test_traces_go_on_after_a_restart(tmp_path: Path) -> None:
    async with open_api(config_with(tmp_path)) as api:
        await create(api)
        clock = api.clock
    async with open_api(config_with(tmp_path), clock) as api:
        assert (await listed(api))[0]["status"] == "running"
        await api.control.traces.tick()
        add_client(api.control, "c", is_offline=True)
        assert "client_disconnected" in (await log_of(api))["items"]


async def test_namespaces_see_and_trace_their_own(api: Api) -> None:
    own = await api.add_user("anna", "ns:a::administrator")
    await create(api, name="global", clientid="x")
    made = await create(api, auth=own, name="mine", type="topic", topic="#")
    assert made["namespace"] == "a"
    assert [row["name"] for row in await listed(api, own)] == ["mine"]
    assert len(await listed(api)) == 2
    assert [row["name"] for row in await listed(api, query="?ns=a")] == ["mine"]
    for method, path in (("GET", "/trace/global/log"), ("DELETE", "/trace/global"), ("PUT", "/trace/global/stop")):
        assert (await api.call(method, path, auth=own)).status_code == 404
    for method, path in (("DELETE", "/trace"), ("GET", "/trace?ns=b")):
        reply = await api.call(method, path, auth=own)
        assert (reply.status_code, reply.json()["code"]) == (403, "FORBIDDEN")


async def test_trace_of_another_namespace_does_not_stand_in_the_way(api: Api) -> None:
    auth = await api.add_user("admin_a", "ns:a::administrator")
    await create(api)
    assert (await create(api, auth, name="t_a"))["namespace"] == "a"
    asked = {"name": "again", "type": "clientid", "clientid": "c"}
    reply = await api.call("POST", "/trace", asked, auth=auth)
    assert (reply.status_code, reply.json()["code"]) == (409, "DUPLICATE_CONDITION")


async def test_trace_of_a_namespace_does_not_see_other_clients(api: Api) -> None:
    own = await api.add_user("anna", "ns:a::administrator")
    await create(api, auth=own)
    add_client(api.control, "c", is_offline=True)
    reply = await api.call("GET", "/trace/t/log", auth=own)
    assert reply.json()["items"] == ""


async def test_traces_of_a_removed_namespace_go_with_their_files(api: Api, tmp_path: Path) -> None:
    own = await api.add_user("anna", "ns:a::administrator")
    await create(api, auth=own, name="mine", clientid="x")
    await create(api, name="global", clientid="y")
    for name in ("mine", "global"):
        (tmp_path / "trace").mkdir(exist_ok=True)
        (tmp_path / "trace" / f"{name}.log").write_text("line\n")
    await api.control.remove_namespace("a")
    assert [row["name"] for row in await listed(api)] == ["global"]
    assert [path.name for path in (tmp_path / "trace").iterdir()] == ["global.log"]
