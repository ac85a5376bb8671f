"""The audit log: what is kept of which call, filters, masking, retention and the chain."""

import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pybroker.config.sections.observe import LogAudit, LogSettings
from pybroker.control.audit_chain import AuditRecord
from tests.support.admin import ADMIN, PASSWORD, Api, config_with, open_api


def _enabled(**fields: Any) -> LogSettings:
    return LogSettings(audit=LogAudit(enable=True, **fields))


@pytest.fixture
async def audited(tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(config_with(tmp_path, log=_enabled())) as api:
        yield api


async def _records(api: Api, query: str = "") -> list[dict[str, Any]]:
    reply = await api.call("GET", f"/audit{query}", auth=await api.log_in())
    assert reply.status_code == 200, reply.text
    records: list[dict[str, Any]] = reply.json()["data"]
    return records


def _all_bytes(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


async def test_disabled_log_is_a_bad_request(api: Api) -> None:
    reply = await api.call("GET", "/audit", auth=await api.log_in())
    assert (reply.status_code, reply.json()) == (400, {"code": "BAD_REQUEST", "message": "Audit is disabled"})


async def test_failed_login_is_recorded_with_its_password_masked(audited: Api) -> None:
    await audited.call("POST", "/login", {"username": "eve", "password": "guess-123"})
    (record,) = await _records(audited, "?source=eve")
    body = record.pop("http_request")
    assert body["body"] == '{"username":"eve","password":"******"}'
    assert record == {
        "created_at": "2026-01-01T00:00:00.000000+00:00",
        "node": "pybroker@127.0.0.1",
        "from": "dashboard",
        "source": "eve",
        "source_ip": "192.0.2.1",
        "operation_id": "/login",
        "operation_type": "login",
        "operation_result": "failure",
        "http_status_code": 401,
        "http_method": "post",
        "duration_ms": record["duration_ms"],
        "args": "",
        "failure": {"code": "BAD_USERNAME_OR_PWD", "message": "username or password is wrong"},
    }


async def test_nothing_secret_reaches_table_or_file(audited: Api, tmp_path: Path) -> None:
    token = await audited.log_in()
    made = (await audited.call("POST", "/api_key", {"name": "k"}, auth=token)).json()
    body = {"old_pwd": PASSWORD, "new_pwd": "Another-456"}
    await audited.call("POST", "/users/admin/change_pwd", body, auth=token)
    await audited.call("POST", "/users/admin/change_pwd", b"old_pwd=" + PASSWORD.encode(), auth=token)
    audited.control.audit.close()
    kept = _all_bytes(tmp_path)
    for secret in (PASSWORD, "Another-456", token.removeprefix("Bearer "), made["api_secret"]):
        assert secret.encode() not in kept


async def test_headers_are_kept_with_the_credential_masked(audited: Api) -> None:
    token = await audited.log_in()
    await audited.call("DELETE", "/users/ghost", auth=token, headers={"x-forwarded-for": "203.0.113.9, 10.0.0.1"})
    (record,) = await _records(audited, "?http_method=delete")
    assert record["http_request"]["headers"]["authorization"] == "******"
    assert record["http_request"]["bindings"] == {"username": "ghost"}
    assert (record["source"], record["source_ip"]) == (ADMIN, "203.0.113.9")
    assert (record["operation_id"], record["failure"]["code"]) == ("/users/:username", "USER_NOT_FOUND")


async def test_changes_keep_before_and_after(audited: Api) -> None:
    await audited.add_user("v", "viewer", "unset")
    body = {"description": "new", "role": "viewer"}
    await audited.call("PUT", "/users/v", body, auth=await audited.log_in())
    (record,) = await _records(audited, "?http_method=put")
    assert [record["change"][when]["description"] for when in ("before", "after")] == ["", "new"]


async def test_refused_calls_and_wrong_methods_are_recorded_and_reading_is_not(audited: Api) -> None:
    await audited.call("POST", "/users", {})
    await audited.call("PUT", "/users", {})
    await audited.call("GET", "/users", auth="Bearer nonsense")
    found = [(one["operation_id"], one["http_status_code"]) for one in await _records(audited)]
    assert found == [("/login", 200), ("/users", 405), ("/users", 401)]


async def test_claimed_key_is_the_source_of_a_refused_call(audited: Api) -> None:
    header = await audited.add_key("k", role="viewer")
    await audited.call("PUT", "/user_scopes", {}, auth=header)
    (record,) = await _records(audited, "?http_status_code=405")
    assert (record["from"], len(record["source"])) == ("rest_api", 16)


async def test_filters_narrow_and_pages_cut(audited: Api) -> None:
    for _ in range(3):
        await audited.call("POST", "/login", {"username": "eve", "password": "guess-123"})
        audited.clock.advance(1_000)
    auth = await audited.log_in()
    reply = await audited.call("GET", "/audit?operation_result=failure&limit=2", auth=auth)
    assert reply.json()["meta"] == {"page": 1, "limit": 2, "count": 3, "hasnext": True}
    reply = await audited.call("GET", "/audit?operation_result=failure&limit=2&page=2", auth=auth)
    assert reply.json()["meta"] == {"page": 2, "limit": 2, "count": 3, "hasnext": False}
    reply = await audited.call("GET", f"/audit?page={10**30}&operation_result=failure", auth=auth)
    assert (reply.json()["data"], reply.json()["meta"]["hasnext"]) == ([], False)
    start = audited.clock.wall_ms() - 3_000
    for query, count in (
        (f"gte_created_at={start + 1_000}", 3),
        (f"gte_created_at={(start + 1_000) * 1_000}", 3),
        ("lte_created_at=2026-01-01T00:00:01Z&operation_result=failure", 2),
        ("operation_type=login&from=dashboard&gte_duration_ms=0&node=pybroker@127.0.0.1", 4),
        ("from=cli", 0),
        ("lte_duration_ms=-1", 0),
        (f"http_status_code={10**30}", 0),
        (f"gte_duration_ms={10**30}", 0),
        (f"gte_duration_ms=-{10**30}&source=eve", 3),
    ):
        reply = await audited.call("GET", f"/audit?{query}", auth=auth)
        assert reply.json()["meta"]["count"] == count, query


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=10001", "page=0", "http_method=get", "gte_created_at=soon", "http_status_code=x"]
)
async def test_bad_parameters_are_refused(audited: Api, query: str) -> None:
    reply = await audited.call("GET", f"/audit?{query}", auth=await audited.log_in())
    assert (reply.status_code, reply.json()["code"]) == (400, "BAD_REQUEST")


async def test_commands_are_recorded_without_http(audited: Api) -> None:
    await audited.control.audit.append_command(["admins", "passwd", "eve", "******"])
    (record,) = await _records(audited, "?from=cli")
    assert (record["operation_type"], record["args"]) == ("admins", ["admins", "passwd", "eve", "******"])
    assert (record["http_request"], record["http_status_code"], record["http_method"]) == ("", "", "")


async def test_retention_keeps_the_newest_and_the_chain(tmp_path: Path) -> None:
    async with open_api(config_with(tmp_path, log=_enabled(cache_size=10))) as api:
        for number in range(25):
            await api.call("POST", "/login", {"username": f"u{number}", "password": "x"})
        assert [one["source"] for one in (await _records(api))[1:]] == [f"u{number}" for number in range(24, 15, -1)]
        verdict = await api.control.audit.verify()
        assert (verdict.is_intact, verdict.records) == (True, 10)


async def test_lines_of_the_file_are_json(tmp_path: Path) -> None:
    async with open_api(config_with(tmp_path, log=_enabled())) as api:
        await api.call("POST", "/login", {"username": "a\nb", "password": "x"})
    lines = (tmp_path / "log" / "audit.log").read_text().splitlines()
    assert [json.loads(line)["source"] for line in lines] == ["a\nb"]


@pytest.mark.parametrize(
    ("fields", "time"),
    [
        ({"time_offset": "utc"}, "2026-01-01T00:00:00.000000+00:00"),
        ({"time_offset": "-03:30", "timestamp_format": "rfc3339"}, "2025-12-31T20:30:00.000000-03:30"),
        ({"timestamp_format": "epoch"}, 1_767_225_600_000_000),
    ],
)
async def test_times_of_the_file_are_written_as_configured(
    tmp_path: Path, fields: dict[str, Any], time: str | int
) -> None:
    async with open_api(config_with(tmp_path, log=_enabled(**fields))) as api:
        await api.call("POST", "/login", {"username": "a", "password": "x"})
    (line,) = (tmp_path / "log" / "audit.log").read_text().splitlines()
    assert json.loads(line)["time"] == time


async def _fill(folder: Path) -> None:
    async with open_api(config_with(folder, log=_enabled())) as api:
        for number in range(5):
            await api.control.audit.append(AuditRecord(created_us=number, node="n", origin="cli", source=f"s{number}"))


@pytest.mark.parametrize(
    ("statement", "bad_seq"),
    [
        ("UPDATE audit SET source = 'other' WHERE seq = 3", 3),
        ("UPDATE audit SET body = x'7b7d' WHERE seq = 2", 2),
        ("DELETE FROM audit WHERE seq = 2", 2),
        ("DELETE FROM audit WHERE seq = 1", 1),
        ("DELETE FROM audit WHERE seq = 5", 5),
        ("DELETE FROM audit", 1),
    ],
)
async def test_altered_or_missing_rows_are_found(tmp_path: Path, statement: str, bad_seq: int) -> None:
    await _fill(tmp_path)
    with sqlite3.connect(tmp_path / "pybroker.db") as connection:
        with pytest.raises(sqlite3.IntegrityError, match="audit records are"):
            connection.execute(statement)
        connection.executescript("DROP TRIGGER audit_is_not_changed; DROP TRIGGER audit_is_not_cut;")
        connection.execute(statement)
    connection.close()
    async with open_api(config_with(tmp_path)) as api:
        verdict = await api.control.audit.verify()
    assert (verdict.is_intact, verdict.bad_seq) == (False, bad_seq)


async def test_untouched_chain_is_intact_after_a_restart(tmp_path: Path) -> None:
    await _fill(tmp_path)
    await _fill(tmp_path)
    async with open_api(config_with(tmp_path)) as api:
        assert msgspec.to_builtins(await api.control.audit.verify()) == {
            "is_intact": True,
            "records": 10,
            "bad_seq": None,
            "message": "audit log is intact",
        }


async def test_log_that_cannot_be_written_does_not_fail_the_call(audited: Api) -> None:
    await audited.control.database.write(lambda connection: connection.execute("DROP TABLE audit_ends"))
    assert (await audited.call("POST", "/login", {"username": "eve", "password": "x"})).status_code == 401
