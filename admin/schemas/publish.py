"""Messages that an operator publishes."""

import base64
import binascii
from typing import Annotated, Literal

import msgspec

from admin.schemas.body import Body
from pybroker.control.publish import Outgoing

Encoding = Literal["plain", "base64"]


class Properties(Body, frozen=True, kw_only=True):
    """MQTT 5.0 properties that subscribers get."""

    payload_format_indicator: Annotated[int, msgspec.Meta(ge=0, le=1)] | None = None
    message_expiry_interval: Annotated[int, msgspec.Meta(ge=0, le=0xFFFF_FFFF)] | None = None
    response_topic: str | None = None
    correlation_data: str | None = None
    user_properties: dict[str, str] = msgspec.field(default_factory=dict)
    content_type: str | None = None


class Message(Body, frozen=True, kw_only=True):
    """A message.

    Args:
        payload_encoding: how the payload is written; `encoding` is its older name.
        clientid: accepted for old scripts; the broker itself is the publisher.
    """

    topic: Annotated[str, msgspec.Meta(min_length=1)]
    payload: str
    payload_encoding: Encoding | None = None
    encoding: Encoding | None = None
    qos: Annotated[int, msgspec.Meta(ge=0, le=2)] = 0
    retain: bool = False
    properties: Properties = Properties()
    clientid: str | None = None

    def outgoing(self) -> Outgoing | None:
        """Return the message; `None`: its payload is no base64."""
        given = self.properties
        try:
            payload = self.payload.encode()
            if (self.payload_encoding or self.encoding) == "base64":
                payload = base64.b64decode(payload, validate=True)
        except (UnicodeEncodeError, binascii.Error):
            return None
        indicator = given.payload_format_indicator
        return Outgoing(
            topic=self.topic,
            payload=payload,
            qos=self.qos,
            is_retain=self.retain,
            expiry_s=given.message_expiry_interval or 0,
            payload_format=None if indicator is None else indicator == 1,
            content_type=given.content_type,
            response_topic=given.response_topic,
            correlation_data=None if given.correlation_data is None else given.correlation_data.encode(),
            user_properties=given.user_properties,
        )


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """A message that somebody took."""

    id: str


class NotPublished(msgspec.Struct, frozen=True, kw_only=True):
    """A message that nobody took (16), or that was not published."""

    reason_code: int
    message: str
