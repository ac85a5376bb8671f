"""Attempts to get around the door, each refused: paths, bodies, headers, names, timing."""

import asyncio
import json
import time

import pytest

from admin.middleware.path import canonical
from tests.support.admin import ADMIN, Api


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/api/v5/users", "/api/v5/users"),
        (b"/api/v5/us%65rs", "/api/v5/users"),
        (b"/api/v5/clients/../users", "/api/v5/users"),
        (b"/api/v5/clients/%2e%2E/users", "/api/v5/users"),
        (b"/api/v5/./users", "/api/v5/users"),
        (b"/../../etc/passwd", "/etc/passwd"),
        (b"/api/v5/banned/clientid/%2e%2e", "/api/v5/banned/"),
        (b"/api/v5/trace/.", "/api/v5/trace/"),
        (b"/api/v5//users", "/api/v5//users"),
        (b"/api/v5/topics/t%2F1", "/api/v5/topics/t%2F1"),
        (b"/api/v5/users/a%40b", "/api/v5/users/a%40b"),
        (b"/api/v5/users/%2e%2e%2fadmin", "/api/v5/users/..%2Fadmin"),
        (b"/api/v5/users/%ff", "/%00"),
        (b"/api/v5/users?x=/../y", "/api/v5/users"),
        (b"*", "/"),
    ],
)
def test_every_path_has_one_spelling(raw: bytes, path: str) -> None:
    assert canonical(raw) == path


@pytest.mark.parametrize("path", ["/user_scopes/../users", "/x/%2e%2e/users", "/us%65rs"])
async def test_scope_is_that_of_the_route_that_answers(api: Api, path: str) -> None:
    viewer = await api.add_user("v")
    reply = await api.client.get(f"http://broker/api/v5{path}", headers={"authorization": viewer})
    assert reply.status_code == 403


@pytest.mark.parametrize("path", ["//users", "/users/", "/users%2fv", "/users;x", "/users%00"])
async def test_other_spellings_lead_nowhere(api: Api, path: str) -> None:
    reply = await api.call("GET", path, auth=await api.log_in(), headers={"accept": "application/json"})
    assert (reply.status_code, reply.json()["code"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize("path", ["/banned/clientid/%2e%2e", "/banned/%2E"])
async def test_name_of_dots_does_not_stand_for_the_whole_list(api: Api, path: str) -> None:
    auth = await api.log_in()
    await api.call("POST", "/banned", {"as": "clientid", "who": "c"}, auth=auth)
    assert (await api.call("DELETE", path, auth=auth)).status_code == 404
    assert len((await api.call("GET", "/banned", auth=auth)).json()["data"]) == 1


async def test_encoded_slash_stays_in_its_segment(api: Api) -> None:
    reply = await api.call("DELETE", "/users/a%2Fmfa", auth=await api.log_in())
    assert reply.json()["code"] == "USER_NOT_FOUND"


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [("application/json", "application/json"), ("text/plain", "text/plain"), ("text/html", "text/html")],
)
async def test_unknown_path_answers_in_the_form_that_is_accepted(api: Api, accept: str, media_type: str) -> None:
    reply = await api.call("GET", "/nowhere/<script>", headers={"accept": accept})
    assert (reply.status_code, reply.headers["content-type"].split(";")[0]) == (404, media_type)
    assert "<script>" not in reply.text or media_type != "text/html"


async def test_wrong_method_is_told_before_anything_else(api: Api) -> None:
    reply = await api.call("PATCH", "/users", b"{")
    assert (reply.status_code, reply.headers["allow"], reply.content) == (405, "GET, POST", b"")


@pytest.mark.parametrize(
    ("body", "media_type", "status", "code"),
    [
        (b"{", "application/json", 400, "BAD_REQUEST"),
        (b"[]", "application/json", 400, "BAD_REQUEST"),
        (b"\xff", "application/json; charset=utf-8", 400, "BAD_REQUEST"),
        (b'{"username":"\xff","password":"b"}', "application/json", 400, "BAD_REQUEST"),
        (b'{"username":"a","password":"\xed\xa0\x80"}', "application/json", 400, "BAD_REQUEST"),
        (b"[" * 100_000, "application/json", 400, "BAD_REQUEST"),
        (b'{"username":' * 50_000, "application/json", 400, "BAD_REQUEST"),
        (b'{"username":"a","password":"b","extra":1}', "application/json", 400, "BAD_REQUEST"),
        (b'{"username":"a","password":{}}', "application/json", 400, "BAD_REQUEST"),
        (b"username=a", "application/x-www-form-urlencoded", 415, "UNSUPPORTED_MEDIA_TYPE"),
        (b"", "text/plain", 400, "BAD_REQUEST"),
        (b"x" * ((1 << 20) + 1), "application/json", 413, "PAYLOAD_TOO_LARGE"),
    ],
)
async def test_bad_bodies_are_refused(api: Api, body: bytes, media_type: str, status: int, code: str) -> None:
    reply = await api.call("POST", "/login", body, headers={"content-type": media_type})
    assert (reply.status_code, reply.json()["code"]) == (status, code)


async def test_body_is_not_read_before_the_rights_are_known(api: Api) -> None:
    reply = await api.call("POST", "/users", b"x" * (2 << 20))
    assert (reply.status_code, reply.json()["code"]) == (401, "AUTHORIZATION_HEADER_ERROR")


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic", "Basic !!!", "Basic bm9jb2xvbg==", "Basic /w==", "Digest x", "x" * 5_000],
)
async def test_unreadable_credentials_are_refused(api: Api, header: str) -> None:
    reply = await api.call("GET", "/users", headers={"authorization": header})
    assert (reply.status_code, reply.json()["code"]) == (401, "AUTHORIZATION_HEADER_ERROR")
    assert reply.headers["www-authenticate"] == 'Basic Realm="emqx-dashboard"'


