"""Fixtures of the robustness tests: canaries, programs that attack, and the broker's use of memory and descriptors."""

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support.broker import Broker, Settings
from tests.support.canary import Canary, Latencies
from tests.support.dialer import Dialer
from tests.support.process_stats import open_files, resident_bytes
from tests.support.wire import Address, Clients, eventually

Attack = Callable[..., Awaitable[dict[str, object]]]
"""Runs `tests.support.NAME` with arguments in a process of its own; returns the JSON that it prints."""

ClientsOf = Callable[[Broker], Clients]

QUIET: Settings = {"log.console.level": "warning"}
"""Hostile connections are logged at a lower level, which would be half of the work."""

MEGABYTE = 1 << 20
_logger = logging.getLogger(__name__)
_SLACK_MS = 50.0
_FACTOR = 5.0


class Footprint:
    """Memory and descriptors of a broker since this was made."""

    def __init__(self, broker: Broker) -> None:
        self._pid = broker.pid
        self._bytes = resident_bytes(self._pid)
        self._files = open_files(self._pid)

    @property
    def growth(self) -> int:
        """Bytes that the resident set has grown."""
        growth = resident_bytes(self._pid) - self._bytes
        _logger.info("growth of the broker: %.1f MB", growth / MEGABYTE)
        return growth

    async def expect_growth_below(self, limit: int, patience_s: float = 5.0) -> None:
        """Wait until the growth is below `limit`; memory is given back late."""
        await eventually(lambda: self.growth < limit, patience_s, 0.2)

    async def expect_files_back(self, patience_s: float = 10.0) -> None:
        """Wait until no descriptor more is open than in the beginning."""
        await eventually(lambda: open_files(self._pid) <= self._files, patience_s, 0.05)


def assert_undisturbed(quiet: Latencies, attacked: Latencies) -> None:
    """Check what a canary measured while the broker was under attack; the log of the test has the figures.

    The bound on its p99 is five times the p99 of its own quiet run, and 50 ms for a machine that is busy with the
    attack itself; a broker that stops for one client misses it by seconds.
    """
    _logger.info("canary: quiet %s; attacked %s", quiet, attacked)
    assert attacked.p99 < _FACTOR * quiet.p99 + _SLACK_MS, f"quiet: {quiet}; attacked: {attacked}"


@pytest.fixture
def canary_at(unique: str) -> Iterator[Callable[[Address], Canary]]:
    """Start canaries that live as long as the test."""
    with ExitStack() as stack:
        yield lambda address: stack.enter_context(Canary(address, unique))


@pytest.fixture
async def dial(unique: str) -> AsyncIterator[Dialer]:
    """Open raw connections to any listener."""
    dialer = Dialer(unique)
    yield dialer
    await dialer.aclose()


@pytest.fixture
def own_broker(broker_factory: Callable[..., Broker]) -> Broker:
    """Give a broker of the test's own: its memory is measured."""
    return broker_factory(QUIET)


@pytest.fixture
async def clients_of(unique: str) -> AsyncIterator[ClientsOf]:
    """Open raw clients on any broker, with names of their own for each call."""
    opened: list[Clients] = []

    def get(broker: Broker) -> Clients:
        opened.append(Clients(broker.address(), f"{unique}n{len(opened)}"))
        return opened[-1]

    yield get
    for one in opened:
        await one.aclose()


@pytest.fixture
def own_clients(own_broker: Broker, clients_of: ClientsOf) -> Clients:
    """Open raw clients on the test's own broker."""
    return clients_of(own_broker)


@pytest.fixture
async def attack() -> AsyncIterator[Attack]:
    """Run attacking programs; none outlives the test."""
    running: list[asyncio.subprocess.Process] = []

    async def run(program: str, *arguments: object) -> dict[str, object]:
        words = [sys.executable, "-m", f"tests.support.{program}", *map(str, arguments)]
        process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
        running.append(process)
        output, _ = await process.communicate()
        assert process.returncode == 0
        report: dict[str, object] = json.loads(output)
        return report

    yield run
    for process in running:
        if process.returncode is None:
            process.kill()
            await process.wait()
