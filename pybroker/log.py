"""Structured logs that never make the event loop wait.

The loop only puts a record into a bounded queue; a thread formats and writes it. When a terminal or disk is too slow
the queue fills, further records are dropped and counted, and the count is logged once there is room. Values come from
clients: control characters are escaped, so that one record is always one line.
"""

import json
import logging
import queue
import sys
import threading
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from logging.handlers import QueueHandler, RotatingFileHandler
from pathlib import Path
from typing import Any, TextIO

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.types import EventDict, Processor

from pybroker.config.schema import LogConsole, LogFile, LogSettings
from pybroker.errors import ConfigError
from pybroker.types import ClientId, ListenerId

# About 5 MB of waiting records at most, and seconds of patience for a slow disk at 1,000 lines a second.
QUEUE_LENGTH = 10_000
"""Records that wait for the writing thread before further ones are dropped."""

_STOP_TIMEOUT_S = 2.0

# Levels of EMQX that the standard library does not have are written as the next one below.
_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "notice": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
    "alert": logging.CRITICAL,
    "emergency": logging.CRITICAL,
}

# Controls, and the characters that reverse or break the line on a terminal: C0, DEL, C1, U+2028/9, bidi controls.
_UNSAFE = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
_UNSAFE |= {code: f"\\u{code:04x}" for code in (0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xFEFF)}
_UNSAFE |= {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}
_UNSAFE_IN_TRACE = {code: text for code, text in _UNSAFE.items() if code != ord("\n")}


def connection_logger(client_id: ClientId, peer: str, listener: ListenerId) -> structlog.stdlib.BoundLogger:
    """Return a logger whose lines all name one connection.

    Args:
        client_id: as the broker uses it.
        peer: address and port, such as `192.0.2.7:51234`.
        listener: such as `tcp:default`.
    """
    logger: structlog.stdlib.BoundLogger = structlog.get_logger("pybroker.connection")
    return logger.bind(clientid=client_id, peer=peer, listener=listener)


def escape(text: str) -> str:
    """Return text without any character that could end, hide or reorder a log line."""
    return text.translate(_UNSAFE).encode("utf-8", "backslashreplace").decode("utf-8")


@contextmanager
def writing(settings: LogSettings, data_dir: str) -> Iterator["LogWriter"]:
    """Send every log line of the process where `settings` says, until the block ends; then write what waits.

    Raises:
        ConfigError: the log file cannot be opened.
    """
    writer = LogWriter(settings, data_dir)
    writer.start()
    try:
        yield writer
    finally:
        writer.stop()


class LogWriter:
    """The queue, the thread behind it, and the places it writes to.

    Args:
        settings: what to write where; levels may be changed later by `set_level`.
        data_dir: folder of the log file if `settings` names none.

    Raises:
        ConfigError: the log file cannot be opened.
    """

    def __init__(self, settings: LogSettings, data_dir: str) -> None:
        self._targets: dict[str, logging.Handler] = {}
        if settings.console.enable:
            self._targets["console"] = _prepared(_Console(sys.stderr), settings.console)
        if settings.file.enable:
            self._targets["file"] = _prepared(_open_file(settings.file, data_dir), settings.file)
        self._queue: queue.Queue[logging.LogRecord | None] = queue.Queue(QUEUE_LENGTH)
        self._handler = _DroppingHandler(self._queue)
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)

    @property
    def dropped(self) -> int:
        """Return how many records were dropped because the queue was full."""
        return self._handler.dropped

    def start(self) -> None:
        """Take over the root logger and begin to write."""
        structlog.configure(
            processors=[structlog.contextvars.merge_contextvars, *_CHAIN, ProcessorFormatter.wrap_for_formatter],
            wrapper_class=structlog.stdlib.BoundLogger,
            logger_factory=structlog.stdlib.LoggerFactory(),
            cache_logger_on_first_use=False,
        )
        logging.getLogger().handlers[:] = [self._handler]
        # A line for each request to an access service would drown everything else; failures are told by who asks.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        self._apply_levels()
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, for two seconds at most, and give the root logger back. A stuck terminal is left behind."""
        root = logging.getLogger()
        if self._handler in root.handlers:
            root.removeHandler(self._handler)
        try:
            self._queue.put(None, timeout=_STOP_TIMEOUT_S)
        except queue.Full:
            return
        self._thread.join(_STOP_TIMEOUT_S)
        if not self._thread.is_alive():
            for target in self._targets.values():
                # What a full disk did not take before it does not take now.
                with suppress(OSError):
                    target.close()

    def set_level(self, target: str, level: str) -> None:
        """Change the least level of `console` or `file` from the next line on.

        Raises:
            KeyError: no such target is open, or no such level.
        """
        self._targets[target].setLevel(_LEVELS[level])
        self._apply_levels()

    def _apply_levels(self) -> None:
        levels = [target.level for target in self._targets.values()]
        logging.getLogger().setLevel(min(levels, default=logging.CRITICAL + 1))

    def _write_all(self) -> None:
        reported = 0
        while (record := self._queue.get()) is not None:
            self._write(record)
            lost = self._handler.dropped - reported
            if lost and self._queue.qsize() < QUEUE_LENGTH // 2:
                reported += lost
                notice = {"name": __name__, "levelno": logging.WARNING, "levelname": "WARNING"}
                self._write(logging.makeLogRecord({**notice, "msg": "log lines dropped: %d", "args": (lost,)}))

    def _write(self, record: logging.LogRecord) -> None:
        for target in self._targets.values():
            if record.levelno >= target.level:
                target.handle(record)


class _DroppingHandler(QueueHandler):
    """The loop's end of the queue: never waits and never formats."""

    def __init__(self, waiting: queue.Queue[logging.LogRecord | None]) -> None:
        super().__init__(waiting)
        self._waiting = waiting
        self.dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self._waiting.put_nowait(record)
        except queue.Full:
            self.dropped += 1


