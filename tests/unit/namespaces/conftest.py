"""Namespaces on a fake core: applicants in, decisions out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from pybroker._core import CLOSE_TCP
from pybroker.config import patch
from pybroker.config.schema import Config
from pybroker.events import EventBus, QuotaCrossing
from pybroker.namespaces.registry import Tenant, Tenants
from pybroker.namespaces.resolve import Namespaces
from pybroker.plane.registry import Registry, Session
from pybroker.plane.session import Sessions
from pybroker.ports import Applicant, ListenerTraits
from pybroker.types import ClientId, ListenerId, Namespace
from tests.support.clock import FakeClock
from tests.support.fake_core import FakeConnect, FakeEngine, FakeJudge, FakeTimers

USERNAME_PREFIX = "nth(1, tokens(username, '-'))"
"""Takes `a` of the user name `a-1`."""

SUGGESTED = "concat([client_attrs.tns, '-', clientid])"


@dataclass
class Bench:
    """The resolver and what it needs.

    Args:
        keys: of the configuration, dotted.
    """

    keys: Mapping[str, object] = field(default_factory=dict)
    clock: FakeClock = field(default_factory=FakeClock)
    events: EventBus = field(default_factory=EventBus)

    def __post_init__(self) -> None:
        self.engine = FakeEngine()
        self.registry = Registry()
        timers = FakeTimers(self.clock)
        self.sessions = Sessions(
            self.engine.as_core(),
            self.registry,
            self.clock,
            self.events,
            timers.call_later,
            lambda session: None,
            FakeJudge(),
            lambda name, work: None,
        )
        self.tenants = Tenants(self.clock, self.events)
        self.namespaces = Namespaces(self.tenants, self.registry, self.clock, self.events, self.config())
        self.crossings: list[QuotaCrossing] = []
        self.events.quota_crossed.listen(self.crossings.append)
        self._conn = 0

    def config(self) -> Config:
        return patch.apply(Config(), self.keys).config

    def change(self, **keys: object) -> None:
        """Change the configuration; `__` stands for a dot."""
        self.keys = {**self.keys, **{name.replace("__", "."): value for name, value in keys.items()}}
        self.namespaces.apply(self.config())

    def applicant(self, client_id: str = "c", *, zone: str = "default", **connect: Any) -> Applicant:
        """Return an applicant of a new connection, its namespace not resolved."""
        self._conn += 1
        said = FakeConnect(client_id=client_id, **connect).as_core()
        return Applicant(self._conn, said, ListenerTraits(id=ListenerId("tcp:default"), port=1883, zone=zone))

    def resolve(self, client_id: str = "c", **connect: Any) -> Applicant:
        """Return a resolved applicant."""
        applicant = self.applicant(client_id, **connect)
        self.namespaces.resolve(applicant)
        return applicant

    def enter(self, client_id: str = "c", **connect: Any) -> int:
        """Let a client connect; return the reason code."""
        applicant = self.resolve(client_id, **connect)
        before = applicant.namespace
        reason = (
            self.namespaces.judge(applicant)
            or self.namespaces.resolve_again(applicant, before, False)
            or self.namespaces.judge_again(applicant)
        )
        if not reason:
            applicant.expiry_s = 60
            self.sessions.open(applicant)
        self.namespaces.let_go(applicant)
        return reason

    def leave(self, client_id: str, *, expiry_s: int = 0) -> None:
        """Let a client disconnect."""
        session = self.session(client_id)
        self.sessions.on_closed(session.conn, session.slot, CLOSE_TCP, 0, expiry_s, False)

    def session(self, client_id: str) -> Session:
        session = self.registry.find(ClientId(client_id))
        assert session is not None
        return session

    def manage(self, name: str, max_sessions: int | None = None) -> Tenant:
        tenant = self.tenants.manage(Namespace(name), 1)
        tenant.max_sessions = max_sessions
        return tenant


def by_username(**keys: object) -> Bench:
    """Return namespaces that are taken from the user name; `__` in a key stands for a dot."""
    found = {name.replace("__", "."): value for name, value in keys.items()}
    return Bench({"mqtt.client_attrs_init": [{"expression": USERNAME_PREFIX, "set_as_attr": "tns"}], **found})


@pytest.fixture
def bench() -> Bench:
    """Give namespaces that are taken from the user name."""
    return by_username()
