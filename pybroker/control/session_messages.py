"""Messages that wait for a client or are on their way to it, page by page.

A message is named by its place; places stay while the message does.
"""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from pybroker.control.clients import Clients
from pybroker.control.plane import Plane
from pybroker.errors import Refused

MessageKind = Literal["mqueue", "inflight"]

NOWHERE = "none"
"""Place before the first message, and of the last one where there is none."""

_PLACES = {"mqueue": re.compile(r"(\d{1,18})_(?:\d{1,9}|infinity)"), "inflight": re.compile(r"(\d{1,18})")}


class HeldMessage(NamedTuple):
    """One message.

    Args:
        place: where it stands.
        topic: as routed.
    """

    place: int
    topic: str
    qos: int
    is_retain: bool
    payload: bytes


class MessagePage(NamedTuple):
    """Some messages of one client.

    Args:
        start: place of the oldest message of all.
        position: place of the last one returned; of the one asked for if there are none behind it.
    """

    messages: Sequence[HeldMessage]
    start: str
    position: str


class SessionMessages:
    """Reader of queues and windows.

    Args:
        plane: holds them.
        clients: finds the client.
    """

    def __init__(self, plane: Plane, clients: Clients) -> None:
        self._engine = plane.engine
        self._clients = clients

    def page(self, client_id: str, kind: MessageKind, position: str, limit: int, max_bytes: int) -> MessagePage:
        """Return the messages behind a place; O(messages of the session).

        Args:
            position: as returned before; `none` for the first page.
            max_bytes: of all payloads together; the first message is returned in any case.

        Raises:
            Refused: `CLIENTID_NOT_FOUND`, or `INVALID_PARAMETER`: the position cannot be read.
        """
        slot = self._clients.find(client_id).slot
        after = _parse(kind, position)
        first, _ = self._engine.session_messages(slot, kind, -1, 1)
        rows, _ = self._engine.session_messages(slot, kind, after, limit)
        messages: list[HeldMessage] = []
        left = max_bytes
        for place, topic, qos, is_retain, payload, _ in rows:
            left -= len(payload)
            if messages and left < 0:
                break
            messages.append(HeldMessage(place, topic, qos, is_retain, payload))
        start = render_place(kind, first[0][0]) if first else NOWHERE
        last = render_place(kind, messages[-1].place) if messages else position
        return MessagePage(messages, start, last if first else NOWHERE)


def render_place(kind: MessageKind, place: int) -> str:
    """Return a place as clients see it; every message of a queue has the priority 0."""
    return f"{place}_0" if kind == "mqueue" else str(place)


def _parse(kind: MessageKind, position: str) -> int:
    if position == NOWHERE:
        return -1
    match = _PLACES[kind].fullmatch(position)
    if match is None:
        raise Refused("INVALID_PARAMETER", f"position cannot be read: {position!r}")
    return int(match[1])
