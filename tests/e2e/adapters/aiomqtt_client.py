"""aiomqtt, which is paho-mqtt driven by asyncio."""

import asyncio
import contextlib
from typing import ClassVar

import aiomqtt
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY
from paho.mqtt.packettypes import PacketTypes

from tests.e2e.adapters.client import PATIENCE_S, Client, Endpoint, Message, Options, Transport
from tests.e2e.adapters.paho_client import connect_properties, from_paho, paho_transport, publish_properties, sever
from tests.support.packets import Version

__all__ = ["AiomqttClient"]


class AiomqttClient(Client):
    """One `aiomqtt.Client`; it has no word for the session present flag."""

    name: ClassVar[str] = "aiomqtt"
    transports: ClassVar[tuple[Transport, ...]] = tuple(Transport)

    def __init__(self, endpoint: Endpoint, options: Options) -> None:
        super().__init__(endpoint, options)
        is_v5 = options.version is Version.V5
        self._client = aiomqtt.Client(
            endpoint.path or endpoint.host,
            endpoint.port or 1,
            identifier=options.client_id,
            protocol=aiomqtt.ProtocolVersion(options.version),
            clean_session=None if is_v5 else options.clean,
            clean_start=options.clean if is_v5 else MQTT_CLEAN_START_FIRST_ONLY,
            properties=connect_properties(options) if is_v5 else None,
            transport=paho_transport(endpoint),
            tls_context=endpoint.tls_context(),
            websocket_path="/mqtt" if endpoint.is_websocket else None,
            will=_will(options),
            timeout=PATIENCE_S,
        )
        self._reading: asyncio.Task[None] | None = None

    async def _connect(self) -> bool | None:
        await self._client.__aenter__()
        self._reading = asyncio.create_task(self._read())
        return None

    async def subscribe(self, filter: str, qos: int) -> None:
        (code,) = await self._client.subscribe(filter, qos)
        assert (code if isinstance(code, int) else code.value) == qos

    async def publish(self, message: Message) -> None:
        is_v5 = self.options.version is Version.V5
        properties = publish_properties(message, PacketTypes.PUBLISH) if is_v5 else None
        await self._client.publish(message.topic, message.payload, message.qos, message.retain, properties)

    async def _disconnect(self) -> None:
        await self._client.__aexit__(None, None, None)
        await self._stop_reading()

    async def _cut(self) -> None:
        sever(self._client._client)
        await self._stop_reading()
        with contextlib.suppress(aiomqtt.MqttError):
            await self._client.__aexit__(None, None, None)

    async def _read(self) -> None:
        async for message in self._client.messages:
            payload = message.payload
            assert isinstance(payload, bytes)
            self._deliver(
                from_paho(message.topic.value, payload, message.qos, message.retain, message.properties),
            )

    async def _stop_reading(self) -> None:
        """Wait for the end of the messages, which aiomqtt tells by an error."""
        assert self._reading is not None
        with contextlib.suppress(aiomqtt.MqttError):
            async with asyncio.timeout(PATIENCE_S):
                await self._reading


def _will(options: Options) -> aiomqtt.Will | None:
    will = options.will
    if will is None:
        return None
    properties = publish_properties(will, PacketTypes.WILLMESSAGE) if options.version is Version.V5 else None
    return aiomqtt.Will(will.topic, will.payload, will.qos, will.retain, properties)
