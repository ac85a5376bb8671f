"""Subscriptions and topics of the whole broker."""

from typing import Any

import pytest

from pybroker.control.subscriptions import matches
from tests.support.admin import Api, add_client

NODE = "pybroker@127.0.0.1"


async def get(api: Api, path: str) -> dict[str, Any]:
    reply = await api.call("GET", path, auth=await api.log_in())
    assert reply.status_code == 200, reply.text
    body: dict[str, Any] = reply.json()
    return body


def subscribe(api: Api, client_id: str, *filters: str, options: int = 0) -> None:
    session = add_client(api.control, client_id)
    for filter in filters:
        api.control.plane.engine.subscribe(session.slot, filter, options)


async def test_row_shows_every_option(api: Api) -> None:
    subscribe(api, "one", "t/+", options=2 | 1 << 2 | 1 << 3 | 1 << 4)
    row = (await get(api, "/subscriptions"))["data"][0]
    expected = {"clientid": "one", "node": NODE, "topic": "t/+", "qos": 2, "nl": 1, "rap": 1, "rh": 1, "durable": False}
    assert row == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {"t/1", "t/+", "$share/g/t/2", "u"}),
        ("?clientid=one", {"t/1", "t/+"}),
        ("?clientid=nobody", set()),
        ("?topic=t/%2B", {"t/+"}),
        ("?match_topic=t/%23", {"t/1", "t/+", "$share/g/t/2"}),
        ("?match_topic=t/%2B&clientid=one", {"t/1", "t/+"}),
        ("?share_group=g", {"$share/g/t/2"}),
        ("?qos=1", {"$share/g/t/2", "u"}),
        ("?durable=true", set()),
        (f"?node={NODE}&topic=u", {"u"}),
    ],
)
async def test_filters(api: Api, query: str, expected: set[str]) -> None:
    subscribe(api, "one", "t/1", "t/+")
    subscribe(api, "two", "$share/g/t/2", "u", options=1)
    rows = (await get(api, f"/subscriptions{query}"))["data"]
    assert {row["topic"] for row in rows} == expected


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("match_topic=$share/g/t", 400, "INVALID_PARAMETER"),
        ("match_topic=a/%23/b", 400, "INVALID_PARAMETER"),
        ("limit=0", 400, "BAD_REQUEST"),
        ("qos=3", 400, "BAD_REQUEST"),
        ("node=x@y", 500, "NODE_DOWN"),
    ],
)
async def test_bad_question_is_refused(api: Api, query: str, status: int, code: str) -> None:
    reply = await api.call("GET", f"/subscriptions?{query}", auth=await api.log_in())
    assert (reply.status_code, reply.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    "path", ["/subscriptions", "/topics", "/subscriptions?match_topic=%23", "/subscriptions?qos=0"]
)
async def test_pages_are_disjoint_and_complete(api: Api, path: str) -> None:
    for number in range(25):
        subscribe(api, f"c{number}", f"t/{number}")
    joint = "&" if "?" in path else "?"
    found = []
    for page in (1, 2, 3, 4):
        body = await get(api, f"{path}{joint}limit=10&page={page}")
        assert body["meta"]["hasnext"] == (page < 3)
        assert ("count" in body["meta"]) == ("match_topic" not in path)
        found += [row["topic"] for row in body["data"]]
    assert sorted(found) == sorted(f"t/{number}" for number in range(25))
    again = await get(api, f"{path}{joint}limit=10&page=3")
    assert [row["topic"] for row in again["data"]] == found[20:]


async def test_topic_is_listed_once_without_its_groups(api: Api) -> None:
    subscribe(api, "one", "t/1", "$share/g/t/1", "u/#", "$share/g/v")
    subscribe(api, "two", "t/1")
    rows = (await get(api, "/topics"))["data"]
    assert sorted(row["topic"] for row in rows) == ["t/1", "u/#", "v"]
    assert (await get(api, "/topics?topic=t/1"))["meta"]["count"] == 1
    assert (await get(api, "/topics?topic=none"))["data"] == []


async def test_one_topic_is_an_array_even_for_one_row(api: Api) -> None:
    subscribe(api, "one", "a/b")
    reply = await api.call("GET", "/topics/a%2Fb", auth=await api.log_in())
    assert reply.json() == [{"topic": "a/b", "node": NODE}]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/topics/none", 404, "TOPIC_NOT_FOUND"),
        ("/topics/a%2F%23%2Fb", 400, "INVALID_PARAMTER"),
        ("/topics?topic=a/%23/b", 400, "INVALID_PARAMTER"),
        ("/topics?node=x@y", 500, "NODE_DOWN"),
    ],
)
async def test_bad_topic_is_refused(api: Api, path: str, status: int, code: str) -> None:
    reply = await api.call("GET", path, auth=await api.log_in())
    assert (reply.status_code, reply.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("name", "filter", "expected"),
    [
        ("t/1", "t/#", True),
        ("t/+", "t/#", True),
        ("t", "t/#", True),
        ("t/1", "t/+", True),
        ("t/1/2", "t/+", False),
        ("t", "t/+", False),
        ("$SYS/a", "#", False),
        ("$SYS/a", "$SYS/#", True),
        ("a", "a", True),
        ("a/b", "a", False),
    ],
)
def test_names_are_matched_as_topics(name: str, filter: str, expected: bool) -> None:
    assert matches(name, filter) is expected
