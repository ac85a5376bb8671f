"""The plane on a fake core: events in, calls out."""

from collections.abc import Coroutine
from dataclasses import dataclass, field

import pytest

from pybroker._core import CLOSE_TCP
from pybroker.auth.chain import AuthenticationChain
from pybroker.events import EventBus
from pybroker.plane.connect import Connector
from pybroker.plane.publish import Publisher
from pybroker.plane.pump import Pump
from pybroker.plane.registry import Registry, Session
from pybroker.plane.session import Sessions
from pybroker.plane.settings import ConnectSettings, SubscribeSettings
from pybroker.plane.subscribe import ExclusiveLocks, Subscriber
from pybroker.ports import Applicant, ListenerTraits
from pybroker.types import ClientId, ListenerId, Mountpoint, Namespace
from tests.support.clock import FakeClock
from tests.support.fake_core import Call, FakeConnect, FakeEngine, FakeJudge, FakeTimers


class Bans:
    """A list of client ids."""

    def __init__(self) -> None:
        self.banned: set[str] = set()
        self.flapping: set[str] = set()
        self.counted: list[str] = []

    def is_banned(self, applicant: Applicant) -> bool:
        return applicant.client_id in self.banned

    def count_connect(self, applicant: Applicant) -> bool:
        self.counted.append(applicant.client_id)
        return applicant.client_id in self.flapping


class Namespaces:
    """A resolver that does what its attributes say."""

    def __init__(self) -> None:
        self.before = 0
        self.middle = 0
        self.after = 0
        self.prefix: Mountpoint | None = Mountpoint("")
        self.final: ClientId | None = None
        self.let_go_of: list[int] = []
        self.override = ClientId("")
        self.tenant: Namespace | None = None

    def resolve(self, applicant: Applicant) -> None:
        applicant.client_id = self.override or applicant.client_id
        applicant.namespace = self.tenant

    def judge(self, applicant: Applicant) -> int:
        return self.before

    def resolve_again(self, applicant: Applicant, before: Namespace | None, keeps_client_id: bool) -> int:
        if self.final is not None and not keeps_client_id:
            applicant.client_id = self.final
        return self.middle

    def judge_again(self, applicant: Applicant) -> int:
        return self.after

    def mountpoint(self, applicant: Applicant) -> Mountpoint | None:
        return self.prefix

    def let_go(self, applicant: Applicant) -> None:
        self.let_go_of.append(applicant.conn)


@dataclass
class Plane:
    """All parts of the plane, and what was done with them."""

    engine: FakeEngine = field(default_factory=FakeEngine)
    clock: FakeClock = field(default_factory=FakeClock)
    events: EventBus = field(default_factory=EventBus)
    settings: ConnectSettings = field(default_factory=ConnectSettings)
    heard: list[str] = field(default_factory=list)
    spawned: list[Coroutine[object, object, object]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    has_listeners: bool = True

    def __post_init__(self) -> None:
        core = self.engine.as_core()
        self.timers = FakeTimers(self.clock)
        self.registry = Registry()
        self.locks = ExclusiveLocks()
        self.authorizer = FakeJudge()
        self.sessions = Sessions(
            core,
            self.registry,
            self.clock,
            self.events,
            self.timers.call_later,
            self.locks.release_all,
            self.authorizer,
            lambda name, work: self.spawned.append(work),
            self.settings.max_session_expiry_s,
        )
        self.listeners = {1: ListenerTraits(id=ListenerId("tcp:default"), port=1883)}
        self.bans = Bans()
        self.namespaces = Namespaces()
        self.chain = AuthenticationChain(True)
        self.connector = Connector(
            core,
            self.sessions,
            self.listeners,
            self.chain,
            self.bans,
            self.namespaces,
            self.events,
            lambda name, work: self.spawned.append(work),
            self.settings,
        )
        self.subscriber = Subscriber(
            core,
            self.registry,
            self.locks,
            self.authorizer,
            self.events,
            lambda name, work: self.spawned.append(work),
            SubscribeSettings(),
        )
        self.publisher = Publisher(core, self.authorizer, lambda name, work: self.spawned.append(work))
        self.pump = Pump(
            core,
            self.registry,
            self.connector,
            self.subscriber,
            self.publisher,
            self.sessions,
            self.events,
            self.failures.append,
        )
        for name in EventBus.__slots__ if self.has_listeners else ():
            getattr(self.events, name).listen(lambda event, name=name: self.heard.append(name))

    def connect(self, conn: int, connect: FakeConnect | None = None) -> None:
        """Let a CONNECT arrive."""
        self.connector.on_connect(conn, (connect or FakeConnect()).as_core())

    def close(
        self,
        conn: int,
        slot: int = 0,
        cause: int = CLOSE_TCP,
        *,
        reason: int = 0,
        expiry_s: int = -1,
        sends_will: bool = True,
    ) -> None:
        """Let the end of a connection be reported."""
        self.sessions.on_closed(conn, slot, cause, reason, expiry_s, sends_will)

    def session(self, client_id: str = "c") -> Session:
        """Return the session of a client, which must exist."""
        session = self.registry.find(ClientId(client_id))
        assert session is not None
        return session

    def has_session(self, client_id: str = "c") -> bool:
        """Whether a client has a session."""
        return self.registry.find(ClientId(client_id)) is not None

    @property
    def answer(self) -> Call:
        """The last answer to a CONNECT."""
        return self.engine.named("accept", "refuse", "challenge")[-1]

    @property
    def is_admitted(self) -> bool:
        """Whether the last answer to a CONNECT was an acceptance."""
        return bool(self.answer[0] == "accept")

    @property
    def wills(self) -> list[Call]:
        """The wills that were published: topic, session, client id, mountpoint."""
        return [call[1:] for call in self.engine.named("publish_will")]


@pytest.fixture
def plane() -> Plane:
    """Give a plane with default settings and one listener."""
    return Plane()


def plane_with(**settings: object) -> Plane:
    """Return a plane with settings of connects."""
    return Plane(settings=ConnectSettings(**settings))  # type: ignore[arg-type]  # each test names fields that exist
