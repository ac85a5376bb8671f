"""Hostile names and bodies against every route: refused or harmless, never a defect, never reflected as HTML."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
import pytest
import pytest_asyncio
import structlog

from admin.app import ROWS
from admin.table import Access, NoBody, Row, Text
from pybroker.config.sections.observe import LogAudit, LogSettings
from tests.support.admin import PASSWORD, Api, config_with, open_api

pytestmark = pytest.mark.asyncio(loop_scope="module")

_ALLOWED = {"NODE_DOWN", "SERVICE_UNAVAILABLE"}
"""Codes of replies with a 5xx that are no defects."""

_NAMES = [
    "../../etc/passwd",
    "..",
    "a\x00b",
    "a\r\nx-forged: 1",
    "<script>alert(1)</script>",
    "=HYPERLINK(1)",
    "' OR 1=1 --",
    "\ud83d".encode("utf-8", "surrogatepass").decode("latin-1"),
    "\u202egpj",
    "%s%n{0}${x}",
    "+/#",
    "x" * 20_000,
]
_BODIES = [
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"username": "' + b"\\u0000" * 10_000 + b'"}',
    b"1e999999",
    b'{"a": 1, "a": 2}',
    b"\xff\xfe",
    b'"\\ud800"',
]
_WITH_NAMES = [row for row in ROWS if ":" in row.path]
_WITH_BODIES = [row for row in ROWS if row.request is not NoBody and not isinstance(row.request, Text)]


class Walked(NamedTuple):
    """The API that most tests share, and a token of its administrator."""

    api: Api
    token: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def walked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Walked]:
    async with open_api(config_with(tmp_path_factory.mktemp("hostile"))) as api:
        yield Walked(api, await api.log_in())


def _id(row: Row) -> str:
    return f"{row.method} {row.path}"


def _path(row: Row, name: str) -> str:
    return "/".join(quote(name, safe="") if part.startswith(":") else part for part in row.path.split("/"))


def _check(reply: Any) -> None:
    if reply.status_code >= 500:
        assert reply.json()["code"] in _ALLOWED, reply.text
    if reply.headers.get("content-type", "").startswith("text/html"):
        assert "<script>" not in reply.text
    assert "x-forged" not in reply.headers


@pytest.mark.parametrize("row", _WITH_NAMES, ids=_id)
async def test_hostile_name_in_the_path_does_no_harm(walked: Walked, row: Row) -> None:
    for name in _NAMES:
        _check(await walked.api.call(row.method, _path(row, name), None, auth=walked.token))


@pytest.mark.parametrize("row", [row for row in ROWS if row.method == "GET"], ids=_id)
async def test_hostile_parameter_does_no_harm(walked: Walked, row: Row) -> None:
    names = [field.encode_name for field in msgspec.structs.fields(row.query)]
    for name in names:
        for value in _NAMES[:-1]:
            path = f"{_path(row, 'x')}?{name}={quote(value, safe='')}"
            _check(await walked.api.call("GET", path, auth=walked.token))


@pytest.mark.parametrize("row", _WITH_BODIES, ids=_id)
async def test_hostile_body_is_no_defect(walked: Walked, row: Row) -> None:
    for body in _BODIES:
        auth = "" if row.path == "/login" else walked.token
        reply = await walked.api.call(row.method, _path(row, "x"), body, auth=auth)
        assert reply.status_code < 500, reply.text


@pytest.mark.parametrize("row", _WITH_BODIES, ids=_id)
async def test_oversized_body_is_refused(walked: Walked, row: Row) -> None:
    auth = "" if row.path == "/login" else walked.token
    reply = await walked.api.call(row.method, _path(row, "x"), b" " * (row.body_limit + 1), auth=auth)
    assert (reply.status_code, reply.json()["code"]) == (413, row.too_large)


_GUARDED = [row for row in ROWS if row.access is not Access.OPEN and row.opens_when is None]


@pytest.mark.parametrize("row", _GUARDED, ids=_id)
async def test_no_spelling_of_a_path_opens_it(walked: Walked, row: Row) -> None:
    path = _path(row, "x")
    first, _, rest = path[1:].partition("/")
    spellings = [
        f"/{path}",
        f"{path}/",
        f"{path}/.",
        f"{path}//",
        f"/status/..{path}",
        f"/login/%2e%2e{path}",
        f"/./{first}/./{rest}",
        f"/status/%2f..{path}",
        f"/status/..%2f{path[1:]}",
        f"/%{ord(first[0]):02x}{path[2:]}",
        f"{path};a=b",
        f"{path}%00",
        f"{path}%2f",
        f"{path}%23",
        path.upper(),
    ]
    for spelling in spellings:
        reply = await walked.api.call(row.method, spelling, None if row.method == "GET" else b"{")
        assert reply.status_code in (401, 404, 405), f"{spelling}: {reply.status_code}"


async def test_names_end_no_line_of_the_audit_file(tmp_path: Path) -> None:
    config = config_with(tmp_path, log=LogSettings(audit=LogAudit(enable=True)))
    hostile = 'eve\n{"from": "cli"}\r\u2028\x1b[2J'
    async with open_api(config) as api:
        await api.call(
            "POST",
            "/login",
            {"username": hostile, "password": PASSWORD},
            headers={"x-forwarded-for": "1.2.3.4\x1b[2J", "user-agent": "a\x7fb"},
        )
        await api.call("DELETE", f"/users/{quote(hostile)}", auth=await api.log_in())
    lines = (tmp_path / "log" / "audit.log").read_text(encoding="utf-8").split("\n")
    records = [json.loads(line) for line in lines if line]
    assert [record["operation_id"] for record in records] == ["/login", "/login", "/users/:username"]
    assert all(line.isascii() and line.isprintable() for line in lines)


async def test_names_reach_the_log_as_values_only(api: Api) -> None:
    """A line of the log takes names as fields, which its writer escapes, and never as its own text."""
    hostile = "c\n2026-01-01T00:00:00Z critical forged"
    with structlog.testing.capture_logs() as lines:
        token = await api.log_in()
        await api.call("POST", "/banned", {"as": "clientid", "who": hostile}, auth=token)
        await api.call("DELETE", f"/clients/{quote(hostile)}", auth=token)
        for _ in range(6):
            await api.call("POST", "/login", {"username": hostile, "password": "wrong-123"})
    assert all(hostile not in str(line["event"]) for line in lines)
