"""The API of a broker process as a script uses it: one account, JSON in and out."""

import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from tests.support.broker import Setting

PASSWORD = "Secret-123"


def dashboard_settings(port: int) -> dict[str, Setting]:
    """Return the settings of a broker whose API listens on a port and whose administrator is known."""
    return {
        "dashboard.listeners.http.bind": f"127.0.0.1:{port}",
        "dashboard.default_username": "admin",
        "dashboard.default_password": PASSWORD,
    }


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Rest:
    """A caller who is logged in as the administrator of `dashboard_settings`.

    Args:
        port: of the API.
    """

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}/api/v5"
        self._token = ""
        self._token = self.call("POST", "/login", {"username": "admin", "password": PASSWORD})["token"]

    def call(self, method: str, path: str, body: object = None, status: int | None = None) -> Any:
        """Send a request and return its decoded body, `None` for an empty one.

        Args:
            status: of the reply; `None`: any success.
        """
        text = self.raw(method, path, body, status)
        return json.loads(text) if text else None

    def raw(self, method: str, path: str, body: object = None, status: int | None = None) -> bytes:
        """Send a request and return the body of its reply as it is."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data, method=method)
        request.add_header("content-type", "application/json")
        if self._token:
            request.add_header("authorization", f"Bearer {self._token}")
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:
                text, found = reply.read(), reply.status
        except urllib.error.HTTPError as error:
            with error:
                text, found = error.read(), error.code
        assert found == status if status is not None else found < 300, (method, path, found, text)
        return bytes(text)

    def wait_for(self, path: str, is_wanted: Callable[[Any], bool], patience_s: float = 10.0) -> Any:
        """Ask again until the reply is as wanted, and return it."""
        deadline = time.monotonic() + patience_s
        while not is_wanted(reply := self.call("GET", path)):
            assert time.monotonic() < deadline, reply
            time.sleep(0.02)
        return reply
