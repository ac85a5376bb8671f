"""Clients."""

from typing import Annotated, Literal, Self

import msgspec

from admin.schemas.body import Body
from admin.schemas.page import MAX_LIMIT, PageQuery
from pybroker.control.clients import ClientFilter, ClientView, ConnectionState, Interest, host_of
from pybroker.control.timestamp import parse_us, render_ms

_NAMES = {3: "MQIsdp", 4: "MQTT", 5: "MQTT"}

Infinity = int | Literal["infinity"]


class ClientQuery(PageQuery, frozen=True, kw_only=True):
    """One page of the clients that fit in all that is given. Times are RFC 3339 or epoch numbers."""

    node: str | None = None
    clientid: tuple[str, ...] = ()
    username: tuple[str, ...] = ()
    ip_address: str | None = None
    conn_state: ConnectionState | None = None
    clean_start: bool | None = None
    proto_ver: int | None = None
    like_clientid: str | None = None
    like_username: str | None = None
    gte_created_at: str | None = None
    lte_created_at: str | None = None
    gte_connected_at: str | None = None
    lte_connected_at: str | None = None
    fields: str = "all"

    def wanted(self) -> ClientFilter:
        """Return the filter.

        Raises:
            Refused: `BAD_REQUEST`: a time cannot be read.
        """
        return ClientFilter(
            client_ids=self.clientid,
            usernames=self.username,
            ip_address=self.ip_address,
            state=self.conn_state,
            is_clean_start=self.clean_start,
            version=self.proto_ver,
            like_client_id=self.like_clientid,
            like_username=self.like_username,
            gte_created_ms=_ms(self.gte_created_at, "gte_created_at"),
            lte_created_ms=_ms(self.lte_created_at, "lte_created_at"),
            gte_connected_ms=_ms(self.gte_connected_at, "gte_connected_at"),
            lte_connected_ms=_ms(self.lte_connected_at, "lte_connected_at"),
        )


class ClientCursorQuery(ClientQuery, frozen=True, kw_only=True):
    """Clients from a cursor on; `page` means nothing."""

    cursor: str = ""


class SinceQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Wall seconds from which on a session counts."""

    since: Annotated[int, msgspec.Meta(ge=0)] = 0


class CursorMeta(msgspec.Struct, frozen=True, kw_only=True):
    """Rows in this reply, and where the next one begins; without a cursor that was all."""

    count: int
    cursor: str | msgspec.UnsetType = msgspec.UNSET


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """A client as shown.

    Args:
        port: of the listener.
        peerport: of the client.
        expiry_interval: seconds.
        mailbox_len: this and the next two belong to processes that do not exist here.
    """

    clientid: str
    username: str | None
    node: str
    connected: bool
    ip_address: str
    port: int
    peerport: int
    listener: str
    proto_name: str
    proto_ver: int
    clean_start: bool
    keepalive: int
    expiry_interval: int
    is_bridge: bool
    is_persistent: bool
    is_expired: bool
    durable: bool
    mountpoint: str | None
    namespace: str | None
    enable_authn: bool
    connected_at: str
    created_at: str
    disconnected_at: str | msgspec.UnsetType
    client_attrs: dict[str, str]
    inflight_cnt: int
    inflight_max: int
    mqueue_len: int
    mqueue_max: Infinity
    mqueue_dropped: int
    mailbox_len: int
    heap_size: int
    reductions: int
    total_payload_bytes: int
    awaiting_rel_cnt: int
    awaiting_rel_max: Infinity
    subscriptions_cnt: int
    subscriptions_max: Infinity
    recv_oct: int
    recv_cnt: int
    recv_pkt: int
    recv_msg: int
    recv_msg_qos0: int = msgspec.field(name="recv_msg.qos0")
    recv_msg_qos1: int = msgspec.field(name="recv_msg.qos1")
    recv_msg_qos2: int = msgspec.field(name="recv_msg.qos2")
    recv_msg_dropped: int = msgspec.field(name="recv_msg.dropped")
    recv_msg_dropped_rel: int = msgspec.field(name="recv_msg.dropped.await_pubrel_timeout")
    send_oct: int
    send_cnt: int
    send_pkt: int
    send_msg: int
    send_msg_qos0: int = msgspec.field(name="send_msg.qos0")
    send_msg_qos1: int = msgspec.field(name="send_msg.qos1")
    send_msg_qos2: int = msgspec.field(name="send_msg.qos2")
    send_msg_dropped: int = msgspec.field(name="send_msg.dropped")
    send_msg_dropped_expired: int = msgspec.field(name="send_msg.dropped.expired")
    send_msg_dropped_full: int = msgspec.field(name="send_msg.dropped.queue_full")
    send_msg_dropped_large: int = msgspec.field(name="send_msg.dropped.too_large")

    @classmethod
    def of(cls, view: ClientView, node: str) -> Self:
        """Return a client as shown."""
        session, mqtt, count = view.session, view.config.mqtt, view.stats.get
        dropped = count("mqueue_dropped", 0)
        return cls(
            clientid=session.client_id,
            username=session.username,
            node=node,
            connected=session.is_online,
            ip_address=host_of(session.peer),
            port=session.listener.port,
            peerport=int(session.peer.rpartition(":")[2] or 0),
            listener=session.listener.id,
            proto_name=_NAMES[session.version],
            proto_ver=session.version,
            clean_start=bool(session.is_clean_start),
            keepalive=session.keep_alive_s,
            expiry_interval=session.expiry_s,
            is_bridge=False,
            is_persistent=session.expiry_s != 0,
            is_expired=False,
            durable=False,
            mountpoint=session.mountpoint or None,
            namespace=session.namespace,
            enable_authn=session.listener.enable_authn is not False,
            connected_at=render_ms(session.connected_at_ms),
            created_at=render_ms(session.created_at_ms),
            disconnected_at=msgspec.UNSET if session.is_online else render_ms(session.disconnected_at_ms),
            client_attrs={},
            inflight_cnt=count("inflight", 0),
            inflight_max=mqtt.max_inflight,
            mqueue_len=count("mqueue_len", 0),
            mqueue_max=mqtt.max_mqueue_len or "infinity",
            mqueue_dropped=dropped,
            mailbox_len=0,
            heap_size=0,
            reductions=0,
            total_payload_bytes=count("mqueue_bytes", 0),
            awaiting_rel_cnt=count("awaiting_rel", 0),
            awaiting_rel_max=mqtt.max_awaiting_rel or "infinity",
            subscriptions_cnt=count("subscriptions", 0),
            subscriptions_max=mqtt.max_subscriptions or "infinity",
            recv_oct=count("recv_oct", 0),
            recv_cnt=count("recv_cnt", 0),
            recv_pkt=count("recv_pkt", 0),
            recv_msg=count("recv_msg", 0),
            recv_msg_qos0=count("recv_msg.qos0", 0),
            recv_msg_qos1=count("recv_msg.qos1", 0),
            recv_msg_qos2=count("recv_msg.qos2", 0),
            recv_msg_dropped=count("recv_msg.dropped", 0),
            recv_msg_dropped_rel=count("recv_msg.dropped.await_pubrel_timeout", 0),
            send_oct=count("send_oct", 0),
            send_cnt=count("send_pkt", 0),
            send_pkt=count("send_pkt", 0),
            send_msg=count("send_msg", 0),
            send_msg_qos0=count("send_msg.qos0", 0),
            send_msg_qos1=count("send_msg.qos1", 0),
            send_msg_qos2=count("send_msg.qos2", 0),
            send_msg_dropped=count("send_msg.dropped", dropped),
            send_msg_dropped_expired=count("send_msg.dropped.expired", 0),
            send_msg_dropped_full=count("send_msg.dropped.queue_full", dropped),
            send_msg_dropped_large=count("send_msg.dropped.too_large", 0),
        )


class ClientCursorPage(msgspec.Struct, frozen=True, kw_only=True):
    """Clients from a cursor on."""

    data: list[Client]
    meta: CursorMeta


FIELDS = frozenset(field.encode_name for field in msgspec.structs.fields(Client))
"""What `fields` may name."""

Bit = Annotated[int, msgspec.Meta(ge=0, le=1)]
TwoBits = Annotated[int, msgspec.Meta(ge=0, le=2)]


class Subscribe(Body, frozen=True, kw_only=True):
    """A subscription to be made."""

    topic: str
    qos: TwoBits = 0
    nl: Bit = 0
    rap: Bit = 0
    rh: TwoBits = 0

    def interest(self) -> Interest:
        """Return what is asked for."""
        return Interest(topic=self.topic, qos=self.qos, nl=self.nl, rap=self.rap, rh=self.rh)


class MadeSubscription(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription that was made."""

    clientid: str
    node: str
    topic: str
    qos: int
    nl: int
    rap: int
    rh: int

    @classmethod
    def of(cls, clientid: str, node: str, asked: Subscribe) -> Self:
        """Return what was made of a request."""
        return cls(
            clientid=clientid,
            node=node,
            topic=asked.topic,
            qos=asked.qos,
            nl=asked.nl,
            rap=asked.rap,
            rh=asked.rh,
        )


class Unsubscribe(Body, frozen=True, kw_only=True):
    """A subscription to be given up."""

    topic: str


class KeepAlive(Body, frozen=True, kw_only=True):
    """A keep alive in seconds; 0: none."""

    interval: Annotated[int, msgspec.Meta(ge=0, le=65_535)]


class MessagesQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which messages, and how payloads are shown."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_LIMIT)] = 100
    position: str = "none"
    payload: Literal["base64", "plain", "none"] = "base64"
    max_payload_bytes: str = "1MB"


class MessageRow(msgspec.Struct, frozen=True, kw_only=True):
    """A message that waits for a client, or is on its way to it.

    Args:
        msgid: made of client and place; the same on every page.
        publish_at: wall milliseconds; null once the client has the message and only the exchange is open.
        from_clientid: null for what an operator or the broker itself has published.
        inserted_at: place of the message.
        mqueue_priority: in a queue only.
    """

    msgid: str
    topic: str
    qos: int
    retain: bool
    publish_at: int | None
    from_clientid: str | None
    from_username: str | None
    inserted_at: str
    mqueue_priority: int | msgspec.UnsetType = msgspec.UNSET
    payload: str | msgspec.UnsetType = msgspec.UNSET


class MessagesMeta(msgspec.Struct, frozen=True, kw_only=True):
    """Place of the oldest message of all and of the last one here; `none` where there is none."""

    start: str
    position: str


class Messages(msgspec.Struct, frozen=True, kw_only=True):
    """One page of messages."""

    data: list[MessageRow]
    meta: MessagesMeta


def _ms(value: str | None, field: str) -> int | None:
    return None if value is None else parse_us(value, field) // 1_000
