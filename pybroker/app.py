"""Composition root: builds every part, starts them in order, and stops them in the reverse one.

The only module that knows all parts. Nothing is decided here but the order. When a part cannot start, those before it
are stopped again and its error goes to the command line.

Wills at the end: the broker's own stop is no DISCONNECT of the client, so wills without a delay are published while
connections close [MQTT5-3.1.2-8]; sessions that still wait for their delayed will end with the process, unsent.
"""

import asyncio
import gc
import os
import resource
import signal
import sys
from contextlib import AsyncExitStack

import structlog
import uvloop
from starlette.applications import Starlette

from admin.app import create_app
from admin.server import HttpServer
from pybroker import __version__
from pybroker._core import Engine
from pybroker.auth.authorizer import Authorizer
from pybroker.auth.banned import NoBans
from pybroker.auth.chain import AuthenticationChain
from pybroker.clock import Clock
from pybroker.config.schema import Config
from pybroker.control.door import About, Control, open_control
from pybroker.errors import BrokerError
from pybroker.events import EventBus
from pybroker.listeners.service import ListenerService
from pybroker.metrics.counters import Counters
from pybroker.metrics.sys_topics import SysTopicsService
from pybroker.namespaces.quota import ConnectionQuota
from pybroker.namespaces.resolve import NoNamespaces
from pybroker.plane.connect import Connector
from pybroker.plane.pump import Pump
from pybroker.plane.registry import Registry
from pybroker.plane.session import Sessions
from pybroker.plane.settings import connect_settings, engine_settings, subscribe_settings
from pybroker.plane.subscribe import ExclusiveLocks, Subscriber
from pybroker.ports import ListenerTraits, NamespaceResolver
from pybroker.retained.service import RetainedService
from pybroker.tasks import TaskSupervisor

logger = structlog.get_logger(__name__)

SERVER_SHUTTING_DOWN = 0x8B
DRAIN_MS = 5_000
"""How long connections may take to read what was sent to them when the broker stops."""

MAX_IO_THREADS = 8
_OWN_FILES = 64
_FEW_FILES = 10_000


def serve(config: Config) -> int:
    """Run the broker until it is told to stop; return the exit code.

    Raises:
        BrokerError: it could not start, or a part of it failed for good.
        ConfigError: the configuration cannot be put into effect, such as a broken certificate.
    """
    raise_file_limit(config)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(Broker(config).run())


