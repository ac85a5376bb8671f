"""Retained messages: lists, one, deletion, settings."""

import base64
from typing import Any

import pytest

from tests.support.admin import Api


def retain(api: Api, *topics: str, payload: bytes = b"x") -> None:
    for topic in topics:
        api.control.plane.engine.publish(topic, payload, 1, True)


async def topics(api: Api, query: str = "") -> list[str]:
    reply = await api.call("GET", f"/mqtt/retainer/messages{query}", auth=await api.log_in())
    assert reply.status_code == 200, reply.text
    return sorted(row["topic"] for row in reply.json()["data"])


async def test_list_counts_unless_it_is_filtered(api: Api) -> None:
    retain(api, *(f"t/{number}" for number in range(5)), "u")
    token = await api.log_in()
    whole = (await api.call("GET", "/mqtt/retainer/messages?limit=4", auth=token)).json()
    assert whole["meta"] == {"page": 1, "limit": 4, "count": 6, "hasnext": True}
    assert "payload" not in whole["data"][0]
    rest = (await api.call("GET", "/mqtt/retainer/messages?limit=4&page=2", auth=token)).json()
    assert (len(rest["data"]), rest["meta"]["hasnext"]) == (2, False)
    some = (await api.call("GET", "/mqtt/retainer/messages?topic=t/%2B&limit=3&page=2", auth=token)).json()
    assert (len(some["data"]), some["meta"]) == (2, {"page": 2, "limit": 3, "hasnext": False})
    assert len({row["msgid"] for row in whole["data"]}) == 4


async def test_one_message_has_its_payload(api: Api) -> None:
    retain(api, "a/b", payload=b"\xff")
    token = await api.log_in()
    body = (await api.call("GET", "/mqtt/retainer/message/a%2Fb", auth=token)).json()
    assert (body["topic"], body["qos"], base64.b64decode(body["payload"])) == ("a/b", 1, b"\xff")
    assert (await api.call("GET", "/mqtt/retainer/message/a%2F%2B", auth=token)).json()["topic"] == "a/b"


async def test_delete_takes_one_or_what_matches_or_all(api: Api) -> None:
    retain(api, "a/1", "a/2", "b", "c", "$other/x", "$SYS/own")
    token = await api.log_in()
    assert (await api.call("DELETE", "/mqtt/retainer/message/b", auth=token)).status_code == 204
    assert (await api.call("DELETE", "/mqtt/retainer/message/a%2F%23", auth=token)).status_code == 204
    assert await topics(api) == ["$SYS/own", "$other/x", "c"]
    assert (await api.call("DELETE", "/mqtt/retainer/messages", auth=token)).status_code == 204
    assert await topics(api) == ["$SYS/own"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/mqtt/retainer/message/none", 404, "NOT_FOUND"),
        ("DELETE", "/mqtt/retainer/message/none", 404, "NOT_FOUND"),
        ("GET", "/mqtt/retainer/message/a%2F%23%2Fb", 400, "BAD_REQUEST"),
        ("GET", "/mqtt/retainer/messages?topic=a/%23/b", 400, "BAD_REQUEST"),
    ],
)
async def test_missing_or_bad_topic(api: Api, method: str, path: str, status: int, code: str) -> None:
    reply = await api.call(method, path, auth=await api.log_in())
    assert (reply.status_code, reply.json()["code"]) == (status, code)


async def test_settings_take_effect_at_once(api: Api) -> None:
    token = await api.log_in()
    settings: dict[str, Any] = (await api.call("GET", "/mqtt/retainer", auth=token)).json()
    assert (settings["enable"], settings["max_payload_size"]) == (True, "1MB")
    reply = await api.call("PUT", "/mqtt/retainer", {"enable": False}, auth=token)
    assert (reply.status_code, reply.json()) == (200, {**settings, "enable": False})
    retain(api, "t")
    assert await topics(api) == []


async def test_bad_settings_are_refused(api: Api) -> None:
    reply = await api.call("PUT", "/mqtt/retainer", {"max_payload_size": "much"}, auth=await api.log_in())
    assert (reply.status_code, reply.json()["code"]) == (400, "UPDATE_FAILED")


async def test_callers_of_a_namespace_see_settings_but_no_messages(api: Api) -> None:
    token = await api.add_user("nsadmin", "ns:a::administrator")
    assert (await api.call("GET", "/mqtt/retainer/messages", auth=token)).status_code == 403
    assert (await api.call("GET", "/mqtt/retainer", auth=token)).status_code == 200
    assert (await api.call("GET", "/clients", auth=token)).status_code == 200
