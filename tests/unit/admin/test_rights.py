"""Every route with every credential: who gets in, who does not, and with which code."""

from collections.abc import AsyncIterator
from typing import NamedTuple

import httpx
import msgspec
import pytest
import pytest_asyncio

from admin.app import ROWS
from admin.table import DENIED, PUBLIC, Access, Row
from pybroker.control.scopes import ALL, GENERIC, NAMESPACE_ADMINISTRATOR
from pybroker.persistence.table import apply
from tests.support.admin import Api, basic, config_with, open_api
from tests.unit.admin.test_table import QUESTIONS

pytestmark = pytest.mark.asyncio(loop_scope="module")

_CHALLENGE = 'Basic Realm="emqx-dashboard"'
_ACCOUNT_PATHS = (
    "/logout",
    "/users",
    "/users/:username",
    "/users/:username/change_pwd",
    "/users/:username/mfa",
    "/api_key",
    "/api_key/:name",
    "/api_key_scopes",
)

_PAYLOAD_PATHS = (
    "/clients/:clientid/mqueue_messages",
    "/clients/:clientid/inflight_messages",
    "/mqtt/retainer/message",
    "/mqtt/delayed/messages",
)
_NAMESPACE_WRITES = (
    "/connectors",
    "/actions",
    "/sources",
    "/rules",
    "/rule_test",
    "/trace",
    "/data/",
    "/api_key",
    "/authorization/sources/built_in_database/rules",
    "/authorization/sources/built_in_database/records",
    "/authentication/:id/users",
    "/certs/ns/",
    "/a2a/",
    "/mqtt/topic_metrics2",
)
"""What the administrator of a namespace may write. `/tracing` begins like none of them."""


_GLOBAL_IN_THE_HANDLER = {("DELETE", "/trace")}
"""What the role lets the administrator of a namespace do, and the handler does not."""


class Credential(NamedTuple):
    """One header and what it stands for; a role of "" is no credential that counts."""

    name: str
    header: str
    kind: str
    role: str = ""
    namespace: str | None = None
    scopes: tuple[str, ...] = ()
    code: str = ""


class Walk(NamedTuple):
    """The open API and every credential by its name."""

    api: Api
    credentials: dict[str, Credential]


_USER_ROLES = {
    "viewer": ("viewer", None, GENERIC),
    "administrator": ("administrator", None, ALL),
    "namespace administrator": ("ns:a::administrator", "a", NAMESPACE_ADMINISTRATOR),
    "namespace viewer": ("ns:a::viewer", "a", GENERIC),
}
_KEY_ROLES = {
    "administrator key": ("administrator", None, GENERIC),
    "viewer key": ("viewer", None, GENERIC),
    "publisher key": ("publisher", None, ("publish",)),
    "namespace administrator key": ("ns:a::administrator", "a", GENERIC),
    "namespace viewer key": ("ns:a::viewer", "a", GENERIC),
    "namespace publisher key": ("ns:a::publisher", "a", ("publish",)),
}
_MISSING = {f"administrator without {name}": tuple(one for one in ALL if one != name) for name in ALL}
_MISSING_KEY = {f"key without {name}": tuple(one for one in GENERIC if one != name) for name in GENERIC}
_DEAD_KEYS: dict[str, dict[str, object]] = {"disabled key": {"enable": False}, "expired key": {"expired_at": 1}}
_NAMES = [
    "none",
    "bad header",
    "bad token",
    "expired token",
    "bad key",
    *_DEAD_KEYS,
    *_USER_ROLES,
    *_KEY_ROLES,
    *_MISSING,
]
_NAMES += [*_MISSING, *_MISSING_KEY, "administrator without any"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def walk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Walk]:
    """Give the API with a credential of every kind."""
    async with open_api(config_with(tmp_path_factory.mktemp("rights"))) as api:
        await api.control.namespaces.add("a")
        found = [
            Credential("none", "", "user", code="AUTHORIZATION_HEADER_ERROR"),
            Credential("bad header", "Basic nonsense", "user", code="AUTHORIZATION_HEADER_ERROR"),
            Credential("bad token", "Bearer nonsense", "user", code="BAD_TOKEN"),
            Credential("bad key", basic("nonsense", "x"), "api_key", code="BAD_API_KEY_OR_SECRET"),
            Credential("expired token", await api.log_in(), "user", code="TOKEN_TIME_OUT"),
        ]
        api.clock.advance(3_600_001)
        number = 0
        for name, (role, namespace, scopes) in _USER_ROLES.items():
            number += 1
            header = await api.add_user(f"user{number}", role)
            found.append(Credential(name, header, "user", role.rpartition(":")[2], namespace, scopes))
        for name, (role, namespace, scopes) in _KEY_ROLES.items():
            number += 1
            header = await api.add_key(f"key{number}", role=role)
            found.append(Credential(name, header, "api_key", role.rpartition(":")[2], namespace, scopes))
        for name, fields in _DEAD_KEYS.items():
            number += 1
            header = await api.add_key(f"key{number}", **fields)
            found.append(Credential(name, header, "api_key", code="BAD_API_KEY_OR_SECRET"))
        for name, scopes in {**_MISSING, "administrator without any": ()}.items():
            number += 1
            header = await api.add_user(f"user{number}", "administrator")
            await _restrict(api, f"user{number}", scopes)
            found.append(Credential(name, header, "user", "administrator", None, scopes))
        for name, scopes in _MISSING_KEY.items():
            number += 1
            header = await api.add_key(f"key{number}")
            await _restrict_key(api, f"key{number}", scopes)
            found.append(Credential(name, header, "api_key", "administrator", None, scopes))
        yield Walk(api, {credential.name: credential for credential in found})


