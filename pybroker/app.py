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
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import structlog
import uvloop
from starlette.applications import Starlette

from admin.app import create_app
from admin.server import HttpServer
from pybroker import __version__, memory
from pybroker._core import Engine
from pybroker.auth.authentication import Authentication
from pybroker.auth.authorizer import Authorizer, template_characters
from pybroker.auth.banned import BanList
from pybroker.auth.chain import AuthenticationChain
from pybroker.auth.flapping import FlappingDetector
from pybroker.auth.revocation import Revoker
from pybroker.auth.sources.opener import Openers
from pybroker.clock import Clock
from pybroker.config.schema import Config
from pybroker.control.configuration import Configuration, open_configuration
from pybroker.control.door import About, Control, open_control
from pybroker.control.plane import Plane
from pybroker.ctl.server import CommandServer
from pybroker.errors import BrokerError
from pybroker.events import EventBus
from pybroker.listeners.certificates import OWN_CERTIFICATE, CertificateWatch
from pybroker.listeners.service import ListenerService
from pybroker.metrics.counters import Counters
from pybroker.metrics.sys_topics import SysTopicsService
from pybroker.namespaces.quota import ConnectionQuota
from pybroker.namespaces.registry import Tenants
from pybroker.namespaces.resolve import Namespaces
from pybroker.persistence.sqlite import Database, open_database
from pybroker.plane.connect import Connector
from pybroker.plane.publish import Publisher
from pybroker.plane.pump import Pump
from pybroker.plane.registry import Registry
from pybroker.plane.session import Sessions
from pybroker.plane.settings import by_zone, connect_settings, engine_settings, listener_terms, subscribe_settings
from pybroker.plane.subscribe import ExclusiveLocks, Subscriber
from pybroker.ports import ListenerTraits
from pybroker.retained.service import RetainedService
from pybroker.tasks import TaskSupervisor

logger = structlog.get_logger(__name__)

SERVER_SHUTTING_DOWN = 0x8B
DRAIN_MS = 5_000
"""How long connections may take to read what was sent to them when the broker stops."""

MAX_IO_THREADS = 8
_OWN_FILES = 64
_FEW_FILES = 10_000


def serve(
    config: Config,
    set_log_level: Callable[[str, str], None] | None = None,
    load_again: Callable[[], Config] | None = None,
) -> int:
    """Run the broker until it is told to stop; return the exit code.

    Args:
        config: as loaded.
        set_log_level: changes the level of `console` or `file`; `None`: nothing is logged.
        load_again: loads once more, from where `config` came; `None`: it came from nowhere.

    Raises:
        BrokerError: it could not start, or a part of it failed for good.
        ConfigError: the configuration cannot be put into effect, such as a broken certificate.
    """
    raise_file_limit(config)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(Broker(config, set_log_level=set_log_level, load_again=load_again).run())


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


def build_plane(
    configuration: Configuration,
    clock: Clock,
    supervisor: TaskSupervisor,
    set_log_level: Callable[[str, str], None],
) -> Plane:
    """Build everything between the engine and the operators, on the running loop; nothing is started.

    Raises:
        OSError: the engine could not be created.
    """
    config = configuration.current
    threads = config.node.io_threads
    if threads is None:
        threads = min(len(os.sched_getaffinity(0)), MAX_IO_THREADS)
    engine = Engine(threads, config.node.name)
    engine.configure(engine_settings(config))
    events, registry, locks = EventBus(), Registry(), ExclusiveLocks()
    traits: dict[int, ListenerTraits] = {}
    counters = Counters(engine, events)
    settings = connect_settings(config.mqtt)
    call_later = asyncio.get_running_loop().call_later
    authorizer = build_authorizer(engine, config, clock)
    sessions = Sessions(
        engine,
        registry,
        clock,
        events,
        call_later,
        locks.release_all,
        authorizer,
        supervisor.spawn,
        settings.max_session_expiry_s,
    )
    flapping = FlappingDetector(clock)
    flapping.apply(config)
    bans, chain = BanList(clock.wall_s, flapping), AuthenticationChain(config.is_anonymous_allowed)
    authentication = Authentication(chain, clock, supervisor.spawn)
    authentication.apply(config)
    namespaces = Namespaces(Tenants(clock, events), registry, clock, events, config)
    gate = ConnectionQuota(namespaces, registry, lambda: configuration.current.license.connection_quota)
    connector = Connector(engine, sessions, traits, chain, bans, gate, events, supervisor.spawn, settings)
    connector.zones = by_zone(config, connect_settings)
    subscriber = Subscriber(
        engine, registry, locks, authorizer, events, supervisor.spawn, subscribe_settings(config.mqtt)
    )
    subscriber.zones = by_zone(config, subscribe_settings)
    return Plane(
        engine=engine,
        events=events,
        registry=registry,
        sessions=sessions,
        connector=connector,
        subscriber=subscriber,
        publisher=Publisher(engine, authorizer, supervisor.spawn),
        locks=locks,
        authorizer=authorizer,
        revoker=Revoker(engine, registry, locks, events, authorizer),
        authentication=authentication,
        bans=bans,
        flapping=flapping,
        namespaces=namespaces,
        listeners=ListenerService(engine, traits, announce, partial(listener_terms, config)),
        counters=counters,
        sys_topics=SysTopicsService(engine, counters, events, clock, config.node.name, config.sys_topics),
        retained=RetainedService(engine, config.retainer.msg_clear_interval),
        set_log_level=set_log_level,
    )


