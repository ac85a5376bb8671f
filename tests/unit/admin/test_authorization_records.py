"""The built-in access rules by REST, one record at a time."""

from typing import Any

import pytest

from tests.support.admin import Api
from tests.unit.admin.test_authorization_rules import ALLOW, configure, decision

RECORDS = "/authorization/sources/built_in_database/records"
RULES = "/authorization/sources/built_in_database/rules"


async def call(api: Api, method: str, query: str = "", body: object = None, status: int = 200, auth: str = "") -> Any:
    """Send a request below the records and return the decoded reply."""
    reply = await api.call(method, f"{RECORDS}{query}", body, auth=auth or await api.log_in())
    assert reply.status_code == status, reply.text
    return reply.json() if reply.content else None


async def put(api: Api, **fields: Any) -> str:
    """Store a record and return what that did."""
    result: str = (await call(api, "PUT", "", {**ALLOW, **fields}))["result"]
    return result


async def topics(api: Api, query: str = "?kind=clientid") -> list[str]:
    """Return the topics of a page of records."""
    return [row["topic"] for row in (await call(api, "GET", query))["data"]]


@pytest.mark.parametrize("whose", [{"clientid": "c1"}, {"username": "u1"}, {"all": True}])
async def test_record_is_added_changed_in_place_and_deleted(api: Api, whose: dict[str, Any]) -> None:
    kind = next(iter(whose))
    for topic in ("x", "a/b", "y"):
        assert await put(api, **whose, topic=topic) == "created"
    api.clock.advance(5_000)
    assert await put(api, **whose, topic="a/b", permission="deny", action="all") == "replaced"
    assert decision(api) == "deny"
    assert await topics(api, f"?kind={kind}") == ["x", "a/b", "y"]
    query = f"?topic=a%2Fb&{kind}={'true' if kind == 'all' else whose[kind]}"
    await call(api, "DELETE", query, status=204)
    assert await topics(api, f"?kind={kind}") == ["x", "y"]
    assert decision(api) == "nomatch"
    assert (await call(api, "DELETE", query, status=404))["code"] == "NOT_FOUND"


async def test_record_shows_all_its_fields_and_times(api: Api) -> None:
    await put(api, clientid="c1", qos=[1], retain=True, zone="z")
    api.clock.advance(60_000)
    await put(api, clientid="c1", qos=[1], retain=True, zone="z")
    (row,) = (await call(api, "GET", "?kind=clientid"))["data"]
    created, updated = row.pop("created_at"), row.pop("updated_at")
    assert row == {**ALLOW, "clientid": "c1", "qos": [1], "retain": True, "zone": "z"}
    assert created < updated


async def test_words_of_the_csv_are_understood(api: Api) -> None:
    body = {"username": "u", "topic": "t", "action": "pubsub", "access": "deny"}
    assert await call(api, "PUT", "", body) == {"result": "created"}
    row = (await call(api, "GET", ""))["data"][0]
    assert (row["action"], row["permission"]) == ("all", "deny")


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({}, "exactly one"),
        ({"clientid": "c", "username": "u"}, "exactly one"),
        ({"all": False}, "exactly one"),
        ({"clientid": "c", "permission": None}, "permission"),
        ({"clientid": "c", "permission": "allow", "access": "deny"}, "permission"),
        ({"clientid": ""}, "clientid must not be empty"),
        ({"clientid": "c", "topic": "a/${clientid}x"}, "INVALID_PLACEHOLDER"),
        ({"clientid": "c", "topic": "a/${clientid}${username}"}, "INVALID_PLACEHOLDER"),
        ({"clientid": "c", "topic": "#/a"}, "INVALID_TOPIC"),
        ({"clientid": "c", "color": "red"}, "color"),
    ],
)
async def test_bad_record_is_refused(api: Api, fields: dict[str, Any], part: str) -> None:
    reply = await call(api, "PUT", "", {**ALLOW, **fields}, 400)
    assert (reply["code"], part in reply["message"]) == ("BAD_REQUEST", True), reply
    assert await topics(api, "") == []


async def test_edit_of_a_repeated_topic_leaves_one_and_deletion_none(api: Api) -> None:
    rules = [{**ALLOW, "topic": topic, "qos": [qos]} for topic, qos in (("t", 0), ("u", 0), ("t", 1), ("t", 2))]
    token = await api.log_in()
    path = f"{RULES}/clients/c1"
    await api.call("PUT", path, {"clientid": "c1", "rules": rules}, auth=token)
    assert await topics(api) == ["t", "u", "t", "t"]
    assert await put(api, clientid="c1", topic="t") == "replaced"
    assert await topics(api) == ["t", "u"]
    await api.call("PUT", path, {"clientid": "c1", "rules": rules}, auth=token)
    await call(api, "DELETE", "?clientid=c1&topic=t", status=204)
    assert await topics(api) == ["u"]


