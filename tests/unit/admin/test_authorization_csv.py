"""Access rules as files: template, import, export."""

from typing import Any

import msgspec
import pytest

from pybroker._core import AccessClient
from pybroker.control.authorization.sheets import MAX_ROWS
from pybroker.control.csv_text import read_rows
from tests.support.admin import Api
from tests.unit.admin.test_authorization_rules import ALLOW, configure, decision

RULES = "/authorization/sources/built_in_database/rules"
HEADER = "clientid,topic,action,access\n"
CSV = {"content-type": "text/csv"}
Report = dict[str, Any]


async def send(
    api: Api, content: str | bytes, query: str = "", status: int = 200, headers: dict[str, str] = CSV, auth: str = ""
) -> Report:
    """Import a file and return the report."""
    body = content.encode() if isinstance(content, str) else content
    token = auth or await api.log_in()
    reply = await api.call("POST", f"{RULES}/import{query}", body, auth=token, headers=headers)
    assert reply.status_code == status, reply.text
    report: Report = reply.json()
    return report


def counts(report: Report) -> tuple[int, ...]:
    """Return total, success, updated, unchanged and failed."""
    return tuple(report[name] for name in ("total", "success", "updated", "unchanged", "failed"))


def faults(report: Report) -> list[tuple[int, str, str]]:
    """Return line, field and code of each error."""
    return [(error["line"], error["field"], error["code"]) for error in report["errors"]]


async def rules_of(api: Api, path: str) -> list[Any]:
    """Return a list, empty if there is none."""
    reply = await api.call("GET", f"{RULES}/{path}", auth=await api.log_in())
    found: list[Any] = reply.json().get("rules", [])
    return found


async def export(api: Api, kind: str = "clientid", query: str = "") -> str:
    """Return the exported file."""
    reply = await api.call("GET", f"{RULES}/export?kind={kind}{query}", auth=await api.log_in())
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"
    assert reply.headers["content-disposition"].startswith("attachment")
    return reply.text


async def test_rules_are_imported_and_in_force(api: Api) -> None:
    report = await send(api, HEADER + "c1,a/b,pub,allow\nc1,x,sub,deny\nc2,y,pubsub,allow\n")
    assert report == {
        "total": 3, "success": 3, "updated": 0, "unchanged": 0, "failed": 0, "errors": [], "errors_truncated": False,
    }  # fmt: skip
    assert decision(api) == "allow"
    assert [(rule["topic"], rule["action"], rule["permission"]) for rule in await rules_of(api, "clients/c1")] == [
        ("a/b", "publish", "allow"),
        ("x", "subscribe", "deny"),
    ]
    assert (await rules_of(api, "clients/c2"))[0]["action"] == "all"


async def test_later_row_of_a_topic_wins(api: Api) -> None:
    report = await send(api, HEADER + "c1,a/b,pub,allow\nc1,a/b,pub,deny\nc1,a/b,pub,deny\n")
    assert counts(report) == (3, 1, 1, 1, 0)
    assert decision(api) == "deny"
    assert len(await rules_of(api, "clients/c1")) == 1


@pytest.mark.parametrize("kind", ["clientid", "username"])
async def test_template_can_be_imported(api: Api, kind: str) -> None:
    reply = await api.call("GET", f"{RULES}/template?kind={kind}", auth=await api.log_in())
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"
    assert reply.text.splitlines()[0] == f"{kind},topic,action,access"
    assert counts(await send(api, reply.text, f"?kind={kind}")) == (2, 2, 0, 0, 0)


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + HEADER.encode() + b"c1,a/b,pub,allow",
        HEADER.replace("\n", "\r\n").encode() + b"\r\nc1,a/b,pub,allow\r\n\r\n",
        b'"access" , action,topic,clientid\nallow, pub ,"a/b",c1\n',
        b"username,clientid,access,action,topic,qos,retain\n,c1,allow,publish,a/b,,\n",
        b'clientid,topic,action,access,qos\nc1,a/b,pub,allow,"0, 1"\n',
    ],
)
async def test_every_form_of_csv_is_read(api: Api, content: bytes) -> None:
    assert counts(await send(api, content)) == (1, 1, 0, 0, 0)
    assert decision(api) == "allow"