class _Console(logging.StreamHandler[TextIO]):
    """The standard error stream; a line that cannot be written is dropped without a word."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - name of the standard library
        pass


class _File(RotatingFileHandler):
    """The log file; on a full disk lines are dropped without a traceback for each, and the next one is tried again."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - name of the standard library
        pass


def _prepared(target: logging.Handler, settings: LogConsole | LogFile) -> logging.Handler:
    renderer: Processor = _render_json if settings.formatter == "json" else _render_text
    target.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[*_CHAIN, structlog.stdlib.ExtraAdder()],
            processors=[
                ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    target.setLevel(_LEVELS[settings.level])
    return target


def _open_file(settings: LogFile, data_dir: str) -> logging.Handler:
    path = Path(settings.path) if settings.path else Path(data_dir, "log", "pybroker.log")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _File(
            path,
            maxBytes=settings.rotation_size or 0,
            backupCount=settings.rotation_count,
            encoding="utf-8",
            errors="backslashreplace",
        )
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError("log.file.path", f"{str(path)!r} cannot be opened for writing: {reason}") from None


def _add_level(logger: Any, method: str, event: EventDict) -> EventDict:
    event["level"] = {"warn": "warning", "exception": "error"}.get(method, method)
    return event


_CHAIN: tuple[Processor, ...] = (
    structlog.stdlib.add_logger_name,
    _add_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def _render_json(logger: Any, method: str, event: EventDict) -> str:
    first = {name: event.pop(name) for name in ("timestamp", "level", "logger", "event") if name in event}
    # Everything beyond printable ASCII leaves as \\u escapes: lossless, and nothing a terminal could obey.
    return json.dumps({**first, **event}, default=_show).replace("\x7f", "\\u007f")


def _render_text(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
    head = f"{event.pop('timestamp')} {event.pop('level'):<8} {escape(str(event.pop('event')))}"
    event.pop("logger", None)
    trace = event.pop("exception", None)
    line = " ".join([head, *(f"{escape(name)}={_show_value(value)}" for name, value in event.items())])
    if trace is None:
        return line
    # The bar marks what belongs to the record, whatever line breaks the text of an exception holds.
    return line + "".join(f"\n  | {part}" for part in str(trace).translate(_UNSAFE_IN_TRACE).split("\n"))


def _show_value(value: object) -> str:
    text = escape(value if isinstance(value, str) else _show(value))
    return json.dumps(text, ensure_ascii=False).replace("\\\\", "\\") if not text or set(text) & set(' "=') else text


def _show(value: object) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, default=str)
    return str(value)
