"""Bans over the API: made, listed, lifted; in force at once and after a restart."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from pybroker.config import patch
from tests.support.admin import Api, add_client, config_with, open_api
from tests.support.applicant import applicant


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


FLAPPING = {"flapping_detect": {"enable": True, "max_count": 2, "ban_time": "1m"}}


def knock(api: Api, client_id: str) -> bool:
    """Let a client connect as far as the bans are asked; return whether it is banned."""
    bans, one = api.control.plane.bans, applicant(client_id=client_id)
    return bans.is_banned(one) or bans.count_connect(one)


async def test_client_that_connects_too_often_is_banned_and_its_session_kicked(tmp_path: Path) -> None:
    config = patch.apply(config_with(tmp_path), FLAPPING).config
    async with open_api(config) as api:
        session = add_client(api.control, "c1")
        assert [knock(api, "c1") for _ in range(3)] == [False, True, True]
        assert session.will is None
        await api.control.bans.settle()
        reply = await api.call("GET", "/banned", auth=await api.log_in())
        (row,) = reply.json()["data"]
        assert (row["as"], row["who"], row["by"]) == ("clientid", "c1", "flapping detector")
    async with open_api(config) as api:
        assert knock(api, "c1")
        api.clock.advance(61_000)
        assert not knock(api, "c1")


async def test_longer_ban_is_not_shortened_by_the_detector(tmp_path: Path) -> None:
    async with open_api(patch.apply(config_with(tmp_path), FLAPPING).config) as api:
        knock(api, "c1")
        await ban(api, "clientid", "c1")
        api.control.plane.bans.flapping.count(applicant(client_id="c1"))  # type: ignore[union-attr]  # there is one
        await api.control.bans.settle()
        assert api.control.bans.listed(None)[0].until_s is None


async def test_detector_follows_a_change_of_the_configuration(api: Api) -> None:
    assert not any(knock(api, "c1") for _ in range(20))
    body = {"enable": True, "max_count": 2}
    reply = await api.call("PUT", "/configs/flapping_detect", body, auth=await api.log_in())
    assert reply.status_code == 200, reply.text
    assert [knock(api, "c1") for _ in range(2)] == [False, True]
    await api.control.bans.settle()


async def test_file_of_bans_fills_an_empty_table_only(tmp_path: Path) -> None:
    file = tmp_path / "bans.csv"
    file.write_text(
        "as,who,reason,at,until,by\n"
        "clientid,c1,spam,2025-01-01T00:00:00Z,infinity,me\n"
        "peerhost_net,10.1.2.3/8,,,,\n"
        "planet,earth,,,,\n"
        "clientid_re,(,,,,\n"
        "clientid,old,,,2025-01-01T00:00:00Z,\n"
        "clientid,c2,,soon,,\n"
        "username,ann,,,,,too,many\n"
    )
    config = patch.apply(config_with(tmp_path / "data"), {"banned": {"bootstrap_file": str(file)}}).config
    async with open_api(config) as api:
        assert await listed(api) == ["c1", "10.0.0.0/8"]
        assert knock(api, "c1")
        auth = await api.log_in()
        assert (await api.call("DELETE", "/banned/clientid/c1", auth=auth)).status_code == 204
    async with open_api(config) as api:
        assert await listed(api) == ["10.0.0.0/8"]


@pytest.mark.parametrize("content", [None, b"", b"who\nc1\n", b"\xff\xfe"])
async def test_file_of_bans_that_is_none_stops_nobody(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "bans.csv"
    if content is not None:
        file.write_bytes(content)
    config = patch.apply(config_with(tmp_path / "data"), {"banned": {"bootstrap_file": str(file)}}).config
    async with open_api(config) as api:
        assert await listed(api) == []
