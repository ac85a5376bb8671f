"""The limits of one connection to the HTTP server, without sockets and without time passing."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
import uvicorn
from starlette.applications import Starlette
from uvicorn.server import ServerState

from admin.http_protocol import HEAD_TIMEOUT_S, LimitedProtocol, protocol_with
from admin.server import HttpServer
from pybroker.config.schema import Bind, HttpListener
from pybroker.config.units import Duration

SEND_TIMEOUT_S = 7.0


class Loop:
    """Keeps what was asked for later, and does it when told."""

    def __init__(self) -> None:
        self.later: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        self.later.append((delay_s, callback))
        return cast("asyncio.TimerHandle", Timer(self, (delay_s, callback)))

    def pass_time(self, delay_s: float) -> None:
        due = [entry for entry in self.later if entry[0] == delay_s]
        self.later = [entry for entry in self.later if entry[0] != delay_s]
        for _, callback in due:
            callback()


class Timer:
    def __init__(self, loop: Loop, entry: tuple[float, Callable[[], None]]) -> None:
        self._loop, self._entry = loop, entry

    def cancel(self) -> None:
        if self._entry in self._loop.later:
            self._loop.later.remove(self._entry)


class Transport:
    """A connection whose client takes what the test says."""

    def __init__(self) -> None:
        self.unsent = 0
        self.ended = ""

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def get_extra_info(self, name: str) -> Any:
        return None

    def is_closing(self) -> bool:
        return bool(self.ended)

    def close(self) -> None:
        self.ended = "closed"

    def abort(self) -> None:
        self.ended = "aborted"


class Parts:
    def __init__(self) -> None:
        self.loop, self.transport = Loop(), Transport()
        config = uvicorn.Config(lambda: None, log_config=None, lifespan="off")
        loop = cast("asyncio.AbstractEventLoop", self.loop)
        self.protocol: LimitedProtocol = protocol_with(SEND_TIMEOUT_S)(config, ServerState(), {}, loop)
        self.protocol.connection_made(self.transport)


@pytest.fixture
def parts() -> Parts:
    return Parts()


def test_client_that_takes_nothing_of_its_reply_is_cut_off(parts: Parts) -> None:
    parts.transport.unsent = 5_000
    parts.loop.pass_time(SEND_TIMEOUT_S)
    assert parts.transport.ended == ""
    parts.loop.pass_time(SEND_TIMEOUT_S)
    assert parts.transport.ended == "aborted"


def test_connection_that_waits_to_close_is_cut_off_too(parts: Parts) -> None:
    parts.transport.unsent = 5_000
    parts.loop.pass_time(HEAD_TIMEOUT_S)
    assert parts.transport.ended == "closed"
    for _ in range(2):
        parts.loop.pass_time(SEND_TIMEOUT_S)
    assert parts.transport.ended == "aborted"


def test_slow_client_and_quiet_one_stay(parts: Parts) -> None:
    for unsent in (5_000, 4_999, 4_998, 0, 0, 9_000):
        parts.transport.unsent = unsent
        parts.loop.pass_time(SEND_TIMEOUT_S)
    # A long reply is refilled as soon as a part of it is gone.
    parts.protocol.resume_writing()
    parts.loop.pass_time(SEND_TIMEOUT_S)
    assert parts.transport.ended == ""


def test_server_takes_the_limits_of_its_listener() -> None:
    settings = HttpListener(backlog=7, max_connections=9, send_timeout=Duration(2_500))
    config = HttpServer(Starlette(), settings)._config
    assert (config.backlog, config.limit_concurrency) == (7, 9)
    assert getattr(config.http, "send_timeout_s", None) == 2.5


@pytest.mark.parametrize(
    ("bind", "is_hardened", "host"),
    [("0", True, "127.0.0.1"), (":0", True, "127.0.0.1"), ("0", False, "0.0.0.0"), ("0.0.0.0:0", True, "0.0.0.0")],
)
def test_bare_port_of_the_hardened_profile_is_for_this_machine(bind: str, is_hardened: bool, host: str) -> None:
    server = HttpServer(Starlette(), HttpListener(bind=Bind.parse(bind)), is_hardened=is_hardened)
    try:
        assert server.bind().startswith(f"{host}:")
    finally:
        server.close()


def test_nothing_is_looked_at_after_the_end(parts: Parts) -> None:
    parts.protocol.connection_lost(None)
    assert parts.loop.later == []
