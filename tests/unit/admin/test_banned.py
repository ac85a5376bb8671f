"""Bans over the API: made, listed, lifted; in force at once and after a restart."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.admin import Api, add_client, config_with, open_api


async def ban(api: Api, kind: str, who: str, **fields: object) -> Any:
    return await api.call("POST", "/banned", {"as": kind, "who": who, **fields}, auth=await api.log_in())


async def listed(api: Api, query: str = "") -> list[str]:
    reply = await api.call("GET", f"/banned{query}", auth=await api.log_in())
    assert reply.status_code == 200, reply.text
    return [row["who"] for row in reply.json()["data"]]


async def test_ban_is_answered_as_it_is_stored(api: Api) -> None:
    reply = await ban(api, "clientid", "c1", reason="spam", until="2026-01-02T00:00:00Z")
    assert reply.status_code == 200
    body = reply.json()
    assert (body["as"], body["who"], body["by"], body["reason"]) == ("clientid", "c1", "mgmt_api", "spam")
    assert msgspec.convert(body["until"], type=str).startswith("2026-01-0")
    assert (await ban(api, "username", "ann")).json()["until"] == "infinity"


async def test_second_ban_of_the_same_tells_the_first(api: Api) -> None:
    await ban(api, "clientid", "c1", reason="first")
    reply = await ban(api, "clientid", "c1")
    assert (reply.status_code, reply.json()["code"]) == (400, "ALREADY_EXISTS")
    assert msgspec.json.decode(reply.json()["message"])["reason"] == "first"


async def test_ban_that_is_over_may_be_made_again(api: Api) -> None:
    await ban(api, "clientid", "c1", until=api.clock.wall_s() + 4_000)
    api.clock.advance(4_001_000)
    assert await listed(api) == []
    assert (await ban(api, "clientid", "c1")).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"as": "clientid", "who": "c", "until": 1},
        {"as": "clientid", "who": ""},
        {"as": "peerhost", "who": "name"},
        {"as": "peerhost_net", "who": "10.0.0.0/33"},
        {"as": "clientid_re", "who": "("},
        {"as": "other", "who": "c"},
        {"who": "c"},
    ],
)
async def test_bad_ban_is_refused(api: Api, body: object) -> None:
    reply = await api.call("POST", "/banned", body, auth=await api.log_in())
    assert (reply.status_code, reply.json()["code"]) == (400, "BAD_REQUEST")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["c1", "c2", "^c", "192.0.2.1", "10.0.0.0/8", "ann"]),
        ("?clientid=c1", ["c1"]),
        ("?username=ann", ["ann"]),
        ("?peerhost=192.0.2.1", ["192.0.2.1"]),
        ("?like_clientid=%5Ec[12]$", ["c1", "c2"]),
        ("?like_username=n", ["ann"]),
        ("?like_peerhost=%5E192", ["192.0.2.1"]),
        ("?like_peerhost_net=/8", ["10.0.0.0/8"]),
        ("?limit=2&page=2", ["^c", "192.0.2.1"]),
    ],
)
async def test_filters(api: Api, query: str, expected: list[str]) -> None:
    entries = [("clientid", "c1"), ("clientid", "c2"), ("clientid_re", "^c"), ("peerhost", "192.0.2.1")]
    for kind, who in [*entries, ("peerhost_net", "10.1.2.3/8"), ("username", "ann")]:
        assert (await ban(api, kind, who)).status_code == 200
    assert await listed(api, query) == expected


@pytest.mark.parametrize("query", ["clientid=c&username=u", "like_clientid=(", "limit=0"])
async def test_bad_filter_is_refused(api: Api, query: str) -> None:
    await ban(api, "clientid", "c1")
    reply = await api.call("GET", f"/banned?{query}", auth=await api.log_in())
    assert (reply.status_code, reply.json()["code"]) == (400, "BAD_REQUEST")


async def test_ban_is_lifted(api: Api) -> None:
    token = await api.log_in()
    await ban(api, "peerhost_net", "10.0.0.0/8")
    assert api.control.plane.bans.covers("c", None, "10.1.1.1")
    assert (await api.call("DELETE", "/banned/peerhost_net/10.0.0.0%2F8", auth=token)).status_code == 204
    assert not api.control.plane.bans.covers("c", None, "10.1.1.1")
    gone = await api.call("DELETE", "/banned/peerhost_net/10.0.0.0%2F8", auth=token)
    assert (gone.status_code, gone.json()["code"]) == (404, "NOT_FOUND")
    assert (await api.call("DELETE", "/banned/other/x", auth=token)).json()["code"] == "BAD_REQUEST"


async def test_all_bans_are_lifted_together(api: Api) -> None:
    await ban(api, "clientid", "c1")
    await ban(api, "username", "ann")
    assert (await api.call("DELETE", "/banned", auth=await api.log_in())).status_code == 204
    assert await listed(api) == []
    assert not api.control.plane.bans.covers("c1", "ann", "")


async def test_ban_survives_a_restart(tmp_path: Path) -> None:
    config = config_with(tmp_path)
    async with open_api(config) as api:
        await ban(api, "clientid_re", "^bad")
    async with open_api(config) as api:
        assert api.control.plane.bans.covers("bad1", None, "")
        assert await listed(api) == ["^bad"]


@pytest.mark.parametrize(
    ("kind", "who"),
    [
        ("clientid", "one"),
        ("username", "ann"),
        ("peerhost", "192.0.2.1"),
        ("clientid_re", "^o"),
        ("username_re", "nn"),
        ("peerhost_net", "192.0.2.0/24"),
    ],
)
async def test_ban_takes_the_will_of_those_it_covers_only(api: Api, kind: str, who: str) -> None:
    from tests.support.fake_core import FakeWill

    one = add_client(api.control, "one", username="ann", peer=("192.0.2.1", 1), will=FakeWill())
    two = add_client(api.control, "two", username="bob", peer=("198.51.100.1", 1), will=FakeWill())
    assert (await ban(api, kind, who)).status_code == 200
    assert one.will is None
    assert two.will is not None


async def test_sweep_removes_what_is_over(api: Api) -> None:
    await ban(api, "clientid", "c1", until=api.clock.wall_s() + 10)
    await ban(api, "clientid", "c2")
    api.clock.advance(11_000)
    await api.control.bans.sweep()
    assert [record.who for record in api.control.bans.table] == ["c2"]
