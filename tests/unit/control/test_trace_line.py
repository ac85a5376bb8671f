"""Lines of a trace: what is shown, and that nobody writes lines of his own."""

import json
from typing import Any

import pytest

from pybroker.control.trace_line import PayloadForm, TraceEvent, render

HOSTILE = 'x\r\n2026 [CONNECT] admin@10.0.0.1 msg: forged\x1b[2J\u2028\u009b31m"'


def event(**changes: Any) -> TraceEvent:
    base = TraceEvent(
        1_767_225_600_000, "PUBLISH", "received", "c", "192.0.2.1:5", None, "a/b", {"qos": 1}, b"hello", 5
    )
    return base._replace(**changes)


def test_text_line_tells_time_client_and_fields() -> None:
    line = render(event(), "text", "text", 1_024)
    assert line.endswith(" [PUBLISH] c@192.0.2.1:5 msg: received, qos: 1, topic: a/b, payload: hello\n")
    assert line.startswith(("2025-12-31T", "2026-01-01T"))


def test_json_line_is_one_object() -> None:
    row = json.loads(render(event(), "json", "text", 1_024))
    assert (row["clientid"], row["peername"], row["tag"], row["topic"], row["payload"]) == (
        "c",
        "192.0.2.1:5",
        "PUBLISH",
        "a/b",
        "hello",
    )


@pytest.mark.parametrize(
    ("form", "limit", "shown"),
    [("text", 1_024, "hello"), ("text", 2, '"he...(3 more bytes)"'), ("hex", 2, "6865"), ("hidden", 9, "******")],
)
def test_payload_is_shown_as_asked(form: PayloadForm, limit: int, shown: str) -> None:
    line = render(event(), "text", form, limit)
    assert f"payload: {shown}" in line or f'payload: "{shown}' in line


def test_payload_that_is_no_text_is_replaced() -> None:
    assert "\ufffd" in render(event(payload=b"\xff", payload_bytes=1), "text", "text", 9)


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("field", ["client_id", "topic", "peer", "payload", "fields"])
def test_client_cannot_forge_a_line(form: str, field: str) -> None:
    value: Any = HOSTILE
    if field == "payload":
        value = HOSTILE.encode()
    elif field == "fields":
        value = {"username": HOSTILE}
    line = render(event(**{field: value}), form, "text", 1_024)  # type: ignore[arg-type]  # a literal of two
    assert line.count("\n") == 1
    assert line.splitlines() == [line[:-1]]
    assert not any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in line[:-1])
