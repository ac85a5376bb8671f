"""The web service as a source of rules: what is asked, and what each answer means."""

import json

import httpx
import pytest

from pybroker._core import AccessClient, AccessSubject
from pybroker.auth.answer_cache import AnswerCache
from pybroker.auth.sources.opener import Openers
from pybroker.auth.sources.source import Answer, Question
from pybroker.auth.sources.web import ACTION, WebSource
from pybroker.auth.web_service import WebService
from pybroker.config.sections.access import HttpSource, NodeCache
from pybroker.errors import ConfigError
from tests.support.clock import FakeClock

JSON = {"content-type": "application/json"}


class Service:
    """A web service that answers what it is told to; `None` breaks the connection."""

    def __init__(self, *replies: httpx.Response | None, **settings: object) -> None:
        self.replies = list(replies)
        self.requests: list[httpx.Request] = []
        config = HttpSource(type="http", url="http://127.0.0.1:1/acl?t=${topic}", **settings)  # type: ignore[arg-type]
        service = WebService(config, ACTION, httpx.MockTransport(self._reply))
        self.cache: AnswerCache[Answer] = AnswerCache(FakeClock(), NodeCache())
        self.source = WebSource(config, service, self.cache)

    def _reply(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        reply = self.replies.pop(0)
        if reply is None:
            raise httpx.ConnectError("gone")
        return reply


def question(topic: str = "a/b", **client: object) -> Question:
    subject = AccessSubject(AccessClient("c", "u", peer_ip="192.0.2.7", peer_port=5, **client))  # type: ignore[arg-type]
    return Question(subject, "publish", topic, 1, True)


@pytest.mark.parametrize(
    ("status", "body", "answer"),
    [
        (204, None, "allow"),
        (200, {"result": "allow"}, "allow"),
        (200, {"result": "deny"}, "deny"),
        (200, {"result": "ignore"}, "ignore"),
        (200, {"result": "perhaps"}, "failed"),
        (200, {"result": ["allow"]}, "failed"),
        (200, {}, "failed"),
        (200, None, "failed"),
        (201, None, "nomatch"),
        (302, None, "failed"),
        (400, {"result": "allow"}, "failed"),
        (500, None, "failed"),
    ],
)
async def test_meaning_of_an_answer(status: int, body: dict[str, object] | None, answer: str) -> None:
    service = Service(
        httpx.Response(status, content=json.dumps(body).encode() if body is not None else b"", headers=JSON)
    )
    assert await service.source.judge(question()) == answer


async def test_request_tells_client_and_action() -> None:
    body = {
        name: f"${{{name}}}" for name in ("username", "clientid", "peerhost", "peerport", "action", "access", "qos")
    }
    body |= {"retain": "${retain}", "team": "${client_attrs.team}", "none": "${client_attrs.none}"}
    service = Service(httpx.Response(204), body=body)
    await service.source.judge(question("a/ü b", attributes=[("team", "red")]))
    request = service.requests[0]
    assert request.url.raw_path == b"/acl?t=a%2F%C3%BC%20b"
    assert json.loads(request.content) == {
        "username": "u",
        "clientid": "c",
        "peerhost": "192.0.2.7",
        "peerport": "5",
        "action": "publish",
        "access": "2",
        "qos": "1",
        "retain": "true",
        "team": "red",
        "none": "",
    }


async def test_request_may_tell_the_name_of_a_certificate() -> None:
    body = {"cn": "${cert_common_name}", "dn": "${cert_subject}"}
    told, silent = Service(httpx.Response(204), body=body), Service(httpx.Response(204), body=body)
    await told.source.judge(question(cert_common_name="dev", handshake=[("cert_subject", "CN=dev,O=Ours")]))
    await silent.source.judge(question())
    assert json.loads(told.requests[0].content) == {"cn": "dev", "dn": "CN=dev,O=Ours"}
    assert json.loads(silent.requests[0].content) == {"cn": "", "dn": ""}


async def test_answer_is_kept_until_it_is_forgotten_but_a_failure_is_not() -> None:
    service = Service(None, httpx.Response(500), httpx.Response(204), httpx.Response(204))
    assert service.source.status == "connected"
    answers = [await service.source.judge(question()) for _ in range(4)]
    assert answers == ["failed", "failed", "allow", "allow"]
    assert len(service.requests) == 3
    service.source.forget()
    await service.source.judge(question())
    assert len(service.requests) == 4


class Forgetful(Service):
    """A service that is changed while it is asked."""

    def _reply(self, request: httpx.Request) -> httpx.Response:
        self.source.forget()
        return super()._reply(request)


async def test_answer_that_is_under_way_while_answers_are_forgotten_is_not_kept() -> None:
    service = Forgetful(httpx.Response(204))
    assert await service.source.judge(question()) == "allow"
    assert len(service.cache) == 0


async def test_service_that_cannot_be_reached_is_disconnected() -> None:
    service = Service(None)
    await service.source.judge(question())
    assert service.source.status == "disconnected"


async def test_settings_that_cannot_be_are_refused() -> None:
    openers = Openers(FakeClock(), NodeCache())
    with pytest.raises(ConfigError, match="url"):
        await openers.open_http(HttpSource(type="http", url="ftp://x/"))
    opened = await openers.open_http(HttpSource(type="http", url="http://127.0.0.1:1/"))
    await opened.close()