async def test_pages_run_over_the_lists_in_order(api: Api) -> None:
    for name in ("c2", "c1"):
        for topic in ("1", "2", "3"):
            await put(api, clientid=name, topic=topic)
    await put(api, username="u", topic="4")
    await put(api, all=True, topic="5")
    seen = []
    for page in (1, 2, 3, 4):
        found = await call(api, "GET", f"?limit=2&page={page}")
        assert found["meta"] == {"page": page, "limit": 2, "count": 8, "hasnext": page < 4}
        seen += [(row.get("clientid"), row["topic"]) for row in found["data"]]
    assert seen == [*((name, topic) for name in ("c1", "c2") for topic in "123"), (None, "4"), (None, "5")]
    assert (await call(api, "GET", "?page=9"))["data"] == []


async def test_search_looks_into_names_and_topics(api: Api) -> None:
    for name in ("alpha", "beta"):
        for topic in ("lamp/1", "door/1"):
            await put(api, clientid=name, topic=topic)
            await put(api, username=name, topic=topic)
    found = await call(api, "GET", "?like_clientid=lph&like_topic=oor")
    assert [(row["clientid"], row["topic"]) for row in found["data"]] == [("alpha", "door/1")]
    assert found["meta"] == {"page": 1, "limit": 100, "hasnext": False}
    assert await topics(api, "?kind=username&like_clientid=lph") == []
    assert len(await topics(api, "?like_topic=1&kind=username")) == 4


async def test_order_of_all_users_can_be_changed(api: Api) -> None:
    for topic, permission in (("a/#", "deny"), ("a/b", "allow"), ("c", "allow")):
        await put(api, all=True, topic=topic, permission=permission)
    assert decision(api) == "deny"
    order = [{"topic": topic} for topic in ("a/b", "c", "a/#")]
    await call(api, "POST", "/all/order", order, 204)
    assert await topics(api, "?kind=all") == ["a/b", "c", "a/#"]
    assert decision(api) == "allow"


@pytest.mark.parametrize("order", [["a"], ["a", "b", "c"], ["a", "b", "b"]])
async def test_order_must_name_every_topic_once(api: Api, order: list[str]) -> None:
    await put(api, all=True, topic="a")
    await put(api, all=True, topic="b")
    reply = await call(api, "POST", "/all/order", [{"topic": topic} for topic in order], 400)
    assert reply["code"] == "BAD_REQUEST"
    assert await topics(api, "?kind=all") == ["a", "b"]


async def test_full_list_takes_changes_but_nothing_new(api: Api) -> None:
    await configure(api, max_rules=1)
    await put(api, clientid="c", topic="a")
    assert await put(api, clientid="c", topic="a", permission="deny") == "replaced"
    assert "max_rules 1" in (await call(api, "PUT", "", {**ALLOW, "clientid": "c", "topic": "b"}, 400))["message"]


async def test_namespaces_have_records_of_their_own(api: Api) -> None:
    own = await api.add_user("owner", "ns:a::administrator")
    viewer = await api.add_user("looker", "ns:a::viewer")
    await call(api, "PUT", "", {**ALLOW, "clientid": "c"}, auth=own)
    await call(api, "PUT", "", {**ALLOW, "clientid": "d"})
    assert [row["clientid"] for row in (await call(api, "GET", "", auth=viewer))["data"]] == ["c"]
    assert [row["clientid"] for row in (await call(api, "GET", "?ns=a"))["data"]] == ["c"]
    assert [row["clientid"] for row in (await call(api, "GET", ""))["data"]] == ["d"]
    await call(api, "DELETE", "?clientid=d&topic=a%2F%23", status=404, auth=own)
    await call(api, "PUT", "?ns=b", {**ALLOW, "clientid": "c"}, 403, auth=own)
    await call(api, "PUT", "", {**ALLOW, "clientid": "c"}, 403, auth=viewer)


async def test_without_the_source_there_are_no_records(api: Api) -> None:
    await configure(api, type=None)
    assert (await call(api, "GET", "", status=404))["code"] == "NOT_FOUND"
    await call(api, "PUT", "", {**ALLOW, "clientid": "c"}, 404)
