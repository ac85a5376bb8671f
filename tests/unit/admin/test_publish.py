"""Publishing one message and many."""

import asyncio
import base64
from pathlib import Path

import httpx
import pytest

from admin.slices import SLICE
from pybroker.config.load import load
from pybroker.control.publish import BATCH
from tests.support.admin import Api, add_client, config_with, open_api


def subscribed(api: Api, filter: str = "t/#", qos: int = 2) -> int:
    session = add_client(api.control, "sub", is_offline=True)
    api.control.plane.engine.subscribe(session.slot, filter, qos)
    return session.slot


def received(api: Api, slot: int) -> list[tuple[str, int, bytes]]:
    rows, _ = api.control.plane.engine.session_messages(slot, "mqueue", None, 1_000)
    return [(row[2], row[3], row[5]) for row in rows]


async def publish(api: Api, body: object, path: str = "/publish") -> httpx.Response:
    return await api.call("POST", path, body, auth=await api.log_in())


async def test_message_reaches_its_subscriber(api: Api) -> None:
    slot = subscribed(api)
    reply = await publish(api, {"topic": "t/1", "payload": "hällo", "qos": 2})
    assert reply.status_code == 200
    assert set(reply.json()) == {"id"}
    assert len(bytes.fromhex(reply.json()["id"])) == 16
    assert received(api, slot) == [("t/1", 2, "hällo".encode())]


async def test_nobody_is_202_without_an_id_and_still_retained(api: Api) -> None:
    reply = await publish(api, {"topic": "t/1", "payload": "x", "retain": True})
    assert reply.status_code == 202
    assert reply.json() == {"reason_code": 16, "message": "no_matching_subscribers"}
    assert api.control.plane.engine.retained_get("t/1") is not None


@pytest.mark.parametrize("name", ["payload_encoding", "encoding"])
async def test_payload_may_be_base64(api: Api, name: str) -> None:
    slot = subscribed(api)
    payload = base64.b64encode(b"\xff\x00").decode()
    assert (await publish(api, {"topic": "t", "payload": payload, name: "base64"})).status_code == 200
    assert received(api, slot)[0][2] == b"\xff\x00"


async def test_every_property_is_accepted(api: Api) -> None:
    subscribed(api)
    properties = {
        "payload_format_indicator": 1,
        "message_expiry_interval": 60,
        "response_topic": "r",
        "correlation_data": "c",
        "user_properties": {"k": "v"},
        "content_type": "text/plain",
    }
    assert (await publish(api, {"topic": "t", "payload": "", "properties": properties})).status_code == 200


@pytest.mark.parametrize(
    ("body", "reason", "message"),
    [
        ({"topic": "t/+", "payload": ""}, 144, "topic_name_invalid"),
        ({"topic": "#", "payload": ""}, 144, "topic_name_invalid"),
        ({"topic": "a\0", "payload": ""}, 144, "topic_name_invalid"),
        ({"topic": "a" * 65_536, "payload": ""}, 144, "topic_name_invalid"),
        ({"topic": "/" * 200, "payload": ""}, 144, "topic_name_invalid"),
        ({"topic": "$delayed/x/t", "payload": ""}, 144, "topic_name_invalid"),
        ({"topic": "t", "payload": "x" * (1 << 20)}, 151, "packet_too_large"),
        ({"topic": "t", "payload": "%%", "payload_encoding": "base64"}, 131, "bad_base64_payload"),
    ],
)
async def test_message_that_cannot_be_published_says_why(
    api: Api, body: dict[str, object], reason: int, message: str
) -> None:
    subscribed(api, "#")
    reply = await publish(api, body)
    assert (reply.status_code, reply.json()) == (400, {"reason_code": reason, "message": message})


