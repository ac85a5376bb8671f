"""The web service as a client of it: certificates, connections that are closed once nobody waits."""

import asyncio
import ssl

import httpx
import msgspec
import pytest

from pybroker.auth.authenticators.web import LOGIN
from pybroker.auth.web_service import WebService, tls_context
from pybroker.config.sections.access import HttpPasswords, HttpSslOptions


def settings(**fields: object) -> HttpPasswords:
    return HttpPasswords(mechanism="password_based", **{"url": "http://login/", **fields})  # type: ignore[arg-type]  # each test names fields that exist


def test_without_tls_nothing_is_verified() -> None:
    assert tls_context(HttpSslOptions()) is False


def test_server_is_verified_only_if_that_is_asked() -> None:
    loose = tls_context(HttpSslOptions(enable=True))
    assert isinstance(loose, ssl.SSLContext)
    assert (loose.verify_mode, loose.check_hostname) == (ssl.CERT_NONE, False)
    strict = tls_context(HttpSslOptions(enable=True, verify="verify_peer"))
    assert isinstance(strict, ssl.SSLContext)
    assert (strict.verify_mode, strict.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize("name", ["cacertfile", "certfile"])
def test_certificate_that_cannot_be_read_is_named(name: str) -> None:
    with pytest.raises(ValueError, match="ssl: certificates cannot be read"):
        tls_context(msgspec.structs.replace(HttpSslOptions(enable=True), **{name: "/nowhere.pem"}))


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (HttpSslOptions(enable=True, server_name_indication="login.test"), "login.test"),
        (HttpSslOptions(enable=True), None),
        (HttpSslOptions(server_name_indication="login.test"), None),
    ],
)
async def test_tls_asks_for_the_configured_name(options: HttpSslOptions, name: str | None) -> None:
    asked: list[object] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.extensions.get("sni_hostname"))
        return httpx.Response(204)

    service = WebService(settings(ssl=options), LOGIN, httpx.MockTransport(answer))
    question = service.question({}, {})
    assert question is not None
    await service.ask(question)
    assert asked == [name]
    await service.aclose()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"url": "ftp://login/"}, "url: must begin with"),
        ({"url": "http:///path"}, "url: must name a host"),
        ({"url": "http://${clientid}/"}, "url: must name a host"),
        ({"method": "get", "headers": {"Content-Type": "application/json"}}, "content-type is not allowed"),
        ({"headers": {"content-type": "text/plain"}}, "content-type must be"),
    ],
)
def test_settings_that_cannot_be_are_named(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        WebService(settings(**fields), LOGIN)


async def test_connections_are_closed_when_the_last_request_is_answered() -> None:
    answered = asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        await answered.wait()
        return httpx.Response(204)

    service = WebService(settings(), LOGIN, httpx.MockTransport(answer))
    question = service.question({"clientid": "c"}, {})
    assert question is not None
    asked = asyncio.create_task(service.ask(question))
    await asyncio.sleep(0)
    await service.aclose()
    assert not service._client.is_closed
    answered.set()
    reply = await asked
    assert reply is not None
    assert reply.status == 204
    assert service._client.is_closed


async def test_url_without_a_path_asks_the_root() -> None:
    service = WebService(settings(url="http://login?a=${clientid}&b"), LOGIN)
    question = service.question({"clientid": "x y"}, {})
    assert question is not None
    assert question.target == "/?a=x%20y&b="
    await service.aclose()
    assert service._client.is_closed
