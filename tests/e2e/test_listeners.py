"""Listeners side by side, each with settings of its own."""

import asyncio
import time
from collections.abc import Callable

import pytest

from tests.support.broker import Broker, Setting, Settings
from tests.support.dialer import Dialer, is_served
from tests.support.packets import Type
from tests.support.websocket import HandshakeError
from tests.support.wire import PATIENCE_S

BrokerWith = Callable[[Settings], Broker]


def _listeners(kind: str, **names: dict[str, Setting]) -> dict[str, Setting]:
    """Return the settings of listeners by name, each on a free port."""
    settings: dict[str, Setting] = {}
    for name, own in names.items():
        settings[f"listeners.{kind}.{name}.bind"] = "127.0.0.1:0"
        settings |= {f"listeners.{kind}.{name}.{key}": value for key, value in own.items()}
    return settings


@pytest.fixture
def varied_broker(broker_with: BrokerWith) -> Broker:
    """Give a broker whose listeners differ in one thing each."""
    return broker_with(
        {
            **_listeners(
                "tcp",
                narrow={"max_connections": 2},
                slow={"max_conn_rate": "5/s"},
                denied={"access_rules": ["deny 127.0.0.1", "allow all"]},
                allowed={"access_rules": ["allow 127.0.0.0/8", "deny all"]},
                foreign={"access_rules": ["allow 192.0.2.0/24"]},
                messages={"messages_rate": "20/s"},
                bytes={"bytes_rate": "20KB/s"},
                mounted={"mountpoint": "site/one/"},
                own={"mountpoint": "own/${clientid}/"},
                named={"mountpoint": "by/${username}/"},
                off={"enable": False},
            ),
            **_listeners(
                "ws",
                moved={"websocket.mqtt_path": "/deep/down"},
                framed={"websocket.max_frame_size": "1KB"},
                impatient={"websocket.idle_timeout": "300ms"},
            ),
        }
    )


async def test_connection_beyond_the_maximum_is_closed_until_one_leaves(varied_broker: Broker, dial: Dialer) -> None:
    address = varied_broker.address("tcp", "narrow")
    first = await dial.connected(address)
    second = await dial.connected(address)
    assert not await is_served(dial, address)
    assert await is_served(dial, varied_broker.address())
    await second.disconnect()
    third = await dial.connected(address)
    assert not await is_served(dial, address)
    await first.expect_quiet()
    # A connection that fails gives its place back too.
    third.abort()
    async with asyncio.timeout(PATIENCE_S):
        while not await is_served(dial, address):
            pass


async def test_connections_beyond_the_rate_wait_and_are_served(varied_broker: Broker, dial: Dialer) -> None:
    started = time.monotonic()
    for _ in range(12):
        await dial.connected(varied_broker.address("tcp", "slow"))
    # At most a second's worth at once, the rest at 5 a second.
    assert 1.0 < time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("listener", "is_let_in"),
    [
        ("default", True),
        ("denied", False),
        ("allowed", True),
        ("foreign", False),
    ],
)
async def test_access_rules_decide_by_the_first_that_covers_the_peer(
    varied_broker: Broker, dial: Dialer, listener: str, is_let_in: bool
) -> None:
    assert await is_served(dial, varied_broker.address("tcp", listener)) is is_let_in


@pytest.mark.parametrize(
    ("listener", "count", "size"), [("messages", 60, 10), ("bytes", 60, 1000)], ids=["messages", "bytes"]
)
async def test_publisher_beyond_its_rate_is_read_slower_and_loses_nothing(
    varied_broker: Broker, dial: Dialer, unique: str, listener: str, count: int, size: int
) -> None:
    subscriber = await dial.connected(varied_broker.address())
    await subscriber.subscribe((f"{unique}/t", 0))
    publisher = await dial.connected(varied_broker.address("tcp", listener))
    started = time.monotonic()
    for number in range(count):
        await publisher.publish(f"{unique}/t", b"%06d" % number + b"x" * size)
    for number in range(count):
        assert (await subscriber.expect_publish()).payload.startswith(b"%06d" % number)
    # Three seconds' worth, of which the first may pass at once.
    assert 1.0 < time.monotonic() - started < 10
    other = await dial.connected(varied_broker.address())
    started = time.monotonic()
    for _ in range(count):
        await other.publish(f"{unique}/t", b"x" * size)
    for _ in range(count):
        await subscriber.expect_publish()
    assert time.monotonic() - started < 1.0


