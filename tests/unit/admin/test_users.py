"""Users: creation, change, deletion, protection, passwords."""

from pathlib import Path
from typing import Any

import pytest

from pybroker.control.scopes import ALL, GENERIC, NAMESPACE_ADMINISTRATOR
from tests.support.admin import ADMIN, PASSWORD, Api, config_with, open_api


async def _post(api: Api, **fields: Any) -> tuple[int, Any]:
    body = {"username": "u", "password": PASSWORD, "description": "", **fields}
    reply = await api.call("POST", "/users", body, auth=await api.log_in())
    return reply.status_code, reply.json()


async def _put(api: Api, username: str, **fields: Any) -> tuple[int, Any]:
    reply = await api.call("PUT", f"/users/{username}", {"description": "d", **fields}, auth=await api.log_in())
    return reply.status_code, reply.json()


async def test_default_administrator_is_listed_with_all_scopes(api: Api) -> None:
    reply = await api.call("GET", "/users", auth=await api.log_in())
    assert reply.json() == [
        {
            "username": "admin",
            "role": "administrator",
            "namespace": None,
            "description": "administrator",
            "backend": "local",
            "mfa": "none",
            "scopes": list(ALL),
        }
    ]


async def test_full_scopes_in_any_order_unset_those_of_the_default_administrator(api: Api) -> None:
    status, body = await _put(api, ADMIN, role="administrator", scopes=list(reversed(ALL)))
    assert (status, body["scopes"]) == (200, "unset")


@pytest.mark.parametrize(
    "fields",
    [
        {"scopes": []},
        {"scopes": ["audit"]},
        {"role": "viewer"},
        {"role": "ns:a::administrator"},
        {"role": "no such role"},
    ],
)
async def test_default_administrator_cannot_be_weakened(api: Api, fields: dict[str, Any]) -> None:
    status, body = await _put(api, ADMIN, **fields)
    assert (status, body["code"]) == (400, "NOT_ALLOWED")


async def test_default_administrator_cannot_be_deleted_by_anybody(api: Api) -> None:
    other = await api.add_user("other", "administrator")
    for header in (other, await api.log_in()):
        reply = await api.call("DELETE", f"/users/{ADMIN}", auth=header)
        assert (reply.status_code, reply.json()["code"]) == (400, "NOT_ALLOWED")


async def test_demotion_needs_scopes_that_the_role_may_hold(api: Api) -> None:
    await api.add_user("boss", "administrator")
    status, body = await _put(api, "boss", role="viewer")
    assert (status, body["code"]) == (400, "BAD_REQUEST")
    assert api.control.users.find("boss").role == "administrator"
    status, body = await _put(api, "boss", role="viewer", scopes="unset")
    assert (status, body["role"], body["scopes"]) == (200, "viewer", "unset")


async def test_update_without_role_makes_an_administrator(api: Api) -> None:
    await api.add_user("v", "viewer", "unset")
    status, body = await _put(api, "v")
    assert (status, body["role"]) == (200, "administrator")


async def test_description_is_required(api: Api) -> None:
    reply = await api.call("POST", "/users", {"username": "u", "password": PASSWORD}, auth=await api.log_in())
    assert (reply.status_code, reply.json()["code"]) == (400, "BAD_REQUEST")


@pytest.mark.parametrize(
    ("role", "scopes"),
    [
        ("administrator", list(ALL)),
        ("viewer", list(GENERIC)),
        ("ns:a::administrator", list(NAMESPACE_ADMINISTRATOR)),
        ("ns:a::viewer", list(GENERIC)),
    ],
)
async def test_default_scopes_are_stored_at_creation(api: Api, role: str, scopes: list[str]) -> None:
    _, body = await _post(api, role=role)
    assert body["scopes"] == scopes


async def test_list_equal_to_the_default_counts_as_unset(api: Api) -> None:
    assert (await _post(api, role="viewer", scopes=list(reversed(GENERIC))))[1]["scopes"] == "unset"


async def test_namespaced_role_is_split_in_replies(api: Api) -> None:
    status, body = await _post(api, role="ns:a::administrator")
    assert (status, body["role"], body["namespace"]) == (200, "administrator", "a")


