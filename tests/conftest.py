"""Fixtures that all tests share: brokers and clients. Fixtures only; what they build lives in `tests/support`."""

import itertools
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.support.broker import Broker, ExternalBroker, RunningBroker, Settings
from tests.support.wire import Clients

_EXTERNAL_PORT = "PYBROKER_TEST_PORT"
_EXTERNAL_WEBSOCKET_PORT = "PYBROKER_TEST_WEBSOCKET_PORT"
_numbers = itertools.count(1)
_ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session", autouse=True)
def compiled_modules_are_current() -> None:
    """Stop the run if a compiled module is older than its source: it would test yesterday's code."""
    for compiled in (_ROOT / "pybroker").glob("*/**/*.so"):
        source = compiled.with_name(compiled.name.split(".")[0] + ".py")
        if source.exists() and source.stat().st_mtime > compiled.stat().st_mtime:
            pytest.exit(f"compiled module is older than its source, run make build: {source.relative_to(_ROOT)}", 3)


@pytest.fixture
def program() -> Callable[[str], str]:
    """Give the path of a system program by its name; without it the test is skipped with what is missing."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            pytest.skip(f"not run: the program is not installed: {name}")
        return path

    return find


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    """Give the broker that most tests share: defaults everywhere, on free ports.

    With PYBROKER_TEST_PORT in the environment it is whatever listens there.
    """
    if port := os.environ.get(_EXTERNAL_PORT):
        yield ExternalBroker(int(port), int(os.environ.get(_EXTERNAL_WEBSOCKET_PORT, "0")))
        return
    running = Broker.start(tmp_path_factory.mktemp("broker"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def broker_with(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Settings], Broker]]:
    """Give brokers by their settings; equal settings share one process for the whole run."""
    running: dict[str, Broker] = {}

    def get(settings: Settings) -> Broker:
        _needs_own_broker()
        key = json.dumps(dict(settings), sort_keys=True)
        if key not in running:
            running[key] = Broker.start(tmp_path_factory.mktemp("broker"), settings)
        return running[key]

    yield get
    for one in running.values():
        one.stop()


@pytest.fixture
def broker_factory(tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    """Start brokers that belong to one test, which may stop, kill or reconfigure them.

    Arguments are those of `Broker.start` after the directory; `directory` names an existing one for a restart.
    """
    started: list[Broker] = []

    def start(settings: Settings | None = None, *, directory: Path | None = None, config: str = "") -> Broker:
        _needs_own_broker()
        if directory is None:
            directory = tmp_path / f"broker{len(started)}"
            directory.mkdir()
        started.append(Broker.start(directory, settings, config=config))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.stop()


@pytest.fixture
def unique() -> str:
    """Give a name that no other test of any run uses: first topic level and beginning of client ids."""
    return f"t{os.getpid():x}n{next(_numbers)}"


@pytest.fixture
async def clients(broker: RunningBroker, unique: str) -> AsyncIterator[Clients]:
    """Open raw clients on the shared broker."""
    opened = Clients(broker.address(), unique)
    yield opened
    await opened.aclose()


@pytest.fixture
async def clients_with(
    broker_with: Callable[[Settings], Broker], unique: str
) -> AsyncIterator[Callable[[Settings], Clients]]:
    """Open raw clients on a broker with given settings."""
    opened: list[Clients] = []

    def get(settings: Settings) -> Clients:
        opened.append(Clients(broker_with(settings).address(), unique))
        return opened[-1]

    yield get
    for one in opened:
        await one.aclose()


def _needs_own_broker() -> None:
    if os.environ.get(_EXTERNAL_PORT):
        pytest.skip("needs a broker with settings of its own, not an external one")