async def _restrict(api: Api, username: str, scopes: tuple[str, ...]) -> None:
    """Store a list that the API would refuse as a mix; the check under test is that of use, not of storing."""
    users = api.control.users
    record = msgspec.structs.replace(users.find(username), scopes=scopes)
    await apply(api.control.database, users.table.put(f"local:{username}", record))


async def _restrict_key(api: Api, name: str, scopes: tuple[str, ...]) -> None:
    table = api.control.api_keys.table
    record = table.get(name)
    assert record is not None
    await apply(api.control.database, table.put(name, msgspec.structs.replace(record, scopes=scopes)))


def expected(row: Row, credential: Credential) -> str:
    """Return the code that the contract demands; empty: the rights suffice."""
    if row.access is Access.OPEN:
        return ""
    if credential.kind == "api_key" and row.path in _ACCOUNT_PATHS:
        return "API_KEY_NOT_ALLOW"
    if not credential.role:
        return credential.code
    if not _may(row, credential):
        return "UNAUTHORIZED_ROLE"
    return "FORBIDDEN" if credential.namespace and (row.method, row.path) in _GLOBAL_IN_THE_HANDLER else ""


def _may(row: Row, credential: Credential) -> bool:
    is_publish = row.path in ("/publish", "/publish/bulk")
    if credential.role == "publisher":
        return is_publish and credential.namespace is None
    if row.path == "/logout":
        return True
    if row.scope == DENIED or (row.scope != PUBLIC and row.scope not in credential.scopes):
        return False
    if credential.namespace is not None and row.path.startswith(_PAYLOAD_PATHS):
        return False
    if row.method == "GET" or row.path in QUESTIONS:
        return True
    if credential.role != "administrator":
        return False
    return credential.namespace is None or row.path.startswith(_NAMESPACE_WRITES)


@pytest.mark.parametrize("name", _NAMES)
async def test_every_route_answers_the_code_of_the_contract(walk: Walk, name: str) -> None:
    credential = walk.credentials[name]
    wrong = []
    for row in ROWS:
        path = "/".join("nobody" if part.startswith(":") else part for part in row.path.split("/"))
        # No JSON: whoever passes the rights stops at the body, and nothing changes.
        body = None if row.method == "GET" else b"{"
        reply = await walk.api.call(row.method, path, body, auth=credential.header)
        wanted = expected(row, credential)
        if not _fits(reply, wanted):
            wrong.append(f"{row.method} {row.path}: {reply.status_code} {reply.text}, expected {wanted or 'entry'}")
    assert wrong == []


def _fits(reply: httpx.Response, wanted: str) -> bool:
    if not wanted:
        return reply.status_code not in (401, 403)
    has_challenge = reply.headers.get("www-authenticate") == _CHALLENGE
    is_challenged = wanted in ("AUTHORIZATION_HEADER_ERROR", "BAD_API_KEY_OR_SECRET", "API_KEY_NOT_ALLOW")
    status = 403 if wanted in ("UNAUTHORIZED_ROLE", "FORBIDDEN") else 401
    return (reply.status_code, reply.json()["code"], has_challenge) == (status, wanted, is_challenged)


async def test_self_service_needs_no_scope(walk: Walk) -> None:
    header = await walk.api.add_user("selfish", "administrator")
    await _restrict(walk.api, "selfish", ())
    for path in ("/users/selfish/change_pwd", "/users/%73elfish/mfa"):
        assert (await walk.api.call("POST", path, b"{", auth=header)).status_code == 400
        other = path.replace("selfish", "admin").replace("%73elfish", "admin")
        assert (await walk.api.call("POST", other, b"{", auth=header)).status_code == 403
    assert (await walk.api.call("PUT", "/users/selfish", b"{", auth=header)).status_code == 403