@pytest.mark.parametrize(
    ("role", "message"),
    [
        ("ns:null::viewer", "Denied namespace"),
        ("ns:::viewer", "Invalid namespace tag"),
        ("x::viewer", "Invalid namespace tag"),
        ("publisher", "Role does not exist"),
        ("ns:a::boss", "Role does not exist"),
        ("ns:zz::viewer", {"reason": "unknown_namespace", "namespace": "zz"}),
    ],
)
async def test_bad_roles_are_refused(api: Api, role: str, message: object) -> None:
    status, body = await _post(api, role=role)
    assert (status, body) == (400, {"code": "BAD_REQUEST", "message": message})


@pytest.mark.parametrize(
    ("role", "scopes", "status"),
    [
        ("administrator", ["system", "connections"], 400),
        ("ns:a::administrator", ["system", "connections"], 200),
        ("ns:a::administrator", ["audit"], 400),
        ("viewer", ["mfa_management", "monitoring"], 200),
        ("viewer", ["user_management"], 400),
        ("administrator", ["system", "user_management"], 200),
        ("administrator", ["nonsense"], 400),
        ("administrator", [], 200),
    ],
)
async def test_lists_of_scopes_are_checked(api: Api, role: str, scopes: list[str], status: int) -> None:
    assert (await _post(api, role=role, scopes=scopes))[0] == status


@pytest.mark.parametrize("username", ["", "a b", "a@b", "ä", "x" * 101, "=cmd", "<script>", "a\nb"])
async def test_bad_user_names_are_refused(api: Api, username: str) -> None:
    status, body = await _post(api, username=username)
    assert (status, body["code"]) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("password", ["", "short-1", "onlyletters", "12345678", "pässword1", "x1" * 33, "tab\tab12"])
async def test_bad_passwords_are_refused_without_repeating_them(api: Api, password: str) -> None:
    status, body = await _post(api, password=password)
    assert (status, body["code"]) == (400, "BAD_REQUEST")
    assert not password or password not in body["message"]


async def test_taken_name_is_refused(api: Api) -> None:
    assert (await _post(api, username=ADMIN))[1] == {"code": "BAD_REQUEST", "message": "username_already_exists"}


async def test_namespace_of_a_user_is_immutable(api: Api) -> None:
    await api.add_user("n", "ns:a::viewer")
    status, body = await _put(api, "n", role="ns:b::viewer")
    assert (status, body["message"]) == (400, "changing_namespace_is_forbidden")


async def test_unknown_user_is_not_found(api: Api) -> None:
    assert await _put(api, "ghost", role="viewer") == (
        404,
        {"code": "USER_NOT_FOUND", "message": "username_not_found"},
    )


async def test_role_change_ends_tokens_and_scope_change_does_not(api: Api) -> None:
    token = await api.add_user("v", "viewer")
    await _put(api, "v", role="viewer", scopes=["audit"])
    reply = await api.call("GET", "/user_scopes", auth=token)
    assert reply.status_code == 200
    await _put(api, "v", role="administrator", scopes="unset")
    assert (await api.call("GET", "/user_scopes", auth=token)).json()["code"] == "BAD_TOKEN"


async def test_changed_scopes_act_on_live_tokens(api: Api) -> None:
    token = await api.add_user("boss", "administrator")
    assert (await api.call("GET", "/users", auth=token)).status_code == 200
    await _put(api, "boss", role="administrator", scopes=["audit"])
    reply = await api.call("GET", "/users", auth=token)
    assert (reply.status_code, reply.json()["code"]) == (403, "UNAUTHORIZED_ROLE")


async def test_deleted_user_loses_his_tokens(api: Api) -> None:
    token = await api.add_user("v")
    assert (await api.call("DELETE", "/users/v", auth=await api.log_in())).status_code == 204
    assert (await api.call("GET", "/user_scopes", auth=token)).json()["code"] == "BAD_TOKEN"


async def test_nobody_deletes_himself(api: Api) -> None:
    token = await api.add_user("boss", "administrator")
    reply = await api.call("DELETE", "/users/boss", auth=token)
    assert (reply.status_code, reply.json()["code"]) == (400, "NOT_ALLOWED")


@pytest.mark.parametrize("scopes", [[], ["audit"]])
async def test_last_effective_administrator_cannot_be_restricted(tmp_path: Path, scopes: list[str]) -> None:
    async with open_api(config_with(tmp_path)) as api:
        await api.add_user("boss", "administrator")
    config = config_with(tmp_path, dashboard={"default_username": ""})
    async with open_api(config) as api:
        boss = await api.log_in("boss")
        body = {"description": "", "role": "administrator", "scopes": scopes}
        assert (await api.call("PUT", f"/users/{ADMIN}", body, auth=boss)).status_code == 200
        reply = await api.call("PUT", "/users/boss", body, auth=boss)
        assert (reply.status_code, reply.json()["code"]) == (400, "NOT_ALLOWED")
        reply = await api.call("PUT", "/users/boss", {**body, "role": "viewer", "scopes": "unset"}, auth=boss)
        assert reply.json()["code"] == "NOT_ALLOWED"


