"""The table of managed namespaces."""

import pytest

from pybroker.control.configuration import Configuration
from pybroker.errors import Refused
from tests.support.admin import Api, config_with, open_api


@pytest.mark.parametrize("name", ["", "global", "null", "none", "undefined"])
async def test_reserved_names_are_refused(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    async with open_api(config_with(tmp_path_factory.mktemp("data"))) as api:
        with pytest.raises(Refused):
            await api.control.namespaces.add(name)


async def test_adding_twice_keeps_the_first(tmp_path_factory: pytest.TempPathFactory) -> None:
    async with open_api(config_with(tmp_path_factory.mktemp("data"))) as api:
        await api.control.namespaces.add("a")
        first = api.control.namespaces.table.get("a")
        api.clock.advance(1_000)
        await api.control.namespaces.add("a")
        assert api.control.namespaces.table.get("a") == first


async def _lock_after_two(api: Api) -> str:
    for _ in range(2):
        await api.call("POST", "/login", {"username": "admin", "password": "wrong-123"})
    reply = await api.call("POST", "/login", {"username": "admin", "password": "Secret-123"})
    code: str = reply.json().get("code", "")
    return code


async def test_changed_configuration_holds_at_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("data")
    async with open_api(config_with(folder)) as api:
        configuration: Configuration = api.control.configuration
        assert await _lock_after_two(api) == ""
        configuration.replace(config_with(folder, dashboard={"unsuccessful_login_max_attempts": 2}))
        assert await _lock_after_two(api) == "LOGIN_LOCKED"
