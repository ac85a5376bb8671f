"""TLS listeners: who is let in by which certificate, and what of it becomes the client's identity."""

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.broker import Broker, BrokerStartError, Setting, Settings
from tests.support.certificates import Authority, KeyPair
from tests.support.dialer import Arrivals, Dialer, is_served
from tests.support.wire import SocketStream, WireClient

BrokerWith = Callable[[Settings], Broker]


def tls_settings(pair: KeyPair, kind: str = "ssl", name: str = "default", /, **options: Setting) -> dict[str, Setting]:
    """Return the settings of one TLS listener on a free port."""
    prefix = f"listeners.{kind}.{name}"
    files: dict[str, Setting] = {"certfile": str(pair.certfile), "keyfile": str(pair.keyfile)}
    return {
        f"{prefix}.bind": "127.0.0.1:0",
        **{f"{prefix}.ssl_options.{key}": value for key, value in {**files, **options}.items()},
    }


@pytest.fixture
def verifying_broker(broker_with: BrokerWith, certificates: Authority, server_pair: KeyPair) -> Broker:
    """Give a broker with listeners that ask for certificates (`asks`), insist on them (`insists`), and name by them."""
    peer: dict[str, Setting] = {"cacertfile": str(certificates.cacertfile), "verify": "verify_peer"}
    settings: dict[str, Setting] = {
        "mqtt.peer_cert_as_username": "cn",
        **tls_settings(server_pair, "ssl", "asks", **peer),
        **tls_settings(server_pair, "ssl", "insists", **peer, fail_if_no_peer_cert=True),
        **tls_settings(server_pair, "ssl", "ignores"),
    }
    return broker_with(settings)


@pytest.fixture
def stranger(tmp_path: Path) -> KeyPair:
    """Give a client certificate of another authority."""
    return Authority(tmp_path, "other").client("device", "stranger")


@pytest.mark.parametrize(("listener", "is_let_in"), [("ignores", True), ("asks", True), ("insists", False)])
async def test_client_without_certificate(
    verifying_broker: Broker, certificates: Authority, dial: Dialer, listener: str, is_let_in: bool
) -> None:
    context = certificates.client_context()
    assert await is_served(dial, verifying_broker.address("ssl", listener), context) is is_let_in


@pytest.mark.parametrize("listener", ["ignores", "asks", "insists"])
async def test_client_with_good_certificate(
    verifying_broker: Broker, certificates: Authority, device_pair: KeyPair, dial: Dialer, listener: str
) -> None:
    context = certificates.client_context(device_pair)
    assert await is_served(dial, verifying_broker.address("ssl", listener), context)


@pytest.mark.parametrize(("listener", "is_let_in"), [("ignores", True), ("asks", False), ("insists", False)])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
async def test_client_of_another_authority(
    verifying_broker: Broker,
    certificates: Authority,
    stranger: KeyPair,
    dial: Dialer,
    version: ssl.TLSVersion,
    listener: str,
    is_let_in: bool,
) -> None:
    context = certificates.client_context(stranger)
    context.minimum_version = context.maximum_version = version
    assert await is_served(dial, verifying_broker.address("ssl", listener), context) is is_let_in


async def test_client_that_does_not_trust_the_server_leaves(
    verifying_broker: Broker, tmp_path: Path, dial: Dialer
) -> None:
    address = verifying_broker.address("ssl", "ignores")
    with pytest.raises(ssl.SSLCertVerificationError):
        await dial(address, Authority(tmp_path, "other").client_context())


@pytest.mark.parametrize(("offered", "other"), [("tlsv1.2", "TLSv1.3"), ("tlsv1.3", "TLSv1.2")])
async def test_listener_speaks_its_versions_only(
    broker_with: BrokerWith, certificates: Authority, server_pair: KeyPair, dial: Dialer, offered: str, other: str
) -> None:
    one: Settings = {
        **tls_settings(server_pair, "ssl", "old", versions=["tlsv1.2"]),
        **tls_settings(server_pair, "ssl", "new", versions=["tlsv1.3"]),
    }
    address = broker_with(one).address("ssl", "old" if offered == "tlsv1.2" else "new")
    client = await dial.connected(address, certificates.client_context())
    assert _tls(client).version() == offered.replace("tls", "TLS")
    context = certificates.client_context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion[other.replace(".", "_")]
    assert not await is_served(dial, address, context)


