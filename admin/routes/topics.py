"""Topics that somebody subscribes to."""

from functools import partial

from admin.schemas.page import Page
from admin.schemas.subscriptions import TopicQuery, TopicRow
from admin.slices import in_slices
from admin.table import Access, Call, NoBody, NoQuery, Row
from pybroker.errors import Refused


async def list_topics(call: Call[NoBody, TopicQuery]) -> Page[TopicRow]:
    """Return one page of the topics."""
    query, node = call.query, call.control.nodes.name
    if query.node not in (None, node):
        raise Refused("NODE_DOWN", f"no such node: {query.node!r}")
    if query.topic is not None:
        found = await call.control.subscriptions.topics_like(query.topic)
        return Page[TopicRow].cut(query, [TopicRow(topic=topic, node=node) for topic in found])
    page = await call.control.subscriptions.page_topics(query.offset, query.limit)
    rows = await in_slices(page.rows, lambda topic: TopicRow(topic=topic, node=node))
    return Page[TopicRow].of(query, rows, page.total or 0)


async def show_topic(call: Call[NoBody, NoQuery]) -> list[TopicRow]:
    """Return the entries of one topic."""
    topic = call.params["topic"]
    found = await call.control.subscriptions.topics_like(topic)
    if not found:
        raise Refused("TOPIC_NOT_FOUND", f"nobody subscribes to: {topic!r}")
    return [TopicRow(topic=one, node=call.control.nodes.name) for one in found]


_get = partial(
    Row,
    method="GET",
    tag="Topics",
    request=NoBody,
    status=200,
    access=Access.READER,
    scope="connections",
    audit="never",
)

ROWS = (
    _get(
        path="/topics",
        handler=list_topics,
        summary="List topics",
        query=TopicQuery,
        reply=Page[TopicRow],
        errors=("INVALID_PARAMTER", "NODE_DOWN"),
    ),
    _get(
        path="/topics/:topic",
        handler=show_topic,
        summary="Show the entries of a topic",
        query=NoQuery,
        reply=list[TopicRow],
        errors=("INVALID_PARAMTER", "TOPIC_NOT_FOUND"),
    ),
)
