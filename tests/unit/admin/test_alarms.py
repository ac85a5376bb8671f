"""Alarms: raised, cleared, kept."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from pybroker.config.schema import Config
from tests.support.admin import Api, config_with, open_api


async def listed(api: Api, query: str = "") -> dict[str, Any]:
    body: dict[str, Any] = (await api.call("GET", f"/alarms{query}", auth=await api.log_in())).json()
    return body


async def clear(api: Api, body: object) -> Any:
    return await api.call("POST", "/alarms/force_deactivate", body, auth=await api.log_in())


async def test_alarm_is_active_until_it_is_cleared_and_history_then(api: Api) -> None:
    await api.control.alarms.activate("hot", "too hot", {"degrees": 90})
    api.clock.advance(1_500)
    row = (await listed(api))["data"][0]
    assert (row["name"], row["message"], row["details"], row["duration"]) == ("hot", "too hot", {"degrees": 90}, 1_500)
    assert "deactivate_at" not in row
    assert (await listed(api, "?activated=false"))["data"] == []
    assert (await clear(api, {"name": "hot"})).status_code == 204
    assert (await listed(api))["data"] == []
    past = (await listed(api, "?activated=false"))["data"][0]
    assert (past["name"], past["duration"]) == ("hot", 1_500)
    assert "deactivate_at" in past


@pytest.mark.parametrize("activated", ["true", "false"])
async def test_page_behind_every_number_is_empty(api: Api, activated: str) -> None:
    body = await listed(api, f"?activated={activated}&page={10**30}")
    assert (body["data"], body["meta"]["hasnext"]) == ([], False)


async def test_alarm_that_is_raised_again_keeps_its_beginning(api: Api) -> None:
    await api.control.alarms.activate("hot", "first", {})
    api.clock.advance(1_000)
    await api.control.alarms.activate("hot", "second", {})
    body = await listed(api)
    assert (body["meta"]["count"], body["data"][0]["message"]) == (1, "first")


@pytest.mark.parametrize(("body", "code"), [({}, "INVALID_PARAMETER"), ({"name": "none"}, "NOT_FOUND")])
async def test_unknown_alarm_is_400(api: Api, body: object, code: str) -> None:
    reply = await clear(api, body)
    assert (reply.status_code, reply.json()["code"]) == (400, code)


async def test_history_is_deleted_and_active_alarms_stay(api: Api) -> None:
    for name in ("a", "b"):
        await api.control.alarms.activate(name, "", {})
    await api.control.alarms.deactivate("a")
    assert (await api.call("DELETE", "/alarms", auth=await api.log_in())).status_code == 204
    assert (await listed(api, "?activated=false"))["data"] == []
    assert [row["name"] for row in (await listed(api))["data"]] == ["b"]


async def test_history_is_bounded_in_number_and_time(tmp_path: Path) -> None:
    settings = msgspec.structs.replace(Config().alarm, size_limit=2)
    async with open_api(config_with(tmp_path, alarm=settings)) as api:
        for name in ("a", "b", "c"):
            await api.control.alarms.activate(name, "", {})
            api.clock.advance(1)
            await api.control.alarms.deactivate(name)
        assert [row["name"] for row in (await listed(api, "?activated=false"))["data"]] == ["c", "b"]
        api.clock.advance(86_400_001)
        assert (await listed(api, "?activated=false"))["meta"]["count"] == 0
        await api.control.alarms.sweep()


async def test_alarms_survive_a_restart(tmp_path: Path) -> None:
    config = config_with(tmp_path)
    async with open_api(config) as api:
        for name in ("a", "b"):
            await api.control.alarms.activate(name, "", {})
        await api.control.alarms.deactivate("a")
    async with open_api(config) as api:
        assert [row["name"] for row in (await listed(api))["data"]] == ["b"]
        assert [row["name"] for row in (await listed(api, "?activated=false"))["data"]] == ["a"]


async def test_quota_raises_and_clears_its_alarm(tmp_path: Path) -> None:
    licence = msgspec.structs.replace(Config().license, connection_quota=1)
    async with open_api(config_with(tmp_path, license=licence)) as api:
        count = [2]
        api.control.licence.attach(lambda: count[0])
        await api.control.licence.check()
        await api.control.alarms.settle()
        assert [row["name"] for row in (await listed(api))["data"]] == ["license_quota"]
        count[0] = 0
        await api.control.licence.check()
        await api.control.alarms.settle()
        assert (await listed(api))["data"] == []


async def test_bootstrap_file_that_cannot_be_loaded_raises_an_alarm(tmp_path: Path) -> None:
    settings = msgspec.structs.replace(Config().api_key, bootstrap_file=str(tmp_path / "none"))
    async with open_api(config_with(tmp_path / "data", api_key=settings)) as api:
        assert [row["name"] for row in (await listed(api))["data"]] == ["api_key_bootstrap"]
