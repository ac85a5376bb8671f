"""Thousands of malformed connections beside clients that must not feel them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.robustness.conftest import MEGABYTE, QUIET, Attack, Footprint, assert_undisturbed
from tests.support.broken import AFTER_CONNECT, BEFORE_CONNECT, MUTATIONS, broken_inputs
from tests.support.broker import Broker, Setting
from tests.support.canary import Canary
from tests.support.certificates import Authority
from tests.support.wire import Address

MAX_GROWTH = 16 * MEGABYTE
MAX_SOAK_GROWTH = 64 * MEGABYTE
"""Conversations that are damaged late publish to topics of their own, which fill the match cache of each shard."""


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("tcp", 10_000),
        ("driven", 1_000),
        ("ws", 1_000),
        ("ssl", 500),
        pytest.param("tcp", 200_000, marks=pytest.mark.soak),
        pytest.param("driven", 50_000, marks=pytest.mark.soak),
        pytest.param("ws", 50_000, marks=pytest.mark.soak),
        pytest.param("ssl", 50_000, marks=pytest.mark.soak),
    ],
)
async def test_malformed_connections_disturb_nobody(
    broker_factory: Callable[..., Broker],
    canary_at: Callable[[Address], Canary],
    attack: Attack,
    tmp_path: Path,
    kind: str,
    count: int,
) -> None:
    settings: dict[str, Setting] = {**QUIET, "node.io_threads": 0 if kind == "driven" else 2}
    if kind == "ssl":
        pair = Authority(tmp_path).server()
        # Some of what is broken for MQTT is a good beginning for TLS, and ends only by the clock.
        settings |= {
            "mqtt.idle_timeout": "1s",
            "listeners.ssl.default.bind": "127.0.0.1:0",
            "listeners.ssl.default.ssl_options.certfile": str(pair.certfile),
            "listeners.ssl.default.ssl_options.keyfile": str(pair.keyfile),
        }
    broker = broker_factory(settings)
    address = broker.address("tcp" if kind == "driven" else kind)
    await attack("storm", kind, address.host, address.port, 500, 1)  # what is built once is built now
    canary = canary_at(broker.address())
    before = Footprint(broker)
    quiet = canary.watch(1.5)
    started = canary.now()
    report = await attack("storm", kind, address.host, address.port, count, 2)
    stormy = canary.between(started, canary.now())
    assert report["connections"] == count
    assert report["survivors"] == []
    assert_undisturbed(quiet, stormy)
    assert before.growth < (MAX_GROWTH if count <= 10_000 else MAX_SOAK_GROWTH)
    await before.expect_files_back()
    assert "Traceback" not in broker.log
    assert "panic" not in broker.log


def test_generator_covers_every_class_and_repeats_itself() -> None:
    classes = len(BEFORE_CONNECT) + len(AFTER_CONNECT) + len(MUTATIONS) + 2
    first, second = broken_inputs(7), broken_inputs(7)
    once = [next(first) for _ in range(2 * classes)]
    assert once == [next(second) for _ in range(2 * classes)]
    assert len({one.name for one in once}) == classes
    assert len({one.data for one in once}) > classes
