"""Unix socket listeners: the file, and what is left of it."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.broker import Broker, BrokerStartError, Settings
from tests.support.dialer import Dialer


@pytest.fixture
def socket_file(tmp_path: Path) -> Path:
    return tmp_path / "mqtt.sock"


@pytest.fixture
def settings(socket_file: Path) -> Settings:
    return {"listeners.unix.local.bind": str(socket_file)}


async def test_clients_meet_over_unix_socket_and_tcp(
    broker_factory: Callable[..., Broker], settings: Settings, socket_file: Path, dial: Dialer, unique: str
) -> None:
    broker = broker_factory(settings)
    assert broker.address("unix", "local").path == str(socket_file)
    near = await dial.connected(broker.address("unix", "local"))
    far = await dial.connected(broker.address())
    await near.subscribe((f"{unique}/t", 1))
    await far.publish_fully(f"{unique}/t", b"x")
    await near.expect_publish(f"{unique}/t", b"x", qos=1)
    # Who can open the file is on this machine.
    assert await near.subscribe(("$SYS/brokers", 0)) == (0,)


def test_file_is_a_socket_that_goes_with_an_orderly_stop(
    broker_factory: Callable[..., Broker], settings: Settings, socket_file: Path
) -> None:
    broker = broker_factory(settings)
    assert stat.S_ISSOCK(socket_file.stat().st_mode)
    broker.stop()
    assert not socket_file.exists()


async def test_file_of_a_crashed_broker_does_not_block_the_next(
    broker_factory: Callable[..., Broker], settings: Settings, socket_file: Path, dial: Dialer
) -> None:
    crashed = broker_factory(settings)
    crashed.kill()
    assert socket_file.name in os.listdir(socket_file.parent)
    await dial.connected(broker_factory(settings, directory=crashed.directory).address("unix", "local"))


async def test_socket_of_a_live_broker_is_not_taken(
    broker_factory: Callable[..., Broker], settings: Settings, dial: Dialer
) -> None:
    first = broker_factory(settings)
    with pytest.raises(
        BrokerStartError, match=r"exit code 3:(?s:.*)unix:local cannot listen on .*mqtt\.sock: .*in use"
    ):
        broker_factory(settings)
    await dial.connected(first.address("unix", "local"))


def test_file_that_is_no_socket_is_left_alone(
    broker_factory: Callable[..., Broker], settings: Settings, socket_file: Path
) -> None:
    socket_file.write_text("precious")
    with pytest.raises(BrokerStartError, match=r"exit code 3:(?s:.*)unix:local cannot listen on .*mqtt\.sock"):
        broker_factory(settings)
    assert socket_file.read_text() == "precious"


def test_folder_that_does_not_exist_is_named(broker_factory: Callable[..., Broker], tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "mqtt.sock"
    with pytest.raises(BrokerStartError, match=r"exit code 3:(?s:.*)nowhere/mqtt\.sock: no such file"):
        broker_factory({"listeners.unix.local.bind": str(path)})