async def test_two_credentials_are_refused(api: Api) -> None:
    token = await api.log_in()
    headers = [("authorization", token), ("authorization", "Bearer nonsense")]
    reply = await api.client.get("/api/v5/users", headers=headers)
    assert reply.json()["code"] == "AUTHORIZATION_HEADER_ERROR"


async def test_request_id_is_our_own(api: Api) -> None:
    reply = await api.call("GET", "/status", headers={"x-request-id": "forged\tid"})
    assert len(reply.headers["x-request-id"]) == 16
    assert (reply.headers["x-content-type-options"], reply.headers["cache-control"]) == ("nosniff", "no-store")


async def test_token_is_worth_nothing_after_logout_and_password_change(api: Api) -> None:
    first, second = await api.log_in(), await api.log_in()
    await api.call("POST", "/logout", {"username": ADMIN}, auth=first)
    assert (await api.call("GET", "/users", auth=first)).json()["code"] == "BAD_TOKEN"
    body = {"old_pwd": "Secret-123", "new_pwd": "Another-456"}
    await api.call("POST", "/users/admin/change_pwd", body, auth=second)
    assert (await api.call("GET", "/users", auth=second)).json()["code"] == "BAD_TOKEN"


async def test_unknown_users_cost_a_whole_verification(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    hasher = api.control.hasher
    # Counts the work, which a stopwatch cannot do reliably.
    verified: list[str] = []
    inner = hasher._verify

    def verify(password_hash: str, password: str) -> bool:
        verified.append(password_hash.rpartition("$")[0].rpartition("$")[0])
        return inner(password_hash, password)

    monkeypatch.setattr(hasher, "_verify", verify)
    for username in (ADMIN, "nobody"):
        await api.call("POST", "/login", {"username": username, "password": "wrong-123"})
    assert len(verified) == 2
    assert verified[0] == verified[1]


async def test_logins_beyond_what_can_wait_are_turned_away(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.control.hasher, "_waiting", 64)
    reply = await api.call("POST", "/login", {"username": ADMIN, "password": "Secret-123"})
    assert (reply.status_code, reply.json()["code"]) == (503, "SERVICE_UNAVAILABLE")


async def test_description_with_markup_and_formula_comes_back_as_text(api: Api) -> None:
    text = '=HYPERLINK("x")<script>alert(1)</script>\r\nforged: line'
    body = {"username": "v", "password": "Secret-123", "description": text}
    reply = await api.call("POST", "/users", body, auth=await api.log_in())
    assert reply.json()["description"] == text
    assert reply.headers["content-type"] == "application/json"


async def test_defect_answers_500_and_says_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(api.control.users, "all", fail)
    reply = await api.call("GET", "/users", auth=await api.log_in())
    assert (reply.status_code, reply.json()["code"]) == (500, "INTERNAL_ERROR")
    assert "secret" not in reply.text


async def test_many_logins_at_a_time_all_answer(api: Api) -> None:
    started = time.monotonic()
    body = json.dumps({"username": ADMIN, "password": "Secret-123"}).encode()
    replies = await asyncio.gather(*(api.call("POST", "/login", body) for _ in range(10)))
    assert [reply.status_code for reply in replies] == [200] * 10
    assert time.monotonic() - started < 10
