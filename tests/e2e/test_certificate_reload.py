"""Certificates that are renewed while the broker runs."""

import os
import shutil
import signal
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.test_tls import tls_settings
from tests.support.broker import Broker
from tests.support.certificates import Authority, KeyPair
from tests.support.dialer import Dialer, is_served
from tests.support.rest import free_port
from tests.support.wire import Address, SocketStream, eventually

PATIENCE_S = 10.0
"""The broker looks at its files every two seconds."""


class Renewal:
    """A broker with one TLS listener whose files are replaced by those of a second certificate."""

    def __init__(self, directory: Path, start: Callable[..., Broker]) -> None:
        directory.mkdir()
        self.authority = Authority(directory)
        self.clients = Authority(directory, "clients")
        self.old = self.authority.server("old")
        self.new = self.authority.server("new")
        self.used = KeyPair(directory / "used.pem", directory / "used.key")
        self.trusted = directory / "trusted.pem"
        self.put(self.old)
        shutil.copy(self.clients.cacertfile, self.trusted)
        self.broker = start(
            tls_settings(self.used, cacertfile=str(self.trusted), verify="verify_peer") | tls_settings(self.used, "wss")
        )

    def put(self, pair: KeyPair) -> None:
        """Replace the files, key first, each in one step."""
        for source, target in ((pair.keyfile, self.used.keyfile), (pair.certfile, self.used.certfile)):
            fresh = target.with_suffix(".fresh")
            shutil.copy(source, fresh)
            fresh.replace(target)

    async def shown(self, dial: Dialer, kind: str = "ssl") -> str:
        """Return which certificate a new connection sees: `old` or `new`."""
        client = await dial(self.broker.address(kind), self.authority.client_context())
        assert isinstance(client.stream, SocketStream)
        assert client.stream.tls is not None
        seen = ssl.DER_cert_to_PEM_cert(client.stream.tls.getpeercert(binary_form=True) or b"")
        return next(name for name in ("old", "new") if seen == getattr(self, name).certfile.read_text())

    async def wait_for_new(self, dial: Dialer) -> None:
        """Wait until both listeners have read the new certificate, and see that new connections get it."""
        await eventually(lambda: self.broker.log.count("certificate_reloaded") >= 2, PATIENCE_S)
        assert await self.shown(dial) == "new"

    async def wait_for_complaint(self) -> None:
        """Wait until the log says that the files could not be read."""
        await eventually(lambda: "certificate_not_reloaded" in self.broker.log, PATIENCE_S)


@pytest.fixture
def renewal(tmp_path: Path, broker_factory: Callable[..., Broker]) -> Renewal:
    return Renewal(tmp_path / "files", broker_factory)


async def test_new_certificate_is_used_after_sighup(renewal: Renewal, dial: Dialer) -> None:
    survivor = await dial.connected(renewal.broker.address("ssl"), renewal.authority.client_context())
    assert await renewal.shown(dial) == "old"
    renewal.put(renewal.new)
    renewal.broker.reload()
    await renewal.wait_for_new(dial)
    assert await renewal.shown(dial, "wss") == "new"
    await survivor.expect_quiet()
    assert "certificate_reloaded" in renewal.broker.log


async def test_new_certificate_is_found_by_itself(renewal: Renewal, dial: Dialer) -> None:
    renewal.put(renewal.new)
    await renewal.wait_for_new(dial)


@pytest.mark.parametrize("broken", ["cut", "foreign key", "missing"])
async def test_broken_files_change_nothing_and_are_logged(renewal: Renewal, dial: Dialer, broken: str) -> None:
    if broken == "cut":
        renewal.used.certfile.write_text(renewal.new.certfile.read_text()[:200])
    elif broken == "foreign key":
        shutil.copy(renewal.new.keyfile, renewal.used.keyfile)
    else:
        renewal.used.keyfile.unlink()
    renewal.broker.reload()
    await renewal.wait_for_complaint()
    assert await renewal.shown(dial) == "old"
    assert await is_served(dial, renewal.broker.address("ssl"), renewal.authority.client_context())
    named = renewal.used.certfile if broken == "cut" else renewal.used.keyfile
    assert str(named) in renewal.broker.log
    renewal.put(renewal.new)
    await renewal.wait_for_new(dial)


async def test_authorities_are_read_again_too(renewal: Renewal, dial: Dialer, tmp_path: Path) -> None:
    device = renewal.clients.client("device")
    context = renewal.authority.client_context(device)
    address = renewal.broker.address("ssl")
    assert await is_served(dial, address, context)
    other = Authority(tmp_path, "others")
    shutil.copy(other.cacertfile, renewal.trusted)
    renewal.broker.reload()
    await eventually(lambda: "certificate_reloaded" in renewal.broker.log)
    assert not await is_served(dial, address, context)
    assert await is_served(dial, address, renewal.authority.client_context(other.client("newcomer")))


async def test_api_shows_a_renewed_certificate_and_keeps_the_old_one_for_a_broken_file(
    tmp_path: Path, broker_factory: Callable[..., Broker]
) -> None:
    authority = Authority(tmp_path)
    old, new = authority.server("old"), authority.server("new")
    used = KeyPair(tmp_path / "used.pem", tmp_path / "used.key")

    def put(pair: KeyPair) -> None:
        for source, target in ((pair.keyfile, used.keyfile), (pair.certfile, used.certfile)):
            shutil.copy(source, target.with_suffix(".fresh"))
            target.with_suffix(".fresh").replace(target)

    async def shown() -> str:
        stream = await SocketStream.open(Address("127.0.0.1", port), authority.client_context(), "localhost")
        assert stream.tls is not None
        seen = ssl.DER_cert_to_PEM_cert(stream.tls.getpeercert(binary_form=True) or b"")
        stream.abort()
        return "old" if seen == old.certfile.read_text() else "new"

    put(old)
    port = free_port()
    broker = broker_factory(
        {
            "dashboard.listeners.https.bind": f"127.0.0.1:{port}",
            "dashboard.listeners.https.ssl_options.certfile": str(used.certfile),
            "dashboard.listeners.https.ssl_options.keyfile": str(used.keyfile),
        }
    )
    assert await shown() == "old"
    put(new)
    os.kill(broker.pid, signal.SIGHUP)
    await eventually(lambda: "certificate_reloaded" in broker.log, PATIENCE_S)
    assert await shown() == "new"
    used.certfile.write_text("broken")
    await eventually(lambda: "certificate_not_reloaded" in broker.log, PATIENCE_S)
    assert await shown() == "new"