def build_authorizer(engine: Engine, config: Config, clock: Clock) -> Authorizer:
    """Build access control; its sources are opened by `apply`."""
    settings, profile = config.authorization, config.security_profile
    openers = Openers(clock, settings.node_cache, profile, template_characters(settings.topic_template_allow))
    return Authorizer(engine, settings, profile, openers=openers)


class Broker:
    """One broker and its parts. Built on the running loop by `run`.

    Args:
        config: checked configuration.
        clock: tells the time.
        set_log_level: changes the level of `console` or `file`; `None`: nothing is logged.
        load_again: as `serve` takes it.
    """

    def __init__(
        self,
        config: Config,
        clock: Clock | None = None,
        set_log_level: Callable[[str, str], None] | None = None,
        load_again: Callable[[], Config] | None = None,
    ) -> None:
        self._config = config
        self._load_again = load_again
        self._set_log_level = set_log_level or (lambda target, level: None)
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
        async with AsyncExitStack() as stack:
            # Closed last, so that every part can store until its end.
            database = await asyncio.to_thread(open_database, Path(self._config.node.data_dir))
            stack.callback(database.close)
            configuration = await open_configuration(database, self._config, self._load_again)
            config = self._config = configuration.current
            supervisor = TaskSupervisor()
            plane = build_plane(configuration, self._clock, supervisor, self._set_log_level)
            control = await self._open_control(stack, configuration, database, plane)
            stack.push_async_callback(supervisor.stop)
            await plane.authorizer.apply(config.authorization)
            stack.push_async_callback(plane.authorizer.close)
            self._watch_signals(stack)
            self._start_plane(stack, plane)
            self._watch_hang_up(stack, plane.listeners)
            plane.listeners.open_all(config.listeners)
            stack.callback(plane.listeners.close_all)
            self._start_http(stack, supervisor, create_app(control), plane.listeners.certificates)
            commands = CommandServer(control, Path(config.node.data_dir))
            await commands.start()
            stack.push_async_callback(commands.stop)
            await control.audit.append_command(["start"])
            supervisor.spawn_restarting("control", control.run)
            supervisor.spawn_restarting("licence", control.licence.run)
            supervisor.spawn_restarting("monitor", control.monitor.run)
            supervisor.spawn_restarting("traces", control.traces.run)
            supervisor.spawn_restarting("authorization", control.authorization.run)
            plane.sys_topics.publish_description()
            supervisor.spawn_restarting("sys_heartbeat", plane.sys_topics.run_heartbeat)
            supervisor.spawn_restarting("sys_statistics", plane.sys_topics.run_statistics)
            supervisor.spawn_restarting("retained_sweep", plane.retained.run)
            supervisor.spawn_restarting("revocation", plane.revoker.run)
            supervisor.spawn_restarting("certificates", plane.listeners.certificates.run)
            await self._serve()
        if self._failure:
            raise BrokerError(self._failure)
        return 0

    def _start_plane(self, stack: AsyncExitStack, plane: Plane) -> None:
        """Start the engine and the pump; on the way out the engine is drained while the pump runs."""
        loop, engine = asyncio.get_running_loop(), plane.engine
        pump = Pump(
            engine,
            plane.registry,
            plane.connector,
            plane.subscriber,
            plane.publisher,
            plane.sessions,
            plane.events,
            self._fail,
        )

        async def stop() -> None:
            # [MQTT5-3.14.2-1] 5.0 clients are told; the loop lives on, so that their last events are handled.
            await loop.run_in_executor(None, engine.shutdown, SERVER_SHUTTING_DOWN, DRAIN_MS)
            pump.stop()
            pump.drain_all()
            plane.sessions.stop()

        engine.start()
        pump.start(loop)
        stack.push_async_callback(stop)

    async def _open_control(
        self, stack: AsyncExitStack, configuration: Configuration, database: Database, plane: Plane
    ) -> Control:
        """Build what operators reach."""
        about = About(
            node=self._config.node.name,
            version=__version__,
            started_ms=self._clock.now_ms(),
            is_running=lambda: self._is_serving,
        )
        control = await open_control(configuration, database, plane, self._clock, about, announce)
        stack.callback(control.close)
        return control

    def _start_http(
        self, stack: AsyncExitStack, supervisor: TaskSupervisor, app: Starlette, certificates: CertificateWatch
    ) -> None:
        """Serve HTTP and HTTPS, but for a listener whose port is 0."""
        listeners = self._config.dashboard.listeners
        for settings in (listeners.http, listeners.https):
            if settings.bind.port:
                server = HttpServer(app, settings, is_hardened=self._config.security_profile == "hardened")
                self._start_http_listener(stack, supervisor, server)
                if files := server.certificate_files:
                    certificates.watch(OWN_CERTIFICATE, server.listener_id, files, server.reload_certificate)

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
        memory.give_back_freed()
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