async def test_mountpoint_of_a_listener_is_unseen_by_its_clients(
    varied_broker: Broker, dial: Dialer, unique: str
) -> None:
    inside = await dial.connected(varied_broker.address("tcp", "mounted"))
    outside = await dial.connected(varied_broker.address())
    await inside.subscribe((f"{unique}/t", 1))
    await outside.subscribe((f"site/one/{unique}/#", 1), (f"{unique}/#", 1))
    await inside.publish(f"{unique}/t", b"from inside")
    await outside.expect_publish(f"site/one/{unique}/t", b"from inside")
    await inside.expect_publish(f"{unique}/t", b"from inside")
    await outside.publish(f"{unique}/t", b"elsewhere")
    await outside.expect_publish(f"{unique}/t", b"elsewhere")
    await outside.publish(f"site/one/{unique}/t", b"from outside", retain=True)
    await inside.expect_publish(f"{unique}/t", b"from outside")
    late = await dial.connected(varied_broker.address("tcp", "mounted"))
    await late.subscribe((f"{unique}/t", 1))
    await late.expect_publish(f"{unique}/t", b"from outside", retained=True)
    await inside.expect_quiet()


async def test_mountpoint_may_hold_the_client_id(varied_broker: Broker, dial: Dialer, unique: str) -> None:
    outside = await dial.connected(varied_broker.address())
    await outside.subscribe(("own/#", 0))
    for _ in range(2):
        client = await dial.connected(varied_broker.address("tcp", "own"))
        await client.publish(f"{unique}/t")
        await outside.expect_publish(f"own/{client.client_id}/{unique}/t")


async def test_mountpoint_without_its_value_refuses_the_client(varied_broker: Broker, dial: Dialer) -> None:
    anonymous = await dial(varied_broker.address("tcp", "named"))
    with pytest.raises(AssertionError, match="CONNACK 0x87"):
        await anonymous.connect()
    hostile = await dial(varied_broker.address("tcp", "named"))
    with pytest.raises(AssertionError, match="CONNACK 0x87"):
        await hostile.connect(username="+/#")
    named = await dial(varied_broker.address("tcp", "named"))
    await named.connect(username="anna")


def test_disabled_listener_is_not_opened(varied_broker: Broker) -> None:
    with pytest.raises(KeyError):
        varied_broker.address("tcp", "off")


async def test_websocket_path_is_the_listeners(varied_broker: Broker, dial: Dialer) -> None:
    client, _ = await dial.websocket(varied_broker.address("ws", "moved"), "/deep/down")
    await client.connect()
    with pytest.raises(HandshakeError) as refused:
        await dial.websocket(varied_broker.address("ws", "moved"))
    assert refused.value.status == 404


async def test_websocket_frame_beyond_its_size_closes(varied_broker: Broker, dial: Dialer, unique: str) -> None:
    client, stream = await dial.websocket(varied_broker.address("ws", "framed"))
    await client.connect()
    await client.publish(f"{unique}/t", b"x" * 500, qos=1)
    await client.expect(Type.PUBACK)
    await client.publish(f"{unique}/t", b"x" * 2000, qos=1)
    await client.expect_closed(ignore=(Type.DISCONNECT,))
    assert stream.close_code in (None, 1009)


async def test_silent_websocket_is_closed_whatever_its_keep_alive(varied_broker: Broker, dial: Dialer) -> None:
    client, _ = await dial.websocket(varied_broker.address("ws", "impatient"))
    await client.connect(keep_alive=60)
    await client.expect_closed(2.0, ignore=(Type.DISCONNECT,))
