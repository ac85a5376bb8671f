"""The broker's end of the socket: who may ask, and what is answered to requests that are none."""

import asyncio
import os
import socket
import stat
from pathlib import Path

import pytest

from pybroker.control.audit import AuditFilter
from pybroker.ctl import server as server_module
from pybroker.ctl.protocol import MAX_REQUEST, socket_path
from pybroker.errors import BrokerError, StoreError
from tests.support.admin import config_with
from tests.support.commands import Console, open_console


async def test_socket_is_for_its_owner_alone(console: Console) -> None:
    assert stat.S_IMODE((console.folder / "ctl.sock").stat().st_mode) == 0o600


async def test_other_users_are_refused(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_peer_uid", lambda connection: os.geteuid() + 1)
    reply = await console.ask("banned add", **{"as": "clientid", "who": "x"})
    assert reply["error"]["code"] == "FORBIDDEN"
    assert console.api.control.bans.listed(None) == []


async def test_kernel_tells_who_connects(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    inner = server_module._peer_uid

    def peer_uid(connection: socket.socket) -> int:
        seen.append(inner(connection))
        return seen[-1]

    monkeypatch.setattr(server_module, "_peer_uid", peer_uid)
    await console.ask("status")
    assert seen == [os.getuid()]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"\n", "BAD_REQUEST"),
        (b"[]\n", "BAD_REQUEST"),
        (b'{"command": 1}\n', "BAD_REQUEST"),
        (b'{"command": "status", "more": 1}\n', "BAD_REQUEST"),
        (b'{"command": "status", "arguments": {"x": 1}}\n', "BAD_REQUEST"),
        (b'{"command": "nope"}\n', "NOT_FOUND"),
        (b'{"command": "status", "arguments": ' + b"[" * 100_000 + b"\n", "BAD_REQUEST"),
        (b"\xff\n", "BAD_REQUEST"),
        (b'{"command": "\xff"}\n', "BAD_REQUEST"),
        (b"x" * (MAX_REQUEST + 2) + b"\n", "PAYLOAD_TOO_LARGE"),
    ],
)
async def test_requests_that_are_none_are_refused(console: Console, line: bytes, code: str) -> None:
    assert (await console.send(line))["error"]["code"] == code
    assert (await console.ask("status"))["error"] is None


async def test_request_that_does_not_come_is_given_up(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "REQUEST_TIMEOUT_S", 0.01)
    reader, writer = await asyncio.open_unix_connection(str(console.folder / "ctl.sock"))
    writer.write(b'{"command"')
    assert await reader.read() == b""
    writer.close()


async def test_connections_beyond_the_limit_are_closed(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 1)
    path = str(console.folder / "ctl.sock")
    _, held = await asyncio.open_unix_connection(path)
    reader, beyond = await asyncio.open_unix_connection(path)
    assert await reader.read() == b""
    for writer in (held, beyond):
        writer.close()


async def test_socket_that_a_crash_has_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "ctl.sock").write_text("left")
    async with open_console(config_with(tmp_path)) as console:
        assert (await console.ask("status"))["error"] is None
    assert not (tmp_path / "ctl.sock").exists()


async def test_long_data_folder_is_no_obstacle(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    async with open_console(config_with(folder)) as console:
        assert await console.type("status") == 0


async def test_socket_that_cannot_be_made_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "ctl.sock").mkdir()
    with pytest.raises(BrokerError, match="command socket cannot be made"):
        async with open_console(config_with(tmp_path)):
            pass


def test_short_path_is_used_as_it_is(tmp_path: Path) -> None:
    with socket_path(Path("/run/pybroker")) as path:
        assert path == "/run/pybroker/ctl.sock"


async def test_every_command_is_recorded_with_its_result(console: Console) -> None:
    await console.ask("admins add", username="eve", password="Secret-123")
    await console.ask("admins add", username="eve", password="Secret-123")
    await console.ask("log level", level="debug", target="console")
    await console.ask("status")
    records = (await console.api.control.audit.page(AuditFilter(origin="cli"), 1, 10)).records[::-1]
    assert [record.args for record in records] == [
        ("admins", "add", "eve", "******"),
        ("admins", "add", "eve", "******"),
        ("log", "level", "debug", "--target", "console"),
        ("status",),
    ]
    assert [record.operation_result for record in records] == ["success", "failure", "success", "success"]
    assert records[1].failure["code"] == "BAD_REQUEST"
    assert records[2].change is not None
    assert records[2].change["before"]["log"]["console"]["level"] == "info"
    assert records[2].change["after"]["log"]["console"]["level"] == "debug"
    assert {record.source for record in records} == {server_module._user_name(os.getuid())}


async def test_nothing_is_recorded_while_the_log_is_off(tmp_path: Path) -> None:
    async with open_console(config_with(tmp_path)) as console:
        await console.ask("banned clear")
        await console.ask("log level", level="debug")
        assert (await console.api.control.audit.verify()).records == 0


async def test_user_without_a_name_is_his_number() -> None:
    assert server_module._user_name(3_999_999_999) == "3999999999"


async def test_switching_the_log_off_is_its_last_record(console: Console, tmp_path: Path) -> None:
    await console.ask("conf load", path="log.audit.enable = false")
    await console.ask("status")
    await console.ask("conf load", path="log.audit.enable = true")
    records = (await console.api.control.audit.page(AuditFilter(origin="cli"), 1, 10)).records[::-1]
    assert [record.args for record in records] == [("conf", "load", "******")] * 2
    assert [record.change and record.change["after"]["log"]["audit"]["enable"] for record in records] == [False, True]


async def test_defect_is_recorded_and_ends_the_connection(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, seen = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _, context: seen.append(context["exception"]))

    def fail() -> None:
        raise RuntimeError("defect")

    monkeypatch.setattr(console.api.control.users, "all", fail)
    reader, writer = await asyncio.open_unix_connection(str(console.folder / "ctl.sock"))
    writer.write(b'{"command": "admins list"}\n')
    assert await reader.read() == b""
    writer.close()
    (record,) = (await console.api.control.audit.page(AuditFilter(origin="cli"), 1, 10)).records
    assert (record.operation_result, record.failure["code"]) == ("failure", "INTERNAL_ERROR")
    assert [type(error) for error in seen] == [RuntimeError]


async def test_store_that_fails_is_told(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail() -> None:
        raise StoreError("disk is full")

    monkeypatch.setattr(console.api.control.bans, "clear", fail)
    assert (await console.ask("banned clear"))["error"] == {"code": "INTERNAL_ERROR", "message": "disk is full"}
