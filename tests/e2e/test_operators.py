"""What operators do to live connections: kick, ban, stop a listener; over HTTP and on the command line."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_admin_identity import BrokerFactory, call, free_port, log_in, settings
from tests.support import packets
from tests.support.broker import Broker, Setting
from tests.support.dialer import Dialer
from tests.support.packets import Property, Version

_KEYS: dict[str, Setting] = {"dashboard.default_password": "Secret-123", "listeners.tcp.other.bind": "127.0.0.1:0"}
_ADMINISTRATIVE = 0x98
_BANNED = 0x8A


class Operated:
    """A broker and an operator of it."""

    def __init__(self, broker: Broker, port: int) -> None:
        self.broker = broker
        self._port = port
        self._token = log_in(port, "Secret-123")

    def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Call the API."""
        return call(self._port, method, path, body, self._token)

    def ctl(self, *words: str) -> Any:
        """Run a command that must succeed and return what it prints."""
        return json.loads(run_ctl(self.broker.directory / "data", *words, "--json", code=0).stdout)


def run_ctl(folder: Path, *words: str, code: int) -> "subprocess.CompletedProcess[str]":
    """Run `pybroker ctl` and insist on its exit code."""
    command = [sys.executable, "-m", "pybroker", "ctl", "--data", str(folder), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def operated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    port = free_port()
    broker = Broker.start(tmp_path_factory.mktemp("operated"), settings(port, **_KEYS))
    yield Operated(broker, port)
    broker.stop()


async def test_kicked_client_is_told_and_its_session_is_gone(operated: Operated, dial: Dialer) -> None:
    for kick in (
        lambda name: operated.call("DELETE", f"/clients/{name}"),
        lambda name: operated.call("POST", "/clients/kickout/bulk", [name]),
        lambda name: operated.ctl("clients", "kick", name),
    ):
        client = await dial(operated.broker.address())
        await client.connect(clean=False, properties=[(Property.SESSION_EXPIRY, 3_600)])
        kick(client.client_id)
        await client.expect_fault(_ADMINISTRATIVE)
        assert operated.call("GET", f"/clients/{client.client_id}")[0] == 404


async def test_older_client_is_kicked_without_a_packet(operated: Operated, dial: Dialer) -> None:
    client = await dial.connected(operated.broker.address(), version=Version.V311)
    assert operated.call("DELETE", f"/clients/{client.client_id}")[0] == 204
    await client.expect_closed()


@pytest.mark.parametrize("kind", ["clientid", "clientid_re", "peerhost"])
async def test_banned_client_is_disconnected_and_kept_out(operated: Operated, dial: Dialer, kind: str) -> None:
    client = await dial.connected(operated.broker.address())
    who = {"clientid": client.client_id, "clientid_re": f"^{client.client_id}$", "peerhost": "127.0.0.1"}[kind]
    assert operated.call("POST", "/banned", {"as": kind, "who": who})[0] == 200
    await client.expect_fault(_ADMINISTRATIVE)
    again = await dial(operated.broker.address())
    await again.send(packets.connect(Version.V5, client.client_id))
    await again.expect_refusal(_BANNED)
    assert operated.ctl("banned", "clear") == "ok"
    assert (await (await dial(operated.broker.address())).connect()).reason == 0


async def test_stopped_listener_ends_its_connections_alone(operated: Operated, dial: Dialer) -> None:
    here = await dial.connected(operated.broker.address("tcp", "other"))
    older = await dial.connected(operated.broker.address("tcp", "other"), version=Version.V311)
    elsewhere = await dial.connected(operated.broker.address())
    assert operated.call("POST", "/listeners/tcp:other/stop")[0] == 200
    await here.expect_fault(_ADMINISTRATIVE)
    await older.expect_closed()
    with pytest.raises(ConnectionRefusedError):
        await dial(operated.broker.address("tcp", "other"))
    await elsewhere.expect_quiet()
    assert {row["id"]: row["running"] for row in operated.ctl("listeners")}["tcp:other"] is False
    operated.ctl("listeners", "start", "tcp:other")
    assert {row["id"]: row["running"] for row in operated.ctl("listeners")}["tcp:other"] is True


async def test_deleted_listener_ends_its_connections(operated: Operated, dial: Dialer) -> None:
    body = {"type": "tcp", "name": "brief", "bind": f"127.0.0.1:{free_port()}"}
    made = operated.call("POST", "/listeners", body)
    assert made[0] == 200, made
    address = operated.broker.address()
    client = await dial.connected(type(address)(host="127.0.0.1", port=int(body["bind"].rpartition(":")[2])))
    assert operated.call("DELETE", "/listeners/tcp:brief")[0] == 204
    await client.expect_fault(_ADMINISTRATIVE)


def test_command_line_works_after_a_crash_and_not_while_it_lasts(broker_factory: BrokerFactory) -> None:
    broker = broker_factory(settings(free_port()))
    folder = broker.directory / "data"
    assert "running" in run_ctl(folder, "status", code=0).stdout
    broker.kill()
    assert (folder / "ctl.sock").exists()
    assert "no broker runs in the data folder" in run_ctl(folder, "status", code=3).stderr
    again = broker_factory(settings(free_port()), directory=broker.directory)
    assert "running" in run_ctl(folder, "status", code=0).stdout
    again.stop()
    assert not (folder / "ctl.sock").exists()


def test_lost_password_is_replaced_on_the_command_line(broker_factory: BrokerFactory) -> None:
    port = free_port()
    broker = broker_factory(settings(port))
    run_ctl(broker.directory / "data", "admins", "passwd", "admin", "Another-456", code=0)
    log_in(port, "Another-456")
