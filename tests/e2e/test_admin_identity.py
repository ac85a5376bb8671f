"""Accounts and keys against a real broker: first start, restart, crash, TLS, and attacks on the wire."""

import base64
import json
import re
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.broker import Broker

BrokerFactory = Callable[..., Broker]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def settings(port: int, **more: str | bool) -> dict[str, str | bool]:
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
    """Return everything that the server answers to raw bytes until it closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=15) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
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
