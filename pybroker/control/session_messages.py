"""Messages that wait for a client or are on their way to it, page by page.

A message is named by its place; places stay while the message does, and a page goes on behind a place whose message
has left.
"""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from pybroker.control.clients import Clients
from pybroker.control.origin import Origin
from pybroker.control.plane import Plane
from pybroker.errors import Refused

MessageKind = Literal["mqueue", "inflight"]

NOWHERE = "none"
"""Place before the first message, and of the last one where there is none."""

_PLACES = {"mqueue": re.compile(r"(\d{1,18})_(-?\d{1,5}|infinity)"), "inflight": re.compile(r"(\d{1,18})")}
_HIGHEST = 32_767


class HeldMessage(NamedTuple):
    """One message.

    Args:
        place: where it stands.
        priority: in its queue; 0 in flight.
        topic: as routed.
        origin: who published it, and when.
    """

    place: int
    priority: int
    topic: str
    qos: int
    is_retain: bool
    payload: bytes
    origin: Origin


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
        first, _ = self._engine.session_messages(slot, kind, None, 1)
        rows, _ = self._engine.session_messages(slot, kind, after, limit)
        messages: list[HeldMessage] = []
        left = max_bytes
        for place, priority, topic, qos, is_retain, payload, origin in rows:
            left -= len(payload)
            if messages and left < 0:
                break
            messages.append(HeldMessage(place, priority, topic, qos, is_retain, payload, Origin(*origin)))
        start = render_place(kind, first[0][0], first[0][1]) if first else NOWHERE
        last = render_place(kind, messages[-1].place, messages[-1].priority) if messages else position
        return MessagePage(messages, start, last if first else NOWHERE)


def render_place(kind: MessageKind, place: int, priority: int) -> str:
    """Return a place as clients see it."""
    return f"{place}_{priority}" if kind == "mqueue" else str(place)


def _parse(kind: MessageKind, position: str) -> tuple[int, int] | None:
    if position == NOWHERE:
        return None
    match = _PLACES[kind].fullmatch(position)
    if match is None:
        raise Refused("INVALID_PARAMETER", f"position cannot be read: {position!r}")
    if kind == "inflight":
        return int(match[1]), 0
    priority = _HIGHEST if match[2] == "infinity" else int(match[2])
    return int(match[1]), max(-_HIGHEST, min(_HIGHEST, priority))
