"""Accounts and keys against a real broker: first start, restart, crash, TLS, and attacks on the wire."""

import base64
import contextlib
import json
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker import Broker, BrokerStartError, Setting
from tests.support.certificates import Authority

BrokerFactory = Callable[..., Broker]

_LOGIN = b"POST /api/v5/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def settings(port: int, **more: Setting) -> dict[str, Setting]:
    return {"dashboard.listeners.http.bind": f"127.0.0.1:{port}", **more}


def call(
    port: int, method: str, path: str, body: object = None, auth: str = "", context: ssl.SSLContext | None = None
) -> tuple[int, Any]:
    scheme = "https" if context else "http"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{scheme}://127.0.0.1:{port}/api/v5{path}", data, method=method)
    request.add_header("content-type", "application/json")
    if auth:
        request.add_header("authorization", auth)
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as reply:
            text, status = reply.read(), reply.status
    except urllib.error.HTTPError as error:
        with error:
            text, status = error.read(), error.code
    return status, json.loads(text) if text else None


def log_in(port: int, password: str) -> str:
    status, body = call(port, "POST", "/login", {"username": "admin", "password": password})
    assert status == 200, body
    return f"Bearer {body['token']}"


def generated_password(broker: Broker) -> str:
    found = re.search(r"^dashboard user admin password (\w+) \(shown this once\)$", broker.log, re.MULTILINE)
    assert found, broker.log
    return found[1]


def exchange(port: int, request: bytes) -> bytes:
    """Return everything that the server answers to raw bytes until it closes or cuts off."""
    answer = b""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=15) as connection,
        contextlib.suppress(ConnectionResetError, BrokenPipeError),
    ):
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        while part := connection.recv(65_536):
            answer += part
    return answer


def test_first_start_prints_url_and_password_once(broker_factory: BrokerFactory, tmp_path: Path) -> None:
    port = free_port()
    broker = broker_factory(settings(port))
    assert f"dashboard http://127.0.0.1:{port}/" in broker.log
    password = generated_password(broker)
    log_in(port, password)
    assert password not in (broker.directory / "stderr.log").read_text()
    broker.stop()
    again = broker_factory(settings(port), directory=broker.directory)
    assert "dashboard user" not in again.log
    log_in(port, password)


def test_users_keys_and_revocations_survive_a_crash(broker_factory: BrokerFactory) -> None:
    port = free_port()
    broker = broker_factory(settings(port))
    password = generated_password(broker)
    token, ended = log_in(port, password), log_in(port, password)
    user = {"username": "eve", "password": "Secret-123", "description": "", "role": "viewer"}
    assert call(port, "POST", "/users", user, token)[0] == 200
    _, key = call(port, "POST", "/api_key", {"name": "script"}, token)
    assert call(port, "POST", "/logout", {"username": "admin"}, ended)[0] == 204
    broker.kill()
    broker_factory(settings(port), directory=broker.directory)
    assert [one["username"] for one in call(port, "GET", "/users", auth=token)[1]] == ["admin", "eve"]
    assert call(port, "GET", "/users", auth=ended)[1]["code"] == "BAD_TOKEN"
    basic = base64.b64encode(f"{key['api_key']}:{key['api_secret']}".encode()).decode()
    assert call(port, "GET", "/user_scopes", auth=f"Basic {basic}")[0] == 200


def test_damaged_database_stops_the_start_and_a_copy_brings_it_back(broker_factory: BrokerFactory) -> None:
    port = free_port()
    broker = broker_factory(settings(port))
    password = generated_password(broker)
    broker.stop()
    database = broker.directory / "data" / "pybroker.db"
    copy = database.read_bytes()
    database.write_bytes(b"damaged" * 1_000)
    with pytest.raises(BrokerStartError, match=r"exit code 3:[\s\S]*database is damaged[\s\S]*cp BACKUP "):
        broker_factory(settings(port), directory=broker.directory)
    database.write_bytes(copy)
    broker_factory(settings(port), directory=broker.directory)
    log_in(port, password)


def test_start_is_audited(broker_factory: BrokerFactory) -> None:
    port = free_port()
    keys: dict[str, Setting] = {"log.audit.enable": True, "dashboard.default_password": "Secret-123"}
    broker_factory({**settings(port), **keys})
    records = call(port, "GET", "/audit?from=cli", auth=log_in(port, "Secret-123"))[1]["data"]
    assert [record["args"] for record in records] == [["start"]]


def test_second_broker_on_the_same_folder_is_refused(broker_factory: BrokerFactory) -> None:
    first = broker_factory()
    with pytest.raises(BrokerStartError, match="data folder is used by another broker"):
        broker_factory(directory=first.directory)


