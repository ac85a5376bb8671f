"""The HTTP server inside the broker's loop: uvicorn on a socket that is bound before it starts.

Signals and logs belong to the broker; the server neither installs handlers nor writes a log of its own.
"""

import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette

from pybroker.config.schema import HttpListener
from pybroker.errors import BrokerError

LISTENER_ID = "http:dashboard"


class HttpServer:
    """One HTTP listener.

    Args:
        app: answers the requests.
        settings: where to listen.
    """

    def __init__(self, app: Starlette, settings: HttpListener) -> None:
        self._settings = settings
        self._socket: socket.socket | None = None
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
            http="httptools",
            server_header=False,
            proxy_headers=False,
            limit_concurrency=settings.max_connections,
            timeout_graceful_shutdown=2,
        )
        self._server = _Server(config)

    def bind(self) -> str:
        """Bind and listen; return `address:port`.

        Raises:
            BrokerError: the address is in use or may not be bound.
        """
        where = self._settings.bind
        family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((where.host, where.port))
            listening.listen(self._settings.backlog)
        except OSError as error:
            listening.close()
            reason = (error.strerror or str(error)).lower()
            raise BrokerError(
                f"listener {LISTENER_ID} cannot listen on {where.render()}: {reason}; stop what uses it or change "
                "dashboard.listeners.http.bind"
            ) from None
        self._socket = listening
        host, port = listening.getsockname()[:2]
        return f"[{host}]:{port}" if family == socket.AF_INET6 else f"{host}:{port}"

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


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the broker."""
        yield
