"""What happened inside the broker, for those who only watch: metrics, `$SYS` topics, tracing.

A listener observes; it must not raise, wait or change what it is given. A signal that nobody listens to costs one
truth test, so the parts that emit build the event only when it is heard. Decisions are asked for in `ports`, not here.
"""

from collections.abc import Callable
from typing import Generic, NamedTuple, Protocol, TypeVar

from pybroker.ports import Applicant, ListenerTraits
from pybroker.types import ClientId, Filter, Mountpoint, Namespace, Username

Event = TypeVar("Event")


class Client(Protocol):
    """What may be read of a session, connected or not. Valid during the call that hands it over."""

    @property
    def client_id(self) -> ClientId:
        """Client id as the broker uses it."""

    @property
    def username(self) -> Username | None:
        """User name; `None` for an anonymous client."""

    @property
    def namespace(self) -> Namespace | None:
        """Tenant; `None` for none."""

    @property
    def mountpoint(self) -> Mountpoint:
        """Prefix of every topic of the client; empty for none."""

    @property
    def peer(self) -> str:
        """Address and port it connects from, such as `192.0.2.7:51234` or `[::1]:51234`; empty for a unix socket."""

    @property
    def listener(self) -> ListenerTraits:
        """Listener it connects to."""

    @property
    def slot(self) -> int:
        """Number of its session in the engine."""

    @property
    def version(self) -> int:
        """3 (MQTT 3.1), 4 (3.1.1) or 5."""

    @property
    def keep_alive_s(self) -> int:
        """Keep alive in force; 0: none."""

    @property
    def expiry_s(self) -> int:
        """How long the session outlives its connection; 0xFFFFFFFF: without end."""

    @property
    def is_clean_start(self) -> bool:
        """Clean start, or clean session, of the last CONNECT."""

    @property
    def connected_at_ms(self) -> int:
        """When it connected last, wall clock."""

    @property
    def disconnected_at_ms(self) -> int:
        """When it was last seen to be gone, wall clock; 0: never."""


class Departure(NamedTuple):
    """A client's connection has ended.

    Args:
        client: its session, which may end too.
        cause: EMQX's word, such as `tcp_closed` or `takenover`.
        reason: reason code that was sent or received; 0 where there was none.
    """

    client: Client
    cause: str
    reason: int


class Refusal(NamedTuple):
    """A CONNECT was refused.

    Args:
        applicant: who asked; what is not decided yet is as the client sent it.
        reason: reason code as 5.0 has it, also for 3.x clients.
    """

    applicant: Applicant
    reason: int


class Subscribed(NamedTuple):
    """A filter was granted.

    Args:
        client: who subscribed.
        filter: as the client wrote it.
        options: options byte with the granted QoS.
    """

    client: Client
    filter: Filter
    options: int


class Unsubscribed(NamedTuple):
    """A client gave a filter up; it need not have had it."""

    client: Client
    filter: Filter


class QuotaCrossing(NamedTuple):
    """A namespace has reached one of its quotas, or keeps it again.

    Args:
        quota: name of its key, such as `max_sessions`.
        is_exceeded: whether something was refused because of it; false: there is room again.
    """

    namespace: Namespace
    quota: str
    is_exceeded: bool


class Signal(Generic[Event]):
    """One kind of event; true when somebody listens."""

    __slots__ = ("_listeners",)

    def __init__(self) -> None:
        self._listeners: tuple[Callable[[Event], object], ...] = ()

    def __bool__(self) -> bool:
        return bool(self._listeners)

    def listen(self, listener: Callable[[Event], object]) -> None:
        """Call `listener` with every event from now on, after those who came before it."""
        self._listeners = (*self._listeners, listener)

    def unlisten(self, listener: Callable[[Event], object]) -> None:
        """Call `listener` no more; one that does not listen is no error."""
        self._listeners = tuple(one for one in self._listeners if one != listener)

    def emit(self, event: Event) -> None:
        """Hand `event` to every listener, in the order in which they came."""
        for listener in self._listeners:
            listener(event)


class EventBus:
    """All signals of the broker.

    Sessions: `session_created` and `session_resumed` follow a CONNECT, `session_taken_over` a CONNECT for a live
    connection whose session goes on; `session_discarded` (by a clean start) and `session_terminated` (by expiry or
    decision) are the two ends of a session. `sys_subscribed` tells that a filter below `$SYS` was granted,
    `quota_crossed` that a namespace reached a quota, once until it keeps it again.
    """

    __slots__ = (
        "client_admitted",
        "client_connected",
        "client_disconnected",
        "client_refused",
        "client_subscribed",
        "client_unsubscribed",
        "quota_crossed",
        "rights_ended",
        "session_created",
        "session_discarded",
        "session_resumed",
        "session_taken_over",
        "session_terminated",
        "subscription_denied",
        "sys_subscribed",
    )

    def __init__(self) -> None:
        self.client_admitted: Signal[Applicant] = Signal()
        self.client_refused: Signal[Refusal] = Signal()
        self.client_connected: Signal[Client] = Signal()
        self.client_disconnected: Signal[Departure] = Signal()
        self.client_subscribed: Signal[Subscribed] = Signal()
        self.client_unsubscribed: Signal[Unsubscribed] = Signal()
        self.quota_crossed: Signal[QuotaCrossing] = Signal()
        self.rights_ended: Signal[Client] = Signal()
        self.subscription_denied: Signal[Client] = Signal()
        self.sys_subscribed: Signal[Client] = Signal()
        self.session_created: Signal[Client] = Signal()
        self.session_resumed: Signal[Client] = Signal()
        self.session_taken_over: Signal[Client] = Signal()
        self.session_discarded: Signal[Client] = Signal()
        self.session_terminated: Signal[Client] = Signal()
