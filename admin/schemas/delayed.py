"""Delayed messages."""

import base64
from typing import Self

import msgspec

from admin.schemas.retained import MAX_PAYLOAD
from pybroker.control.delayed import DelayedMessage
from pybroker.control.timestamp import render_s


class DelayedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A message that waits.

    Args:
        delayed_interval: seconds that it waits in all.
        delayed_remaining: seconds that are left.
        from_clientid: null for what an operator has published.
        payload: in base64, of a single message only; left out beyond 1 MiB.
    """

    msgid: str
    node: str
    publish_at: str
    delayed_interval: int
    delayed_remaining: int
    expected_at: str
    topic: str
    qos: int
    from_clientid: str | None
    from_username: str | None
    payload: str | msgspec.UnsetType = msgspec.UNSET

    @classmethod
    def of(cls, message: DelayedMessage, node: str, *, has_payload: bool = False) -> Self:
        """Return a message as shown."""
        is_shown = has_payload and len(message.payload) <= MAX_PAYLOAD
        return cls(
            msgid=message.message_id,
            node=node,
            publish_at=render_s(message.origin.published_ms // 1_000),
            delayed_interval=round((message.due_ms - message.origin.published_ms) / 1_000),
            delayed_remaining=message.remaining_ms // 1_000,
            expected_at=render_s(message.due_ms // 1_000),
            topic=message.topic,
            qos=message.qos,
            from_clientid=message.origin.client_id,
            from_username=message.origin.username,
            payload=base64.b64encode(message.payload).decode() if is_shown else msgspec.UNSET,
        )
