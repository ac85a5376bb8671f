"""Clients: lists, one client, ending them, and subscriptions on their behalf."""

import asyncio
import base64
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
from starlette.responses import PlainTextResponse, Response

from admin.schemas.clients import (
    FIELDS,
    Client,
    ClientCursorPage,
    ClientCursorQuery,
    ClientQuery,
    CursorMeta,
    KeepAlive,
    MadeSubscription,
    MessageRow,
    Messages,
    MessagesMeta,
    MessagesQuery,
    SinceQuery,
    Subscribe,
    Unsubscribe,
)
from admin.schemas.page import Page
from admin.schemas.subscriptions import SubscriptionRow
from admin.slices import rows_response
from admin.table import Access, Call, NoBody, NoQuery, Raw, Row
from pybroker.config.schema import ByteSize
from pybroker.control.clients import BATCH, ClientView
from pybroker.control.door import Control
from pybroker.control.session_messages import HeldMessage, MessageKind
from pybroker.errors import Refused

_TAG = "Clients"


async def list_clients(call: Call[NoBody, ClientQuery]) -> Page[Any]:
    """Return one page of the clients that fit."""
    query = call.query
    fields = _start(call.control, query)
    page = await call.control.clients.page(query.wanted(), query.offset, query.limit)
    rows = await _encode(call.control, page.sessions, fields)
    if page.total is None:
        return Page[Any].uncounted(query, rows, hasnext=page.has_next)
    return Page[Any].of(query, rows, page.total)


async def list_clients_by_cursor(call: Call[NoBody, ClientCursorQuery]) -> Response:
    """Return the clients that fit from a cursor on."""
    query = call.query
    fields = _start(call.control, query)
    cursor = query.cursor or "0"
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 10):
        raise Refused("BAD_REQUEST", f"cursor cannot be read: {query.cursor!r}")
    sessions, following = await call.control.clients.after(query.wanted(), int(cursor), query.limit)
    rows = await _encode(call.control, sessions, fields)
    meta = CursorMeta(count=len(rows), cursor=msgspec.UNSET if following is None else str(following))
    return rows_response(rows, meta)


async def count_sessions(call: Call[NoBody, SinceQuery]) -> Response:
    """Return how many sessions there are, or have been connected since a time."""
    return PlainTextResponse(str(await call.control.clients.count_since(call.query.since * 1_000)))


async def show_client(call: Call[NoBody, NoQuery]) -> Client:
    """Return one client."""
    clients = call.control.clients
    return Client.of(clients.view(clients.find(call.params["clientid"])), call.control.nodes.name)


async def kick_client(call: Call[NoBody, NoQuery]) -> None:
    """End a client's connection and session."""
    await call.control.clients.kick(call.params["clientid"])


async def kick_clients(call: Call[list[str], NoQuery]) -> None:
    """End the connections and sessions of many clients."""
    await call.control.clients.kick_many(call.body)


async def subscribe_client(call: Call[Subscribe, NoQuery]) -> MadeSubscription:
    """Subscribe a client to one filter."""
    clientid = call.params["clientid"]
    await call.control.clients.subscribe(clientid, [call.body.interest()])
    return MadeSubscription.of(clientid, call.control.nodes.name, call.body)


async def subscribe_client_to_many(call: Call[list[Subscribe], NoQuery]) -> list[MadeSubscription]:
    """Subscribe a client to many filters, or to none if one of them is wrong."""
    clientid = call.params["clientid"]
    await call.control.clients.subscribe(clientid, [asked.interest() for asked in call.body])
    return [MadeSubscription.of(clientid, call.control.nodes.name, asked) for asked in call.body]


async def unsubscribe_client(call: Call[Unsubscribe, NoQuery]) -> None:
    """Unsubscribe a client from one filter."""
    call.control.clients.unsubscribe(call.params["clientid"], [call.body.topic])


async def unsubscribe_client_from_many(call: Call[list[Unsubscribe], NoQuery]) -> None:
    """Unsubscribe a client from many filters."""
    call.control.clients.unsubscribe(call.params["clientid"], [asked.topic for asked in call.body])


