"""One line of a trace, as text or JSON. Whatever clients send, a line stays a line.

Values of clients are quoted as JSON where they hold anything but plain characters, and control characters are escaped
always: nobody can write lines of his own, or terminal commands, into the file of an operator.
"""

import re
from typing import Literal, NamedTuple

import msgspec

from pybroker.control.timestamp import render_ms

PayloadForm = Literal["text", "hex", "hidden"]
LineForm = Literal["text", "json"]

_PLAIN = re.compile(r"[\w./#+$:@%\[\]()*-]+", re.ASCII)
_CONTROL = re.compile("[\u007f-\u009f\u2028-\u202e\u2066-\u2069]")
_HIDDEN = "******"


class TraceEvent(NamedTuple):
    """Something that happened to a client or a message.

    Args:
        time_ms: wall clock.
        tag: kind of event in capitals, such as `PUBLISH`.
        message: what happened, in snake case.
        peer: address, with or without port; empty: not known.
        topic: as routed; `None`: it is about no topic.
        fields: further values.
        payload: its first bytes; `None`: there is none.
        payload_bytes: its whole length.
    """

    time_ms: int
    tag: str
    message: str
    client_id: str
    peer: str
    namespace: str | None
    topic: str | None
    fields: dict[str, str | int]
    payload: bytes | None = None
    payload_bytes: int = 0


def render(event: TraceEvent, form: LineForm, payload_form: PayloadForm, payload_limit: int) -> str:
    """Return an event as a line with its line feed.

    Args:
        payload_limit: bytes of a payload that are shown.
    """
    fields: dict[str, str | int] = dict(event.fields)
    if event.topic is not None:
        fields["topic"] = event.topic
    if event.payload is not None:
        fields["payload"] = _payload(event, payload_form, payload_limit)
    if form == "json":
        row = {
            "time": render_ms(event.time_ms),
            "tag": event.tag,
            "msg": event.message,
            "clientid": event.client_id,
            "peername": event.peer,
            **fields,
        }
        return _CONTROL.sub(_escape, msgspec.json.encode(row).decode()) + "\n"
    rest = "".join(f", {name}: {_text(value)}" for name, value in fields.items())
    where = f"{_text(event.client_id)}@{_text(event.peer)}"
    return f"{render_ms(event.time_ms)} [{event.tag}] {where} msg: {event.message}{rest}\n"


def _payload(event: TraceEvent, form: PayloadForm, limit: int) -> str:
    if form == "hidden":
        return _HIDDEN
    shown = (event.payload or b"")[:limit]
    text = shown.hex() if form == "hex" else shown.decode(errors="replace")
    left = event.payload_bytes - len(shown)
    return f"{text}...({left} more bytes)" if left > 0 else text


def _text(value: str | int) -> str:
    if isinstance(value, int) or _PLAIN.fullmatch(value):
        return str(value)
    return _CONTROL.sub(_escape, msgspec.json.encode(value).decode())


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
