"""The rules of roles, row by row of `Access`, and routes that open by a setting."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from admin.app import ROWS
from admin.middleware.path import CanonicalPath
from admin.resource import Resource
from admin.security.access import check_access
from admin.table import DENIED, PUBLIC, Access, Call, NoBody, NoQuery, Row
from pybroker.config.sections.observe import LogAudit, LogSettings
from pybroker.control.caller import Caller
from pybroker.errors import Refused
from tests.support.admin import Api, config_with, open_api

_ROW = msgspec.structs.replace(ROWS[0], path="/x/:username", request=NoBody, query=NoQuery, scope=PUBLIC)
_ROLES = {
    "administrator": ("administrator", None),
    "viewer": ("viewer", None),
    "publisher": ("publisher", None),
    "namespace administrator": ("administrator", "a"),
    "namespace viewer": ("viewer", "a"),
    "namespace publisher": ("publisher", "a"),
}
_ENTER = {
    Access.OPEN: set(_ROLES),
    Access.ANYBODY: {"administrator", "viewer", "namespace administrator", "namespace viewer"},
    Access.READER: {"administrator", "viewer", "namespace administrator", "namespace viewer"},
    Access.GLOBAL_READER: {"administrator", "viewer"},
    Access.ADMINISTRATOR: {"administrator"},
    Access.NAMESPACE_ADMINISTRATOR: {"administrator", "namespace administrator"},
    Access.SELF: {"administrator"},
    Access.PUBLISHER: {"administrator", "publisher"},
}


def _may(row: Row, caller: Caller, username: str = "other", backend: str | None = None) -> bool:
    try:
        check_access(row, caller, {"username": username}, backend)
    except Refused as error:
        return error.code != "UNAUTHORIZED_ROLE"
    return True


@pytest.mark.parametrize("access", list(Access))
def test_each_access_lets_its_roles_in(access: Access) -> None:
    row = msgspec.structs.replace(_ROW, access=access)
    entered = {
        name
        for name, (role, namespace) in _ROLES.items()
        if _may(row, Caller(kind="api_key", name="k", role=role, namespace=namespace))
    }
    assert entered == _ENTER[access]


def test_denied_scope_keeps_even_old_keys_out() -> None:
    row = msgspec.structs.replace(_ROW, access=Access.READER, scope=DENIED)
    assert not _may(row, Caller(kind="api_key", name="k", role="administrator", scopes=None))


def test_key_without_a_list_may_what_its_role_may() -> None:
    row = msgspec.structs.replace(_ROW, access=Access.READER, scope="system")
    assert _may(row, Caller(kind="api_key", name="k", role="viewer", scopes=None))
    assert not _may(row, Caller(kind="api_key", name="k", role="viewer", scopes=()))


@pytest.mark.parametrize(
    ("backend", "asked", "username", "is_self"),
    [
        ("local", None, "bob", True),
        ("local", "local", "bob", True),
        ("ldap", None, "bob", True),
        ("ldap", "ldap", "bob", True),
        ("ldap", "local", "bob", False),
        ("local", "ldap", "bob", False),
        ("local", None, "Bob", False),
    ],
)
def test_self_is_name_and_backend(backend: str, asked: str | None, username: str, is_self: bool) -> None:
    row = msgspec.structs.replace(_ROW, access=Access.SELF, scope="mfa_management")
    caller = Caller(kind="user", name="bob", backend=backend, role="viewer", scopes=())
    assert _may(row, caller, username, asked) == is_self


def test_key_named_like_a_user_is_not_himself() -> None:
    row = msgspec.structs.replace(_ROW, access=Access.SELF)
    assert not _may(row, Caller(kind="api_key", name="bob", role="viewer"), "bob")


async def _echo(call: Call[NoBody, NoQuery]) -> dict[str, str]:
    """Answer with who asked."""
    return {"caller": call.caller.name, **call.params}


@pytest.fixture
async def audited(tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(config_with(tmp_path, log=LogSettings(audit=LogAudit(enable=True)))) as api:
        yield api


async def _call(api: Api, row: Row) -> httpx.Response:
    routes = [Route("/x/{username}", Resource(api.control, row.path, (row,)))]
    app = Starlette(routes=routes, middleware=[Middleware(CanonicalPath)])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://broker") as client:
        return await client.request(row.method, "/x/t%2F1")


async def test_route_opens_while_its_setting_says_so(api: Api) -> None:
    row = msgspec.structs.replace(_ROW, method="GET", handler=_echo, access=Access.READER, audit="never")
    assert (await _call(api, row)).status_code == 401
    opened = msgspec.structs.replace(row, opens_when=lambda control: True)
    reply = await _call(api, opened)
    assert (reply.status_code, reply.json()) == (200, {"caller": "", "username": "t/1"})


@pytest.mark.parametrize(("audit", "count"), [("always", 1), ("unless_frequent", 0), ("never", 0)])
async def test_frequent_calls_are_left_out_by_default(audited: Api, audit: str, count: int) -> None:
    row = msgspec.structs.replace(_ROW, method="POST", handler=_echo, access=Access.OPEN, audit=audit)
    assert (await _call(audited, row)).status_code == 200
    rows = await audited.control.database.read(lambda connection: connection.execute("SELECT 1 FROM audit").fetchall())
    assert len(rows) == count


async def test_frequent_calls_are_kept_when_asked_for(tmp_path: Path) -> None:
    audit = LogAudit(enable=True, ignore_high_frequency_request=False)
    async with open_api(config_with(tmp_path, log=LogSettings(audit=audit))) as api:
        row = msgspec.structs.replace(_ROW, method="POST", handler=_echo, access=Access.OPEN, audit="unless_frequent")
        await _call(api, row)
        verdict = await api.control.audit.verify()
        assert verdict.records == 1
