"""Fixtures of authentication: a clock, and an authentication over a configuration that a test gives."""

from collections.abc import AsyncIterator, Callable

import httpx
import msgspec
import pytest

from pybroker.auth.authentication import Authentication
from pybroker.auth.chain import AuthenticationChain
from pybroker.config import patch
from pybroker.config.schema import Config
from pybroker.tasks import TaskSupervisor
from tests.support.clock import FakeClock

Build = Callable[..., Authentication]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def build(clock: FakeClock) -> AsyncIterator[Build]:
    """Return authentication over authenticators given as in a file; `answer` stands for the network."""
    built: list[Authentication] = []
    supervisor = TaskSupervisor()

    def make(
        *authenticators: dict[str, object],
        answer: Callable[[httpx.Request], httpx.Response] | None = None,
        **config: object,
    ) -> Authentication:
        transport = None if answer is None else httpx.MockTransport(answer)
        one = Authentication(AuthenticationChain(True), clock, supervisor.spawn, transport)
        profile = config.pop("security_profile", "legacy")
        base = msgspec.structs.replace(Config(), security_profile=profile)
        one.apply(patch.apply(base, {"authentication": list(authenticators), **config}).config)
        built.append(one)
        return one

    yield make
    await supervisor.stop()
    for one in built:
        one.close()
