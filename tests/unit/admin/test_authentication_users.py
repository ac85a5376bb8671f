"""Users of the built-in authenticators over the API: alone, in files, by namespace."""

import hashlib
import os
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pybroker.control.authentication import imports
from pybroker.control.authentication import users as users_module
from tests.support.admin import Api, add_client, config_with, open_api
from tests.support.applicant import applicant, judge

PASSWORDS = {
    "mechanism": "password_based",
    "backend": "built_in_database",
    "password_hash_algorithm": {"name": "sha256"},
}
ID = "/authentication/password_based:built_in_database"
SCRAM = "/authentication/scram:built_in_database"


@pytest.fixture
async def users(api: Api) -> Api:
    """Give the API with an authenticator for users."""
    reply = await api.call("POST", "/authentication", PASSWORDS, auth=await api.log_in())
    assert reply.status_code == 200, reply.text
    return api


async def call(api: Api, method: str, path: str, body: object = None, *, auth: str = "") -> Any:
    return await api.call(method, f"{ID}{path}", body, auth=auth or await api.log_in())


async def add(api: Api, user_id: str, password: str = "pw", **fields: object) -> Any:
    return await call(api, "POST", "/users", {"user_id": user_id, "password": password, **fields})


async def reason(api: Api, username: str, password: bytes, namespace: str | None = None) -> int:
    one = applicant(namespace, username=username, password=password)
    return (await judge(api.control.plane.authentication.chain, one)).reason


async def test_created_user_logs_in_and_no_answer_holds_his_password(users: Api) -> None:
    reply = await add(users, "ann/x", is_superuser=True)
    assert reply.status_code == 201
    assert reply.json() == {"user_id": "ann/x", "is_superuser": True, "namespace": None}
    assert (await call(users, "GET", "/users/ann%2Fx")).json() == {"user_id": "ann/x", "is_superuser": True}
    assert await reason(users, "ann/x", b"pw") == 0
    assert await reason(users, "ann/x", b"no") == 0x86
    page = (await call(users, "GET", "/users")).json()
    assert page["data"] == [{"user_id": "ann/x", "is_superuser": True}]
    assert page["meta"]["count"] == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"user_id": "ann", "password": "x"}, 409, "ALREADY_EXISTS"),
        ({"user_id": "", "password": "x"}, 400, "BAD_REQUEST"),
        ({"user_id": "bob", "password": ""}, 400, "BAD_REQUEST"),
        ({"user_id": "bob"}, 400, "BAD_REQUEST"),
        ({"password": "x"}, 400, "BAD_REQUEST"),
        ({"user_id": "bob", "password": "x", "role": 1}, 400, "BAD_REQUEST"),
        ({"user_id": "bob", "password": "x", "is_superuser": "yes"}, 400, "BAD_REQUEST"),
        ({"user_id": "bob", "password": "x", "namespace": "nope"}, 400, "BAD_REQUEST"),
        ({"user_id": "bob", "password": "x", "namespace": "a", "is_superuser": True}, 400, "BAD_REQUEST"),
        ({"user_id": "b" * 70_000, "password": "x"}, 400, "BAD_REQUEST"),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_user_that_cannot_be_is_refused(users: Api, body: object, status: int, code: str) -> None:
    await add(users, "ann")
    reply = await call(users, "POST", "/users", body)
    assert (reply.status_code, reply.json()["code"]) == (status, code), reply.text
    assert len(users.control.plane.authentication.users) == 1


async def test_authenticators_without_users_have_none(users: Api) -> None:
    auth = await users.log_in()
    await users.call("POST", "/authentication", {"mechanism": "jwt", "secret": "x"}, auth=auth)
    assert (await users.call("GET", "/authentication/jwt/users", auth=auth)).status_code == 400
    assert (await users.call("GET", "/authentication/nope/users", auth=auth)).status_code == 404


