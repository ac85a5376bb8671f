"""Logs: what a line looks like, that nobody can forge one, and that a stuck writer costs lines and not time."""

import io
import json
import logging
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import structlog

from pybroker import log
from pybroker.config.schema import LogConsole, LogFile, LogSettings
from pybroker.config.units import ByteSize
from pybroker.errors import ConfigError
from pybroker.types import ClientId, ListenerId


@pytest.fixture(autouse=True)
def _untouched_logging() -> Any:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def settings(formatter: Any = "text", level: Any = "info") -> LogSettings:
    return LogSettings(console=LogConsole(formatter=formatter, level=level))


def written(monkeypatch: pytest.MonkeyPatch, chosen: LogSettings, *events: Any) -> str:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with log.writing(chosen, "unused"):
        for event in events:
            event()
    return stream.getvalue()


def info(event: str, **values: object) -> Any:
    return lambda: structlog.get_logger("pybroker.test").info(event, **values)


def test_text_line_has_time_level_event_and_values(monkeypatch: pytest.MonkeyPatch) -> None:
    line = written(monkeypatch, settings(), info("client connected", clientid="c1", reason="all is well", n=5))
    moment, _, rest = line.partition(" ")
    assert moment.endswith("Z")
    assert rest == 'info     client connected clientid=c1 reason="all is well" n=5\n'


def test_json_line_has_the_same_values(monkeypatch: pytest.MonkeyPatch) -> None:
    record = json.loads(written(monkeypatch, settings("json"), info("client connected", clientid="c1", n=5)))
    assert record.pop("timestamp").endswith("Z")
    assert record == {"level": "info", "logger": "pybroker.test", "event": "client connected", "clientid": "c1", "n": 5}


@pytest.mark.parametrize("formatter", ["text", "json"])
@pytest.mark.parametrize(
    "poison", ["a\n2026 error forged", "a\r\x1b[2Jb", "\x9b31m", "x\u2028y", "\u202egpj", "\ud800", "\x7f\x00"]
)
def test_value_cannot_forge_a_line(monkeypatch: pytest.MonkeyPatch, formatter: str, poison: str) -> None:
    out = written(monkeypatch, settings(formatter), info("connect", clientid=poison, **{poison: b"x\n\xff"}))
    assert out.count("\n") == 1
    assert all(letter.isprintable() for letter in out.rstrip("\n"))


def test_event_itself_cannot_forge_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert written(monkeypatch, settings(), info("a\nb")).count("\n") == 1


def test_traceback_lines_are_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        try:
            raise ValueError("first\n2026-01-01T00:00:00Z error forged")
        except ValueError:
            logging.getLogger("pybroker.tasks").exception("background task crashed", extra={"task": "pump"})

    first, *rest = written(monkeypatch, settings(), fail).splitlines()
    assert "background task crashed task=pump" in first
    assert any("ValueError: first" in line for line in rest)
    assert all(line.startswith("  | ") for line in rest)


def test_standard_library_loggers_are_formatted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    out = written(monkeypatch, settings(), lambda: logging.getLogger("x").warning("took %d ms", 7))
    assert "warning  took 7 ms" in out


def test_level_cuts_what_is_below(monkeypatch: pytest.MonkeyPatch) -> None:
    out = written(monkeypatch, settings(level="error"), info("quiet"), lambda: logging.getLogger("x").error("loud"))
    assert "loud" in out
    assert "quiet" not in out


def test_level_changes_while_running(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with log.writing(settings(level="error"), "unused") as writer:
        info("before")()
        writer.set_level("console", "debug")
        info("after")()
    assert "before" not in stream.getvalue()
    assert "after" in stream.getvalue()


def test_connection_is_named_in_each_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def speak() -> None:
        log.connection_logger(ClientId("c1"), "192.0.2.1:5", ListenerId("tcp:default")).warning("odd")

    assert "odd clientid=c1 peer=192.0.2.1:5 listener=tcp:default" in written(monkeypatch, settings(), speak)


class StuckStream(io.StringIO):
    """A terminal that takes nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.is_free = threading.Event()

    def write(self, text: str) -> int:
        self.is_free.wait(30)
        return super().write(text)


def test_stuck_terminal_costs_lines_and_not_time(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = StuckStream()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(log, "QUEUE_LENGTH", 10)
    with log.writing(settings(), "unused") as writer:
        started = time.monotonic()
        for _ in range(1_000):
            info("flood")()
        elapsed = time.monotonic() - started
        dropped = writer.dropped
        stream.is_free.set()
    assert elapsed < 5
    assert dropped >= 1_000 - 10 - 1
    assert f"log lines dropped: {dropped}" in stream.getvalue()


def test_file_is_written_and_rotated(tmp_path: Path) -> None:
    chosen = LogSettings(
        console=LogConsole(enable=False),
        file=LogFile(enable=True, rotation_size=ByteSize(2_000), rotation_count=2),
    )
    with log.writing(chosen, str(tmp_path)):
        for number in range(100):
            info("line", number=number)()
    names = sorted(path.name for path in (tmp_path / "log").iterdir())
    assert names == ["pybroker.log", "pybroker.log.1", "pybroker.log.2"]
    assert "number=99" in (tmp_path / "log" / "pybroker.log").read_text()


def test_console_and_file_get_the_same_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    chosen = LogSettings(file=LogFile(enable=True, path=str(tmp_path / "x.log")))
    out = written(monkeypatch, chosen, info("both", clientid="c1"))
    assert "both clientid=c1" in out
    assert (tmp_path / "x.log").read_text() == out


def test_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("in the way")
    chosen = LogSettings(file=LogFile(enable=True))
    with pytest.raises(ConfigError, match="cannot be opened for writing: file exists") as caught:
        log.LogWriter(chosen, str(tmp_path))
    assert caught.value.path == "log.file.path"


def test_full_disk_is_silent() -> None:
    stream = io.StringIO()
    settings_file = LogSettings(console=LogConsole(enable=False), file=LogFile(enable=True, path="/dev/full"))
    original, sys.stderr = sys.stderr, stream
    try:
        with log.writing(settings_file, "unused"):
            info("lost")()
    finally:
        sys.stderr = original
    assert stream.getvalue() == ""


def test_logging_is_given_back_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    written(monkeypatch, settings(), info("once"))
    assert not any(type(handler).__module__ == "pybroker.log" for handler in logging.getLogger().handlers)
