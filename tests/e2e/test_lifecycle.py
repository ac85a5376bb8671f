"""The process from start to end: what blocks a start, what a stop still does, what a crash leaves behind."""

import asyncio
import signal
import time
from collections.abc import Callable

import pytest

from tests.e2e.test_tls import tls_settings
from tests.support import packets
from tests.support.broker import Broker, BrokerStartError, Settings
from tests.support.certificates import Authority, KeyPair
from tests.support.dialer import Dialer
from tests.support.packets import Type, Version
from tests.support.wire import WireClient

BrokerFactory = Callable[..., Broker]
COUNT = 500
DRAIN_S = 5.0
"""How long the broker lets clients read what was sent to them."""


def _bound_to(broker: Broker) -> Settings:
    """Return the settings that ask for the very port of another broker."""
    return {"listeners.tcp.default.bind": f"127.0.0.1:{broker.port()}"}


async def _stop(broker: Broker) -> None:
    await asyncio.to_thread(broker.stop)


def test_port_in_use_is_said_with_its_listener(broker_factory: BrokerFactory) -> None:
    first = broker_factory()
    refusal = rf"exit code 3:(?s:.*)tcp:default cannot listen on 127\.0\.0\.1:{first.port()}: .*in use"
    with pytest.raises(BrokerStartError, match=refusal) as error:
        broker_factory(_bound_to(first))
    assert "Traceback" not in str(error.value)
    assert first.process.poll() is None


@pytest.mark.parametrize("ends_by", ["stop", "kill"])
async def test_same_port_starts_again_at_once_with_clients_on_it(
    broker_factory: BrokerFactory, dial: Dialer, ends_by: str
) -> None:
    first = broker_factory()
    clients = [await dial.connected(first.address()) for _ in range(20)]
    if ends_by == "stop":
        await _stop(first)
    else:
        first.kill()
    second = broker_factory(_bound_to(first), directory=first.directory)
    assert second.port() == first.port()
    await dial.connected(second.address())
    for client in clients:
        await client.expect_closed(ignore=(Type.DISCONNECT,))


@pytest.mark.parametrize("kind", ["ssl", "ws"])
async def test_stop_tells_and_flushes_over_every_transport(
    broker_factory: BrokerFactory, certificates: Authority, server_pair: KeyPair, dial: Dialer, unique: str, kind: str
) -> None:
    broker = broker_factory(tls_settings(server_pair))
    if kind == "ssl":
        subscriber = await dial.connected(broker.address("ssl"), certificates.client_context())
    else:
        subscriber, _ = await dial.websocket(broker.address("ws"))
        await subscriber.connect()
    await subscriber.subscribe((f"{unique}/t", 0))
    await _publish_many(await dial.connected(broker.address()), f"{unique}/t")
    stopping = asyncio.create_task(_stop(broker))
    received = await subscriber.receive_all()
    await stopping
    assert [packet.type for packet in received] == [Type.PUBLISH] * COUNT + [Type.DISCONNECT]
    assert received[-1].reason == 0x8B


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_either_signal_is_an_orderly_stop(
    broker_factory: BrokerFactory, dial: Dialer, number: signal.Signals
) -> None:
    broker = broker_factory()
    new, old = [await dial.connected(broker.address(), version=version) for version in (Version.V5, Version.V311)]
    broker.process.send_signal(number)
    await new.expect_fault(0x8B)
    await old.expect_fault()
    assert await asyncio.to_thread(broker.process.wait, 10) == 0


async def test_client_that_does_not_read_cannot_hold_up_the_stop(
    broker_factory: BrokerFactory, dial: Dialer, unique: str
) -> None:
    broker = broker_factory()
    deaf = await dial.connected(broker.address())
    await deaf.subscribe((f"{unique}/t", 0))
    publisher = await dial.connected(broker.address())
    for _ in range(20):
        await _publish_many(publisher, f"{unique}/t")
    started = time.monotonic()
    await _stop(broker)
    assert time.monotonic() - started < DRAIN_S + 5


async def test_connecting_during_the_stop_is_refused_or_ended(broker_factory: BrokerFactory, dial: Dialer) -> None:
    broker = broker_factory()
    address = broker.address()
    silent = await dial(address)
    stopping = asyncio.create_task(_stop(broker))
    await silent.expect_closed()
    await stopping
    with pytest.raises(ConnectionRefusedError):
        await dial(address)


async def _publish_many(publisher: WireClient, topic: str) -> None:
    await publisher.send(b"".join(packets.publish(5, topic, b"x" * 1000) for _ in range(COUNT)))
    await publisher.expect_quiet()
