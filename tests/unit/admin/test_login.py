"""Logging in and out, tokens and their life."""

import asyncio
from pathlib import Path

import pytest

from tests.support.admin import ADMIN, PASSWORD, Api, config_with, open_api


async def test_login_answers_token_role_and_licence(api: Api) -> None:
    reply = await api.call("POST", "/login", {"username": ADMIN, "password": PASSWORD})
    body = reply.json()
    assert reply.status_code == 200
    assert len(body.pop("token")) >= 43
    assert body == {"role": "administrator", "namespace": None, "version": "9.9.9", "license": {"edition": "ee"}}


@pytest.mark.parametrize("username", [ADMIN, "nobody"])
async def test_wrong_password_and_unknown_user_look_alike(api: Api, username: str) -> None:
    reply = await api.call("POST", "/login", {"username": username, "password": "wrong-123"})
    assert (reply.status_code, reply.json()["code"]) == (401, "BAD_USERNAME_OR_PWD")
    assert reply.json()["message"] == "username or password is wrong"


async def test_missing_password_is_a_bad_request(api: Api) -> None:
    reply = await api.call("POST", "/login", {"username": ADMIN})
    assert (reply.status_code, reply.json()["code"]) == (400, "BAD_REQUEST")


async def test_fifth_wrong_password_locks_even_the_right_one(api: Api) -> None:
    for _ in range(5):
        reply = await api.call("POST", "/login", {"username": ADMIN, "password": "wrong-123"})
        assert reply.json()["code"] == "BAD_USERNAME_OR_PWD"
    reply = await api.call("POST", "/login", {"username": ADMIN, "password": PASSWORD})
    assert (reply.status_code, reply.json()["code"]) == (401, "LOGIN_LOCKED")
    api.clock.advance(600_001)
    await api.log_in()


async def test_unknown_users_never_lock(api: Api) -> None:
    for _ in range(8):
        reply = await api.call("POST", "/login", {"username": "nobody", "password": "wrong-123"})
        assert reply.json()["code"] == "BAD_USERNAME_OR_PWD"


async def test_failures_that_are_long_past_do_not_lock(api: Api) -> None:
    for _ in range(4):
        await api.call("POST", "/login", {"username": ADMIN, "password": "wrong-123"})
    api.clock.advance(300_001)
    await api.call("POST", "/login", {"username": ADMIN, "password": "wrong-123"})
    await api.log_in()


async def test_lock_survives_a_restart(tmp_path: Path) -> None:
    config = config_with(tmp_path)
    async with open_api(config) as api:
        for _ in range(5):
            await api.call("POST", "/login", {"username": ADMIN, "password": "wrong-123"})
    async with open_api(config) as api:
        reply = await api.call("POST", "/login", {"username": ADMIN, "password": PASSWORD})
        assert reply.json()["code"] == "LOGIN_LOCKED"


async def test_logout_ends_the_token(api: Api) -> None:
    token = await api.log_in()
    assert (await api.call("POST", "/logout", {"username": ADMIN}, auth=token)).status_code == 204
    reply = await api.call("GET", "/users", auth=token)
    assert (reply.status_code, reply.json()["code"]) == (401, "BAD_TOKEN")


async def test_logout_of_somebody_else_is_refused(api: Api) -> None:
    token = await api.log_in()
    reply = await api.call("POST", "/logout", {"username": "other"}, auth=token)
    assert (reply.status_code, reply.json()["code"]) == (401, "WRONG_TOKEN_OR_USERNAME")


async def test_logout_survives_a_restart(tmp_path: Path) -> None:
    config = config_with(tmp_path)
    async with open_api(config) as api:
        ended, kept = await api.log_in(), await api.log_in()
        await api.call("POST", "/logout", {"username": ADMIN}, auth=ended)
    async with open_api(config) as api:
        assert (await api.call("GET", "/users", auth=ended)).json()["code"] == "BAD_TOKEN"
        assert (await api.call("GET", "/users", auth=kept)).status_code == 200


async def test_expiry_slides_with_every_use(api: Api) -> None:
    token = await api.log_in()
    api.clock.advance(3_240_000)
    assert (await api.call("GET", "/users", auth=token)).status_code == 200
    api.clock.advance(3_240_000)
    assert (await api.call("GET", "/users", auth=token)).status_code == 200


async def test_expired_token_times_out_for_a_day_and_is_unknown_then(api: Api) -> None:
    token = await api.log_in()
    api.clock.advance(3_600_001)
    assert (await api.call("GET", "/users", auth=token)).json()["code"] == "TOKEN_TIME_OUT"
    api.clock.advance(24 * 3_600_000)
    assert (await api.call("GET", "/users", auth=token)).json()["code"] == "BAD_TOKEN"


async def test_sweep_removes_what_expired_a_day_ago(api: Api) -> None:
    await api.log_in()
    api.clock.advance(3_600_000 + 24 * 3_600_000)
    await api.control.tokens.sweep()
    assert len(api.control.tokens.table) == 0


async def test_password_age_is_told_where_passwords_age(tmp_path: Path) -> None:
    async with open_api(config_with(tmp_path, dashboard={"password_expired_time": 60_000})) as api:
        api.clock.advance(90_000)
        reply = await api.call("POST", "/login", {"username": ADMIN, "password": PASSWORD})
        assert reply.json()["password_expire_in_seconds"] == -30


async def test_hardened_profile_refuses_the_factory_password(tmp_path: Path) -> None:
    config = config_with(tmp_path, dashboard={"default_password": "public"}, security_profile="hardened")
    async with open_api(config) as api:
        reply = await api.call("POST", "/login", {"username": ADMIN, "password": "public"})
        assert (reply.status_code, reply.json()["code"]) == (401, "BAD_USERNAME_OR_PWD")


async def test_guesses_at_the_same_time_do_not_get_past_the_lock(api: Api) -> None:
    wrong = {"username": ADMIN, "password": "wrong-123"}
    right = {"username": ADMIN, "password": PASSWORD}
    bodies = [*[wrong] * 9, right]
    replies = await asyncio.gather(*(api.call("POST", "/login", body) for body in bodies))
    codes = [reply.json()["code"] for reply in replies if reply.status_code != 200]
    assert codes.count("BAD_USERNAME_OR_PWD") == 5
    assert set(codes) == {"BAD_USERNAME_OR_PWD", "LOGIN_LOCKED"}


async def test_login_that_races_a_password_change_yields_no_token(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    verify = api.control.hasher.verify

    async def verify_slowly(password_hash: str | None, password: str) -> bool:
        is_right = await verify(password_hash, password)
        await api.control.users.reset_password(ADMIN, "Another-456")
        return is_right

    monkeypatch.setattr(api.control.hasher, "verify", verify_slowly)
    reply = await api.call("POST", "/login", {"username": ADMIN, "password": PASSWORD})
    assert (reply.status_code, reply.json()["code"]) == (401, "BAD_USERNAME_OR_PWD")
    assert len(api.control.tokens.table) == 0


async def test_token_of_a_deleted_user_is_not_brought_back_by_its_use(api: Api) -> None:
    token = await api.add_user("v")
    admin = await api.log_in()
    api.clock.advance(1_800_000)
    await asyncio.gather(
        api.call("DELETE", "/users/v", auth=admin), *(api.call("GET", "/user_scopes", auth=token) for _ in range(5))
    )
    assert (await api.call("GET", "/user_scopes", auth=token)).json()["code"] == "BAD_TOKEN"
    assert {record.owner for record in api.control.tokens.table} == {"local:admin"}
