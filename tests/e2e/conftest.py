"""Fixtures of the end-to-end tests: certificates, one broker with every kind of listener, clients of every library."""

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.e2e.adapters.client import Client, Endpoint, Options, Transport
from tests.e2e.adapters.mosquitto_client import PROGRAMS, MosquittoClient
from tests.e2e.adapters.mqttjs_client import MqttjsClient, NodeBridge
from tests.support.broker import Broker, Setting, Settings
from tests.support.certificates import Authority, KeyPair
from tests.support.dialer import Dialer

_LISTENERS = {
    Transport.TCP: ("tcp", "default"),
    Transport.TLS: ("ssl", "default"),
    Transport.MUTUAL_TLS: ("ssl", "mutual"),
    Transport.WEBSOCKET: ("ws", "default"),
    Transport.WEBSOCKET_TLS: ("wss", "default"),
    Transport.UNIX: ("unix", "default"),
}


class OpenClient(Protocol):
    """Build a client of a library for the broker with every listener; it is not connected yet."""

    def __call__(self, kind: type[Client], options: Options, transport: Transport = Transport.TCP) -> Client: ...


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Give an authority that has issued a server certificate, `server`, and a client's, `device`."""
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def server_pair(certificates: Authority) -> KeyPair:
    return certificates.server()


@pytest.fixture(scope="session")
def device_pair(certificates: Authority) -> KeyPair:
    return certificates.client("device")


@pytest.fixture
def full_broker(
    broker_with: Callable[[Settings], Broker],
    certificates: Authority,
    server_pair: KeyPair,
    tmp_path_factory: pytest.TempPathFactory,
) -> Broker:
    """Give the broker with a listener of every type, and packets of up to 2 MB."""
    tls: Settings = {"certfile": str(server_pair.certfile), "keyfile": str(server_pair.keyfile)}
    mutual: Settings = {
        **tls,
        "cacertfile": str(certificates.cacertfile),
        "verify": "verify_peer",
        "fail_if_no_peer_cert": True,
    }
    settings: dict[str, Setting] = {
        "mqtt.max_packet_size": "2MB",
        "listeners.ssl.default.bind": "127.0.0.1:0",
        "listeners.ssl.mutual.bind": "127.0.0.1:0",
        "listeners.wss.default.bind": "127.0.0.1:0",
        "listeners.unix.default.bind": str(tmp_path_factory.getbasetemp() / "mqtt.sock"),
    }
    for listener, options in (("ssl.default", tls), ("wss.default", tls), ("ssl.mutual", mutual)):
        settings |= {f"listeners.{listener}.ssl_options.{key}": value for key, value in options.items()}
    return broker_with(settings)


@pytest.fixture(scope="session")
def node_bridge() -> Iterator[NodeBridge]:
    """Give the node process that runs MQTT.js."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("not run: the program is not installed: node")
    if not (Path(__file__).parent / "node_modules" / "mqtt").is_dir():
        pytest.skip("not run: the npm package is not installed: mqtt (make node)")
    bridge = NodeBridge(node)
    yield bridge
    bridge.close()


@pytest.fixture
async def open_client(
    full_broker: Broker,
    certificates: Authority,
    device_pair: KeyPair,
    program: Callable[[str], str],
    request: pytest.FixtureRequest,
) -> AsyncIterator[OpenClient]:
    """Build clients on the broker with every listener; those that are connected at the end leave in order."""
    opened: list[Client] = []

    def build(kind: type[Client], options: Options, transport: Transport = Transport.TCP) -> Client:
        endpoint = _endpoint(full_broker, transport, certificates.cacertfile, device_pair)
        if kind is MqttjsClient:
            client: Client = MqttjsClient(endpoint, options, request.getfixturevalue("node_bridge"))
        else:
            if kind is MosquittoClient:
                for name in PROGRAMS:
                    program(name)
            client = kind(endpoint, options)
        opened.append(client)
        return client

    yield build
    for client in opened:
        await client.aclose()


def _endpoint(broker: Broker, transport: Transport, cacertfile: Path, pair: KeyPair) -> Endpoint:
    address = broker.address(*_LISTENERS[transport])
    has_tls = transport in (Transport.TLS, Transport.MUTUAL_TLS, Transport.WEBSOCKET_TLS)
    return Endpoint(
        transport,
        address.host,
        address.port,
        address.path or "",
        cacertfile if has_tls else None,
        pair if transport is Transport.MUTUAL_TLS else None,
    )


@pytest.fixture
async def dial(unique: str) -> AsyncIterator[Dialer]:
    """Open raw connections to any listener."""
    dialer = Dialer(unique)
    yield dialer
    await dialer.aclose()