async def test_own_password_change_ends_the_token_that_made_it(api: Api) -> None:
    token = await api.add_user("v", "viewer", [])
    body = {"old_pwd": PASSWORD, "new_pwd": "Another-456"}
    assert (await api.call("POST", "/users/v/change_pwd", body, auth=token)).status_code == 204
    assert (await api.call("GET", "/user_scopes", auth=token)).json()["code"] == "BAD_TOKEN"
    await api.log_in("v", "Another-456")


async def test_administrator_needs_the_old_password_too(api: Api) -> None:
    await api.add_user("other")
    body = {"old_pwd": "wrong-123", "new_pwd": "x"}
    reply = await api.call("POST", "/users/other/change_pwd", body, auth=await api.log_in())
    assert (reply.status_code, reply.json()["code"]) == (400, "ERROR_PWD_NOT_MATCH")
    body["old_pwd"] = PASSWORD
    reply = await api.call("POST", "/users/other/change_pwd", body, auth=await api.log_in())
    assert (reply.status_code, reply.json()["code"]) == (400, "BAD_REQUEST")


async def test_guessing_the_old_password_ends_after_five(api: Api) -> None:
    token = await api.log_in()
    body = {"old_pwd": "wrong-123", "new_pwd": "Another-456"}
    for _ in range(5):
        assert (await api.call("POST", "/users/admin/change_pwd", body, auth=token)).status_code == 400
    body["old_pwd"] = PASSWORD
    reply = await api.call("POST", "/users/admin/change_pwd", body, auth=token)
    assert (reply.status_code, reply.json()["code"]) == (429, "TOO_MANY_REQUESTS")
    api.clock.advance(300_001)
    assert (await api.call("POST", "/users/admin/change_pwd", body, auth=token)).status_code == 204


async def test_password_change_ends_a_lock(api: Api) -> None:
    token = await api.log_in()
    for _ in range(5):
        await api.call("POST", "/login", {"username": ADMIN, "password": "wrong-123"})
    body = {"old_pwd": PASSWORD, "new_pwd": "Another-456"}
    assert (await api.call("POST", "/users/admin/change_pwd", body, auth=token)).status_code == 204
    await api.log_in(ADMIN, "Another-456")


async def test_missing_administrator_is_made_under_a_new_default_name(tmp_path: Path) -> None:
    async with open_api(config_with(tmp_path)):
        pass
    async with open_api(config_with(tmp_path, dashboard={"default_username": "root"})) as api:
        root = await api.log_in("root")
        assert (await api.call("DELETE", "/users/admin", auth=root)).status_code == 204


async def test_deleted_default_administrator_does_not_return_while_there_is_another(tmp_path: Path) -> None:
    async with open_api(config_with(tmp_path)) as api:
        await api.add_user("boss", "administrator")
        await api.control.users.remove_by_operator(ADMIN)
    async with open_api(config_with(tmp_path)) as api:
        assert [record.username for record in api.control.users.all()] == ["boss"]


async def test_reset_by_the_operator_needs_no_old_password(api: Api) -> None:
    await api.control.users.reset_password(ADMIN, "Another-456")
    await api.log_in(ADMIN, "Another-456")


async def test_scope_catalogue_has_fourteen_entries(api: Api) -> None:
    scopes = (await api.call("GET", "/user_scopes", auth=await api.log_in())).json()["scopes"]
    assert len(scopes) == 14
    assert {one["name"] for one in scopes if one["admin_only"]} == {
        "user_management",
        "sso_management",
        "api_key_management",
    }


async def test_deleting_a_namespace_deletes_its_users_tokens_and_keys(api: Api) -> None:
    token = await api.add_user("n", "ns:a::administrator")
    await api.add_key("k", role="ns:a::viewer")
    await api.control.tenancy.delete("a")
    assert (await api.call("GET", "/user_scopes", auth=token)).json()["code"] == "BAD_TOKEN"
    assert [record.name for record in api.control.api_keys.table] == []
    assert (await _post(api, role="ns:a::viewer"))[0] == 400
