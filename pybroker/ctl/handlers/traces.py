"""Commands about traces."""

from typing import Any, Literal

from admin.schemas.traces import CreateTrace, Trace, render_trace
from pybroker.control.door import Control
from pybroker.ctl.handlers.access import OPERATOR
from pybroker.errors import Refused

_LOG_BYTES = 1 << 20
_MAX_S = 30 * 86_400


async def list_traces(control: Control) -> list[Trace]:
    """Return every trace, newest first."""
    traces = control.traces
    return [render_trace(traces, record, control.nodes.name) for record in traces.visible(OPERATOR)]


async def start_trace(
    control: Control, name: str, value: str, duration_s: int, payload: Literal["text", "hex", "hidden"], **rest: Any
) -> Trace:
    """Begin a trace."""
    if not 1 <= duration_s <= _MAX_S:
        raise Refused("BAD_REQUEST", f"duration_s must be 1 to {_MAX_S}: {duration_s}")
    condition: dict[str, Any] = {"type": rest["type"], rest["type"]: value}
    body = CreateTrace(name=name, end_at=control.clock.wall_s() + duration_s, payload_encode=payload, **condition)
    made = await control.traces.create(OPERATOR, body.record(None))
    return render_trace(control.traces, made, control.nodes.name)


async def stop_trace(control: Control, name: str) -> None:
    """End a trace; its file stays."""
    await control.traces.stop(OPERATOR, name)


async def delete_trace(control: Control, name: str) -> None:
    """Delete a trace with its file."""
    await control.traces.remove(OPERATOR, name)


async def show_log(control: Control, name: str) -> str:
    """Return what was traced, at most its first MiB."""
    traces = control.traces
    return (await traces.read(traces.find(OPERATOR, name), "0", _LOG_BYTES)).text


HANDLERS: dict[str, Any] = {
    "traces list": list_traces,
    "traces start": start_trace,
    "traces stop": stop_trace,
    "traces delete": delete_trace,
    "traces log": show_log,
}
