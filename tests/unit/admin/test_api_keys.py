"""Keys of the API: creation, change, use, namespaces."""

from typing import Any

import msgspec
import pytest

from pybroker.control.scopes import GENERIC
from tests.support.admin import ADMIN, Api, basic


async def _call(api: Api, method: str, path: str, body: object = None, auth: str = "") -> tuple[int, Any]:
    reply = await api.call(method, path, body, auth=auth or await api.log_in())
    return reply.status_code, reply.json() if reply.content else None


async def _post(api: Api, name: str = "k", auth: str = "", **fields: object) -> tuple[int, Any]:
    return await _call(api, "POST", "/api_key", {"name": name, **fields}, auth)


async def test_new_key_shows_its_secret_once(api: Api) -> None:
    status, made = await _post(api)
    assert status == 200
    assert len(made["api_key"]) == 16
    secret = made.pop("api_secret")
    assert made == {
        "name": "k",
        "api_key": made["api_key"],
        "enable": True,
        "expired": False,
        "expired_at": "infinity",
        "created_at": "2026-01-01T00:00:00+00:00",
        "desc": "",
        "role": "administrator",
        "namespace": None,
        "scopes": list(GENERIC),
    }
    assert await _call(api, "GET", "/api_key/k") == (200, made)
    assert await _call(api, "GET", "/api_key") == (200, [made])
    assert secret.encode() not in (api.control.database.path).read_bytes()


async def test_key_opens_what_its_scopes_cover(api: Api) -> None:
    header = await api.add_key("k", scopes=["monitoring"])
    assert (await api.call("GET", "/user_scopes", auth=header)).status_code == 200
    reply = await api.call("GET", "/audit", auth=header)
    assert (reply.status_code, reply.json()["code"]) == (403, "UNAUTHORIZED_ROLE")


@pytest.mark.parametrize("change", [{"enable": False}, {"expired_at": "2020-01-01T00:00:00Z"}, {"expired_at": 1}])
async def test_disabled_and_expired_keys_are_refused_like_wrong_ones(api: Api, change: dict[str, Any]) -> None:
    header = await api.add_key("k")
    status, body = await _call(api, "PUT", "/api_key/k", change)
    assert (status, body["expired"]) == (200, "expired_at" in change)
    refused = await api.call("GET", "/user_scopes", auth=header)
    unknown = await api.call("GET", "/user_scopes", auth=basic("nonsense", "x"))
    assert (refused.status_code, refused.json()) == (401, unknown.json())
    assert refused.json()["code"] == "BAD_API_KEY_OR_SECRET"


async def test_expiry_comes_with_time(api: Api) -> None:
    header = await api.add_key("k", expired_at="2026-01-01T01:00:00Z")
    assert (await api.call("GET", "/user_scopes", auth=header)).status_code == 200
    api.clock.advance(3_600_000)
    assert (await api.call("GET", "/user_scopes", auth=header)).status_code == 401


async def test_update_without_role_and_expiry_resets_both(api: Api) -> None:
    await api.add_key("k", role="viewer", expired_at="2030-01-01T00:00:00+02:00", desc="old")
    status, body = await _call(api, "PUT", "/api_key/k", {"enable": True})
    assert (status, body["role"], body["expired_at"], body["desc"]) == (200, "administrator", "infinity", "old")


async def test_default_scopes_cannot_be_sent_back(api: Api) -> None:
    await api.add_key("k")
    _, shown = await _call(api, "GET", "/api_key/k")
    assert (await _call(api, "PUT", "/api_key/k", {"scopes": shown["scopes"]}))[0] == 400
    assert (await _call(api, "PUT", "/api_key/k", {"scopes": "unset"}))[0] == 400
    assert (await _call(api, "PUT", "/api_key/k", {}))[0] == 200
    assert (await _call(api, "PUT", "/api_key/k", {"role": "publisher"}))[0] == 400
    assert (await _call(api, "PUT", "/api_key/k", {"role": "publisher", "scopes": []}))[0] == 200


@pytest.mark.parametrize("scopes", [["user_management"], ["nonsense"], ["system", "connections"]])
async def test_bad_scopes_are_refused(api: Api, scopes: list[str]) -> None:
    assert (await _post(api, scopes=scopes))[0] == 400