async def test_list_is_filtered_and_paged(users: Api) -> None:
    for name in ("ann", "anna", "bob"):
        await add(users, name, is_superuser=name == "anna")
    liked = (await call(users, "GET", "/users?like_user_id=nn")).json()
    assert [one["user_id"] for one in liked["data"]] == ["ann", "anna"]
    assert "count" not in liked["meta"]
    assert (await call(users, "GET", "/users?like_user_id=NN")).json()["data"] == []
    supers = (await call(users, "GET", "/users?is_superuser=true")).json()
    assert [one["user_id"] for one in supers["data"]] == ["anna"]
    page = (await call(users, "GET", "/users?page=2&limit=2")).json()
    assert ([one["user_id"] for one in page["data"]], page["meta"]["hasnext"]) == (["bob"], False)
    assert (await call(users, "GET", "/users?page=0")).status_code == 400


async def test_changed_and_deleted_user_is_known_at_once(users: Api) -> None:
    await add(users, "ann")
    reply = await call(users, "PUT", "/users/ann", {"password": "new"})
    assert (reply.status_code, reply.json()) == (200, {"user_id": "ann", "is_superuser": False})
    assert await reason(users, "ann", b"pw") == 0x86
    assert await reason(users, "ann", b"new") == 0
    assert (await call(users, "PUT", "/users/ann", {})).status_code == 400
    assert (await call(users, "PUT", "/users/bob", {"password": "x"})).status_code == 404
    assert (await call(users, "DELETE", "/users/ann")).status_code == 204
    assert (await call(users, "DELETE", "/users/ann")).status_code == 404
    assert await reason(users, "ann", b"new") == 0x87


async def test_superuser_who_is_demoted_or_deleted_is_none_in_his_sessions(users: Api) -> None:
    rights = users.control.authentication.rights
    for change in (("PUT", {"is_superuser": False}), ("DELETE", None)):
        if change[0] == "PUT":
            await add(users, "ann", is_superuser=True)
        else:
            await call(users, "PUT", "/users/ann", {"is_superuser": True})
        online = add_client(users.control, f"c{change[0]}", username="ann")
        other = add_client(users.control, f"o{change[0]}", username="bob")
        online.is_superuser = other.is_superuser = True
        await call(users, change[0], "/users/ann", change[1])
        await rights.settle()
        assert (online.is_superuser, other.is_superuser) == (False, True)
        waiting = users.control.plane.revoker._clients
        assert online.client_id in waiting
        assert other.client_id not in waiting


async def test_namespaces_have_users_of_their_own(users: Api) -> None:
    await add(users, "ann", "global")
    assert (await add(users, "ann", "own", namespace="a")).json()["namespace"] == "a"
    assert await reason(users, "ann", b"own", "a") == 0
    assert await reason(users, "ann", b"global", "a") == 0x86
    assert await reason(users, "ann", b"global", "b") == 0
    assert [one["user_id"] for one in (await call(users, "GET", "/users?ns=a")).json()["data"]] == ["ann"]
    assert (await call(users, "GET", "/users?ns=nope")).status_code == 400
    reply = await call(users, "POST", "/users?ns=b", {"user_id": "x", "password": "x", "namespace": "a"})
    assert reply.status_code == 400


async def test_administrator_of_a_namespace_stays_in_it(users: Api) -> None:
    auth = await users.add_user("tenant", "ns:a::administrator")
    await add(users, "global")
    made = await call(users, "POST", "/users", {"user_id": "ann", "password": "x"}, auth=auth)
    assert made.json()["namespace"] == "a"
    assert [one["user_id"] for one in (await call(users, "GET", "/users", auth=auth)).json()["data"]] == ["ann"]
    assert (await call(users, "GET", "/users/global", auth=auth)).status_code == 404
    for path, body in (
        ("/users?ns=b", {"user_id": "y", "password": "x"}),
        ("/users", {"user_id": "y", "password": "x", "namespace": "b"}),
    ):
        assert (await call(users, "POST", path, body, auth=auth)).status_code == 403
    rows = [{"user_id": "z", "password": "x"}]
    assert (await call(users, "POST", "/import_users?type=plain", rows, auth=auth)).status_code == 403


