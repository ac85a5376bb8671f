"""The API in one process: control over a database of its own, a clock that tests move, and a client without sockets."""

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec

from admin.app import create_app
from pybroker._core import CLOSE_TCP
from pybroker.app import build_plane
from pybroker.config.schema import Config, Listeners
from pybroker.control.configuration import open_configuration
from pybroker.control.door import About, Control, open_control
from pybroker.control.password import PasswordHasher
from pybroker.persistence.sqlite import open_database
from pybroker.plane.registry import Session
from pybroker.ports import Applicant, ListenerTraits
from pybroker.tasks import TaskSupervisor
from pybroker.types import ListenerId, Namespace
from tests.support.clock import FakeClock
from tests.support.fake_core import FakeConnect

__all__ = ["ADMIN", "PASSWORD", "Api", "add_client", "config_with", "open_api"]

ADMIN = "admin"
PASSWORD = "Secret-123"
"""Password of every user that tests create."""


class Api:
    """Client of the API.

    Args:
        control: the services behind it.
        client: sends the requests.
        clock: of the services.
        levels: of the log, as they were set: target and level.
    """

    def __init__(
        self, control: Control, client: httpx.AsyncClient, clock: FakeClock, levels: list[tuple[str, str]]
    ) -> None:
        self.levels = levels
        self.control = control
        self.client = client
        self.clock = clock

    async def call(
        self, method: str, path: str, body: object = None, *, auth: str = "", headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """Send one request below `/api/v5`; `auth` is the whole header, a `bytes` body goes out as it is."""
        sent = dict(headers or {})
        if auth:
            sent["authorization"] = auth
        content = body if isinstance(body, bytes) else None if body is None else msgspec.json.encode(body)
        if content is not None:
            sent.setdefault("content-type", "application/json")
        return await self.client.request(method, f"/api/v5{path}", content=content, headers=sent)

    async def log_in(self, username: str = ADMIN, password: str = PASSWORD, code: str | None = None) -> str:
        """Return the header of a fresh token."""
        body = {"username": username, "password": password} | ({} if code is None else {"mfa_token": code})
        reply = await self.call("POST", "/login", body)
        assert reply.status_code == 200, reply.text
        return f"Bearer {reply.json()['token']}"

    async def add_user(self, username: str, role: str = "viewer", scopes: object = None) -> str:
        """Create a user and return the header of a token of his."""
        body: dict[str, Any] = {"username": username, "password": PASSWORD, "description": "", "role": role}
        if scopes is not None:
            body["scopes"] = scopes
        reply = await self.call("POST", "/users", body, auth=await self.log_in())
        assert reply.status_code == 200, reply.text
        return await self.log_in(username)

    async def add_key(self, name: str, **fields: object) -> str:
        """Create a key and return its header."""
        reply = await self.call("POST", "/api_key", {"name": name, **fields}, auth=await self.log_in())
        assert reply.status_code == 200, reply.text
        return basic(reply.json()["api_key"], reply.json()["api_secret"])


def basic(api_key: str, secret: str) -> str:
    """Return the header of a key."""
    return "Basic " + base64.b64encode(f"{api_key}:{secret}".encode()).decode()


def config_with(folder: Path, **sections: Any) -> Config:
    """Return a configuration with the default administrator's password known.

    `dashboard` adds to its keys; there are no listeners unless they are given.
    """
    config = Config()
    dashboard = msgspec.structs.replace(
        config.dashboard, **{"default_password": PASSWORD, **sections.pop("dashboard", {})}
    )
    node = msgspec.structs.replace(config.node, data_dir=str(folder), io_threads=0)
    sections.setdefault("listeners", Listeners(tcp={}, ws={}))
    return msgspec.structs.replace(config, dashboard=dashboard, node=node, **sections)


@asynccontextmanager
async def open_api(
    config: Config,
    clock: FakeClock | None = None,
    *,
    runs: bool = True,
    load_again: Callable[[], Config] | None = None,
) -> AsyncIterator[Api]:
    """Open the API over the data folder of a configuration; hashing costs next to nothing.

    Args:
        config: names the folder.
        clock: `None`: a new one.
        runs: whether the broker says that it serves clients.
        load_again: what a reload of the configuration finds; `None`: what was there.
    """
    clock = clock or FakeClock()
    database = open_database(Path(config.node.data_dir))
    configuration = await open_configuration(database, config, load_again)
    supervisor = TaskSupervisor()
    levels: list[tuple[str, str]] = []
    plane = build_plane(configuration, clock, supervisor, lambda target, level: levels.append((target, level)))
    about = About(node=config.node.name, version="9.9.9", started_ms=clock.now_ms(), is_running=lambda: runs)
    lines: list[str] = []
    hasher = PasswordHasher(time_cost=1, memory_kib=8)
    control = await open_control(configuration, database, plane, clock, about, lines.append, hasher)
    transport = httpx.ASGITransport(create_app(control), raise_app_exceptions=False, client=("192.0.2.1", 1234))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://broker") as client:
            yield Api(control, client, clock, levels)
    finally:
        await supervisor.stop()
        plane.listeners.close_all()
        plane.sessions.stop()
        control.close()
        database.close()


def add_client(
    control: Control,
    client_id: str,
    *,
    is_offline: bool = False,
    listener: str = "tcp:default",
    namespace: str = "",
    **connect: Any,
) -> Session:
    """Open the session of a client that no socket stands behind, and return it."""
    plane = control.plane
    fields: dict[str, Any] = {"session_expiry_s": 3_600, **connect}
    said = FakeConnect(client_id=client_id, **fields).as_core()
    applicant = Applicant(len(plane.registry) + 1, said, ListenerTraits(id=ListenerId(listener), port=1883))
    if namespace:
        applicant.namespace = Namespace(namespace)
    applicant.expiry_s = said.session_expiry_s
    session, _ = plane.sessions.open(applicant)
    if is_offline:
        plane.sessions.on_closed(session.conn, session.slot, CLOSE_TCP, 0, -1, False)
    return session
