"""Listeners behind a load balancer: the PROXY header says who the client is."""

from collections.abc import Callable

import pytest

from tests.e2e.test_tls import tls_settings
from tests.support import packets
from tests.support.broker import Broker, Settings
from tests.support.certificates import Authority, KeyPair
from tests.support.dialer import Arrivals, Dialer, is_served
from tests.support.packets import Type
from tests.support.proxy_header import AUTHORITY, local, ssl_value, tlv, v1, v2
from tests.support.wire import WireClient

PROXIED = ("tcp", "proxied")


@pytest.fixture
def proxied_broker(broker_with: Callable[[Settings], Broker], server_pair: KeyPair) -> Broker:
    """Give a broker with listeners of three types that expect the header, and one that does not."""
    return broker_with(
        {
            "mqtt.peer_cert_as_username": "cn",
            "listeners.tcp.proxied.bind": "127.0.0.1:0",
            "listeners.ws.proxied.bind": "127.0.0.1:0",
            **tls_settings(server_pair, "ssl", "proxied"),
            **{f"listeners.{kind}.proxied.proxy_protocol": True for kind in ("tcp", "ssl", "ws")},
            "listeners.tcp.proxied.proxy_protocol_timeout": "500ms",
        }
    )


@pytest.mark.parametrize(
    ("header", "address"),
    [
        (v1("203.0.113.7"), "203.0.113.7"),
        (v1("2001:db8::7", "2001:db8::1"), "2001:db8::7"),
        (v2("203.0.113.7"), "203.0.113.7"),
        (v2("2001:db8::7", "2001:db8::1"), "2001:db8::7"),
        (v2("203.0.113.7", values=tlv(0x04, b"padding") + tlv(0xE0, b"unknown")), "203.0.113.7"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (local(), "127.0.0.1"),
    ],
    ids=["v1 ipv4", "v1 ipv6", "v2 ipv4", "v2 ipv6", "v2 other values", "v1 unknown", "v2 local"],
)
async def test_address_is_the_one_of_the_header(
    proxied_broker: Broker, dial: Dialer, header: bytes, address: str
) -> None:
    arrivals = await Arrivals.watch(dial, proxied_broker.address())
    client = await dial.connected(proxied_broker.address(*PROXIED), ahead=header)
    assert (await arrivals.of(client.client_id))["ipaddress"] == address


@pytest.mark.parametrize("header", [v1("203.0.113.7"), v2("203.0.113.7")], ids=["v1", "v2"])
async def test_header_may_come_in_pieces_and_with_the_connect(
    proxied_broker: Broker, dial: Dialer, header: bytes
) -> None:
    address = proxied_broker.address(*PROXIED)
    slow = await dial(address)
    for at in range(len(header)):
        await slow.send(header[at : at + 1])
    await slow.connect()
    quick = await dial(address, ahead=header + packets.connect(5, f"{slow.client_id}quick"))
    await quick.expect_connack(0)


async def test_common_name_of_a_verified_certificate_is_the_username(proxied_broker: Broker, dial: Dialer) -> None:
    arrivals = await Arrivals.watch(dial, proxied_broker.address())
    header = v2("203.0.113.7", values=tlv(AUTHORITY, b"mqtt.example") + ssl_value("gateway 7"))
    client = await dial.connected(proxied_broker.address(*PROXIED), ahead=header)
    assert (await arrivals.of(client.client_id))["username"] == "gateway 7"


async def test_common_name_that_the_proxy_did_not_verify_is_nobody(proxied_broker: Broker, dial: Dialer) -> None:
    arrivals = await Arrivals.watch(dial, proxied_broker.address())
    header = v2("203.0.113.7", values=ssl_value("impostor", is_verified=False))
    client = await dial(proxied_broker.address(*PROXIED), ahead=header)
    await client.send(packets.connect(5, client.client_id))
    # Refused or let in without the name: both are safe.
    if (await client.expect(Type.CONNACK)).reason == 0:
        assert (await arrivals.of(client.client_id))["username"] is None


async def test_client_behind_the_proxy_is_not_on_this_machine(proxied_broker: Broker, dial: Dialer) -> None:
    address = proxied_broker.address(*PROXIED)
    # `$SYS` is for loopback clients, and the proxy's own connection is one.
    far = await dial.connected(address, ahead=v1("203.0.113.7"))
    assert await far.subscribe(("$SYS/#", 0)) == (0x87,)
    near = await dial.connected(address, ahead=v1("127.0.0.1"))
    assert await near.subscribe(("$SYS/brokers", 0)) == (0,)


async def test_header_stands_in_front_of_tls(proxied_broker: Broker, certificates: Authority, dial: Dialer) -> None:
    arrivals = await Arrivals.watch(dial, proxied_broker.address())
    address = proxied_broker.address("ssl", "proxied")
    client = await dial.connected(address, certificates.client_context(), ahead=v2("203.0.113.7"))
    assert (await arrivals.of(client.client_id))["ipaddress"] == "203.0.113.7"


async def test_header_stands_in_front_of_websocket(proxied_broker: Broker, dial: Dialer) -> None:
    address = proxied_broker.address("ws", "proxied")
    request = b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    request += b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    client = await dial(address, ahead=v1("203.0.113.7") + request + b"Sec-WebSocket-Protocol: mqtt\r\n\r\n")
    assert (await client.stream.read()).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"PROXY TCP4 203.0.113.7\r\n",
        b"PROXY TCP4 203.0.113.777 192.0.2.1 1 2\r\n",
        b"PROXY " + b"x" * 200,
        v2("203.0.113.7")[:13] + b"\x91" + v2("203.0.113.7")[14:],
        v2("203.0.113.7", values=tlv(AUTHORITY, b"x")[:-1]),
        v2("203.0.113.7", values=ssl_value("a\nb")),
    ],
    ids=["none", "v1 short", "v1 address", "v1 long", "v2 family", "v2 cut value", "v2 control character"],
)
async def test_wrong_header_closes_without_a_word(proxied_broker: Broker, dial: Dialer, header: bytes) -> None:
    client = await dial(proxied_broker.address(*PROXIED))
    await client.send(header + packets.connect(5, client.client_id))
    await client.expect_closed()


@pytest.mark.parametrize("begun", [b"", b"PROXY TCP4 203.0", v2("203.0.113.7")[:20]], ids=["nothing", "v1", "v2"])
async def test_late_header_closes(proxied_broker: Broker, dial: Dialer, begun: bytes) -> None:
    client: WireClient = await dial(proxied_broker.address(*PROXIED))
    await client.send(begun)
    await client.expect_closed()


async def test_header_is_refused_where_none_is_expected(proxied_broker: Broker, dial: Dialer) -> None:
    assert not await is_served(dial, proxied_broker.address(), ahead=v1("127.0.0.1"))
