"""The life of the listeners: configuration to the engine's specification, open, close, restart.

The engine binds and accepts; here stands which listeners there are. `traits` is what the connect pipeline reads, by
the engine's number, and it is filled before the first connection of a listener can be drained.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import structlog

from pybroker._core import Engine
from pybroker.config.schema import (
    AnyListener,
    Listeners,
    ListenerType,
    SslListener,
    SslOptions,
    TcpOptions,
    UnixListener,
    WebsocketOptions,
    WsListener,
    WssListener,
    listener_id,
)
from pybroker.errors import BrokerError, ConfigError
from pybroker.listeners.certificates import CertificateWatch
from pybroker.plane.settings import ListenerTerms
from pybroker.ports import ListenerTraits
from pybroker.types import ListenerId

logger = structlog.get_logger(__name__)

ADMINISTRATIVE_ACTION = 0x98


class ListenerStats(NamedTuple):
    """Counts of one listener."""

    current: int
    accepted: int
    refused: int


class _Open(NamedTuple):
    number: int
    address: str


class _Known(NamedTuple):
    kind: ListenerType
    name: str
    settings: AnyListener
    terms: ListenerTerms


class ListenerService:
    """All MQTT listeners of the broker.

    Args:
        engine: binds and accepts.
        traits: filled and emptied here, read by the connect pipeline.
        announce: gets one line for each listener that is opened.
        terms_of: what a zone grants; may be changed, and holds for what is opened and for `follow`.
    """

    def __init__(
        self,
        engine: Engine,
        traits: dict[int, ListenerTraits],
        announce: Callable[[str], None],
        terms_of: Callable[[str], ListenerTerms],
    ) -> None:
        self._engine = engine
        self._traits = traits
        self._announce = announce
        self.terms_of = terms_of
        self._known: dict[ListenerId, _Known] = {}
        self._open: dict[ListenerId, _Open] = {}
        self.certificates = CertificateWatch(engine)

    @property
    def addresses(self) -> Mapping[ListenerId, str]:
        """Where the open listeners are bound: `address:port` or a path."""
        return {listener: entry.address for listener, entry in self._open.items()}

    def open_all(self, listeners: Listeners) -> None:
        """Open every enabled listener of a configuration, in its order; none stays open if one fails.

        Raises:
            BrokerError: an address could not be bound.
            ConfigError: a certificate file is broken.
        """
        try:
            for kind, name, settings in listeners.each():
                listener = listener_id(kind, name)
                self._known[listener] = _Known(kind, name, settings, self.terms_of(settings.zone))
                if settings.enable:
                    self.start(listener)
        except BrokerError:
            self.close_all()
            raise

    def follow(self, listeners: Listeners) -> None:
        """Bring what is open in line with a configuration; what has not changed is left alone.

        A listener that has changed goes on with its connections, which keep what held when they came; one that is to
        listen elsewhere is closed with them and opened again. If one cannot be opened, those that were changed before
        it are changed back.

        Raises:
            BrokerError: an address could not be bound.
            ConfigError: a certificate file is broken.
        """
        wanted = {
            listener_id(kind, name): _Known(kind, name, settings, self.terms_of(settings.zone))
            for kind, name, settings in listeners.each()
        }
        before = dict(self._known)
        touched = [listener for listener in {**before, **wanted} if before.get(listener) != wanted.get(listener)]
        try:
            self._change(touched, wanted)
        except BrokerError:
            self._change(touched, before)
            raise

    def _change(self, touched: Iterable[ListenerId], known: Mapping[ListenerId, _Known]) -> None:
        """Give listeners the settings in `known`, or remove them. All close first: one may take another's address."""
        staying = {listener for listener in touched if self._stays(listener, known.get(listener))}
        for listener in touched:
            if listener not in staying:
                self.stop(listener)
                self._known.pop(listener, None)
        for listener in touched:
            if listener in known:
                self._known[listener] = known[listener]
                if listener in staying:
                    self._alter(listener)
                elif known[listener].settings.enable:
                    self.start(listener)

    def _stays(self, listener: ListenerId, wanted: _Known | None) -> bool:
        """Whether a listener can go on as `wanted`: it is open, and its socket can be the same.

        Buffers of the kernel are among what is given to a socket before it listens, and cannot go back to the default.
        """
        if wanted is None or listener not in self._open or not wanted.settings.enable:
            return False
        before, after = self._known[listener].settings, wanted.settings
        buffers = (before.tcp_options.sndbuf, before.tcp_options.recbuf)
        return before.bind == after.bind and buffers == (after.tcp_options.sndbuf, after.tcp_options.recbuf)

    def _alter(self, listener: ListenerId) -> None:
        """Put the settings of an open listener in force for connections to come.

        Raises:
            BrokerError: the system refuses an option of the socket.
            ConfigError: a certificate file is broken.
        """
        known, entry = self._known[listener], self._open[listener]
        try:
            self._engine.change_listener(entry.number, specification(*known))
        except OSError as error:
            reason = (os.strerror(error.errno) if error.errno else str(error)).lower()
            raise BrokerError(f"listener {listener} cannot be changed: {reason}") from None
        except ValueError as error:
            raise ConfigError(f"listeners.{known.kind}.{known.name}", str(error)) from None
        self._note(listener, entry.number, known.settings, entry.address)
        logger.info("listener_changed", listener=listener)

    def _note(self, listener: ListenerId, number: int, settings: AnyListener, address: str) -> None:
        """Tell the connect pipeline and the watch of certificates about an open listener."""
        self._traits[number] = _traits(listener, settings, address)
        if isinstance(settings, SslListener | WssListener):
            self.certificates.watch(number, listener, certificate_files(settings.ssl_options))

    def is_open(self, listener: ListenerId) -> bool:
        """Return whether a listener accepts connections."""
        return listener in self._open

    def start(self, listener: ListenerId) -> str:
        """Open a known listener and return its address; one that is open already is left alone.

        Raises:
            BrokerError: the address could not be bound.
            ConfigError: a certificate file is broken.
            KeyError: there is no such listener.
        """
        if listener in self._open:
            return self._open[listener].address
        kind, name, settings, terms = self._known[listener]
        try:
            number, address = self._engine.open_listener(specification(kind, name, settings, terms))
        except OSError as error:
            where = settings.bind if isinstance(settings, UnixListener) else settings.bind.render()
            reason = (os.strerror(error.errno) if error.errno else str(error)).lower()
            raise BrokerError(
                f"listener {listener} cannot listen on {where}: {reason}; "
                f"stop what uses it or change listeners.{kind}.{name}.bind"
            ) from None
        except ValueError as error:
            raise ConfigError(f"listeners.{kind}.{name}", str(error)) from None
        self._open[listener] = _Open(number, address)
        self._note(listener, number, settings, address)
        self._announce(f"listener {listener} started on {address}")
        return address

    def stop(self, listener: ListenerId, reason: int = ADMINISTRATIVE_ACTION) -> bool:
        """Close a listener and end its connections; return whether it was open.

        5.0 clients get DISCONNECT with `reason`.
        """
        entry = self._open.pop(listener, None)
        if entry is None:
            return False
        self.certificates.forget(entry.number)
        self._engine.close_listener(entry.number, True, reason)
        del self._traits[entry.number]
        logger.info("listener_stopped", listener=listener)
        return True

    def restart(self, listener: ListenerId) -> str:
        """Close a listener with its connections and open it again; returns its address.

        Raises:
            BrokerError, ConfigError, KeyError: as `start`; the listener is closed then.
        """
        self.stop(listener)
        return self.start(listener)

    def close_all(self) -> None:
        """Stop accepting everywhere; connections stay until the engine ends them."""
        for entry in self._open.values():
            self.certificates.forget(entry.number)
            self._engine.close_listener(entry.number, False, 0)
        self._open.clear()

    def stats(self, listener: ListenerId) -> ListenerStats:
        """Return the counts of an open listener.

        Raises:
            KeyError: it is not open.
        """
        return ListenerStats(*self._engine.listener_stats(self._open[listener].number))


