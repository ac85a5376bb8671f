"""What the plane asks of the services above it, as Protocols, and the two structs that travel with the questions.

The plane imports this module; `auth`, `namespaces` and `listeners` implement it; `app` connects the two. A question on
the connect path is answered at once where it can be: only an answer that needs the network is a coroutine.
"""

from collections.abc import Awaitable, Mapping
from typing import Literal, NamedTuple, Protocol, TypeAlias

import msgspec

from pybroker._core import AccessRules, AccessSubject, Connect, Will
from pybroker.types import ClientId, Filter, ListenerId, Mountpoint, Namespace, Topic, Username

FilterRequest: TypeAlias = tuple[str, int, int, int, str, bool]
"""One filter of a SUBSCRIBE as the core hands it over; the fields are those of `_core._FilterRequest`."""


class ListenerTraits(msgspec.Struct, frozen=True, kw_only=True):
    """What the plane must know of a listener.

    Args:
        id: type and name, such as `tcp:default`.
        port: port as bound; 0 for a unix socket.
        mountpoint: template of its clients' prefix; empty for none.
        zone: whose settings its clients have.
        enable_authn: whether its clients pass the authentication chain; `quick_deny_anonymous` refuses those without
            a user name before it.
    """

    id: ListenerId
    port: int = 0
    mountpoint: str = ""
    zone: str = "default"
    enable_authn: bool | Literal["quick_deny_anonymous"] = True


class ClientAcl(msgspec.Struct, frozen=True, kw_only=True):
    """Rules that authentication attached to one client (a claim of its token, or the answer of a login service).

    Args:
        rules: compiled; asked before every configured source.
        is_final: whether what they do not match is denied; otherwise the configured sources go on.
    """

    rules: AccessRules
    is_final: bool = False


class Applicant:
    """A client between its CONNECT and the answer: what it said, and what the steps have decided so far.

    `attributes` are the client attributes by name, `None` while there are none; `declared_client_id` is the id before
    any override; `expire_at_s` (wall clock) is when its rights end, `None`: never, and `disconnects_at_expiry` whether
    its connection ends with them. `exchange` belongs to the authenticator: what it must remember between the steps of
    an enhanced authentication. `host` and `port` are where it connects from; `host` is empty for a unix socket.

    Args:
        conn: its connection.
        connect: its CONNECT; attributes of it are built when read.
        listener: where it came in.
    """

    __slots__ = (
        "acl",
        "attributes",
        "client_id",
        "conn",
        "connect",
        "declared_client_id",
        "disconnects_at_expiry",
        "exchange",
        "expire_at_s",
        "expiry_s",
        "host",
        "is_assigned",
        "is_clean_start",
        "is_superuser",
        "keep_alive_s",
        "listener",
        "method",
        "mountpoint",
        "namespace",
        "peer",
        "port",
        "username",
        "version",
        "zone",
    )

    def __init__(self, conn: int, connect: Connect, listener: ListenerTraits) -> None:
        self.conn = conn
        self.connect = connect
        self.listener = listener
        self.version = connect.version
        client_id, username = connect.client_id, connect.username
        self.client_id = self.declared_client_id = ClientId(client_id)
        self.username = None if username is None else Username(username)
        self.is_clean_start = connect.is_clean_start
        self.expiry_s = 0
        self.keep_alive_s = connect.keep_alive_s
        peer = connect.peer
        self.host, self.port = peer
        self.peer = render_peer(peer)
        self.method: str | None = connect.authentication_method if self.version == 5 else None
        self.is_assigned = False
        self.namespace: Namespace | None = None
        self.mountpoint = Mountpoint("")
        self.is_superuser = False
        self.zone = listener.zone
        self.attributes: dict[str, str] | None = None
        self.acl: ClientAcl | None = None
        self.expire_at_s: int | None = None
        self.disconnects_at_expiry = True
        self.exchange: object | None = None


class Renewal:
    """A connected client that authenticates again; lives from its first AUTH to the answer.

    Args:
        client_id: whose session it is.
        username: as whom it has logged in.
        namespace: of that session.
        method: as its AUTH names it.
    """

    __slots__ = ("client_id", "exchange", "method", "namespace", "username")

    def __init__(
        self, client_id: ClientId, username: Username | None, namespace: Namespace | None, method: str
    ) -> None:
        self.client_id = client_id
        self.username = username
        self.namespace = namespace
        self.method = method
        self.exchange: object | None = None


