"""Publishing by an operator: trusted, so access control is not asked, and as the broker itself.

A batch is judged as a whole before its first message goes out.
"""

import asyncio
import itertools
import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from pybroker._core import encode_properties
from pybroker.clock import Clock
from pybroker.control.configuration import Configuration
from pybroker.control.plane import Plane
from pybroker.errors import Refused

NO_MATCHING_SUBSCRIBERS = 0x10
IMPLEMENTATION_ERROR = 0x83
TOPIC_NAME_INVALID = 0x90
QUOTA_EXCEEDED = 0x97

BATCH = 100
"""Messages that are judged, or published, before the loop gets its turn."""

_DELAYED = re.compile(r"\$delayed/(\d{1,10})/(.+)", re.DOTALL)
_MAX_DELAY_S = 4_294_967  # EMQX's bound: 2^32 - 1 ms


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """A message to be published.

    Args:
        expiry_s: 0: none but that of the configuration.
        user_properties: order is kept.
    """

    topic: str
    payload: bytes
    qos: int = 0
    is_retain: bool = False
    expiry_s: int = 0
    payload_format: bool | None = None
    content_type: str | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = None
    user_properties: Mapping[str, str] = {}


class Outcome(NamedTuple):
    """What became of a message.

    Args:
        message_id: in hex; empty if nothing was published.
        reason: 0; 0x10: nobody took it; above: why it was not published.
        text: EMQX's word for the reason.
    """

    message_id: str = ""
    reason: int = 0
    text: str = ""


class Publisher:
    """Publisher of what operators send.

    Args:
        plane: takes the messages.
        configuration: says how large they may be.
        clock: part of their ids.
    """

    def __init__(self, plane: Plane, configuration: Configuration, clock: Clock) -> None:
        self._plane = plane
        self._configuration = configuration
        self._clock = clock
        self._serial = itertools.count(int.from_bytes(os.urandom(4), "big"))

    async def publish(self, messages: Sequence[Outgoing]) -> list[Outcome]:
        """Publish messages in their order; if one of them may not be, none is, and the outcomes say why.

        Raises:
            Refused: `BAD_REQUEST`: a property cannot be encoded.
        """
        faults: list[Outcome | None] = []
        properties: list[bytes] = []
        for index, message in enumerate(messages, 1):
            faults.append(self._judge(message))
            properties.append(_encode(message))
            if index % BATCH == 0:
                await asyncio.sleep(0)
        if any(faults):
            return [fault or Outcome() for fault in faults]
        outcomes = []
        for index, (message, encoded) in enumerate(zip(messages, properties, strict=True), 1):
            outcomes.append(self._send(message, encoded))
            if index % BATCH == 0:
                await asyncio.sleep(0)
        return outcomes

    def _judge(self, message: Outgoing) -> Outcome | None:
        """Return why a message may not be published; `None`: it may."""
        mqtt, delayed = self._configuration.current.mqtt, self._configuration.current.delayed
        topic = message.topic
        if not {"+", "#", "\0"}.isdisjoint(topic) or len(topic.encode(errors="replace")) > 65_535:
            return Outcome(reason=TOPIC_NAME_INVALID, text="topic_name_invalid")
        if topic.count("/") >= mqtt.max_topic_levels:
            return Outcome(reason=TOPIC_NAME_INVALID, text="topic_name_invalid")
        if topic.startswith("$delayed/") and delayed.enable:
            match = _DELAYED.fullmatch(topic)
            if match is None or int(match[1]) > _MAX_DELAY_S:
                return Outcome(reason=TOPIC_NAME_INVALID, text="topic_name_invalid")
        if len(message.payload) + len(topic) > mqtt.max_packet_size:
            return Outcome(reason=QUOTA_EXCEEDED, text="packet_too_large")
        return None

    def _send(self, message: Outgoing, properties: bytes) -> Outcome:
        message_id = (
            f"{self._clock.wall_ms():016X}{os.getpid() & 0xFFFF_FFFF:08X}{next(self._serial) & 0xFFFF_FFFF:08X}"
        )
        reason = self._plane.engine.publish(
            message.topic, message.payload, message.qos, message.is_retain, properties, message.expiry_s
        )
        if reason == NO_MATCHING_SUBSCRIBERS:
            return Outcome(reason=reason, text="no_matching_subscribers")
        return Outcome(message_id, reason, "" if reason == 0 else "quota_exceeded")


def _encode(message: Outgoing) -> bytes:
    response_topic = message.response_topic
    if response_topic == "" or not {"+", "#"}.isdisjoint(response_topic or ""):  # [MQTT5-3.3.2-14]
        raise Refused("BAD_REQUEST", f"properties.response_topic must be a topic name: {response_topic!r}")
    try:
        return encode_properties(
            payload_format=message.payload_format,
            content_type=message.content_type,
            response_topic=message.response_topic,
            correlation_data=message.correlation_data,
            user_properties=list(message.user_properties.items()),
        )
    except ValueError as error:
        raise Refused("BAD_REQUEST", f"properties: {error}") from None