async def test_both_kinds_may_be_in_one_file(api: Api) -> None:
    content = "clientid,username,topic,action,access\nc1,,t,pub,allow\n,u1,t,pub,deny\n"
    assert counts(await send(api, content)) == (2, 2, 0, 0, 0)
    report = await send(api, content, "?kind=username&dry_run=true")
    assert faults(report) == [(2, "clientid", "INVALID_VALUE")]


@pytest.mark.parametrize(
    ("row", "field", "code"),
    [
        (",t,pub,allow,", "clientid", "MISSING_PRINCIPAL"),
        ("c,,pub,allow,", "topic", "MISSING_VALUE"),
        ("c,t,,allow,", "action", "MISSING_VALUE"),
        ("c,t,read,allow,", "action", "INVALID_VALUE"),
        ("c,t,pub,maybe,", "access", "INVALID_VALUE"),
        ("c,t/#/x,pub,allow,", "topic", "INVALID_TOPIC"),
        ("c," + "x" * 65_536 + ",pub,allow,", "topic", "INVALID_TOPIC"),
        ("x" * 65_536 + ",t,pub,allow,", "clientid", "INVALID_VALUE"),
        ("c,a/b${username}c/d,pub,allow,", "topic", "INVALID_PLACEHOLDER"),
        ("c,t,pub,allow,3", "qos", "INVALID_VALUE"),
        ("c,t,pub,allow", "", "COLUMN_COUNT"),
        ("c,t,pub,allow,,", "", "COLUMN_COUNT"),
        ('"c"x,t,pub,allow,', "", "INVALID_VALUE"),
    ],
)
async def test_bad_row_is_named_by_line_and_field_and_nothing_is_stored(
    api: Api, row: str, field: str, code: str
) -> None:
    content = f'clientid,topic,action,access,qos\ngood,"t\n",pub,allow,\n\n{row}\ngood,u,pub,allow,\n'
    report = await send(api, content, status=400)
    assert report["code"] == "BAD_REQUEST"
    assert faults(report) == [(5, field, code)]
    assert counts(report) == (3, 0, 0, 0, 1)
    assert len(report["errors"][0]["value"]) <= 100
    assert await rules_of(api, "clients/good") == []


@pytest.mark.parametrize(
    ("content", "line", "field", "code"),
    [
        ("", 1, "", "MISSING_COLUMN"),
        ("clientid,topic,action\nc,t,pub\n", 1, "access", "MISSING_COLUMN"),
        ("topic,action,access\nt,pub,allow\n", 1, "clientid", "MISSING_COLUMN"),
        ("clientid,topic,action,access,color\n", 1, "color", "UNKNOWN_COLUMN"),
        ("\nclientid,topic,action,access,topic\n", 2, "topic", "DUPLICATE_COLUMN"),
        (HEADER.encode() + b"c,t,pub,allow\nc,\xff,pub,allow\n", 3, "", "ENCODING"),
        ('"clientid\n', 1, "", "INVALID_VALUE"),
    ],
)
async def test_unreadable_file_is_refused(api: Api, content: str | bytes, line: int, field: str, code: str) -> None:
    report = await send(api, content, "?atomic=false", status=400)
    assert faults(report) == [(line, field, code)]


async def test_without_atomic_good_rows_are_stored(api: Api) -> None:
    report = await send(api, HEADER + "c1,a/b,pub,allow\nc1,#/x,pub,allow\n,t,pub,allow\n", "?atomic=false")
    assert counts(report) == (3, 1, 0, 0, 2)
    assert faults(report) == [(3, "topic", "INVALID_TOPIC"), (4, "clientid", "MISSING_PRINCIPAL")]
    assert decision(api) == "allow"


async def test_dry_run_reports_and_stores_nothing(api: Api) -> None:
    report = await send(api, HEADER + "c1,a/b,pub,allow\nc1,t,pub,allow\n", "?dry_run=true")
    assert counts(report) == (2, 2, 0, 0, 0)
    report = await send(api, HEADER + "c1,a/b,pub,allow\nc1,t,x,allow\n", "?dry_run=true")
    assert counts(report) == (2, 0, 0, 0, 1)
    assert await rules_of(api, "clients/c1") == []


