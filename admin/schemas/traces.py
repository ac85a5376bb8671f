"""Traces: requests, replies, pieces of their files."""

from typing import Annotated, Any, Literal

import msgspec

from admin.schemas.body import Body
from pybroker.control.timestamp import parse_us, render_s
from pybroker.control.traces import TraceRecord, Traces
from pybroker.errors import Refused


class NamespaceQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The namespace that a global caller acts in."""

    ns: str | None = None


class CreateTrace(Body, frozen=True, kw_only=True):
    """What is to be traced: `type` names the field that must be given.

    Args:
        start_at: RFC 3339 or epoch; not given: now.
        end_at: likewise; not given: ten minutes after the start.
    """

    name: str
    type: Literal["clientid", "topic", "ip_address", "ruleid"]
    clientid: str | None = None
    topic: str | None = None
    ip_address: str | None = None
    ruleid: str | None = None
    start_at: str | int | None = None
    end_at: str | int | None = None
    payload_encode: Literal["text", "hex", "hidden"] = "text"
    payload_limit: Annotated[int, msgspec.Meta(ge=0, le=1 << 20)] = 1_024
    formatter: Literal["text", "json"] = "text"

    def record(self, namespace: str | None) -> TraceRecord:
        """Return what is to be stored.

        Raises:
            Refused: `BAD_REQUEST`: the field of the type is missing, or a time cannot be read; `INVALID_PARAMS`: there
                are no rules.
        """
        kind = self.type
        if kind == "ruleid":
            raise Refused("INVALID_PARAMS", "rules cannot be traced: the broker has no rule engine")
        value = getattr(self, kind)
        if value is None:
            raise Refused("BAD_REQUEST", f"field is missing: {kind}")
        return TraceRecord(
            name=self.name,
            kind=kind,
            value=value,
            starts_s=_seconds(self.start_at, "start_at"),
            ends_s=_seconds(self.end_at, "end_at"),
            payload_form=self.payload_encode,
            payload_limit=self.payload_limit,
            line_form=self.formatter,
            namespace=namespace,
        )


Trace = dict[str, Any]
"""A trace as shown: its condition stands under the name of its type."""


def render_trace(traces: Traces, record: TraceRecord, node: str) -> Trace:
    """Return a trace as shown."""
    return {
        "name": record.name,
        "type": record.kind,
        record.kind: record.value,
        "status": traces.state(record),
        "start_at": render_s(record.starts_s),
        "end_at": render_s(record.ends_s),
        "payload_encode": record.payload_form,
        "payload_limit": record.payload_limit,
        "formatter": record.line_form,
        "namespace": record.namespace,
        "log_size": {node: traces.file(record).size},
    }


class Stopped(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of the end of a trace."""

    name: str
    enable: bool = False


class LogQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which piece of a file."""

    node: str | None = None
    bytes: Annotated[int, msgspec.Meta(ge=1, le=0x7FFF_FFFF)] = 1_000
    position: str = "0"


class DownloadQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Of which node; not given: this one."""

    node: str | None = None


class LogMeta(msgspec.Struct, frozen=True, kw_only=True):
    """Where the next piece begins.

    Args:
        bytes: as asked for.
        hint: `eof`: the trace is over and nothing follows; `retry`: more may come.
    """

    position: str
    bytes: int
    hint: Literal["eof", "retry"] | msgspec.UnsetType = msgspec.UNSET


class Log(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a file."""

    meta: LogMeta
    items: str


class LogDetail(msgspec.Struct, frozen=True, kw_only=True):
    """The file of a node; `mtime` in wall seconds."""

    node: str
    size: int
    mtime: int


def _seconds(value: str | int | None, field: str) -> int:
    return 0 if value is None else parse_us(value, field) // 1_000_000
