"""The time series and current rates."""

from functools import partial
from pathlib import Path

import pytest

from pybroker.control.monitor import GROWTH, KEPT_S, thin
from tests.support.admin import Api, add_client, config_with, open_api

NODE = "pybroker@127.0.0.1"


async def sample(api: Api, published: int = 0, seconds: int = 10) -> None:
    api.clock.advance(seconds * 1_000)
    for _ in range(published):
        api.control.plane.engine.publish("t", b"x", 0, False)
    await api.control.monitor.sample()


async def series(api: Api, query: str = "") -> list[dict[str, int]]:
    reply = await api.call("GET", f"/monitor{query}", auth=await api.log_in())
    assert reply.status_code == 200, reply.text
    points: list[dict[str, int]] = reply.json()
    return points


async def test_points_hold_levels_and_growth(api: Api) -> None:
    add_client(api.control, "c")
    await sample(api, published=3)
    await sample(api, published=2)
    points = await series(api, "?latest=100")
    assert [point["dropped"] for point in points] == [3, 2]
    assert [point["connections"] for point in points] == [1, 1]
    assert points[1]["time_stamp"] - points[0]["time_stamp"] == 10_000
    assert set(points[0]) == {
        *("time_stamp", "connections", "live_connections", "topics", "subscriptions"),
        *("subscriptions_durable", "disconnected_durable_sessions"),
        *GROWTH,
    }


async def test_gaps_hold_their_time_alone(api: Api) -> None:
    await sample(api)
    await sample(api, seconds=30)
    points = await series(api, "?latest=100")
    assert [len(point) for point in points] == [18, 1, 1, 18]
    assert [point["time_stamp"] - points[0]["time_stamp"] for point in points] == [0, 10_000, 20_000, 30_000]


async def test_longer_times_are_put_together(api: Api) -> None:
    for _ in range(12):
        await sample(api, published=1)
    points = await series(api, "?latest=7200")
    assert sum(point["dropped"] for point in points) == 12
    assert all(point["time_stamp"] % 60_000 == 0 for point in points)


async def test_only_the_time_asked_for_is_told(api: Api) -> None:
    await sample(api, published=1)
    await sample(api, published=2, seconds=600)
    assert [point["dropped"] for point in await series(api, "?latest=300")] == [2]


async def test_old_points_are_thinned_and_then_forgotten(api: Api) -> None:
    for _ in range(60):
        await sample(api, published=1)
    now_s, rows = api.clock.wall_s(), []
    for age_s in (600, 5_000, 100_000, 300_000, KEPT_S + 700):
        await api.control.database.write(partial(thin, now_s=now_s + age_s))
        found = await api.control.database.read(
            lambda connection: connection.execute("SELECT time_s FROM sample").fetchall()
        )
        rows.append(len(found))
    assert rows[0] == 60
    assert rows == sorted(set(rows), reverse=True)
    assert (rows[1], rows[-1]) == (11, 0)


async def test_thinning_keeps_sums_and_the_newest_level(api: Api) -> None:
    for number in range(12):
        add_client(api.control, f"c{number}")
        await sample(api, published=1)
    await api.control.database.write(lambda connection: thin(connection, api.clock.wall_s() + 4_000))
    points = [point for point in await series(api) if len(point) > 1]
    assert sum(point["dropped"] for point in points) == 12
    assert points[-1]["connections"] == 12


async def test_series_survive_a_restart_and_one_time_is_one_point(tmp_path: Path) -> None:
    config = config_with(tmp_path)
    async with open_api(config) as api:
        await sample(api, published=1)
        clock = api.clock
    async with open_api(config, clock) as api:
        await sample(api, published=1, seconds=0)
        (point,) = await series(api, "?latest=100")
        assert point["dropped"] == 2


async def test_series_are_cleared(api: Api) -> None:
    await sample(api)
    reply = await api.call("DELETE", "/monitor", auth=await api.log_in())
    assert reply.status_code == 204
    assert await series(api) == []


async def test_rates_are_those_since_the_last_point(api: Api) -> None:
    token = await api.log_in()
    await sample(api, published=50)
    api.clock.advance(5_000)
    for _ in range(10):
        api.control.plane.engine.publish("t", b"x", 0, False)
    now = (await api.call("GET", "/monitor_current", auth=token)).json()
    assert now["dropped_msg_rate"] == 2
    assert now["received_msg_rate"] == 0


async def test_current_forms_of_cluster_and_node_differ(api: Api) -> None:
    token = await api.log_in()
    add_client(api.control, "c")
    whole = (await api.call("GET", "/monitor_current", auth=token)).json()
    node = (await api.call("GET", f"/monitor_current/nodes/{NODE}", auth=token)).json()
    assert set(whole) - set(node) == {"subscriptions_ram", "subscriptions_durable", "disconnected_durable_sessions"}
    assert set(node) - set(whole) == {"node_uptime"}
    assert (whole["connections"], whole["live_connections"], whole["license_quota"]) == (1, 0, 0)


async def test_peak_of_sessions_is_remembered_for_its_time(tmp_path: Path) -> None:
    async with open_api(config_with(tmp_path)) as api:
        add_client(api.control, "a")
        add_client(api.control, "b")
        await sample(api)
        peak_ms, clock = api.clock.wall_ms(), api.clock
    async with open_api(config_with(tmp_path), clock) as api:
        await api.control.monitor.load_peak()
        mark = (await api.call("GET", "/monitor_current", auth=await api.log_in())).json()["sessions_hist_hwmark"]
        assert mark == {"peak_time": peak_ms, "peak_value": 2, "current_value": 0}
        clock.advance(8 * 86_400_000)
        mark = (await api.call("GET", "/monitor_current", auth=await api.log_in())).json()["sessions_hist_hwmark"]
        assert mark["peak_value"] == 0


@pytest.mark.parametrize("path", ["/monitor/nodes/x@y", "/monitor_current/nodes/x@y"])
async def test_unknown_node_is_not_found(api: Api, path: str) -> None:
    reply = await api.call("GET", path, auth=await api.log_in())
    assert (reply.status_code, reply.json()["code"]) == (404, "NOT_FOUND")


async def test_time_must_be_positive(api: Api) -> None:
    reply = await api.call("GET", "/monitor?latest=0", auth=await api.log_in())
    assert (reply.status_code, reply.json()["code"]) == (400, "BAD_REQUEST")