async def list_client_subscriptions(call: Call[NoBody, NoQuery]) -> list[SubscriptionRow]:
    """Return the subscriptions of a client."""
    subscriptions = call.control.subscriptions.of_client(call.params["clientid"])
    return [SubscriptionRow.of(one, call.control.nodes.name) for one in subscriptions]


async def list_queued_messages(call: Call[NoBody, MessagesQuery]) -> Messages:
    """Return messages that wait for a client."""
    return _messages(call, "mqueue")


async def list_inflight_messages(call: Call[NoBody, MessagesQuery]) -> Messages:
    """Return messages that are on their way to a client."""
    return _messages(call, "inflight")


def _start(control: Control, query: ClientQuery) -> frozenset[str] | None:
    """Check node and fields; return the fields to show, `None` for all.

    Raises:
        Refused: `NODE_DOWN` or `BAD_REQUEST`.
    """
    if query.node not in (None, control.nodes.name):
        raise Refused("NODE_DOWN", f"no such node: {query.node!r}")
    names = frozenset(query.fields.split(","))
    if names == {"all"}:
        return None
    if unknown := names - FIELDS:
        raise Refused("BAD_REQUEST", f"fields cannot be: {', '.join(sorted(unknown))}")
    return names


async def _encode(control: Control, sessions: Sequence[Any], fields: frozenset[str] | None) -> list[msgspec.Raw]:
    """Return the rows as JSON; the loop gets its turn in between, however long the page is."""
    clients, node = control.clients, control.nodes.name
    rows = []
    for index, session in enumerate(sessions, 1):
        rows.append(_encode_one(clients.view(session), node, fields))
        if index % BATCH == 0:
            await asyncio.sleep(0)
    return rows


def _encode_one(view: ClientView, node: str, fields: frozenset[str] | None) -> msgspec.Raw:
    client = Client.of(view, node)
    if fields is None:
        return msgspec.Raw(msgspec.json.encode(client))
    shown = {name: value for name, value in msgspec.to_builtins(client).items() if name in fields}
    return msgspec.Raw(msgspec.json.encode(shown))


def _messages(call: Call[NoBody, MessagesQuery], kind: MessageKind) -> Messages:
    query, clientid = call.query, call.params["clientid"]
    try:
        most = int(ByteSize.parse(query.max_payload_bytes))
    except ValueError as error:
        raise Refused("BAD_REQUEST", f"max_payload_bytes: {error}") from None
    if most <= 0:
        raise Refused("BAD_REQUEST", "max_payload_bytes must be above 0")
    page = call.control.session_messages.page(clientid, kind, query.position, query.limit, most)
    slot = call.control.clients.find(clientid).slot
    rows = [_message(message, slot, kind, query.payload) for message in page.messages]
    return Messages(data=rows, meta=MessagesMeta(start=page.start, position=page.position))


def _message(message: HeldMessage, slot: int, kind: MessageKind, form: str) -> MessageRow:
    payload: str | msgspec.UnsetType = msgspec.UNSET
    if form == "base64":
        payload = base64.b64encode(message.payload).decode()
    elif form == "plain":
        try:
            payload = message.payload.decode()
        except UnicodeDecodeError:
            raise Refused("INVALID_PARAMETER", "payload is no UTF-8 text; ask for base64") from None
    return MessageRow(
        msgid=f"{slot:08X}{message.place:024X}",
        topic=message.topic,
        qos=message.qos,
        retain=message.is_retain,
        publish_at=message.origin.published_ms or None,
        from_clientid=message.origin.client_id,
        from_username=message.origin.username,
        inserted_at=str(message.place),
        mqueue_priority=message.priority if kind == "mqueue" else msgspec.UNSET,
        payload=payload,
    )


async def change_keepalive(call: Call[KeepAlive, NoQuery]) -> Client:
    """Change the keep alive of a client until it connects again."""
    clients = call.control.clients
    session = clients.change_keep_alive(call.params["clientid"], call.body.interval)
    return Client.of(clients.view(session), call.control.nodes.name)


_row = partial(Row, tag=_TAG, scope="connections")
_get = partial(_row, method="GET", request=NoBody, status=200, access=Access.READER, audit="never")
_post = partial(_row, method="POST", query=NoQuery, access=Access.ADMINISTRATOR)