async def test_both_versions_are_offered_by_default(
    verifying_broker: Broker, certificates: Authority, dial: Dialer
) -> None:
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = certificates.client_context()
        context.minimum_version = context.maximum_version = version
        assert await is_served(dial, verifying_broker.address("ssl", "ignores"), context)


async def test_common_name_becomes_the_username(
    verifying_broker: Broker, certificates: Authority, device_pair: KeyPair, dial: Dialer
) -> None:
    arrivals = await Arrivals.watch(dial, verifying_broker.address())
    context = certificates.client_context(device_pair)
    client = await dial(verifying_broker.address("ssl", "insists"), context)
    await client.connect(username="somebody else", password=b"x")
    assert (await arrivals.of(client.client_id))["username"] == "device"
    bare = await dial(verifying_broker.address("ssl", "asks"), certificates.client_context())
    await bare.connect(username="named by itself", password=b"x")
    assert (await arrivals.of(bare.client_id))["username"] == "named by itself"


async def test_common_name_becomes_the_client_id(
    broker_with: BrokerWith, certificates: Authority, server_pair: KeyPair, device_pair: KeyPair, dial: Dialer
) -> None:
    settings: Settings = {
        "mqtt.peer_cert_as_clientid": "cn",
        **tls_settings(server_pair, cacertfile=str(certificates.cacertfile), verify="verify_peer"),
    }
    address = broker_with(settings).address("ssl")
    first = await dial.connected(address, certificates.client_context(device_pair))
    # Whatever id the second one writes, it is the same client.
    await dial.connected(address, certificates.client_context(device_pair))
    await first.expect_fault(0x8E)


async def test_revoked_certificate_is_refused(
    broker_with: BrokerWith, certificates: Authority, server_pair: KeyPair, tmp_path: Path, dial: Dialer
) -> None:
    revoked, good = certificates.client("revoked"), certificates.client("good")
    crlfile = tmp_path / "crl.pem"
    crlfile.write_bytes(certificates.revocation_list(revoked))
    settings: Settings = tls_settings(
        server_pair, cacertfile=str(certificates.cacertfile), crlfile=str(crlfile), verify="verify_peer"
    )
    address = broker_with(settings).address("ssl")
    assert await is_served(dial, address, certificates.client_context(good))
    assert not await is_served(dial, address, certificates.client_context(revoked))


@pytest.mark.parametrize("broken", ["certfile", "keyfile", "cacertfile"])
def test_broken_file_is_named_and_nothing_starts(
    broker_factory: Callable[..., Broker],
    certificates: Authority,
    server_pair: KeyPair,
    tmp_path: Path,
    broken: str,
) -> None:
    file = tmp_path / "broken.pem"
    file.write_text("-----BEGIN CERTIFICATE-----\nnot base64\n-----END CERTIFICATE-----\n")
    settings = tls_settings(server_pair, cacertfile=str(certificates.cacertfile), verify="verify_peer")
    settings[f"listeners.ssl.default.ssl_options.{broken}"] = str(file)
    with pytest.raises(BrokerStartError, match=r"exit code 1:(?s:.*)listeners\.ssl\.default(?s:.*)broken\.pem"):
        broker_factory(settings)


async def test_websocket_over_tls_asks_for_certificates_too(
    broker_with: BrokerWith, certificates: Authority, server_pair: KeyPair, device_pair: KeyPair, dial: Dialer
) -> None:
    settings: Settings = tls_settings(
        server_pair,
        "wss",
        cacertfile=str(certificates.cacertfile),
        verify="verify_peer",
        fail_if_no_peer_cert=True,
    )
    address = broker_with(settings).address("wss")
    request = f"GET /mqtt HTTP/1.1\r\nHost: {address.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    request += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    request += "Sec-WebSocket-Protocol: mqtt\r\n\r\n"
    client = await dial(address, certificates.client_context(device_pair))
    await client.send(request.encode())
    assert (await client.stream.read()).startswith(b"HTTP/1.1 101 ")
    context = certificates.client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # so that the refusal is part of the handshake
    with pytest.raises(OSError):  # noqa: PT011 - how the end shows depends on the system
        await dial(address, context)


def _tls(client: WireClient) -> ssl.SSLObject:
    assert isinstance(client.stream, SocketStream)
    found = client.stream.tls
    assert found is not None
    return found
