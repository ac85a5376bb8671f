"""A web service that judges passwords: the request, the meaning of answers, failures, the cache of answers."""

from typing import Any

import httpx
import pytest

from pybroker.auth.authentication import Authentication
from tests.support.applicant import applicant, judge
from tests.support.clock import FakeClock
from tests.unit.auth.conftest import Build

BODY = {"user": "${username}", "pw": "${password}", "where": "${peerhost}:${peerport}", "a": "${client_attrs.a}"}
POST: dict[str, object] = {
    "mechanism": "password_based",
    "backend": "http",
    "url": "http://login:8080/check/${clientid}?l=${listener}",
    "body": BODY,
}


class Service:
    """Answers what a test wants, and keeps what it was asked."""

    def __init__(self, status: int = 204, json: object = None, **fields: object) -> None:
        self.status, self.json, self.fields = status, json, fields
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if self.status == 0:
            raise httpx.ReadTimeout("nobody")
        if self.json is None:
            return httpx.Response(self.status, **self.fields)  # type: ignore[arg-type]  # as the test gives them
        return httpx.Response(self.status, json=self.json)


async def reason(authentication: Authentication, **connect: object) -> int:
    said: dict[str, Any] = {"username": "ann", "password": b"p&w", **connect}
    return (await judge(authentication.chain, applicant(**said))).reason


async def test_values_are_escaped_where_they_stand(build: Build) -> None:
    service = Service()
    assert await reason(build(POST, answer=service), client_id="a/b?c") == 0
    request = service.asked[0]
    assert request.method == "POST"
    assert request.url.raw_path == b"/check/a%2Fb%3Fc?l=tcp%3Adefault"
    assert request.headers["content-type"] == "application/json"
    assert request.read() == b'{"user":"ann","pw":"p&w","where":"127.0.0.1:40000","a":""}'


async def test_form_and_query(build: Build) -> None:
    service = Service()
    form = {**POST, "headers": {"Content-Type": "application/x-www-form-urlencoded", "X-Id": "${clientid}"}}
    assert await reason(build(form, answer=service)) == 0
    assert service.asked[0].read() == b"user=ann&pw=p%26w&where=127.0.0.1%3A40000&a="
    assert service.asked[0].headers["x-id"] == "c"
    get = {**POST, "method": "get", "url": "http://login/", "body": {"u": "${username}", "p": "${password}"}}
    assert await reason(build(get, answer=service)) == 0
    assert (service.asked[1].method, service.asked[1].url.raw_path) == ("GET", b"/?u=ann&p=p%26w")


async def test_header_with_a_line_break_is_never_sent(build: Build) -> None:
    service = Service()
    authentication = build({**POST, "headers": {"x-user": "${username}"}}, answer=service)
    assert await reason(authentication, username="a\r\nx-admin: 1") == 0x87
    assert service.asked == []


@pytest.mark.parametrize(
    ("status", "json", "legacy", "hardened"),
    [
        (204, None, 0, 0),
        (200, {"result": "allow"}, 0, 0),
        (200, {"result": "deny"}, 0x87, 0x87),
        (200, {"result": "ignore"}, 0, 0),
        (200, {}, 0, 0),
        (200, {"result": "perhaps"}, 0, 0x87),
        (200, [1], 0, 0x87),
        (201, None, 0, 0x87),
        (401, None, 0, 0x87),
        (500, None, 0, 0x87),
        (0, None, 0, 0x87),
    ],
    ids=str,
)
async def test_meaning_of_answers(build: Build, status: int, json: object, legacy: int, hardened: int) -> None:
    # Behind the service stands one that accepts everybody: what is ignored is accepted.
    accept = {"mechanism": "cinfo", "checks": [{"is_match": ["'true'"], "result": "allow"}]}
    assert await reason(build(POST, accept, answer=Service(status, json))) == legacy
    assert await reason(build(POST, accept, answer=Service(status, json), security_profile="hardened")) == hardened
    lenient = {"authentication_settings": {"ignore_backend_failures": True}, "security_profile": "hardened"}
    assert await reason(build(POST, accept, answer=Service(status, json), **lenient)) == legacy


async def test_answer_as_form(build: Build) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    service = Service(200, content=b"result=allow&is_superuser=true", headers=headers)
    verdict = await judge(build(POST, answer=service).chain, applicant(username="ann", password=b"x"))
    assert (verdict.reason, verdict.is_superuser) == (0, True)


async def test_answer_says_who_the_client_is(build: Build) -> None:
    said = {
        "result": "allow",
        "is_superuser": False,
        "client_attrs": {"tns": "t"},
        "expire_at": 1_767_225_700,
        "acl": [{"permission": "allow", "action": "pub", "topic": "t"}],
        "clientid_override": "x",
        "zone_override": "z",
    }
    verdict = await judge(build(POST, answer=Service(200, said)).chain, applicant(username="ann", password=b"x"))
    assert (verdict.attributes, verdict.expire_at_s, verdict.client_id) == ({"tns": "t"}, 1_767_225_700, "x")
    assert (verdict.zone, verdict.is_superuser) == ("z", False)
    assert verdict.acl is not None
    assert not verdict.acl.is_final


@pytest.mark.parametrize(
    "said", [{"expire_at": 1_767_225_600}, {"expire_at": "x"}, {"acl": {"pub": ["t"]}}, {"acl": [{}]}], ids=str
)
async def test_end_or_rules_that_cannot_be_refuse(build: Build, said: dict[str, object]) -> None:
    assert await reason(build(POST, answer=Service(200, {"result": "allow", **said}))) == 0x86


async def test_same_question_is_asked_once_until_it_is_old_or_settings_change(build: Build, clock: FakeClock) -> None:
    service = Service()
    authentication = build(POST, answer=service)
    for _ in range(3):
        assert await reason(authentication) == 0
    assert len(service.asked) == 1
    assert (authentication.answers.hits, authentication.answers.misses, authentication.answers.inserts) == (2, 1, 1)
    assert await reason(authentication, password=b"other") == 0
    assert len(service.asked) == 2
    clock.advance(60_000)
    assert await reason(authentication) == 0
    assert len(service.asked) == 3
    authentication.answers.clear()
    assert await reason(authentication) == 0
    assert len(service.asked) == 4


async def test_failures_are_not_kept(build: Build) -> None:
    service = Service(500)
    authentication = build(POST, answer=service)
    assert await reason(authentication) == 0x87
    service.status = 0
    assert await reason(authentication) == 0x87
    assert not authentication.is_connected("password_based:http")
    service.status = 204
    assert await reason(authentication) == 0
    assert authentication.is_connected("password_based:http")


async def test_client_without_a_password_asks_nobody(build: Build) -> None:
    service = Service()
    assert await reason(build(POST, answer=service), password=None) == 0x87
    assert service.asked == []


async def test_cache_stops_growing_and_sweeps(build: Build, clock: FakeClock) -> None:
    cache = {"node_cache": {"max_count": 2, "cache_ttl": "10s", "cleanup_interval": "20s"}}
    authentication = build(POST, answer=Service(), authentication_settings=cache)
    for name in ("a", "b", "c"):
        await reason(authentication, username=name)
    assert len(authentication.answers) == 2
    clock.advance(20_000)
    await reason(authentication, username="d")
    assert len(authentication.answers) == 1