STORED = HEADER + "c1,a,pub,allow\nc1,b,pub,allow\nc1,c,pub,allow\n"
CHANGED = HEADER + "c1,b,pub,deny\nc1,c,pub,allow\nc1,d,pub,deny\n"


@pytest.mark.parametrize(
    ("mode", "counted", "after"),
    [
        ("replace", (3, 1, 1, 1, 0), ["a allow", "b deny", "c allow", "d deny"]),
        ("skip", (3, 1, 0, 2, 0), ["a allow", "b allow", "c allow", "d deny"]),
        ("append", (3, 3, 0, 0, 0), ["a allow", "b allow", "c allow", "b deny", "c allow", "d deny"]),
    ],
)
async def test_conflicts_are_settled_as_asked(api: Api, mode: str, counted: tuple[int, ...], after: list[str]) -> None:
    await send(api, STORED)
    assert counts(await send(api, CHANGED, f"?on_conflict={mode}")) == counted
    assert [f"{rule['topic']} {rule['permission']}" for rule in await rules_of(api, "clients/c1")] == after


async def test_conflict_fails_but_the_same_again_does_not(api: Api) -> None:
    await send(api, STORED)
    report = await send(api, CHANGED, "?on_conflict=fail", status=400)
    assert faults(report) == [(2, "topic", "CONFLICT")]
    assert counts(await send(api, STORED, "?on_conflict=fail")) == (3, 0, 0, 3, 0)
    assert [rule["permission"] for rule in await rules_of(api, "clients/c1")] == ["allow"] * 3


async def test_unchanged_import_writes_nothing(api: Api) -> None:
    await send(api, STORED)
    rules = api.control.plane.authorizer.built_in.rules
    assert counts(await send(api, STORED)) == (3, 0, 0, 3, 0)
    records = api.control.authorization.rules.lists.records
    assert len(records) == 1
    assert rules.check(AccessClient("c1"), "publish", "a")[0] == "allow"


async def test_list_and_total_have_their_limits(api: Api) -> None:
    await configure(api, max_rules=2)
    content = HEADER + "c1,a,pub,allow\nc1,b,pub,allow\nc1,c,pub,allow\nc2,a,pub,allow\n"
    assert faults(await send(api, content, status=400)) == [(4, "topic", "TOO_MANY_RULES")]
    assert counts(await send(api, content, "?atomic=false")) == (4, 3, 0, 0, 1)
    await api.control.configs.update({"license": {"connection_quota": 2}})
    content = HEADER + "c3,a,pub,allow\nc3,b,pub,allow\n"
    report = await send(api, content, status=400)
    assert (report["code"], faults(report)) == ("EXCEED_LIMIT", [(3, "topic", "EXCEED_LIMIT")])
    assert await rules_of(api, "clients/c3") == []


async def test_too_many_rows_are_refused(api: Api) -> None:
    body = HEADER + "c,t,pub,allow\n" * (MAX_ROWS + 1)
    assert (await send(api, body, status=413))["code"] == "EXCEED_LIMIT"
    assert (await send(api, "x" * ((10 << 20) + 1), status=413))["code"] == "EXCEED_LIMIT"


async def test_errors_are_listed_up_to_a_thousand(api: Api) -> None:
    report = await send(api, HEADER + "c,#/x,pub,allow\n" * 2_500, status=400)
    assert (report["failed"], len(report["errors"]), report["errors_truncated"]) == (2_500, 1_000, True)
    assert report["errors"][-1]["line"] == 1_001


async def test_form_is_read_as_its_file(api: Api) -> None:
    lines = ["--B", 'Content-Disposition: form-data; name="filename"; filename="rules.csv"', "Content-Type: text/csv"]
    body = "\r\n".join([*lines, "", HEADER + "c1,a/b,pub,allow", "--B--", ""])
    headers = {"content-type": 'multipart/form-data; boundary="B"'}
    assert counts(await send(api, body, headers=headers)) == (1, 1, 0, 0, 0)
    other = body.replace('name="filename"', 'name="file"')
    assert (await send(api, other, status=400, headers=headers))["code"] == "BAD_REQUEST"
    headers = {"content-type": "multipart/form-data"}
    assert "boundary" in (await send(api, body, status=400, headers=headers))["message"]