def render_peer(peer: tuple[str, int]) -> str:
    """Return address and port as one text, IPv6 in brackets; empty for a unix socket."""
    host, port = peer
    if not host:
        return ""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Verdict(NamedTuple):
    """What the authentication says about an applicant.

    Args:
        reason: 0x00 admitted, 0x18 continue (an AUTH with `data` goes to the client), 0x80 and above refused.
        is_superuser: whether access control is skipped for the client.
        namespace: replaces the one found so far; `None` keeps it.
        data: authentication data for the client.
        reason_string: told to 5.0 clients; `None`: nothing.
        acl: rules that are the client's own; `None`: none.
        expire_at_s: wall clock second at which its rights end; `None`: never.
        attributes: client attributes, put over those it has; may replace `tns`.
        client_id: replaces the client id; `None` keeps it.
        zone: replaces the zone; `None` keeps it.
        disconnects_at_expiry: whether the connection ends at `expire_at_s`; else its checks are denied from then on.
        username: who it has proved to be, where CONNECT does not say it; `None` keeps the user name.
    """

    reason: int
    is_superuser: bool = False
    namespace: Namespace | None = None
    data: bytes | None = None
    reason_string: str | None = None
    acl: ClientAcl | None = None
    expire_at_s: int | None = None
    attributes: Mapping[str, str] | None = None
    client_id: ClientId | None = None
    zone: str | None = None
    disconnects_at_expiry: bool = True
    username: Username | None = None


class Authenticator(Protocol):
    """The authentication chain of all listeners."""

    def authenticate(self, applicant: Applicant) -> Verdict | Awaitable[Verdict]:
        """Judge an applicant by its CONNECT.

        A method of enhanced authentication that is not known is refused with 0x8C. [MQTT5-4.12.0-1]
        """

    def proceed(self, applicant: Applicant, data: bytes) -> Verdict | Awaitable[Verdict]:
        """Judge the next step of an enhanced authentication; `data` is what AUTH carried."""

    def authenticate_again(self, renewal: Renewal, data: bytes) -> Verdict | Awaitable[Verdict]:
        """Judge an AUTH of a client that is connected (re-authentication), its first one and those that follow."""


class Principal(Protocol):
    """Who asks for something, as access control sees it."""

    @property
    def client_id(self) -> ClientId:
        """Client id as the broker uses it."""

    @property
    def username(self) -> Username | None:
        """User name; `None` for an anonymous client."""

    @property
    def peer(self) -> str:
        """Address and port; empty for a unix socket."""

    @property
    def is_superuser(self) -> bool:
        """Whether access control is skipped."""


class Authorizer(Protocol):
    """Access control as far as the plane asks it; only what a remote source must judge is a coroutine."""

    @property
    def disconnects(self) -> bool:
        """Whether a client that is denied something is disconnected."""

    @property
    def version(self) -> int:
        """Number of the rules and settings in force; changes with every change."""

    def judge_subscribe(self, slot: int, filter: Filter, qos: int) -> int | Awaitable[int]:
        """Return 0, or the reason code (0x87) that refuses the subscription to the client of a session.

        Args:
            filter: as the client wrote it, not mounted.
        """

    async def recheck(self, slot: int, filter: Filter, qos: int) -> bool:
        """Whether a client may have a subscription that it was granted before. No counter moves."""

    def denies(self, slot: int, filter: Filter, qos: int) -> bool:
        """Whether a subscription is denied now without asking anybody, as it is when rights have ended."""

    def judge_publish(
        self, slot: int, chain: int, step: int, topic: Topic, qos: int, retain: bool
    ) -> tuple[bool, bool] | Awaitable[tuple[bool, bool]]:
        """Go on with a PUBLISH that the core has judged up to `step`: is it allowed, and may that be kept.

        Args:
            chain: version of the chain in which `step` is counted.
        """

    def judge_will(self, subject: AccessSubject, will: Will) -> int | Awaitable[int]:
        """Return 0, or the reason code (0x87) that drops a will that is about to be sent."""


class Banned(Protocol):
    """The list of those who may not connect."""

    def is_banned(self, applicant: Applicant) -> bool:
        """Whether client id, user name or address stand on the list now."""

    def count_connect(self, applicant: Applicant) -> bool:
        """Count a CONNECT of somebody who is not banned; return whether he connects so often that he is banned now."""


class NamespaceResolver(Protocol):
    """From client to tenant."""

    def resolve(self, applicant: Applicant) -> None:
        """Set namespace, attributes and, where an override is configured, the client id."""

    def judge(self, applicant: Applicant) -> int:
        """Return 0, or the reason code with which the namespace gate refuses the applicant; before authentication."""

    def resolve_again(self, applicant: Applicant, before: Namespace | None, keeps_client_id: bool) -> int:
        """Settle namespace and client id once authentication has had its say.

        Args:
            before: namespace as `resolve` found it.
            keeps_client_id: whether authentication has set the client id, so that no override follows.

        Returns:
            0, or the reason code of a refusal.
        """

    def judge_again(self, applicant: Applicant) -> int:
        """Return 0, or the reason code with which the gate refuses what `resolve_again` has settled."""

    def mountpoint(self, applicant: Applicant) -> Mountpoint | None:
        """Return the prefix of the applicant's topics, empty for none; `None`: there is one, but it cannot be used."""

    def let_go(self, applicant: Applicant) -> None:
        """Give back what is reserved for an applicant: it has its session, was refused or has gone."""