async def test_deleted_namespace_takes_its_users_with_it(users: Api) -> None:
    await add(users, "ann", namespace="a")
    await users.control.remove_namespace("a")
    assert len(users.control.plane.authentication.users) == 0
    await users.control.namespaces.add("a")
    assert (await call(users, "GET", "/users?ns=a")).json()["data"] == []


def form(name: str, content: bytes) -> tuple[bytes, dict[str, str]]:
    head = f'--xyz\r\nContent-Disposition: form-data; name="filename"; filename="{name}"\r\n\r\n'.encode()
    return head + content + b"\r\n--xyz--\r\n", {"content-type": "multipart/form-data; boundary=xyz"}


async def import_file(api: Api, name: str, content: bytes, query: str = "") -> Any:
    body, headers = form(name, content)
    return await api.call("POST", f"{ID}/import_users{query}", body, auth=await api.log_in(), headers=headers)


def sha256(salt: str, password: str) -> str:
    return hashlib.sha256(f"{salt}{password}".encode()).hexdigest()


async def test_hashes_are_imported_from_csv_without_naming_the_type(users: Api) -> None:
    rows = [f"ann,{sha256('s1', 'one')},s1,true", f'"bob, jr",{sha256("s2", "two")},s2,false', ""]
    content = "\r\n".join(["\ufeffuser_id,password_hash,salt,is_superuser", *rows]).encode()
    reply = await import_file(users, "users.csv", content)
    assert reply.json() == {"total": 2, "success": 2, "override": 0, "skipped": 0, "failed": 0}, reply.text
    assert await reason(users, "ann", b"one") == 0
    assert await reason(users, "bob, jr", b"two") == 0
    again = await import_file(users, "users.csv", content.replace(b"s1,true", b"s1,false"))
    assert again.json() == {"total": 2, "success": 0, "override": 1, "skipped": 1, "failed": 0}


async def test_passwords_are_imported_from_json(users: Api) -> None:
    rows = [
        {"user_id": "ann", "password": " sp ace ", "is_superuser": True},
        {"user_id": "bob", "password": "two", "namespace": "a"},
        {"user_id": "eve", "password": "x", "namespace": "a", "is_superuser": True},
    ]
    reply = await call(users, "POST", "/import_users?type=plain", rows)
    assert reply.json() == {"total": 3, "success": 2, "override": 0, "skipped": 0, "failed": 1}, reply.text
    assert await reason(users, "ann", b" sp ace ") == 0
    assert await reason(users, "bob", b"two", "a") == 0
    again = await import_file(users, "u.json", msgspec.json.encode(rows[:2]), "?type=plain")
    assert again.json()["skipped"] == 2


async def test_hashes_of_imported_passwords_give_way_to_messages(users: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []

    def hash_secret(settings: Any, secret: str) -> Any:
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return users_module.hash_secret(settings, secret)

    monkeypatch.setattr(imports, "hash_secret", hash_secret)
    reply = await call(users, "POST", "/import_users?type=plain", [{"user_id": "ann", "password": "one"}])
    assert reply.json()["success"] == 1
    assert found == [min(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) + 10, 19)]