async def test_json_rows_are_read(api: Api) -> None:
    rows: list[dict[str, Any]] = [
        {"clientid": "c1", "topic": "a/b", "action": "pub", "access": "allow", "qos": [0, 1], "retain": False},
        {"username": "u1", "topic": "t", "action": "all", "access": "deny", "qos": None},
    ]
    headers = {"content-type": "application/json"}
    assert counts(await send(api, msgspec.json.encode(rows), headers=headers)) == (2, 2, 0, 0, 0)
    assert (await rules_of(api, "clients/c1"))[0]["qos"] == [0, 1]
    bad = [*rows, {"username": "u", "topic": "t", "action": "pub", "access": "deny", "permission": "x"}, {"topic": {}}]
    report = await send(api, msgspec.json.encode(bad), status=400, headers=headers)
    assert faults(report) == [(3, "permission", "UNKNOWN_COLUMN"), (4, "topic", "INVALID_VALUE")]
    for body in (b"{}", b"[", b"[" * 100_000, b"[1]", b'[{"topic": "\xff"}]'):
        assert faults(await send(api, body, status=400, headers=headers)) == [(1, "", "INVALID_VALUE")]


async def test_other_media_types_are_refused(api: Api) -> None:
    headers = {"content-type": "application/xml"}
    assert (await send(api, "x", status=415, headers=headers))["code"] == "UNSUPPORTED_MEDIA_TYPE"


TOPICS = [
    "+/x",
    "=cmd",
    "-1",
    "@x",
    "'=x",
    "''-y",
    'a"b',
    "a,b",
    " pad ",
    "tab\t",
    "ü/🙂",
    "eq a/${x}",
    "${clientid}/#",
]


async def test_export_and_import_are_exact(api: Api) -> None:
    token = await api.log_in()
    rules: list[dict[str, Any]] = [{**ALLOW, "topic": topic} for topic in TOPICS]
    rules += [
        {**ALLOW, "topic": "t", "qos": [1], "retain": True, "ipaddr": "10.0.0.0/8", "zone": "z"},
        {**ALLOW, "topic": "t", "permission": "deny", "clientid_re": "^c,", "username_re": "=", "zone_re": "-"},
        {**ALLOW, "topic": "t", "action": "subscribe", "listener": "tcp:default", "listener_re": "@"},
    ]
    for name in ("=c", " c", "c\nd"):
        reply = await api.call("POST", f"{RULES}/clients", [{"clientid": name, "rules": rules}], auth=token)
        assert reply.status_code == 204, reply.text
    first = (await api.call("GET", f"{RULES}/clients", auth=token)).json()
    file = await export(api)
    assert all(len(row.cells) == 13 for row in read_rows(file))
    await configure(api, enable=False)
    await api.call("DELETE", RULES, auth=token)
    assert counts(await send(api, file, "?on_conflict=append&kind=clientid"))[:2] == (3 * len(rules), 3 * len(rules))
    assert (await api.call("GET", f"{RULES}/clients", auth=token)).json() == first
    assert await export(api) == file


async def test_export_has_only_the_columns_that_are_needed(api: Api) -> None:
    assert await export(api, "username") == "username,topic,action,access\r\n"
    await send(api, HEADER + "c1,+/x,pub,allow\n")
    assert await export(api) == "clientid,topic,action,access\r\nc1,'+/x,pub,allow\r\n"


async def test_namespaces_import_into_their_own(api: Api) -> None:
    own = await api.add_user("owner", "ns:a::administrator")
    await send(api, HEADER + "c1,a/b,pub,allow\n", auth=own)
    await send(api, HEADER + "c1,a/b,pub,allow\n", "?ns=b", status=403, auth=own)
    assert (decision(api), decision(api, namespace="a")) == ("nomatch", "allow")
    assert "c1" in await export(api, query="&ns=a")
    assert "c1" not in await export(api)


async def test_progress_is_told(api: Api) -> None:
    token = await api.log_in()
    reply = await api.call("GET", f"{RULES}/import", auth=token)
    assert reply.json() == {"stage": "idle", "total": 0, "done": 0}


async def test_without_the_source_nothing_is_imported(api: Api) -> None:
    await configure(api, type=None)
    assert (await send(api, HEADER, status=404))["code"] == "NOT_FOUND"
