"""MQTT.js, in one node process for all its clients (`js/bridge.js`), which is spoken to in lines of JSON."""

import asyncio
import base64
import itertools
import json
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, ClassVar

from tests.e2e.adapters.client import PATIENCE_S, Client, Endpoint, Message, Options, Transport

__all__ = ["MqttjsClient", "NodeBridge"]

_SCRIPT = Path(__file__).parent.parent / "js" / "bridge.js"
_PROTOCOLS = {
    Transport.TCP: "mqtt",
    Transport.TLS: "mqtts",
    Transport.MUTUAL_TLS: "mqtts",
    Transport.WEBSOCKET: "ws",
    Transport.WEBSOCKET_TLS: "wss",
}


class NodeBridge:
    """The node process; its answers arrive in a thread of their own, so that it may outlive a test's loop."""

    def __init__(self, node: str) -> None:
        self._process = subprocess.Popen(
            [node, str(_SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self._numbers = itertools.count(1)
        self._asked: dict[int, Future[Any]] = {}
        self._listeners: dict[int, Callable[[dict[str, Any]], None]] = {}
        self._reader = threading.Thread(target=self._read, name="node bridge", daemon=True)
        self._reader.start()

    def add_client(self, on_message: Callable[[dict[str, Any]], None]) -> int:
        """Return a number for a new client, whose messages go to `on_message` in the reader's thread."""
        number = next(self._numbers)
        self._listeners[number] = on_message
        return number

    async def ask(self, client: int, what: str, **arguments: Any) -> Any:
        """Let a client do something and return its answer.

        Raises:
            AssertionError: MQTT.js reported an error; the text is its own.
        """
        number = next(self._numbers)
        answer: Future[Any] = Future()
        self._asked[number] = answer
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": number, "client": client, "what": what, **arguments}) + "\n")
        self._process.stdin.flush()
        async with asyncio.timeout(PATIENCE_S):
            return await asyncio.wrap_future(answer)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            if "message" in said:
                self._listeners[said["client"]](said["message"])
                continue
            answer = self._asked.pop(said["id"])
            if "error" in said:
                answer.set_exception(AssertionError(said["error"]))
            else:
                answer.set_result(said["result"])


class MqttjsClient(Client):
    """One client of MQTT.js. Its user properties are an object: values of one name stand together."""

    name: ClassVar[str] = "mqttjs"
    transports: ClassVar[tuple[Transport, ...]] = tuple(_PROTOCOLS)
    keeps_property_order: ClassVar[bool] = False

    def __init__(self, endpoint: Endpoint, options: Options, bridge: NodeBridge) -> None:
        super().__init__(endpoint, options)
        self._bridge = bridge
        self._number = bridge.add_client(self._on_message)

    async def _connect(self) -> bool | None:
        endpoint, options = self.endpoint, self.options
        is_present: bool = await self._bridge.ask(
            self._number,
            "connect",
            url=f"{_PROTOCOLS[endpoint.transport]}://{endpoint.host}:{endpoint.port}",
            ca=_text(endpoint.cacertfile),
            cert=_text(endpoint.pair.certfile if endpoint.pair else None),
            key=_text(endpoint.pair.keyfile if endpoint.pair else None),
            client_id=options.client_id,
            version=int(options.version),
            clean=options.clean,
            session_expiry_s=options.session_expiry_s,
            topic_alias_maximum=options.topic_alias_maximum,
            will=None if options.will is None else _to_json(options.will),
        )
        return is_present

    async def subscribe(self, filter: str, qos: int) -> None:
        assert await self._bridge.ask(self._number, "subscribe", filter=filter, qos=qos) == qos

    async def publish(self, message: Message) -> None:
        await self._bridge.ask(self._number, "publish", message=_to_json(message))

    async def _disconnect(self) -> None:
        await self._bridge.ask(self._number, "disconnect")

    async def _cut(self) -> None:
        await self._bridge.ask(self._number, "cut")

    def _on_message(self, said: dict[str, Any]) -> None:
        correlation = said["correlation_data"]
        self._deliver(
            Message(
                said["topic"],
                base64.b64decode(said["payload"]),
                said["qos"],
                said["retain"],
                tuple((name, value) for name, value in said["user_properties"]),
                said["response_topic"],
                None if correlation is None else base64.b64decode(correlation),
                said["content_type"],
            )
        )


def _to_json(message: Message) -> dict[str, object]:
    correlation = message.correlation_data
    return {
        "topic": message.topic,
        "payload": base64.b64encode(message.payload).decode(),
        "qos": message.qos,
        "retain": message.retain,
        "user_properties": message.user_properties,
        "response_topic": message.response_topic,
        "correlation_data": None if correlation is None else base64.b64encode(correlation).decode(),
        "content_type": message.content_type,
        "topic_alias": message.topic_alias,
    }


def _text(file: Path | None) -> str | None:
    return None if file is None else file.read_text()
