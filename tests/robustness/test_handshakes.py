"""Connections that begin and never get anywhere: each is closed in time, however it stalls."""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.robustness.conftest import Footprint
from tests.support import packets
from tests.support.broker import Broker, Setting, Settings
from tests.support.certificates import Authority
from tests.support.dialer import Dialer
from tests.support.websocket import BINARY, UPGRADE, frame
from tests.support.wire import Address

IDLE_TIMEOUT_S = 0.5
LATEST_S = IDLE_TIMEOUT_S + 4.0
"""When the last of many must be closed: the deadline, the timer's grain, and a busy machine."""

AT_ONCE = 100
DRIP_S = 0.05

CONNECT = packets.connect(5, "x" * 200)


@pytest.fixture(scope="module")
def broker(broker_with: Callable[[Settings], Broker], tmp_path_factory: pytest.TempPathFactory) -> Broker:
    """Give a broker that waits half a second for anybody."""
    folder = tmp_path_factory.mktemp("handshakes")
    pair = Authority(folder).server()
    settings: dict[str, Setting] = {
        "mqtt.idle_timeout": f"{IDLE_TIMEOUT_S * 1000:.0f}ms",
        "log.console.level": "warning",
        "listeners.unix.default.bind": str(folder / "s"),
    }
    for kind in ("ssl", "wss"):
        settings[f"listeners.{kind}.default.bind"] = "127.0.0.1:0"
        settings[f"listeners.{kind}.default.ssl_options.certfile"] = str(pair.certfile)
        settings[f"listeners.{kind}.default.ssl_options.keyfile"] = str(pair.keyfile)
    return broker_with(settings)


def _client_hello() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with suppress(ssl.SSLWantReadError):
        session.do_handshake()
    return outgoing.read()


HELLO = _client_hello()


@pytest.mark.parametrize(
    ("kind", "begun"),
    [
        ("tcp", b""),
        ("tcp", CONNECT[:1]),
        ("tcp", CONNECT[:100]),
        ("unix", CONNECT[:100]),
        ("ssl", b""),
        ("ssl", HELLO[:3]),
        ("ssl", HELLO[:100]),
        ("ssl", HELLO),
        ("ws", b""),
        ("ws", UPGRADE[:60]),
        ("ws", UPGRADE),
        ("ws", UPGRADE + frame(BINARY, CONNECT[:100])),
        ("ws", UPGRADE + frame(BINARY, CONNECT)[:100]),
        ("wss", HELLO),
    ],
    ids=[
        "tcp silent", "tcp one byte", "tcp half connect", "unix half connect", "tls silent", "tls three bytes",
        "tls half hello", "tls hello only", "ws silent", "ws half request", "ws no connect", "ws half connect",
        "ws half frame", "wss hello only",
    ],
)  # fmt: skip
async def test_half_open_connections_are_closed_in_time(broker: Broker, kind: str, begun: bytes) -> None:
    before = Footprint(broker)
    async with asyncio.timeout(LATEST_S):
        await asyncio.gather(*(_hang(broker.address(kind), begun) for _ in range(AT_ONCE)))
    await before.expect_files_back()


@pytest.mark.parametrize(
    ("kind", "begun", "drops"),
    [
        ("tcp", b"", CONNECT),
        ("ssl", b"", HELLO),
        ("ws", b"", UPGRADE),
        ("ws", UPGRADE, frame(BINARY, CONNECT)),
    ],
    ids=["connect", "tls", "request", "frame"],
)
async def test_dripping_does_not_buy_time(broker: Broker, kind: str, begun: bytes, drops: bytes) -> None:
    before = Footprint(broker)
    async with asyncio.timeout(LATEST_S):
        await asyncio.gather(*(_hang(broker.address(kind), begun, drops) for _ in range(AT_ONCE)))
    await before.expect_files_back()


async def test_others_are_served_while_many_hang(broker: Broker, dial: Dialer) -> None:
    hanging = [asyncio.create_task(_hang(broker.address("ssl"), HELLO[:50])) for _ in range(AT_ONCE)]
    for _ in range(20):
        client = await dial.connected(broker.address())
        await client.expect_quiet()
        await client.disconnect()
    await asyncio.gather(*hanging)


async def _hang(address: Address, begun: bytes, drops: bytes = b"") -> None:
    """Send the beginning, then drops of the rest if there are some, and wait for the broker's close."""
    if address.path is not None:
        reader, writer = await asyncio.open_unix_connection(address.path)
    else:
        reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(begun)
    dripping = asyncio.create_task(_drip(writer, drops))
    try:
        with suppress(ConnectionError):
            while await reader.read(4096):
                pass
    finally:
        dripping.cancel()
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


async def _drip(writer: asyncio.StreamWriter, drops: bytes) -> None:
    for at in range(len(drops)):
        if writer.transport.is_closing():
            return
        writer.write(drops[at : at + 1])
        await asyncio.sleep(DRIP_S)
