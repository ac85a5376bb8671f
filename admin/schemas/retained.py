"""Retained messages."""

import base64
import hashlib
from typing import Self

import msgspec

from admin.schemas.page import PageQuery
from pybroker.control.retained import RetainedMessage
from pybroker.control.timestamp import render_ms

MAX_PAYLOAD = 1 << 20
"""Bytes of a payload beyond which it is not shown."""


class RetainedQuery(PageQuery, frozen=True, kw_only=True):
    """Filter that the topics must match."""

    topic: str | None = None


class RetainedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A message in a list.

    Args:
        msgid: made of the topic.
        from_clientid: null for what an operator or the broker itself has published.
    """

    msgid: str
    topic: str
    qos: int
    publish_at: str
    from_clientid: str | None
    from_username: str | None

    @classmethod
    def of(cls, message: RetainedMessage) -> Self:
        """Return what is shown of a message."""
        return cls(
            msgid=_id_of(message.topic),
            topic=message.topic,
            qos=message.qos,
            publish_at=render_ms(message.origin.published_ms),
            from_clientid=message.origin.client_id,
            from_username=message.origin.username,
        )


class RetainedDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A message with its payload in base64; left out beyond 1 MiB."""

    msgid: str
    topic: str
    qos: int
    publish_at: str
    from_clientid: str | None
    from_username: str | None
    payload: str | msgspec.UnsetType

    @classmethod
    def of(cls, message: RetainedMessage) -> Self:
        """Return a message as shown."""
        is_shown = len(message.payload) <= MAX_PAYLOAD
        return cls(
            msgid=_id_of(message.topic),
            topic=message.topic,
            qos=message.qos,
            publish_at=render_ms(message.origin.published_ms),
            from_clientid=message.origin.client_id,
            from_username=message.origin.username,
            payload=base64.b64encode(message.payload).decode() if is_shown else msgspec.UNSET,
        )


def _id_of(topic: str) -> str:
    return hashlib.blake2b(topic.encode(), digest_size=16).hexdigest().upper()
