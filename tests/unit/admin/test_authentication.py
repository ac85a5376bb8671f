"""Authenticators over the API: added, changed, ordered, removed; secrets go in and never come out."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.admin import Api, config_with, open_api
from tests.support.applicant import applicant, judge

PASSWORDS = {"mechanism": "password_based", "backend": "built_in_database"}
HTTP = {
    "mechanism": "password_based",
    "backend": "http",
    "url": "http://login/",
    "headers": {"authorization": "Bearer very-secret"},
}
JWT = {"mechanism": "jwt", "secret": "0123456789abcdef", "acl_claim_name": "acl"}
IDS = ["password_based:built_in_database", "password_based:http", "jwt"]


async def call(api: Api, method: str, path: str = "", body: object = None) -> Any:
    return await api.call(method, f"/authentication{path}", body, auth=await api.log_in())


async def ids(api: Api) -> list[str]:
    return [one["id"] for one in (await call(api, "GET")).json()]


async def with_three(api: Api) -> None:
    for body in (PASSWORDS, HTTP, JWT):
        reply = await call(api, "POST", body=body)
        assert reply.status_code == 200, reply.text


async def test_authenticators_are_a_bare_list_in_their_order(api: Api) -> None:
    assert (await call(api, "GET")).json() == []
    await with_three(api)
    assert await ids(api) == IDS
    assert [link.id for link in api.control.plane.authentication.chain.links] == IDS


async def test_created_authenticator_is_shown_with_its_defaults_and_without_its_secret(api: Api) -> None:
    created = (await call(api, "POST", body=JWT)).json()
    assert (created["id"], created["secret"], created["from"], created["enable"]) == ("jwt", "******", "password", True)
    assert created == (await call(api, "GET", "/jwt")).json()
    passwords = (await call(api, "POST", body=PASSWORDS)).json()
    assert passwords["password_hash_algorithm"]["name"] == "argon2id"


async def test_secret_that_is_sent_back_masked_is_kept(api: Api) -> None:
    await with_three(api)
    shown = (await call(api, "GET", "/password_based:http")).json()
    assert shown["headers"] == {"authorization": "******"}
    assert (await call(api, "PUT", "/password_based:http", {**shown, "url": "http://other/"})).status_code == 204
    kept = api.control.configuration.current.authentication[1]
    assert (kept.headers["authorization"], kept.url) == ("Bearer very-secret", "http://other/")  # type: ignore[attr-defined]  # it is HTTP
    assert "very-secret" not in (await call(api, "GET")).text
    audit = (await api.call("GET", "/audit", auth=await api.log_in())).text
    assert "very-secret" not in audit
    assert "0123456789abcdef" not in audit


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (PASSWORDS, 409, "ALREADY_EXISTS"),
        ({}, 400, "BAD_REQUEST"),
        ({"mechanism": "magic"}, 400, "BAD_REQUEST"),
        ({"mechanism": "password_based", "backend": "oracle"}, 400, "BAD_REQUEST"),
        ({"mechanism": "jwt", "secret": "x", "nope": 1}, 400, "BAD_REQUEST"),
        ({"mechanism": "jwt", "secret": ""}, 400, "BAD_REQUEST"),
        ({"mechanism": "jwt", "secret": "x", "precondition": "nope("}, 400, "BAD_REQUEST"),
        ({"mechanism": "scram", "iteration_count": 1}, 400, "BAD_REQUEST"),
    ],
    ids=str,
)
async def test_authenticator_that_cannot_be_changes_nothing(api: Api, body: object, status: int, code: str) -> None:
    await call(api, "POST", body=PASSWORDS)
    reply = await call(api, "POST", body=body)
    assert (reply.status_code, reply.json()["code"]) == (status, code), reply.text
    assert await ids(api) == ["password_based:built_in_database"]


async def test_cost_of_bcrypt_is_checked(api: Api) -> None:
    algorithm = {"name": "bcrypt", "salt_rounds": 11}
    reply = await call(api, "POST", body={**PASSWORDS, "password_hash_algorithm": algorithm})
    assert reply.status_code == 400
    assert "salt_rounds must be 5..10: 11" in reply.json()["message"]


async def test_kind_of_an_authenticator_cannot_change(api: Api) -> None:
    await with_three(api)
    for body in ({**JWT, "mechanism": "scram"}, {**JWT, "backend": "http"}):
        assert (await call(api, "PUT", "/jwt", body)).status_code == 400
    assert (await call(api, "PUT", "/jwt", {**JWT, "enable": False})).status_code == 204
    assert len(api.control.plane.authentication.chain.links) == 2
    assert (await call(api, "PUT", "/nope", JWT)).status_code == 404


@pytest.mark.parametrize(
    ("position", "order"),
    [
        ("front", [2, 0, 1]),
        ("rear", [0, 1, 2]),
        ("before:password_based:http", [0, 2, 1]),
        ("after:password_based:built_in_database", [0, 2, 1]),
    ],
)
async def test_authenticator_is_moved(api: Api, position: str, order: list[int]) -> None:
    await with_three(api)
    assert (await call(api, "PUT", f"/jwt/position/{position}")).status_code == 204
    assert await ids(api) == [IDS[at] for at in order]
    assert [link.id for link in api.control.plane.authentication.chain.links] == [IDS[at] for at in order]


async def test_position_that_is_none_is_refused(api: Api) -> None:
    await with_three(api)
    for position in ("middle", "before:", "before:nope", "after:jwt"):
        assert (await call(api, "PUT", f"/jwt/position/{position}")).status_code == 400, position
    assert (await call(api, "PUT", "/nope/position/front")).status_code == 404
    assert await ids(api) == IDS


async def test_order_names_each_authenticator_once(api: Api) -> None:
    await with_three(api)
    reply = await call(api, "PUT", "/order", [{"id": "jwt"}, {"id": "jwt"}, {"id": "nope"}])
    assert reply.status_code == 400
    for word in ("missing: password_based", "unknown: nope", "repeated: jwt"):
        assert word in reply.json()["message"]
    assert (await call(api, "PUT", "/order", [{"id": one} for one in reversed(IDS)])).status_code == 204
    assert await ids(api) == IDS[::-1]


async def test_removed_authenticator_takes_its_users_with_it(api: Api) -> None:
    await with_three(api)
    body = {"user_id": "ann", "password": "pw"}
    assert (await call(api, "POST", f"/{IDS[0]}/users", body)).status_code == 201
    assert (await call(api, "DELETE", f"/{IDS[0]}")).status_code == 204
    assert (await call(api, "GET", f"/{IDS[0]}")).status_code == 404
    assert (await call(api, "GET", f"/{IDS[0]}/users")).status_code == 404
    await call(api, "POST", body=PASSWORDS)
    assert (await call(api, "GET", f"/{IDS[0]}/users")).json()["data"] == []


async def test_status_counts_and_is_reset(api: Api) -> None:
    await call(api, "POST", body=PASSWORDS)
    chain = api.control.plane.authentication.chain
    await judge(chain, applicant(username="nobody"))
    status = (await call(api, "GET", f"/{IDS[0]}/status")).json()
    assert status["status"] == "connected"
    expected = {"total": 1, "success": 0, "failed": 0, "nomatch": 1}
    assert {name: status["metrics"][name] for name in expected} == expected
    assert status["node_metrics"][0]["node"] == api.control.about.node
    assert (await call(api, "POST", f"/{IDS[0]}/metrics/reset")).status_code == 204
    assert (await call(api, "GET", f"/{IDS[0]}/status")).json()["metrics"]["total"] == 0
    assert (await call(api, "GET", "/jwt/status")).status_code == 404
    assert (await call(api, "POST", "/jwt/metrics/reset")).status_code == 404


async def test_settings_of_the_chain_are_replaced(api: Api) -> None:
    shown = (await call(api, "GET", "/settings")).json()
    assert shown["ignore_backend_failures"] is False
    assert shown["node_cache"]["cache_ttl"] == "1m"
    body = {"ignore_backend_failures": True, "node_cache": {"max_count": "unlimited"}}
    assert (await call(api, "PUT", "/settings", body)).status_code == 204
    assert (await call(api, "GET", "/settings")).json()["node_cache"]["max_count"] == "unlimited"
    assert (await call(api, "PUT", "/settings", {})).status_code == 204
    assert (await call(api, "GET", "/settings")).json() == shown
    assert (await call(api, "PUT", "/settings", {"nope": 1})).status_code == 400


async def test_cache_of_answers_is_shown_and_emptied(api: Api) -> None:
    answers = api.control.plane.authentication.answers
    answers.keep(None, "question")  # type: ignore[arg-type]  # any answer
    metrics = (await call(api, "GET", "/node_cache/status")).json()["metrics"]
    assert (metrics["count"], metrics["inserts"]["value"]) == (1, 1)
    assert (await call(api, "POST", "/node_cache/reset")).status_code == 204
    assert len(answers) == 0


async def test_last_authenticator_of_an_open_listener_stays(tmp_path: Path) -> None:
    async with open_api(config_with(tmp_path)) as api:
        await call(api, "POST", body=JWT)
        listener = {"type": "tcp", "name": "open", "bind": "0.0.0.0:0"}
        assert (await api.call("POST", "/listeners", listener, auth=await api.log_in())).status_code == 200
        reply = await call(api, "DELETE", "/jwt")
        assert (reply.status_code, reply.json()["code"]) == (400, "BAD_REQUEST")
        assert await ids(api) == ["jwt"]


async def test_authenticators_survive_a_restart(tmp_path: Path) -> None:
    async with open_api(config_with(tmp_path)) as api:
        await with_three(api)
        await call(api, "POST", f"/{IDS[0]}/users", {"user_id": "ann", "password": "pw", "is_superuser": True})
    async with open_api(config_with(tmp_path)) as api:
        assert await ids(api) == IDS
        chain = api.control.plane.authentication.chain
        verdict = await judge(chain, applicant(username="ann", password=b"pw"))
        assert (verdict.reason, verdict.is_superuser) == (0, True)