async def test_every_form_of_hash_is_recognized_where_none_is_configured(users: Api) -> None:
    put = await users.call("PUT", ID, {"mechanism": "password_based"}, auth=await users.log_in())
    assert put.status_code == 204, put.text
    bcrypt = "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
    content = f"user_id,password_hash,salt\nann,{sha256('s', 'one')},s\nbob,{bcrypt},\n".encode()
    assert (await import_file(users, "u.csv", content)).json()["success"] == 2
    assert await reason(users, "ann", b"one") == 0
    assert await reason(users, "bob", b"U*U") == 0


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("u.csv", b"", "no users"),
        ("u.csv", b"user_id,password_hash,salt,is_superuser\n", "no users"),
        ("u.csv", b"user_id,salt\nann,s\n", "line 1: column is missing: password_hash"),
        ("u.csv", b"user_id,password_hash,nope\na,b,c\n", "line 1: unknown or repeated column: 'nope'"),
        ("u.csv", b"user_id,password_hash\nann," + b"a" * 64 + b"\n\nbob\n", "line 4: has 1 columns, not 2"),
        ("u.csv", b"user_id,password_hash\n," + b"a" * 64 + b"\n", "line 2: user_id must not be empty"),
        ("u.csv", b"user_id,password_hash\nann,secret-hash\n", "line 2: password_hash is no sha256 hash"),
        ("u.csv", b"user_id,password_hash,is_superuser\nann," + b"a" * 64 + b",maybe\n", "line 2: is_superuser"),
        ("u.csv", b'user_id,password_hash\n"ann,aa\n', "line"),
        ("u.csv", b"user_id,password_hash\nann,\xff\n", "line 2: is not UTF-8"),
        ("u.json", b"{}", "must be an array"),
        ("u.json", b"[1]", "entry 1: is no object"),
        ("u.json", b"[{]", "JSON cannot be read"),
        ("u.json", b'[{"user_id": "a", "nope": 1}]', "entry 1: unknown field: 'nope'"),
        ("u.txt", b"user_id", ".csv or .json"),
    ],
)
async def test_bad_file_changes_nothing_and_names_the_line(users: Api, name: str, content: bytes, said: str) -> None:
    reply = await import_file(users, name, content)
    assert (reply.status_code, reply.json()["code"]) == (400, "BAD_REQUEST"), reply.text
    assert said in reply.json()["message"]
    assert "secret-hash" not in reply.text
    assert len(users.control.plane.authentication.users) == 0


async def test_import_of_another_media_type_is_refused(users: Api) -> None:
    auth = await users.log_in()
    reply = await users.call("POST", f"{ID}/import_users", b"x", auth=auth, headers={"content-type": "text/plain"})
    assert reply.status_code == 415


async def test_scram_users_are_made_and_not_imported(api: Api) -> None:
    auth = await api.log_in()
    await api.call("POST", "/authentication", {"mechanism": "scram", "backend": "built_in_database"}, auth=auth)
    made = await api.call("POST", f"{SCRAM}/users", {"user_id": "ann", "password": "pw"}, auth=auth)
    assert made.status_code == 201
    assert len(api.control.plane.authentication.scram_users) == 1
    reply = await api.call("POST", f"{SCRAM}/import_users", [{"user_id": "a", "password_hash": "x"}], auth=auth)
    assert reply.status_code == 400
    changed = await api.call("PUT", f"{SCRAM}/users/ann", {"is_superuser": True}, auth=auth)
    assert changed.json()["is_superuser"] is True
    assert (await api.call("DELETE", f"{SCRAM}/users/ann", auth=auth)).status_code == 204
    assert len(api.control.plane.authentication.scram_users) == 0


def config_with_file(folder: Path, file: Path, kind: str = "plain") -> Any:
    from pybroker.config import patch

    authenticator = {**PASSWORDS, "bootstrap_file": str(file), "bootstrap_type": kind}
    return patch.apply(config_with(folder), {"authentication": [authenticator]}).config


async def test_file_of_users_is_loaded_at_the_start_and_replaces_nobody(tmp_path: Path) -> None:
    file = tmp_path / "users.csv"
    file.write_text("user_id,password,is_superuser\nann,first,true\n")
    async with open_api(config_with_file(tmp_path / "data", file)) as api:
        assert await reason(api, "ann", b"first") == 0
    file.write_text("user_id,password,is_superuser\nann,second,false\nbob,x,\n")
    async with open_api(config_with_file(tmp_path / "data", file)) as api:
        assert await reason(api, "ann", b"first") == 0
        assert await reason(api, "bob", b"x") == 0


async def test_bad_file_of_users_raises_an_alarm_and_the_broker_starts(tmp_path: Path) -> None:
    file = tmp_path / "users.csv"
    file.write_text("user_id,password\nann,first\nbob\n")
    for bad in (file, tmp_path / "missing.csv"):
        async with open_api(config_with_file(tmp_path / bad.stem, bad)) as api:
            alarms = (await api.call("GET", "/alarms", auth=await api.log_in())).json()["data"]
            assert [alarm["name"] for alarm in alarms] == ["mqtt_user_bootstrap"]
            assert len(api.control.plane.authentication.users) == 0
