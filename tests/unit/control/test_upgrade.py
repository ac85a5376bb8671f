"""What an older version has stored is there after the upgrade."""

import sqlite3
from pathlib import Path

import pytest

from pybroker.persistence.migrate import MIGRATIONS, migrate
from pybroker.persistence.sqlite import FILE_NAME
from tests.support.admin import config_with, open_api


def _names(connection: sqlite3.Connection) -> dict[str, str]:
    rows = connection.execute("SELECT name, type FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")
    return dict(rows.fetchall())


def _take_back(folder: Path, version: int) -> None:
    """Bring a database back to an older version: everything that later steps have made goes."""
    older = sqlite3.connect(":memory:", isolation_level=None)
    migrate(older, MIGRATIONS[:version], "")
    with sqlite3.connect(folder / FILE_NAME) as connection:
        for name, kind in _names(connection).items():
            if name not in _names(older) and kind == "table":
                connection.execute(f"DROP TABLE {name}")
        connection.execute(f"PRAGMA user_version = {version:d}")
    connection.close()
    older.close()


@pytest.mark.parametrize("version", [step.version for step in MIGRATIONS])
async def test_users_keys_and_audit_of_every_version_are_kept(tmp_path: Path, version: int) -> None:
    async with open_api(config_with(tmp_path)) as api:
        await api.add_user("eve")
        key = await api.add_key("k")
        await api.control.configs.update({"log": {"audit": {"enable": True}}, "mqtt": {"max_inflight": 7}})
        await api.control.audit.append_command(["before"])
    _take_back(tmp_path, version)
    async with open_api(config_with(tmp_path)) as api:
        await api.log_in("eve")
        assert (await api.call("GET", "/user_scopes", auth=key)).status_code == 200
        assert api.control.configuration.current.mqtt.max_inflight == 7
        verdict = await api.control.audit.verify()
        assert verdict.is_intact
        assert verdict.records >= 1
        assert (await api.call("POST", "/banned", {"as": "clientid", "who": "x"}, auth=await api.log_in())).is_success
