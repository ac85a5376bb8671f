"""Every trap of the administration has its tests; those that belong to no single resource are here."""

import ast
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from admin.app import ROWS
from admin.schemas.page import PageQuery
from tests.support.admin import PASSWORD, Api, basic
from tests.support.admin_traps import LATER, TRAPS

_TESTS = Path(__file__).parents[2]


@cache
def _functions(file: str) -> frozenset[str]:
    tree = ast.parse((_TESTS / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("number", TRAPS)
def test_trap_has_its_tests(number: int) -> None:
    assert TRAPS[number].tests
    for test in TRAPS[number].tests:
        file, _, name = test.partition("::")
        assert name in _functions(file), f"trap {number}: no such test: {test}"


def test_traps_are_numbered_without_a_gap() -> None:
    assert sorted([*TRAPS, *LATER]) == list(range(1, 49))


def test_parts_that_are_to_come_are_not_there_yet() -> None:
    paths = {row.path.split("/")[1] for row in ROWS}
    assert not paths & set(LATER.values()), "a new part has its traps tested"


async def test_viewer_reads_clients_and_not_users(api: Api) -> None:
    viewer = await api.add_user("v", "viewer")
    assert (await api.call("GET", "/clients", auth=viewer)).status_code == 200
    reply = await api.call("GET", "/users", auth=viewer)
    assert (reply.status_code, reply.json()["code"]) == (403, "UNAUTHORIZED_ROLE")


async def test_user_without_scopes_changes_his_password_and_not_his_record(api: Api) -> None:
    token = await api.add_user("boss", "administrator", [])
    body: dict[str, Any] = {"description": "", "role": "administrator"}
    reply = await api.call("PUT", "/users/boss", body, auth=token)
    assert (reply.status_code, reply.json()["code"]) == (403, "UNAUTHORIZED_ROLE")
    passwords = {"old_pwd": PASSWORD, "new_pwd": "Another-456"}
    assert (await api.call("POST", "/users/boss/change_pwd", passwords, auth=token)).status_code == 204


async def test_second_factor_is_set_up_and_switched_off_by_an_administrator(api: Api) -> None:
    await api.add_user("v")
    boss = await api.log_in()
    reply = await api.call("POST", "/users/v/mfa", {"mechanism": "totp"}, auth=boss)
    assert (reply.status_code, reply.content) == (204, b"")
    assert (await api.call("DELETE", "/users/v/mfa", auth=boss)).status_code == 204
    again = await api.call("DELETE", "/users/v/mfa", auth=boss)
    assert (again.status_code, again.json()["code"]) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("path", ["/users", "/api_key"])
async def test_key_is_no_credential_for_accounts(api: Api, path: str) -> None:
    for header in (await api.add_key("k"), basic("nonsense", "x")):
        reply = await api.call("GET", path, auth=header)
        assert (reply.status_code, reply.json()["code"]) == (401, "API_KEY_NOT_ALLOW")


async def test_namespaced_administrator_reads_clients_and_neither_makes_users_nor_reads_payloads(api: Api) -> None:
    boss = await api.add_user("boss", "ns:a::administrator")
    user = {"username": "u", "password": PASSWORD, "description": "", "role": "ns:a::viewer"}
    assert (await api.call("POST", "/users", user, auth=boss)).status_code == 403
    assert (await api.call("GET", "/clients", auth=boss)).status_code == 200
    assert (await api.call("GET", "/mqtt/retainer/messages", auth=boss)).status_code == 403


async def test_encoded_name_is_compared_decoded(api: Api) -> None:
    viewer = await api.add_user("ab")
    for path, status in (("/users/a%62/mfa", 204), ("/users/a%40b/mfa", 403)):
        assert (await api.call("DELETE", path, auth=viewer)).status_code == status
    reply = await api.call("DELETE", "/users/a%40b/mfa", auth=await api.log_in())
    assert (reply.status_code, reply.json()["code"]) == (404, "USER_NOT_FOUND")


_PAGED = [row for row in ROWS if row.method == "GET" and issubclass(row.query, PageQuery)]
_BOUNDED = [row for row in ROWS if "limit" in {field.name for field in msgspec.structs.fields(row.query)}]


@pytest.mark.parametrize("row", _PAGED, ids=[row.path for row in _PAGED])
async def test_limit_out_of_range_is_refused_by_every_list(api: Api, row: Any) -> None:
    token = await api.log_in()
    path = "/".join("nobody" if part.startswith(":") else part for part in row.path.split("/"))
    for query in ("limit=0", "limit=10001", "page=0", "limit=x"):
        reply = await api.call("GET", f"{path}?{query}", auth=token)
        assert (reply.status_code, reply.json()["code"]) == (400, "BAD_REQUEST"), query


def test_every_limit_is_bounded_by_its_type() -> None:
    for row in _BOUNDED:
        (field,) = [field for field in msgspec.structs.fields(row.query) if field.name == "limit"]
        schema = msgspec.json.schema(field.type)
        assert "minimum" in str(schema), row.path
