"""Keys of the MQTT listeners: `listeners.TYPE.NAME`.

Every type has the same keys; `ssl` and `wss` add `ssl_options`, `ws` and `wss` add `websocket`.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from msgspec import field

from pybroker.config.address import AccessRule, Bind, KeepaliveProbe
from pybroker.config.keys import Section, key
from pybroker.config.units import ByteRate, ByteSize, Duration, Rate
from pybroker.types import ListenerId

TlsVersion = Literal["tlsv1.2", "tlsv1.3"]


class TcpOptions(Section, frozen=True):
    """Options of the listening and the accepted sockets."""

    backlog: Annotated[int, key("Connections that may wait to be accepted.", low=1, high=65535)] = 1024
    nodelay: Annotated[bool, key("Send small packets at once (TCP_NODELAY); not for unix sockets.")] = True
    keepalive: Annotated[
        KeepaliveProbe | None, key("TCP keep-alive probes of accepted sockets; not for unix sockets.", word="none")
    ] = None
    sndbuf: Annotated[
        ByteSize | None,
        key("Send buffer of the kernel; `default` leaves it to the system.", low=1024, high=1 << 30, word="default"),
    ] = None
    recbuf: Annotated[
        ByteSize | None,
        key("Receive buffer of the kernel; `default` leaves it to the system.", low=1024, high=1 << 30, word="default"),
    ] = None


class SslOptions(Section, frozen=True):
    """TLS of a listener. Files are PEM, relative to the working directory, and read again on SIGHUP or change."""

    certfile: Annotated[str, key("Server certificate, followed by its chain.")] = ""
    keyfile: Annotated[str, key("Private key of the certificate, not encrypted.")] = ""
    cacertfile: Annotated[str, key("Authorities that client certificates must come from; needed by `verify_peer`.")] = (
        ""
    )
    crlfile: Annotated[str, key("Certificate revocation lists of those authorities; empty: none.")] = ""
    verify: Annotated[Literal["verify_none", "verify_peer"], key("Whether clients are asked for a certificate.")] = (
        "verify_none"
    )
    fail_if_no_peer_cert: Annotated[bool, key("With `verify_peer`: refuse clients that have no certificate.")] = False
    versions: Annotated[
        tuple[TlsVersion, ...], key("Protocol versions that are offered; older ones do not exist here.")
    ] = ("tlsv1.3", "tlsv1.2")


class WebsocketOptions(Section, frozen=True):
    """WebSocket of a listener."""

    mqtt_path: Annotated[str, key("Path of the request; any other is answered 404.", pattern="/.*")] = "/mqtt"
    max_frame_size: Annotated[ByteSize | None, key("Largest frame that is accepted.", low=1, word="infinity")] = None
    fail_if_no_subprotocol: Annotated[bool, key("Refuse clients that do not offer the sub-protocol `mqtt`.")] = True
    check_origin_enable: Annotated[bool, key("Compare the header `Origin` with `check_origins`.")] = False
    check_origins: Annotated[tuple[str, ...], key("Origins that are accepted, as scheme, host and port.")] = (
        "http://localhost:18083",
        "http://127.0.0.1:18083",
    )
    allow_origin_absence: Annotated[bool, key("With `check_origin_enable`: accept requests that have no `Origin`.")] = (
        True
    )
    idle_timeout: Annotated[
        Duration | None,
        key(
            "A connection that sends no byte for this long is closed, whatever its keep alive.",
            low=100,
            word="infinity",
        ),
    ] = Duration(7_200_000)


class Listener(Section, frozen=True):
    """Keys that every type of listener has, but for `bind`."""

    enable: Annotated[bool, key("Whether the listener is opened.")] = True
    max_connections: Annotated[
        int | None, key("Connections at a time; one more is closed at once.", low=1, high=0xFFFF_FFFF, word="infinity")
    ] = None
    max_conn_rate: Annotated[Rate | None, key("New connections; beyond it accepting pauses.", word="infinity")] = None
    messages_rate: Annotated[
        Rate | None, key("Messages of one client; beyond it its socket is not read.", word="infinity")
    ] = None
    bytes_rate: Annotated[
        ByteRate | None, key("Bytes of one client; beyond it its socket is not read.", word="infinity")
    ] = None
    mountpoint: Annotated[
        str, key("Prefix of every topic of its clients; may hold placeholders such as `${clientid}`.")
    ] = ""
    zone: Annotated[str, key("Zone whose settings its clients have.", pattern="[A-Za-z0-9_-]+")] = "default"
    enable_authn: Annotated[
        bool | Literal["quick_deny_anonymous"],
        key(
            "Whether clients go through the authentication chain; `quick_deny_anonymous` refuses those without a user "
            "name before it."
        ),
    ] = True
    acceptors: Annotated[int, key("Accepted for files of EMQX; every shard accepts here.", low=1, high=65535)] = 16
    proxy_protocol: Annotated[
        bool, key("Expect a PROXY protocol header (v1 or v2) before anything else; connections without one are closed.")
    ] = False
    proxy_protocol_timeout: Annotated[Duration, key("The header must be there by then.", low=100)] = Duration(3_000)
    access_rules: Annotated[
        tuple[AccessRule, ...], key("Who may connect; the first rule that covers the peer decides, none: refused.")
    ] = (AccessRule(True, "all"),)
    tcp_options: Annotated[TcpOptions, key("Socket options.")] = field(default_factory=TcpOptions)


class TcpListener(Listener, frozen=True, kw_only=True):
    """MQTT over TCP."""

    bind: Annotated[Bind, key("Where to listen.")]


class SslListener(Listener, frozen=True, kw_only=True):
    """MQTT over TLS."""

    bind: Annotated[Bind, key("Where to listen.")]
    ssl_options: Annotated[SslOptions, key("TLS.")] = field(default_factory=SslOptions)


class WsListener(Listener, frozen=True, kw_only=True):
    """MQTT over WebSocket."""

    bind: Annotated[Bind, key("Where to listen.")]
    websocket: Annotated[WebsocketOptions, key("WebSocket.")] = field(default_factory=WebsocketOptions)


class WssListener(Listener, frozen=True, kw_only=True):
    """MQTT over WebSocket over TLS."""

    bind: Annotated[Bind, key("Where to listen.")]
    ssl_options: Annotated[SslOptions, key("TLS.")] = field(default_factory=SslOptions)
    websocket: Annotated[WebsocketOptions, key("WebSocket.")] = field(default_factory=WebsocketOptions)


class UnixListener(Listener, frozen=True, kw_only=True):
    """MQTT over a unix socket, hence from this machine only."""

    bind: Annotated[str, key("Path of the socket; a stale one is replaced.", pattern=".+", hint="path of a socket")]


AnyListener = TcpListener | SslListener | WsListener | WssListener | UnixListener
ListenerType = Literal["tcp", "ssl", "ws", "wss", "unix"]


class Listeners(Section, frozen=True):
    """All MQTT listeners, by type and name."""

    tcp: Annotated[Mapping[str, TcpListener], key("MQTT over TCP.")] = field(
        default_factory=lambda: {"default": TcpListener(bind=Bind("127.0.0.1", 1883))}
    )
    ssl: Annotated[Mapping[str, SslListener], key("MQTT over TLS.")] = field(default_factory=dict)
    ws: Annotated[Mapping[str, WsListener], key("MQTT over WebSocket.")] = field(
        default_factory=lambda: {"default": WsListener(bind=Bind("127.0.0.1", 8083))}
    )
    wss: Annotated[Mapping[str, WssListener], key("MQTT over WebSocket over TLS.")] = field(default_factory=dict)
    unix: Annotated[Mapping[str, UnixListener], key("MQTT over unix sockets.")] = field(default_factory=dict)

    def each(self) -> Iterator[tuple[ListenerType, str, AnyListener]]:
        """Yield type, name and settings of every listener, disabled ones too, in the order of types and of the file."""
        for name, tcp in self.tcp.items():
            yield "tcp", name, tcp
        for name, ssl in self.ssl.items():
            yield "ssl", name, ssl
        for name, ws in self.ws.items():
            yield "ws", name, ws
        for name, wss in self.wss.items():
            yield "wss", name, wss
        for name, unix in self.unix.items():
            yield "unix", name, unix


def listener_id(listener_type: ListenerType, name: str) -> ListenerId:
    """Return the id of a listener, such as `tcp:default`."""
    return ListenerId(f"{listener_type}:{name}")
