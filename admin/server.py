"""The HTTP servers inside the broker's loop: uvicorn on a socket that is bound before it starts.

Signals and logs belong to the broker; a server neither installs handlers nor writes a log of its own.
"""

import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import uvicorn
from starlette.applications import Starlette

from admin.http_protocol import protocol_with
from pybroker.config.schema import Bind, HttpListener, HttpsListener
from pybroker.errors import BrokerError


class HttpServer:
    """One HTTP or HTTPS listener.

    Args:
        app: answers the requests.
        settings: where to listen, and the certificate of an HTTPS listener.
        is_hardened: plain HTTP on a bare port is for this machine only.
    """

    def __init__(self, app: Starlette, settings: HttpListener, *, is_hardened: bool = False) -> None:
        self._settings = settings
        is_for_this_machine = is_hardened and settings.bind.is_bare and not isinstance(settings, HttpsListener)
        self._where = Bind("127.0.0.1", settings.bind.port) if is_for_this_machine else settings.bind
        if settings.inet6 and settings.bind.is_bare:
            self._where = Bind("::1" if is_for_this_machine else "::", settings.bind.port)
        self._scheme = "https" if isinstance(settings, HttpsListener) else "http"
        self._socket: socket.socket | None = None
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
            http=protocol_with(int(settings.send_timeout) / 1_000),
            server_header=False,
            proxy_headers=False,
            backlog=settings.backlog,
            limit_concurrency=settings.max_connections,
            timeout_graceful_shutdown=2,
            **_tls(settings),
        )
        self._config = config
        self._server = _Server(config)

    @property
    def listener_id(self) -> str:
        """Type and name, such as `http:dashboard`."""
        return f"{self._scheme}:dashboard"

    def url(self, address: str) -> str:
        """Return where a browser finds the listener that is bound to `address`."""
        return f"{self._scheme}://{address}/"

    def bind(self) -> str:
        """Read the certificate, bind and listen; return `address:port`.

        Raises:
            BrokerError: the certificate cannot be used, or the address is in use or may not be bound.
        """
        where = self._where
        try:
            self._config.load()
            _refine(self._config.ssl, self._settings)
        except (OSError, ssl.SSLError) as error:
            reason = (error.strerror or str(error)).lower()
            raise BrokerError(
                f"listener {self.listener_id} cannot use its certificate: {reason}; correct "
                "dashboard.listeners.https.ssl_options"
            ) from None
        family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, self._settings.ipv6_v6only)
            listening.bind((where.host, where.port))
            listening.listen(self._settings.backlog)
        except OSError as error:
            listening.close()
            reason = (error.strerror or str(error)).lower()
            raise BrokerError(
                f"listener {self.listener_id} cannot listen on {where.render()}: {reason}; stop what uses it or change "
                f"dashboard.listeners.{self._scheme}.bind"
            ) from None
        self._socket = listening
        host, port = listening.getsockname()[:2]
        return f"[{host}]:{port}" if family == socket.AF_INET6 else f"{host}:{port}"

    @property
    def certificate_files(self) -> tuple[str, ...]:
        """Files that TLS of the listener is made of; none without TLS."""
        if not isinstance(self._settings, HttpsListener):
            return ()
        options = self._settings.ssl_options
        files = (options.certfile, options.keyfile, options.cacertfile, options.crlfile)
        return tuple(file for file in files if file)

    def reload_certificate(self) -> bool:
        """Read the certificate again, for connections that are opened from now on.

        Raises:
            ValueError: it cannot be used; the listener keeps what it has.
        """
        context = self._config.ssl
        if context is None or not isinstance(self._settings, HttpsListener):
            return False
        options = self._settings.ssl_options
        try:
            # Tried on a context of its own, for one that fails half way is of no use any more.
            for one in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), context):
                one.load_cert_chain(options.certfile, options.keyfile or None)
                if options.cacertfile:
                    one.load_verify_locations(options.cacertfile)
                if options.crlfile:
                    one.load_verify_locations(options.crlfile)
        except (OSError, ssl.SSLError) as error:
            raise ValueError(f"{options.certfile}: {(error.strerror or str(error)).lower()}") from None
        return True

    async def run(self) -> None:
        """Serve on the bound socket until `stop`."""
        assert self._socket is not None, "bind comes first"
        await self._server.serve(sockets=[self._socket])

    def stop(self) -> None:
        """Ask the server to finish what it answers, for two seconds at most, and `run` to return."""
        self._server.should_exit = True

    def close(self) -> None:
        """Close the socket; for a server that never ran."""
        if self._socket is not None:
            self._socket.close()


def _tls(settings: HttpListener) -> dict[str, Any]:
    if not isinstance(settings, HttpsListener):
        return {}
    options = settings.ssl_options
    asks = ssl.CERT_NONE
    if options.verify == "verify_peer":
        asks = ssl.CERT_REQUIRED if options.fail_if_no_peer_cert else ssl.CERT_OPTIONAL
    return {
        "ssl_certfile": options.certfile,
        "ssl_keyfile": options.keyfile or None,
        "ssl_ca_certs": options.cacertfile or None,
        "ssl_cert_reqs": asks,
    }


def _refine(context: ssl.SSLContext | None, settings: HttpListener) -> None:
    """Do what uvicorn has no option for: offer the configured versions of TLS, 1.2 and 1.3, and read revocations.

    Raises:
        OSError, ssl.SSLError: the revocations cannot be read.
    """
    if context is None or not isinstance(settings, HttpsListener):
        return
    options = settings.ssl_options
    context.minimum_version = ssl.TLSVersion.TLSv1_2 if "tlsv1.2" in options.versions else ssl.TLSVersion.TLSv1_3
    context.maximum_version = ssl.TLSVersion.TLSv1_3 if "tlsv1.3" in options.versions else ssl.TLSVersion.TLSv1_2
    if options.crlfile:
        context.load_verify_locations(options.crlfile)
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the broker."""
        yield
