"""gmqtt, a client of its own on asyncio; it knows neither WebSocket nor MQTT 3.1."""

import asyncio
from typing import Any, ClassVar

import gmqtt

from tests.e2e.adapters.client import PATIENCE_S, Client, Endpoint, Message, Options, Transport
from tests.support.packets import Version

__all__ = ["GmqttClient"]


class GmqttClient(Client):
    """One `gmqtt.Client`."""

    name: ClassVar[str] = "gmqtt"
    transports: ClassVar[tuple[Transport, ...]] = (Transport.TCP, Transport.TLS, Transport.MUTUAL_TLS)
    versions: ClassVar[tuple[Version, ...]] = (Version.V311, Version.V5)

    def __init__(self, endpoint: Endpoint, options: Options) -> None:
        super().__init__(endpoint, options)
        properties: dict[str, int] = {}
        if options.version is Version.V5:
            properties["session_expiry_interval"] = options.session_expiry_s
            if options.topic_alias_maximum:
                properties["topic_alias_maximum"] = options.topic_alias_maximum
        will = options.will
        self._client = gmqtt.Client(
            options.client_id,
            clean_session=options.clean,
            will_message=None if will is None else _message(will, options.version),
            **properties,
        )
        self._is_present = False
        self._granted: asyncio.Future[tuple[int, ...]] = self._loop.create_future()
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    async def _connect(self) -> bool | None:
        async with asyncio.timeout(PATIENCE_S):
            await self._client.connect(
                self.endpoint.host,
                self.endpoint.port,
                ssl=self.endpoint.tls_context() or False,
                version=int(self.options.version),
            )
        return self._is_present

    async def subscribe(self, filter: str, qos: int) -> None:
        self._granted = self._loop.create_future()
        self._client.subscribe(filter, qos)
        async with asyncio.timeout(PATIENCE_S):
            assert await self._granted == (qos,)

    async def publish(self, message: Message) -> None:
        self._client.publish(_message(message, self.options.version))
        async with asyncio.timeout(PATIENCE_S):
            await self._client._persistent_storage.wait_empty()

    async def _disconnect(self) -> None:
        await self._client.disconnect()

    async def _cut(self) -> None:
        self._client._is_active = False  # or it would connect again
        self._client._connection._transport.abort()

    def _on_connect(self, client: Any, flags: int, code: int, properties: Any) -> None:
        self._is_present = bool(flags & 1)

    def _on_subscribe(self, client: Any, packet_id: int, codes: tuple[int, ...], properties: Any) -> None:
        self._granted.set_result(codes)

    def _on_message(self, client: Any, topic: str, payload: bytes, qos: int, properties: dict[str, Any]) -> int:
        def first(name: str) -> Any:
            return properties.get(name, [None])[0]

        self._deliver(
            Message(
                topic,
                bytes(payload),
                qos,
                bool(properties["retain"]),
                tuple(properties.get("user_property", ())),
                first("response_topic"),
                first("correlation_data"),
                first("content_type"),
            )
        )
        return 0


def _message(message: Message, version: Version) -> gmqtt.Message:
    properties: dict[str, object] = {}
    if version is Version.V5:
        optional = {
            "user_property": list(message.user_properties) or None,
            "response_topic": message.response_topic,
            "correlation_data": message.correlation_data,
            "content_type": message.content_type,
            "topic_alias": message.topic_alias,
        }
        properties = {name: value for name, value in optional.items() if value is not None}
    return gmqtt.Message(message.topic, message.payload, qos=message.qos, retain=message.retain, **properties)