def raise_file_limit(config: Config) -> None:
    """Raise the limit of open files as far as the system allows; warn if it is less than the configuration asks for."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY:
        return
    bounds = [listener.max_connections for _, _, listener in config.listeners.each() if listener.enable]
    wanted = sum(bound for bound in bounds if bound is not None)
    if wanted + _OWN_FILES > hard or (None in bounds and hard < _FEW_FILES):
        logger.warning("file_limit_is_low", limit=hard, max_connections=wanted or "infinity")


class Broker:
    """One broker and its parts. Built on the running loop by `run`.

    Args:
        config: checked configuration.
        clock: tells the time.
    """

    def __init__(self, config: Config, clock: Clock | None = None) -> None:
        self._config = config
        self._clock = clock or Clock()
        self._stop_asked = asyncio.Event()
        self._failure = ""
        self._is_serving = False

    async def run(self) -> int:
        """Start, serve until a signal or a failure, stop; return 0.

        Raises:
            BrokerError: it could not start, or a shard died.
            ConfigError: the configuration cannot be put into effect.
        """
        config = self._config
        async with AsyncExitStack() as stack:
            control = await self._open_control(stack)
            engine = self._build_engine()
            traits: dict[int, ListenerTraits] = {}
            events = EventBus()
            counters = Counters(engine, events)
            supervisor = TaskSupervisor()
            stack.push_async_callback(supervisor.stop)
            self._watch_signals(stack)
            registry = Registry()
            gate = ConnectionQuota(NoNamespaces(), registry, lambda: control.licence.quota)
            control.licence.attach(lambda: len(registry))
            self._start_plane(stack, engine, traits, events, supervisor, registry, gate)
            sys_topics = SysTopicsService(engine, counters, events, self._clock, config.node.name, config.sys_topics)
            retained = RetainedService(engine, config.retainer.msg_clear_interval)
            listeners = ListenerService(engine, traits, announce, config.mqtt.idle_timeout)
            self._watch_hang_up(stack, listeners)
            listeners.open_all(config.listeners)
            stack.callback(listeners.close_all)
            self._start_http(stack, supervisor, create_app(control))
            await control.audit.append_command(["start"])
            supervisor.spawn_restarting("control", control.run)
            supervisor.spawn_restarting("licence", control.licence.run)
            sys_topics.publish_description()
            supervisor.spawn_restarting("sys_heartbeat", sys_topics.run_heartbeat)
            supervisor.spawn_restarting("sys_statistics", sys_topics.run_statistics)
            supervisor.spawn_restarting("retained_sweep", retained.run)
            supervisor.spawn_restarting("certificates", listeners.certificates.run)
            await self._serve()
        if self._failure:
            raise BrokerError(self._failure)
        return 0

    def _build_engine(self) -> Engine:
        config = self._config
        threads = config.node.io_threads
        if threads is None:
            threads = min(len(os.sched_getaffinity(0)), MAX_IO_THREADS)
        engine = Engine(threads, config.node.name)
        engine.configure(engine_settings(config))
        return engine

    def _start_plane(
        self,
        stack: AsyncExitStack,
        engine: Engine,
        traits: dict[int, ListenerTraits],
        events: EventBus,
        supervisor: TaskSupervisor,
        registry: Registry,
        namespaces: NamespaceResolver,
    ) -> None:
        """Build the plane and start it with the engine; on the way out the engine is drained while the pump runs."""
        config, loop = self._config, asyncio.get_running_loop()
        locks = ExclusiveLocks()
        settings = connect_settings(config)
        sessions = Sessions(
            engine, registry, self._clock, events, loop.call_later, locks.release_all, settings.max_session_expiry_s
        )
        connector = Connector(
            engine,
            sessions,
            traits,
            AuthenticationChain(config.is_anonymous_allowed),
            NoBans(),
            namespaces,
            events,
            supervisor.spawn,
            settings,
        )
        authorizer = Authorizer(config.authorization.sys_topics)
        subscriber = Subscriber(engine, registry, locks, authorizer, events, subscribe_settings(config))
        pump = Pump(engine, registry, connector, subscriber, sessions, self._fail)

        async def stop() -> None:
            # [MQTT5-3.14.2-1] 5.0 clients are told; the loop lives on, so that their last events are handled.
            await loop.run_in_executor(None, engine.shutdown, SERVER_SHUTTING_DOWN, DRAIN_MS)
            pump.stop()
            pump.drain_all()
            sessions.stop()

        engine.start()
        pump.start(loop)
        stack.push_async_callback(stop)

    async def _open_control(self, stack: AsyncExitStack) -> Control:
        """Open the database and what operators reach; closed last, so that every part can store until its end."""
        config = self._config
        about = About(node=config.node.name, version=__version__, is_running=lambda: self._is_serving)
        control = await open_control(config, self._clock, about, announce)
        stack.callback(control.close)
        return control

    def _start_http(self, stack: AsyncExitStack, supervisor: TaskSupervisor, app: Starlette) -> None:
        """Serve HTTP and HTTPS, but for a listener whose port is 0."""
        listeners = self._config.dashboard.listeners
        for settings in (listeners.http, listeners.https):
            if settings.bind.port:
                self._start_http_listener(stack, supervisor, HttpServer(app, settings))

    def _start_http_listener(self, stack: AsyncExitStack, supervisor: TaskSupervisor, server: HttpServer) -> None:
        address = server.bind()
        task = supervisor.spawn(server.listener_id, server.run())

        async def stop() -> None:
            server.stop()
            await asyncio.wait([task])

        stack.push_async_callback(stop)
        announce(f"listener {server.listener_id} started on {address}")
        announce(f"dashboard {server.url(address)}")

    async def _serve(self) -> None:
        """Say that the broker is ready and wait until it is told to stop."""
        # What was built until now lives as long as the process; the collector need not look at it again.
        gc.collect()
        gc.freeze()
        self._is_serving = True
        logger.info("broker_started", version=__version__, node=self._config.node.name)
        announce("ready")
        await self._stop_asked.wait()
        self._is_serving = False
        logger.info("broker_stopping", reason=self._failure or "signal")

    def _watch_signals(self, stack: AsyncExitStack) -> None:
        """Stop on SIGTERM and SIGINT; watched until the plane has stopped, so that a second SIGINT is heard."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop_asked.set)
        loop.add_signal_handler(signal.SIGINT, self._on_interrupt)
        stack.callback(loop.remove_signal_handler, signal.SIGINT)
        stack.callback(loop.remove_signal_handler, signal.SIGTERM)

    def _watch_hang_up(self, stack: AsyncExitStack, listeners: ListenerService) -> None:
        """Read the certificates again on SIGHUP."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, listeners.certificates.reload)
        stack.callback(loop.remove_signal_handler, signal.SIGHUP)

    def _on_interrupt(self) -> None:
        """Stop in order; the second time, at once."""
        if self._stop_asked.is_set():
            os._exit(130)
        self._stop_asked.set()

    def _fail(self, text: str) -> None:
        self._failure = self._failure or text
        logger.critical("broker_failed", reason=text)
        self._stop_asked.set()


def announce(line: str) -> None:
    """Write one line to the standard output at once; scripts wait for these lines."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
