"""The built-in access rules one by one: a record is a principal, a topic and what holds for both."""

from functools import partial

from admin.routes.authorization_rules import namespace_of
from admin.schemas.authorization_rules import (
    NamespaceQuery,
    PutRecord,
    RecordBody,
    RecordQuery,
    RecordsQuery,
    ShownRecord,
    ShownRule,
    TopicBody,
    principal_of,
)
from admin.schemas.page import Page
from admin.slices import in_slices
from admin.table import Access, Call, NoBody, Row
from pybroker.control.authorization.records import RecordFilter, RuleRecord

BASE = "/authorization/sources/built_in_database/records"


async def list_records(call: Call[NoBody, RecordsQuery]) -> Page[ShownRecord]:
    """Return one page of records: client ids, user names, all users; each list in its order."""
    query = call.query
    wanted = RecordFilter(
        namespace=namespace_of(call),
        kind=query.kind,
        like_clientid=query.like_clientid,
        like_username=query.like_username,
        like_topic=query.like_topic,
    )
    found, count, has_next = await call.control.authorization.records.page(wanted, query.offset, query.limit)
    rows = await in_slices(found, ShownRecord.of)
    if count is None:
        return Page[ShownRecord].uncounted(query, rows, hasnext=has_next)
    return Page[ShownRecord].of(query, rows, count)


async def put_record(call: Call[RecordBody, NamespaceQuery]) -> PutRecord:
    """Store a record in the place of the one that the principal has for the topic, else at the end of its list."""
    body = call.body
    principal = principal_of(namespace_of(call), body.clientid, body.username, body.all)
    rule = body.as_rule(call.control.clock.wall_ms())
    before = call.control.authorization.rules.lists.rules_of(principal) or ()
    result = await call.control.authorization.records.put(principal, rule)
    call.note_change(
        [ShownRule.of(old) for old in before if old.topic == rule.topic], ShownRecord.of(RuleRecord(principal, rule))
    )
    return PutRecord(result=result)


async def delete_record(call: Call[NoBody, RecordQuery]) -> None:
    """Delete what a principal has for a topic."""
    query = call.query
    principal = principal_of(namespace_of(call), query.clientid, query.username, query.all)
    removed = await call.control.authorization.records.remove(principal, query.topic)
    call.note_change([ShownRecord.of(RuleRecord(principal, rule)) for rule in removed], None)


async def order_all(call: Call[list[TopicBody], NamespaceQuery]) -> None:
    """Put the records of all users in another order."""
    topics = [body.topic for body in call.body]
    await call.control.authorization.records.order_all(namespace_of(call), topics)


_row = partial(
    Row,
    tag="Access rules",
    scope="access_control",
    errors=("BAD_REQUEST", "FORBIDDEN", "NOT_FOUND"),
)
_write = partial(_row, access=Access.NAMESPACE_ADMINISTRATOR, audit="always")

ROWS = (
    _row(
        method="GET",
        path=BASE,
        handler=list_records,
        summary="List access rules one by one",
        request=NoBody,
        query=RecordsQuery,
        reply=Page[ShownRecord],
        status=200,
        access=Access.READER,
        audit="never",
    ),
    _write(
        method="PUT",
        path=BASE,
        handler=put_record,
        summary="Add or change an access rule",
        request=RecordBody,
        query=NamespaceQuery,
        reply=PutRecord,
        status=200,
        errors=("BAD_REQUEST", "EXCEED_LIMIT", "FORBIDDEN", "NOT_FOUND"),
    ),
    _write(
        method="DELETE",
        path=BASE,
        handler=delete_record,
        summary="Delete an access rule",
        request=NoBody,
        query=RecordQuery,
        reply=None,
        status=204,
    ),
    _write(
        method="POST",
        path=f"{BASE}/all/order",
        handler=order_all,
        summary="Put the rules of all users in another order",
        request=list[TopicBody],
        query=NamespaceQuery,
        reply=None,
        status=204,
    ),
)
