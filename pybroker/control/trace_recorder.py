"""From what happens to clients to the files of traces.

While nothing is traced the recorder listens to nothing and the core records nothing. The loop only collects; a thread
takes what the core has kept, renders and writes it, so that no trace of any size keeps a client waiting.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import msgspec
import structlog

from pybroker._core import topic_matches
from pybroker.clock import Clock
from pybroker.control.plane import Plane
from pybroker.control.trace_file import TraceFile
from pybroker.control.trace_line import LineForm, PayloadForm, TraceEvent, render
from pybroker.events import Client, Departure, Refusal, Subscribed, Unsubscribed
from pybroker.ports import Applicant

logger = structlog.get_logger(__name__)

TraceKind = Literal["clientid", "topic", "ip_address"]

_TAKE = 1_000
_MAX_EVENTS = 10_000


class TraceTarget(msgspec.Struct, frozen=True, kw_only=True):
    """A trace that runs.

    Args:
        value: client id, filter over topics as routed, or address.
        namespace: only its clients are traced; `None`: all.
    """

    name: str
    kind: TraceKind
    value: str
    namespace: str | None
    payload_form: PayloadForm
    payload_limit: int
    line_form: LineForm
    path: Path

    def wants(self, event: TraceEvent) -> bool:
        """Return whether an event belongs into the trace."""
        if self.namespace is not None and event.namespace != self.namespace:
            return False
        if self.kind == "clientid":
            return event.client_id == self.value
        if self.kind == "ip_address":
            return event.peer.rpartition(":")[0].strip("[]") == self.value
        return event.topic is not None and topic_matches(self.value, event.topic)


class TraceRecorder:
    """Writer of all traces that run.

    Args:
        plane: tells what happens.
        clock: tells the time.
        is_full: told of a trace whose file has reached its size; called from a thread.
    """

    def __init__(self, plane: Plane, clock: Clock, is_full: Callable[[str], None]) -> None:
        self._engine = plane.engine
        self._events = plane.events
        self._clock = clock
        self._is_full = is_full
        self._thread = ThreadPoolExecutor(1, "trace")
        self._targets: tuple[TraceTarget, ...] = ()
        self._collected: list[TraceEvent] = []
        self._lost = 0
        self.max_file_bytes = 0

    def record(self, targets: Sequence[TraceTarget]) -> None:
        """Record for these traces from now on and for no others."""
        if tuple(targets) == self._targets:
            return
        had, self._targets = bool(self._targets), tuple(targets)
        by_kind = {
            kind: [one.value for one in targets if one.kind == kind] for kind in ("clientid", "ip_address", "topic")
        }
        most = max((one.payload_limit for one in targets), default=0)
        self._engine.set_traces(by_kind["clientid"], by_kind["ip_address"], by_kind["topic"], most)
        if had != bool(targets):
            self._listen(is_on=bool(targets))

    async def flush(self) -> None:
        """Write what has happened so far."""
        if self._targets:
            collected, self._collected = self._collected, []
            lost, self._lost = self._lost, 0
            await self.run_in_thread(self._write, collected, lost, self._targets)

    async def run_in_thread(self, work: Callable[..., Any], *arguments: object) -> Any:
        """Run work on files in the thread that writes them, in its turn."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def close(self) -> None:
        """Finish what is being written and listen no more."""
        self.record(())
        self._thread.shutdown()

    def _listen(self, *, is_on: bool) -> None:
        events = self._events
        pairs: list[tuple[Any, Callable[[Any], None]]] = [
            (events.client_admitted, self._on_admitted),
            (events.client_refused, self._on_refused),
            (events.client_disconnected, self._on_disconnected),
            (events.client_subscribed, self._on_subscribed),
            (events.client_unsubscribed, self._on_unsubscribed),
            (events.subscription_denied, self._on_denied),
        ]
        for signal, listener in pairs:
            if is_on:
                signal.listen(listener)
            else:
                signal.unlisten(listener)

    def _collect(
        self, client: Applicant | Client, tag: str, message: str, topic: str | None = None, **fields: str | int
    ) -> None:
        if len(self._collected) >= _MAX_EVENTS:
            self._lost += 1
            return
        mounted = None if topic is None else client.mountpoint + topic
        self._collected.append(
            TraceEvent(
                self._clock.wall_ms(), tag, message, client.client_id, client.peer, client.namespace, mounted, fields
            )
        )

    def _on_admitted(self, applicant: Applicant) -> None:
        self._collect(
            applicant,
            "CONNECT",
            "client_connected",
            username=applicant.username or "",
            proto_ver=applicant.version,
            keepalive=applicant.keep_alive_s,
            clean_start=int(applicant.is_clean_start),
        )

    def _on_refused(self, refusal: Refusal) -> None:
        applicant = refusal.applicant
        self._collect(
            applicant,
            "CONNECT",
            "client_refused",
            username=applicant.username or "",
            proto_ver=applicant.version,
            reason_code=refusal.reason,
        )

    def _on_disconnected(self, departure: Departure) -> None:
        self._collect(
            departure.client,
            "DISCONNECT",
            "client_disconnected",
            reason=departure.cause,
            reason_code=departure.reason,
        )

    def _on_subscribed(self, subscribed: Subscribed) -> None:
        self._collect(
            subscribed.client, "SUBSCRIBE", "subscribed", filter=subscribed.filter, options=subscribed.options
        )

    def _on_unsubscribed(self, unsubscribed: Unsubscribed) -> None:
        self._collect(unsubscribed.client, "UNSUBSCRIBE", "unsubscribed", filter=unsubscribed.filter)

    def _on_denied(self, client: Client) -> None:
        self._collect(client, "SUBSCRIBE", "subscription_denied")

    def _write(self, collected: list[TraceEvent], lost: int, targets: tuple[TraceTarget, ...]) -> None:
        """Take what the core has kept, and write everything in the order of its time."""
        while True:
            rows, missed = self._engine.take_traces(_TAKE)
            lost += missed
            events = sorted([*collected, *map(_event, rows)], key=lambda event: event.time_ms)
            collected = []
            for target in targets:
                self._append(target, [event for event in events if target.wants(event)], lost)
            lost = 0
            if len(rows) < _TAKE:
                return

    def _append(self, target: TraceTarget, events: list[TraceEvent], lost: int) -> None:
        lines = [render(event, target.line_form, target.payload_form, target.payload_limit) for event in events]
        if lost:
            told = TraceEvent(self._clock.wall_ms(), "TRACE", "records_lost", "", "", None, None, {"count": lost})
            lines.append(render(told, target.line_form, "hidden", 0))
        if not lines:
            return
        try:
            if TraceFile(target.path).append(lines, self.max_file_bytes):
                return
        except OSError as error:
            logger.error("trace_not_written", trace=target.name, reason=str(error))
        self._is_full(target.name)


def _event(row: Mapping[str, Any]) -> TraceEvent:
    """Return a record of the core as an event."""
    fields: dict[str, str | int] = {}
    is_publish = row["topic"] is not None
    if is_publish:
        fields = {"qos": row["qos"], "retain": int(row["is_retain"]), "dup": int(row["is_dup"])}
    if row["packet_id"]:
        fields["packet_id"] = row["packet_id"]
    if row["reason"]:
        fields["reason_code"] = row["reason"]
    return TraceEvent(
        row["time_ms"],
        row["packet"],
        "delivered" if row["is_delivery"] else "received",
        row["client_id"],
        row["peer"],
        row["namespace"],
        row["topic"],
        fields,
        row["payload"] if is_publish else None,
        row["payload_bytes"],
    )