@pytest.mark.parametrize("name", ["", "1a", "a b", "a" * 257, "ä", "=1+1", "<b>"])
async def test_bad_names_are_refused(api: Api, name: str) -> None:
    status, body = await _post(api, name)
    assert (status, body["code"]) == (400, "BAD_REQUEST")


async def test_hundred_and_first_key_is_refused(api: Api) -> None:
    await _post(api, "first")
    table = api.control.api_keys.table
    first = table.get("first")
    assert first is not None
    many = [
        (msgspec.structs.replace(first, name=f"k{number}", api_key=f"key{number}"), "secret") for number in range(99)
    ]
    await api.control.api_keys.replace_all(many)
    assert (await _post(api, "last"))[0] == 400


async def test_taken_name_is_refused(api: Api) -> None:
    await _post(api)
    assert (await _post(api))[0] == 400


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"role": "ns:a::viewer"}, 200),
        ({"role": "viewer", "namespace": "a"}, 200),
        ({"role": "ns:a::viewer", "namespace": "a"}, 200),
        ({"role": "ns:a::viewer", "namespace": "b"}, 400),
        ({"role": "viewer", "namespace": ""}, 400),
        ({"role": "viewer", "namespace": "zz"}, 400),
        ({"role": "viewer", "namespace": "null"}, 400),
    ],
)
async def test_namespace_stands_in_the_role_or_beside_it(api: Api, fields: dict[str, str], status: int) -> None:
    answered, body = await _post(api, **fields)
    assert answered == status
    if status == 200:
        assert (body["role"], body["namespace"]) == ("viewer", "a")


async def test_administrator_of_a_namespace_sees_his_own_keys_only(api: Api) -> None:
    await api.add_key("global-key")
    await api.add_key("other", role="ns:b::viewer")
    boss = await api.add_user("boss", "ns:a::administrator")
    assert (await _post(api, "own", boss, role="ns:a::viewer"))[0] == 200
    assert [one["name"] for one in (await _call(api, "GET", "/api_key", auth=boss))[1]] == ["own"]
    for name in ("global-key", "other", "ghost"):
        for method, body in (("GET", None), ("PUT", {}), ("DELETE", None)):
            status, answer = await _call(api, method, f"/api_key/{name}", body, boss)
            assert (status, answer["code"]) == (404, "NOT_FOUND")
    for role in ("viewer", "ns:b::viewer"):
        status, answer = await _post(api, "x", boss, role=role)
        assert (status, answer["code"]) == (403, "FORBIDDEN")
    status, answer = await _call(api, "PUT", "/api_key/own", {"role": "ns:b::viewer"}, boss)
    assert (status, answer["message"]) == (400, "changing_namespace_is_forbidden")


async def test_key_named_like_a_user_is_not_that_user(api: Api) -> None:
    await api.add_user("twin", "administrator", [])
    header = await api.add_key("twin")
    assert (await api.call("GET", "/audit", auth=header)).status_code == 400
    reply = await api.call("POST", "/users/twin/change_pwd", {}, auth=header)
    assert (reply.status_code, reply.json()["code"]) == (401, "API_KEY_NOT_ALLOW")


async def test_user_name_and_password_are_no_key(api: Api) -> None:
    reply = await api.call("GET", "/user_scopes", auth=basic(ADMIN, "Secret-123"))
    assert (reply.status_code, reply.json()["code"]) == (401, "BAD_API_KEY_OR_SECRET")


async def test_guessing_a_secret_ends_for_the_guesser(api: Api) -> None:
    header = await api.add_key("k")
    record = api.control.api_keys.table.get("k")
    assert record is not None
    for _ in range(10):
        await api.call("GET", "/user_scopes", auth=basic(record.api_key, "guess"))
    assert (await api.call("GET", "/user_scopes", auth=header)).status_code == 401
    api.clock.advance(60_001)
    assert (await api.call("GET", "/user_scopes", auth=header)).status_code == 200


async def test_ten_scopes_for_keys(api: Api) -> None:
    _, body = await _call(api, "GET", "/api_key_scopes")
    assert [one["name"] for one in body["scopes"]] == list(GENERIC)
