"""Commands about clients: sessions, subscriptions, topics, bans and retained messages."""

import asyncio
from typing import Any

from admin.schemas.banned import Ban, CreateBan
from admin.schemas.clients import Client, MadeSubscription, Subscribe
from admin.schemas.page import Page, PageQuery
from admin.schemas.retained import RetainedDetail, RetainedRow
from admin.schemas.subscriptions import SubscriptionRow, TopicRow
from pybroker.control.banned import BanKind
from pybroker.control.clients import BATCH, ClientFilter, ConnectionState
from pybroker.control.door import Control
from pybroker.control.subscriptions import SubscriptionFilter
from pybroker.ctl.commands import MAX_LIMIT
from pybroker.errors import Refused


async def list_clients(
    control: Control,
    page: int,
    limit: int,
    like_clientid: str | None,
    username: str | None,
    state: ConnectionState | None,
) -> Page[Client]:
    """Return one page of the clients that fit."""
    query = _page(page, limit)
    wanted = ClientFilter(like_client_id=like_clientid, usernames=() if username is None else (username,), state=state)
    found = await control.clients.page(wanted, query.offset, query.limit)
    rows = []
    for index, session in enumerate(found.sessions, 1):
        rows.append(Client.of(control.clients.view(session), control.nodes.name))
        if index % BATCH == 0:
            await asyncio.sleep(0)
    if found.total is None:
        return Page[Client].uncounted(query, rows, hasnext=found.has_next)
    return Page[Client].of(query, rows, found.total)


async def show_client(control: Control, client_id: str) -> Client:
    """Return one client."""
    return Client.of(control.clients.view(control.clients.find(client_id)), control.nodes.name)


async def kick_client(control: Control, client_id: str) -> None:
    """End a client's connection and session."""
    await control.clients.kick(client_id)


async def list_subscriptions(control: Control, page: int, limit: int, topic: str | None) -> Page[SubscriptionRow]:
    """Return one page of the subscriptions that fit."""
    query = _page(page, limit)
    found = await control.subscriptions.page(SubscriptionFilter(topic=topic), query.offset, query.limit)
    rows = [SubscriptionRow.of(one, control.nodes.name) for one in found.rows]
    if found.total is None:
        return Page[SubscriptionRow].uncounted(query, rows, hasnext=found.has_next)
    return Page[SubscriptionRow].of(query, rows, found.total)


async def show_subscriptions(control: Control, client_id: str) -> list[SubscriptionRow]:
    """Return the subscriptions of a client."""
    return [SubscriptionRow.of(one, control.nodes.name) for one in control.subscriptions.of_client(client_id)]


async def add_subscription(control: Control, client_id: str, topic: str, qos: int) -> MadeSubscription:
    """Subscribe a client."""
    if qos not in (0, 1, 2):
        raise Refused("BAD_REQUEST", f"qos must be 0, 1 or 2: {qos}")
    asked = Subscribe(topic=topic, qos=qos)
    await control.clients.subscribe(client_id, [asked.interest()])
    return MadeSubscription.of(client_id, control.nodes.name, asked)


async def remove_subscription(control: Control, client_id: str, topic: str) -> None:
    """Unsubscribe a client."""
    control.clients.unsubscribe(client_id, [topic])


async def list_topics(control: Control, page: int, limit: int) -> Page[TopicRow]:
    """Return one page of the filters that somebody subscribes to."""
    query = _page(page, limit)
    found = await control.subscriptions.page_topics(query.offset, query.limit)
    rows = [TopicRow(topic=topic, node=control.nodes.name) for topic in found.rows]
    return Page[TopicRow].of(query, rows, found.total or 0)


async def show_topic(control: Control, topic: str) -> list[TopicRow]:
    """Return one of them."""
    found = await control.subscriptions.topics_like(topic)
    if not found:
        raise Refused("TOPIC_NOT_FOUND", f"nobody subscribes to: {topic!r}")
    return [TopicRow(topic=one, node=control.nodes.name) for one in found]


async def list_bans(control: Control) -> list[Ban]:
    """Return every ban."""
    return [Ban.of(record) for record in control.bans.listed(None)]


async def add_ban(control: Control, who: str, reason: str, until: str, **rest: BanKind) -> Ban:
    """Ban clients."""
    body = CreateBan(as_=rest["as"], who=who, by="cli", reason=reason, until=until)
    return Ban.of(await control.bans.add(body.record(control.bans.now_s())))


async def remove_ban(control: Control, who: str, **rest: BanKind) -> None:
    """Lift a ban."""
    await control.bans.remove(rest["as"], who)


async def clear_bans(control: Control) -> None:
    """Lift every ban."""
    await control.bans.clear()


async def count_retained(control: Control) -> dict[str, int]:
    """Return how many messages are retained."""
    return {"retained": control.statistics.stats()["retained.count"]}


async def list_retained(control: Control, page: int, limit: int, topic: str | None) -> Page[RetainedRow]:
    """Return one page of the retained messages."""
    query = _page(page, limit)
    found = await control.retained.page(topic, query.offset, query.limit)
    rows = [RetainedRow.of(message) for message in found.messages]
    if found.total is None:
        return Page[RetainedRow].uncounted(query, rows, hasnext=found.has_next)
    return Page[RetainedRow].of(query, rows, found.total)


async def show_retained(control: Control, topic: str) -> RetainedDetail:
    """Return one retained message."""
    return RetainedDetail.of(control.retained.find(topic))


async def clean_retained(control: Control, topic: str | None) -> None:
    """Delete the messages that match, or all."""
    await (control.retained.clear() if topic is None else control.retained.remove(topic))


def _page(page: int, limit: int) -> PageQuery:
    """Return the page that is wanted.

    Raises:
        Refused: `BAD_REQUEST`: a number is out of range.
    """
    if page < 1 or not 1 <= limit <= MAX_LIMIT:
        raise Refused("BAD_REQUEST", f"page must be above 0 and limit 1 to {MAX_LIMIT}: page {page}, limit {limit}")
    return PageQuery(page=page, limit=limit)


HANDLERS: dict[str, Any] = {
    "clients list": list_clients,
    "clients show": show_client,
    "clients kick": kick_client,
    "subscriptions list": list_subscriptions,
    "subscriptions show": show_subscriptions,
    "subscriptions add": add_subscription,
    "subscriptions del": remove_subscription,
    "topics list": list_topics,
    "topics show": show_topic,
    "banned list": list_bans,
    "banned add": add_ban,
    "banned del": remove_ban,
    "banned clear": clear_bans,
    "retained info": count_retained,
    "retained topics": list_retained,
    "retained show": show_retained,
    "retained clean": clean_retained,
}