ROWS = (
    _get(
        path="/clients",
        handler=list_clients,
        summary="List clients",
        query=ClientQuery,
        reply=Page[Client],
        errors=("BAD_REQUEST", "INVALID_PARAMETER", "NODE_DOWN"),
    ),
    _get(
        path="/clients_v2",
        handler=list_clients_by_cursor,
        summary="List clients from a cursor on",
        query=ClientCursorQuery,
        reply=ClientCursorPage,
        errors=("BAD_REQUEST", "INVALID_PARAMETER", "NODE_DOWN"),
    ),
    _get(
        path="/sessions_count",
        handler=count_sessions,
        summary="Count sessions",
        query=SinceQuery,
        reply=Raw("text/plain"),
        errors=(),
    ),
    _get(
        path="/clients/:clientid",
        handler=show_client,
        summary="Show a client",
        query=NoQuery,
        reply=Client,
        errors=("CLIENTID_NOT_FOUND",),
    ),
    _row(
        method="DELETE",
        path="/clients/:clientid",
        handler=kick_client,
        summary="Kick a client",
        request=NoBody,
        query=NoQuery,
        reply=None,
        status=204,
        access=Access.ADMINISTRATOR,
        audit="always",
        errors=("CLIENTID_NOT_FOUND",),
    ),
    _post(
        path="/clients/kickout/bulk",
        handler=kick_clients,
        summary="Kick many clients",
        request=list[str],
        reply=None,
        status=204,
        audit="always",
        errors=(),
    ),
    _post(
        path="/clients/:clientid/subscribe",
        handler=subscribe_client,
        summary="Subscribe a client",
        request=Subscribe,
        reply=MadeSubscription,
        status=200,
        audit="unless_frequent",
        errors=("CLIENTID_NOT_FOUND", "INVALID_PARAMETER", "FORBIDDEN", "CONFLICT"),
    ),
    _post(
        path="/clients/:clientid/subscribe/bulk",
        handler=subscribe_client_to_many,
        summary="Subscribe a client to many filters",
        request=list[Subscribe],
        reply=list[MadeSubscription],
        status=200,
        audit="unless_frequent",
        errors=("CLIENTID_NOT_FOUND", "INVALID_PARAMETER", "FORBIDDEN", "CONFLICT"),
    ),
    _post(
        path="/clients/:clientid/unsubscribe",
        handler=unsubscribe_client,
        summary="Unsubscribe a client",
        request=Unsubscribe,
        reply=None,
        status=204,
        audit="unless_frequent",
        errors=("CLIENTID_NOT_FOUND",),
    ),
    _post(
        path="/clients/:clientid/unsubscribe/bulk",
        handler=unsubscribe_client_from_many,
        summary="Unsubscribe a client from many filters",
        request=list[Unsubscribe],
        reply=None,
        status=204,
        audit="unless_frequent",
        errors=("CLIENTID_NOT_FOUND",),
    ),
    _get(
        path="/clients/:clientid/subscriptions",
        handler=list_client_subscriptions,
        summary="List the subscriptions of a client",
        query=NoQuery,
        reply=list[SubscriptionRow],
        errors=("CLIENTID_NOT_FOUND",),
    ),
    _row(
        method="GET",
        path="/clients/:clientid/mqueue_messages",
        handler=list_queued_messages,
        summary="List messages that wait for a client",
        request=NoBody,
        query=MessagesQuery,
        reply=Messages,
        status=200,
        access=Access.GLOBAL_READER,
        audit="never",
        errors=("CLIENTID_NOT_FOUND", "INVALID_PARAMETER"),
    ),
    _row(
        method="GET",
        path="/clients/:clientid/inflight_messages",
        handler=list_inflight_messages,
        summary="List messages that are on their way to a client",
        request=NoBody,
        query=MessagesQuery,
        reply=Messages,
        status=200,
        access=Access.GLOBAL_READER,
        audit="never",
        errors=("CLIENTID_NOT_FOUND", "INVALID_PARAMETER"),
    ),
    _row(
        method="PUT",
        path="/clients/:clientid/keepalive",
        handler=change_keepalive,
        summary="Change the keep alive of a client",
        request=KeepAlive,
        query=NoQuery,
        reply=Client,
        status=200,
        access=Access.ADMINISTRATOR,
        audit="always",
        errors=("CLIENTID_NOT_FOUND",),
    ),
)