def specification(kind: ListenerType, name: str, settings: AnyListener, terms: ListenerTerms) -> dict[str, object]:
    """Return the engine's specification of a listener."""
    spec: dict[str, object] = {
        "kind": kind,
        "name": listener_id(kind, name),
        "max_connections": settings.max_connections or 0,
        "max_conn_rate": 0.0 if settings.max_conn_rate is None else settings.max_conn_rate.per_second,
        "messages_rate": 0.0 if settings.messages_rate is None else settings.messages_rate.per_second,
        "bytes_rate": 0.0 if settings.bytes_rate is None else settings.bytes_rate.per_second,
        "proxy_protocol": settings.proxy_protocol,
        "proxy_timeout_ms": int(settings.proxy_protocol_timeout),
        "idle_timeout_ms": terms.idle_timeout_ms,
        "zone": dict(terms.zone),
        "access_rules": [(rule.is_allow, rule.network) for rule in settings.access_rules],
        **_socket(settings.tcp_options),
    }
    if isinstance(settings, UnixListener):
        spec["path"] = settings.bind
    else:
        spec["host"], spec["port"] = settings.bind.host, settings.bind.port
    if isinstance(settings, SslListener | WssListener):
        spec["tls"] = _tls(settings.ssl_options)
    if isinstance(settings, WsListener | WssListener):
        spec["websocket"] = _websocket(settings.websocket)
        spec["max_silence_ms"] = int(settings.websocket.idle_timeout or 0)
    return spec


def certificate_files(options: SslOptions) -> tuple[str, ...]:
    """Return the files that TLS of a listener is made of."""
    files = (options.certfile, options.keyfile, options.cacertfile, options.crlfile)
    return tuple(file for file in files if file)


def _socket(options: TcpOptions) -> dict[str, object]:
    probe = options.keepalive
    return {
        "backlog": options.backlog,
        "nodelay": options.nodelay,
        "keepalive": None if probe is None else (probe.idle_s, probe.interval_s, probe.probes),
        "sndbuf": int(options.sndbuf or 0),
        "recbuf": int(options.recbuf or 0),
    }


def _tls(options: SslOptions) -> dict[str, object]:
    return {
        "certfile": options.certfile,
        "keyfile": options.keyfile,
        "cacertfile": options.cacertfile or None,
        "crlfile": options.crlfile or None,
        "verify": options.verify == "verify_peer",
        "fail_if_no_peer_cert": options.fail_if_no_peer_cert,
        "versions": list(options.versions),
    }


def _websocket(options: WebsocketOptions) -> dict[str, object]:
    spec: dict[str, object] = {
        "path": options.mqtt_path,
        "check_origin": options.check_origin_enable,
        "origins": list(options.check_origins),
        "allow_no_origin": options.allow_origin_absence,
        "fail_if_no_subprotocol": options.fail_if_no_subprotocol,
    }
    if options.max_frame_size is not None:
        spec["max_frame_bytes"] = int(options.max_frame_size)
    return spec


def _traits(listener: ListenerId, settings: AnyListener, address: str) -> ListenerTraits:
    port = 0 if isinstance(settings, UnixListener) else int(address.rpartition(":")[2])
    return ListenerTraits(
        id=listener,
        port=port,
        mountpoint=settings.mountpoint,
        zone=settings.zone,
        enable_authn=settings.enable_authn,
    )