@pytest.mark.parametrize(
    "body",
    [
        {"topic": "", "payload": ""},
        {"payload": ""},
        {"topic": "t"},
        {"topic": "t", "payload": "", "qos": 3},
        {"topic": "t", "payload": "", "properties": {"payload_format_indicator": 2}},
        {"topic": "t", "payload": "", "properties": {"content_type": "a\0"}},
        {"topic": "t", "payload": "", "properties": {"response_topic": "a/#"}},
        {"topic": "t", "payload": "", "properties": {"response_topic": ""}},
        {"topic": "t", "payload": "", "nonsense": 1},
    ],
)
async def test_malformed_message_is_a_bad_request(api: Api, body: object) -> None:
    reply = await publish(api, body)
    assert (reply.status_code, reply.json()["code"]) == (400, "BAD_REQUEST")


async def test_delayed_message_is_accepted_and_comes_later(api: Api) -> None:
    slot = subscribed(api)
    assert (await publish(api, {"topic": "$delayed/0/t/1", "payload": "x"})).status_code == 200
    assert (await publish(api, {"topic": "$delayed/3600/t/2", "payload": "x"})).status_code == 200
    api.control.plane.engine.turn()
    assert [topic for topic, _, _ in received(api, slot)] == ["t/1"]
    assert api.control.plane.engine.stats()["delayed"] == 1


async def test_bulk_answers_each_message_in_order(api: Api) -> None:
    slot = subscribed(api)
    messages = [{"topic": topic, "payload": topic} for topic in ("t/1", "none", "t/2")]
    reply = await publish(api, messages, "/publish/bulk")
    assert reply.status_code == 202
    assert [row.get("reason_code", 0) for row in reply.json()] == [0, 16, 0]
    assert [topic for topic, _, _ in received(api, slot)] == ["t/1", "t/2"]
    assert (await publish(api, messages[:1], "/publish/bulk")).status_code == 200


@pytest.mark.parametrize(
    "bad", [{"topic": "t/+", "payload": ""}, {"topic": "t", "payload": "%", "payload_encoding": "base64"}]
)
async def test_one_bad_message_of_a_bulk_stops_all(api: Api, bad: object) -> None:
    slot = subscribed(api)
    reply = await publish(api, [{"topic": "t/1", "payload": ""}, bad], "/publish/bulk")
    assert reply.status_code == 400
    assert len(reply.json()) == 1
    assert received(api, slot) == []


@pytest.mark.parametrize("topic", ["t", "t/#"])
async def test_long_bulk_gives_the_loop_its_turns(api: Api, topic: str) -> None:
    auth = await api.log_in()
    task = asyncio.create_task(api.call("POST", "/publish/bulk", [{"topic": topic, "payload": ""}] * 5_000, auth=auth))
    turns = 0
    while not task.done():
        await asyncio.sleep(0)
        turns += 1
    assert task.result().status_code == (202 if topic == "t" else 400)
    # 50 pauses while they are judged, and 10 where they become messages and where the answers are made.
    assert turns > 5_000 / BATCH + 2 * 5_000 / SLICE


async def test_empty_bulk_is_a_bad_request(api: Api) -> None:
    reply = await publish(api, [], "/publish/bulk")
    assert (reply.status_code, reply.json()["code"]) == (400, "BAD_REQUEST")


async def test_publisher_key_publishes_and_does_nothing_else(api: Api) -> None:
    subscribed(api)
    key = await api.add_key("pub", role="publisher")
    body = {"topic": "t", "payload": ""}
    assert (await api.call("POST", "/publish", body, auth=key)).status_code == 200
    assert (await api.call("GET", "/clients", auth=key)).status_code == 403


async def test_publishing_is_audited_only_on_demand(tmp_path: Path) -> None:
    log = load(sets=["log.audit.enable=true"]).config.log
    async with open_api(config_with(tmp_path, log=log)) as api:
        add_client(api.control, "one", is_offline=True)
        token = await api.log_in()
        await api.call("POST", "/publish", {"topic": "t", "payload": ""}, auth=token)
        await api.call("DELETE", "/clients/one", auth=token)
        body = (await api.call("GET", "/audit", auth=token)).json()
    operations = [record["operation_id"] for record in body["data"]]
    assert operations.count("/clients/:clientid") == 1
    assert "/publish" not in operations
    kick = next(record for record in body["data"] if record["operation_id"] == "/clients/:clientid")
    assert kick["http_request"]["headers"]["authorization"] == "******"
