"""paho-mqtt, with its own network thread."""

import asyncio
import socket
from typing import Any, ClassVar, Literal

from paho.mqtt.client import Client as Paho
from paho.mqtt.client import MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from tests.e2e.adapters.client import PATIENCE_S, Client, Endpoint, Message, Options, Transport
from tests.support.packets import Version

__all__ = ["PahoClient", "connect_properties", "from_paho", "paho_transport", "publish_properties", "sever"]


class PahoClient(Client):
    """One `paho.mqtt.client.Client`."""

    name: ClassVar[str] = "paho"
    transports: ClassVar[tuple[Transport, ...]] = tuple(Transport)

    def __init__(self, endpoint: Endpoint, options: Options) -> None:
        super().__init__(endpoint, options)
        is_v5 = options.version is Version.V5
        self._client = Paho(
            CallbackAPIVersion.VERSION2,
            client_id=options.client_id,
            clean_session=None if is_v5 else options.clean,
            protocol=MQTTProtocolVersion(options.version),
            transport=paho_transport(endpoint),
            reconnect_on_failure=False,
        )
        context = endpoint.tls_context()
        if context is not None:
            self._client.tls_set_context(context)
        if endpoint.is_websocket:
            self._client.ws_set_options(path="/mqtt")
        if options.will is not None:
            will = options.will
            properties = publish_properties(will, PacketTypes.WILLMESSAGE) if is_v5 else None
            self._client.will_set(will.topic, will.payload, will.qos, will.retain, properties)
        self._connected: asyncio.Future[tuple[bool, bool]] = self._loop.create_future()
        self._granted: dict[int, asyncio.Future[list[ReasonCode]]] = {}
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    async def _connect(self) -> bool | None:
        await asyncio.to_thread(self._open)
        self._client.loop_start()
        async with asyncio.timeout(PATIENCE_S):
            is_accepted, is_present = await self._connected
        assert is_accepted
        return is_present

    async def subscribe(self, filter: str, qos: int) -> None:
        granted: asyncio.Future[list[ReasonCode]] = self._loop.create_future()
        _, packet_id = self._client.subscribe(filter, qos)
        assert packet_id is not None
        self._granted[packet_id] = granted
        async with asyncio.timeout(PATIENCE_S):
            (code,) = await granted
        assert code.value == qos

    async def publish(self, message: Message) -> None:
        is_v5 = self.options.version is Version.V5
        properties = publish_properties(message, PacketTypes.PUBLISH) if is_v5 else None
        info = self._client.publish(message.topic, message.payload, message.qos, message.retain, properties)
        await asyncio.to_thread(info.wait_for_publish, PATIENCE_S)
        assert info.is_published()

    async def _disconnect(self) -> None:
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    async def _cut(self) -> None:
        sever(self._client)
        await asyncio.to_thread(self._client.loop_stop)

    def _open(self) -> None:
        """Open the socket and send CONNECT; blocks."""
        endpoint, options = self.endpoint, self.options
        host, port = endpoint.path or endpoint.host, endpoint.port or 1
        if options.version is Version.V5:
            self._client.connect(host, port, clean_start=options.clean, properties=connect_properties(options))
        else:
            self._client.connect(host, port)

    # Called in the thread of paho.

    def _on_connect(self, client: Paho, data: Any, flags: Any, code: ReasonCode, properties: Any) -> None:
        self._loop.call_soon_threadsafe(self._connected.set_result, (not code.is_failure, bool(flags.session_present)))

    def _on_subscribe(self, client: Paho, data: Any, packet_id: int, codes: list[ReasonCode], properties: Any) -> None:
        self._loop.call_soon_threadsafe(lambda: self._granted.pop(packet_id).set_result(codes))

    def _on_message(self, client: Paho, data: Any, message: MQTTMessage) -> None:
        self._deliver(from_paho(message.topic, bytes(message.payload), message.qos, message.retain, message.properties))


def paho_transport(endpoint: Endpoint) -> Literal["tcp", "websockets", "unix"]:
    """Return paho's word for the transport; TLS is an option beside it."""
    if endpoint.path:
        return "unix"
    return "websockets" if endpoint.is_websocket else "tcp"


def connect_properties(options: Options) -> Properties:
    """Return the properties of CONNECT."""
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho has no types here
    properties.SessionExpiryInterval = options.session_expiry_s
    if options.topic_alias_maximum:
        properties.TopicAliasMaximum = options.topic_alias_maximum
    return properties


def publish_properties(message: Message, packet: int) -> Properties:
    """Return the properties of PUBLISH or of a will."""
    properties = Properties(packet)  # type: ignore[no-untyped-call]  # paho has no types here
    if message.user_properties:
        properties.UserProperty = list(message.user_properties)
    if message.response_topic is not None:
        properties.ResponseTopic = message.response_topic
    if message.correlation_data is not None:
        properties.CorrelationData = message.correlation_data
    if message.content_type is not None:
        properties.ContentType = message.content_type
    if message.topic_alias is not None:
        properties.TopicAlias = message.topic_alias
    return properties


def from_paho(topic: str, payload: bytes, qos: int, retain: bool, properties: Properties | None) -> Message:
    """Return a received message; paho leaves out the properties that did not come."""
    return Message(
        topic,
        payload,
        qos,
        retain,
        tuple(tuple(pair) for pair in getattr(properties, "UserProperty", ())),
        getattr(properties, "ResponseTopic", None),
        getattr(properties, "CorrelationData", None),
        getattr(properties, "ContentType", None),
    )


def sever(client: Paho) -> None:
    """End the socket below a client without telling it."""
    wrapped: Any = client.socket()
    below = getattr(wrapped, "_socket", wrapped)  # a WebSocket is a wrapper of paho's own
    below.shutdown(socket.SHUT_RDWR)
