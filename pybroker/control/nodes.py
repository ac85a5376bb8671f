"""The nodes of the cluster, which is this one: what it is and what it uses."""

import os
import platform
import resource
import threading
from pathlib import Path

import msgspec

from pybroker.clock import Clock
from pybroker.control.about import About
from pybroker.control.configuration import Configuration
from pybroker.control.plane import Plane
from pybroker.errors import Refused

_UNITS = ((1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K"))


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One node.

    Args:
        uptime_ms: since the start of the process.
        sessions: connected or not.
        connections: sockets.
        load: of the last 1, 5 and 15 minutes.
        memory_total: bytes that the process may use.
        memory_used: bytes that it occupies.
        threads: tasks of the system that it has.
        max_threads: tasks that it may have.
        max_files: descriptors that it may have.
        folder: working directory.
        log_folder: where log files are; empty: none are written.
    """

    name: str
    version: str
    uptime_ms: int
    sessions: int
    connections: int
    load: tuple[float, float, float]
    memory_total: int
    memory_used: int
    threads: int
    max_threads: int
    max_files: int
    runtime: str
    folder: str
    log_folder: str


class Nodes:
    """The nodes.

    Args:
        plane: says how many clients there are.
        clock: tells the time.
        about: this process.
        configuration: says where logs are.
    """

    def __init__(self, plane: Plane, clock: Clock, about: About, configuration: Configuration) -> None:
        self._plane = plane
        self._clock = clock
        self._about = about
        self._configuration = configuration

    @property
    def name(self) -> str:
        """Name of this node."""
        return self._about.node

    @property
    def uptime_ms(self) -> int:
        """Milliseconds since the start of the process."""
        return self._clock.now_ms() - self._about.started_ms

    def check(self, name: str) -> None:
        """Check that there is such a node.

        Raises:
            Refused: `NOT_FOUND`.
        """
        if name != self._about.node:
            raise Refused("NOT_FOUND", f"no such node: {name!r}")

    def describe(self) -> Node:
        """Return this node; reads a few files of the system, no disk."""
        levels = self._plane.engine.stats()
        return Node(
            name=self._about.node,
            version=self._about.version,
            uptime_ms=self.uptime_ms,
            sessions=levels.get("sessions", 0),
            connections=levels.get("connections", 0),
            load=os.getloadavg(),
            memory_total=memory_limit(),
            memory_used=memory_used(),
            threads=threading.active_count(),
            max_threads=_limit(resource.RLIMIT_NPROC),
            max_files=_limit(resource.RLIMIT_NOFILE),
            runtime=f"Python {platform.python_version()}",
            folder=str(Path.cwd()),
            log_folder=self._log_folder(),
        )

    def _log_folder(self) -> str:
        config = self._configuration.current
        if not config.log.file.enable:
            return ""
        path = config.log.file.path
        return str((Path(path).parent if path else Path(config.node.data_dir, "log")).absolute())


def render_bytes(size: int) -> str:
    """Return a size as EMQX writes it, such as `512.00M`; plain digits below 1 KiB."""
    for unit, letter in _UNITS:
        if size >= unit:
            return f"{size / unit:.2f}{letter}"
    return str(size)


def memory_limit() -> int:
    """Return the bytes that this process may use: its group's limit, else those of the machine."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        text = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return machine
    return min(machine, int(text)) if text.isdigit() else machine


def memory_used() -> int:
    """Return the bytes that this process occupies; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _limit(which: int) -> int:
    soft, _ = resource.getrlimit(which)
    return 0xFFFF_FFFF if soft == resource.RLIM_INFINITY else soft