def test_https_serves_the_same_api(broker_factory: BrokerFactory, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.server()
    port, secure = free_port(), free_port()
    keys: dict[str, Setting] = {
        "dashboard.listeners.https.bind": f"127.0.0.1:{secure}",
        "dashboard.listeners.https.ssl_options.certfile": str(pair.certfile),
        "dashboard.listeners.https.ssl_options.keyfile": str(pair.keyfile),
        "dashboard.listeners.https.ssl_options.versions": ["tlsv1.3"],
        "dashboard.default_password": "Secret-123",
    }
    broker = broker_factory({**settings(port), **keys})
    assert f"dashboard https://127.0.0.1:{secure}/" in broker.log
    body = {"username": "admin", "password": "Secret-123"}
    status, _ = call(secure, "POST", "/login", body, context=authority.client_context())
    assert status == 200
    older = authority.client_context()
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(urllib.error.URLError):
        call(secure, "GET", "/status", context=older)


def test_broken_certificate_stops_the_start(broker_factory: BrokerFactory) -> None:
    keys = {"dashboard.listeners.https.bind": f"127.0.0.1:{free_port()}"}
    keys["dashboard.listeners.https.ssl_options.certfile"] = "/nonexistent.pem"
    keys["dashboard.listeners.https.ssl_options.keyfile"] = "/nonexistent.key"
    with pytest.raises(BrokerStartError, match=r"/nonexistent\.pem"):
        broker_factory(keys)


@pytest.fixture(scope="module")
def shared_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Give the HTTP port of a broker that the attacks share."""
    port = free_port()
    broker = Broker.start(tmp_path_factory.mktemp("attacked"), settings(port))
    yield port
    assert call(port, "GET", "/status?format=json")[1]["app_status"] == "running"
    broker.stop()


@pytest.mark.parametrize(
    "head",
    [
        b"content-length: 5\r\ntransfer-encoding: chunked",
        b"content-length: 5\r\ncontent-length: 6",
        b"transfer-encoding: chunked, identity",
        b"transfer-encoding : chunked",
        b"content-length: +5",
        b"bad\x00name: 1",
        b"x: a\r\n y: folded",
    ],
)
def test_smuggled_requests_are_not_answered(shared_port: int, head: bytes) -> None:
    answer = exchange(
        shared_port,
        b"POST /api/v5/login HTTP/1.1\r\nhost: x\r\n"
        + head
        + b"\r\n\r\n0\r\n\r\nGET /api/v5/status HTTP/1.1\r\nhost: x\r\n\r\n",
    )
    assert b"pybroker is running" not in answer


def test_endless_head_is_cut_off(shared_port: int) -> None:
    answer = exchange(shared_port, b"GET /status HTTP/1.1\r\n" + b"x: " + b"y" * 60_000 + b"\r\nz: " + b"y" * 60_000)
    assert answer.startswith(b"HTTP/1.1 431 ")


def test_many_headers_are_cut_off(shared_port: int) -> None:
    many = b"".join(b"x%d: y\r\n" % number for number in range(20_000))
    assert b"is running" not in exchange(shared_port, b"GET /status HTTP/1.1\r\n" + many + b"\r\n")


def test_endless_trailers_are_cut_off(shared_port: int) -> None:
    head = _LOGIN + b"transfer-encoding: chunked\r\n\r\n0\r\n"
    assert b"200" not in exchange(shared_port, head + b"".join(b"x%d: y\r\n" % number for number in range(20_000)))


def test_head_that_does_not_come_is_cut_off(shared_port: int) -> None:
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", shared_port), timeout=20) as connection:
        connection.sendall(b"GET /status HTTP/1.1\r\nx: ")
        assert connection.recv(1) == b""
    assert 4 < time.monotonic() - started < 12


def test_large_body_is_refused_by_its_length(shared_port: int) -> None:
    head = _LOGIN + b"content-length: 99999999999\r\n\r\n"
    with socket.create_connection(("127.0.0.1", shared_port), timeout=10) as connection:
        connection.sendall(head)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 413 ")


def test_guessing_at_login_ends_with_a_lock(broker_factory: BrokerFactory) -> None:
    port = free_port()
    broker = broker_factory(settings(port, **{"dashboard.default_password": "Secret-123"}))
    guess = {"username": "admin", "password": "wrong-123"}
    codes = [call(port, "POST", "/login", guess)[1]["code"] for _ in range(6)]
    assert codes == ["BAD_USERNAME_OR_PWD"] * 5 + ["LOGIN_LOCKED"]
    broker.kill()
    broker_factory(settings(port), directory=broker.directory)
    assert call(port, "POST", "/login", {**guess, "password": "Secret-123"})[1]["code"] == "LOGIN_LOCKED"


def test_sessions_beyond_the_quota_are_refused(broker_factory: BrokerFactory) -> None:
    broker = broker_factory(settings(free_port(), **{"license.connection_quota": 1}))
    with socket.create_connection(("127.0.0.1", broker.port()), timeout=10) as first:
        first.sendall(bytes.fromhex("10 0e 00 04 4d 51 54 54 05 02 00 0a 00 00 01 61"))
        assert first.recv(4)[3] == 0
        with socket.create_connection(("127.0.0.1", broker.port()), timeout=10) as second:
            second.sendall(bytes.fromhex("10 0e 00 04 4d 51 54 54 05 02 00 0a 00 00 01 62"))
            assert second.recv(4)[3] == 0x97
