"""The second factor."""

from pathlib import Path
from typing import Any

import pyotp

from pybroker.config.sections.dashboard import DefaultMfa
from tests.support.admin import ADMIN, PASSWORD, Api, config_with, open_api


async def _log_in(api: Api, password: str = PASSWORD, code: str | None = None) -> tuple[int, Any]:
    body = {"username": "v", "password": password} | ({} if code is None else {"mfa_token": code})
    reply = await api.call("POST", "/login", body)
    return reply.status_code, reply.json()


async def _pending_secret(api: Api) -> str:
    """Set up the second factor of `v` by himself and return what his next login shows."""
    token = await api.add_user("v")
    assert (await api.call("POST", "/users/v/mfa", {"mechanism": "totp"}, auth=token)).status_code == 204
    status, body = await _log_in(api)
    assert (status, body["code"]) == (401, "BAD_MFA_TOKEN")
    secret: str = body["message"]["secret"]
    return secret


def _code(api: Api, secret: str) -> str:
    return pyotp.TOTP(secret).at(api.clock.wall_ms() // 1_000)


async def _verified_secret(api: Api) -> str:
    secret = await _pending_secret(api)
    assert (await _log_in(api, code=_code(api, secret)))[0] == 200
    return secret


async def test_pending_secret_is_shown_for_the_right_password_only(api: Api) -> None:
    secret = await _pending_secret(api)
    assert len(secret) == 32
    assert (await _log_in(api, "wrong-123"))[1]["code"] == "BAD_USERNAME_OR_PWD"
    _, body = await _log_in(api)
    assert body["message"]["error"] == "missing_mfa_token"
    assert body["message"]["qr_code"].startswith("<svg")


async def test_secret_never_appears_again_after_the_first_right_code(api: Api) -> None:
    await _verified_secret(api)
    _, body = await _log_in(api)
    assert body == {"code": "BAD_MFA_TOKEN", "message": {"mechanism": "totp", "error": "missing_mfa_token"}}


async def test_wrong_code_is_judged_before_the_password(api: Api) -> None:
    secret = await _verified_secret(api)
    status, body = await _log_in(api, "wrong-123", "000000")
    assert (status, body) == (
        401,
        {"code": "BAD_MFA_TOKEN", "message": {"mechanism": "totp", "error": "bad_mfa_token"}},
    )
    api.clock.advance(30_000)
    assert (await _log_in(api, "wrong-123", _code(api, secret)))[1]["code"] == "BAD_USERNAME_OR_PWD"


async def test_code_works_once(api: Api) -> None:
    secret = await _pending_secret(api)
    code = _code(api, secret)
    assert (await _log_in(api, code=code))[0] == 200
    assert (await _log_in(api, code=code))[1]["code"] == "BAD_MFA_TOKEN"
    api.clock.advance(30_000)
    assert (await _log_in(api, code=_code(api, secret)))[0] == 200


async def test_guessing_codes_ends_after_five(api: Api) -> None:
    secret = await _verified_secret(api)
    api.clock.advance(30_000)
    for _ in range(5):
        assert (await _log_in(api, code="000000"))[1]["code"] == "BAD_MFA_TOKEN"
    assert (await _log_in(api, code=_code(api, secret)))[1]["code"] == "BAD_MFA_TOKEN"
    api.clock.advance(600_001)
    assert (await _log_in(api, code=_code(api, secret)))[0] == 200


async def test_codes_without_the_password_shut_nobody_out(api: Api) -> None:
    secret = await _verified_secret(api)
    api.clock.advance(30_000)
    for _ in range(8):
        await _log_in(api, "wrong-123", "000000")
    assert (await _log_in(api, code=_code(api, secret)))[0] == 200


async def test_superfluous_code_is_ignored(api: Api) -> None:
    await api.add_user("v")
    assert (await _log_in(api, code="123456"))[0] == 200


async def test_code_of_ten_characters_is_a_bad_request(api: Api) -> None:
    assert (await _log_in(api, code="1234567890"))[1]["code"] == "BAD_REQUEST"


async def test_setting_up_ends_tokens_and_switching_off_does_not(api: Api) -> None:
    token = await api.add_user("v")
    assert (await api.call("DELETE", "/users/v/mfa", auth=token)).status_code == 204
    assert (await api.call("GET", "/user_scopes", auth=token)).status_code == 200
    assert (await api.call("POST", "/users/v/mfa", {"mechanism": "totp"}, auth=token)).status_code == 204
    assert (await api.call("GET", "/user_scopes", auth=token)).json()["code"] == "BAD_TOKEN"


async def test_switching_off_twice_is_a_bad_request(api: Api) -> None:
    await api.add_user("v")
    admin = await api.log_in()
    assert (await api.call("DELETE", "/users/v/mfa?reset=true", auth=admin)).status_code == 204
    reply = await api.call("DELETE", "/users/v/mfa", auth=admin)
    assert (reply.status_code, reply.json()["code"]) == (400, "BAD_REQUEST")
    users = (await api.call("GET", "/users", auth=admin)).json()
    assert {one["username"]: one["mfa"] for one in users} == {"admin": "none", "v": "disabled"}


async def test_required_factor_is_not_switched_off_by_its_user(api: Api) -> None:
    await api.add_user("v")
    await api.call("POST", "/users/v/mfa", {"mechanism": "totp"}, auth=await api.log_in())
    _, body = await _log_in(api)
    _, done = await _log_in(api, code=_code(api, body["message"]["secret"]))
    token = f"Bearer {done['token']}"
    reply = await api.call("DELETE", "/users/v/mfa", auth=token)
    assert (reply.status_code, reply.json()["code"]) == (403, "MFA_LOCKED")
    body = {"description": "", "role": "viewer", "scopes": ["mfa_management"]}
    await api.call("PUT", "/users/v", body, auth=await api.log_in())
    assert (await api.call("DELETE", "/users/v/mfa", auth=token)).status_code == 204


async def test_unknown_mechanism_and_unknown_user(api: Api) -> None:
    admin = await api.log_in()
    assert (await api.call("POST", "/users/admin/mfa", {"mechanism": "sms"}, auth=admin)).status_code == 400
    reply = await api.call("POST", "/users/ghost/mfa", {"mechanism": "totp"}, auth=admin)
    assert (reply.status_code, reply.json()["code"]) == (404, "USER_NOT_FOUND")


async def test_default_factor_is_set_up_by_the_first_login(tmp_path: Path) -> None:
    config = config_with(tmp_path, dashboard={"default_mfa": DefaultMfa(mechanism="totp")})
    async with open_api(config) as api:
        wrong = await api.call("POST", "/login", {"username": ADMIN, "password": "wrong-123"})
        assert wrong.json()["code"] == "BAD_USERNAME_OR_PWD"
        reply = await api.call("POST", "/login", {"username": ADMIN, "password": PASSWORD})
        secret = reply.json()["message"]["secret"]
        await api.log_in(code=_code(api, secret))


async def test_self_is_compared_after_decoding_the_path(api: Api) -> None:
    token = await api.add_user("v", "viewer", [])
    assert (await api.call("POST", "/users/%76/mfa", {"mechanism": "totp"}, auth=token)).status_code == 204
