"""Commands about the broker itself: state, listeners, logs, connection quota, configuration and the audit log."""

import asyncio
from typing import Any

from admin.schemas.licence import HighWatermark, LicenceInfo
from admin.schemas.listeners import ListenerStatus
from admin.schemas.nodes import NodeInfo
from pybroker.control.audit_chain import AuditVerdict
from pybroker.control.configs import ROOTS, parse_hocon
from pybroker.control.door import Control
from pybroker.control.licence import Period
from pybroker.control.timestamp import render_s
from pybroker.errors import ConfigError, Refused

_TARGETS = ("console", "file")


async def show_status(control: Control) -> dict[str, Any]:
    """Return whether the broker runs, and how busy it is."""
    node = control.nodes.describe()
    return {
        "node": node.name,
        "version": node.version,
        "status": "running" if control.about.is_running() else "starting",
        "uptime_s": node.uptime_ms // 1_000,
        "sessions": node.sessions,
        "connections": node.connections,
    }


async def show_node(control: Control) -> NodeInfo:
    """Return what the broker is."""
    return NodeInfo.of(control.nodes.describe())


async def show_stats(control: Control) -> dict[str, int]:
    """Return its levels."""
    return control.statistics.stats()


async def show_metrics(control: Control) -> dict[str, int]:
    """Return its counters."""
    return control.statistics.metrics()


async def list_listeners(control: Control) -> list[dict[str, Any]]:
    """Return every listener."""
    rows = []
    for view in control.listeners.listed():
        status = ListenerStatus.of(view)
        rows.append(
            {
                "id": view.id,
                "bind": str(view.settings["bind"]),
                "enable": view.settings["enable"],
                "running": status.running,
                "current_connections": status.current_connections,
                "max_connections": status.max_connections,
            }
        )
    return rows


async def start_listener(control: Control, listener: str) -> None:
    """Open a listener."""
    await control.listeners.start(listener)


async def stop_listener(control: Control, listener: str) -> None:
    """Close a listener."""
    await control.listeners.stop(listener)


async def restart_listener(control: Control, listener: str) -> None:
    """Close a listener and open it again."""
    await control.listeners.restart(listener)


async def enable_listener(control: Control, listener: str, enable: str) -> None:
    """Open or close a listener."""
    await (control.listeners.start(listener) if enable == "true" else control.listeners.stop(listener))


async def show_log(control: Control) -> list[dict[str, Any]]:
    """Return where log lines go."""
    shown = control.configs.show("log")
    return [{"id": name, "enable": shown[name]["enable"], "level": shown[name]["level"]} for name in _TARGETS]


async def set_log_level(control: Control, level: str, target: str | None) -> None:
    """Set the level of one target, or of all."""
    await control.configs.update({"log": {name: {"level": level} for name in _TARGETS if target in (None, name)}})


async def show_licence(control: Control) -> LicenceInfo:
    """Return the quota."""
    return LicenceInfo.of(control.licence.quota)


async def use_licence_key(control: Control, key: str) -> LicenceInfo:
    """Take the key that changes nothing."""
    control.licence.use_key(key)
    return LicenceInfo.of(control.licence.quota)


async def list_peaks(control: Control, limit: int | None, period: Period) -> list[HighWatermark]:
    """Return the most sessions of days or months."""
    return [
        HighWatermark(period=peak.period, high_watermark=peak.sessions, observed_at=render_s(peak.observed_s))
        for peak in control.licence.peaks(period, limit)
    ]


async def show_configuration(control: Control, key: str | None) -> object:
    """Return the configuration, or a part of it."""
    found: Any = control.configs.show()
    for name in key.split(".") if key else ():
        if not isinstance(found, dict) or name not in found:
            raise Refused("NOT_FOUND", f"no such configuration: {key!r}")
        found = found[name]
    return found


async def list_roots(control: Control) -> list[str]:
    """Return the top-level keys."""
    return list(ROOTS)


async def load_configuration(control: Control, path: str, replace: bool, merge: bool) -> dict[str, Any]:
    """Put a text of HOCON over the configuration; `path` is the text, as the command line has read it."""
    if replace and merge:
        raise Refused("BAD_REQUEST", "replace and merge exclude each other")
    change = await asyncio.to_thread(parse_hocon, path.encode())
    try:
        patched = await control.configs.update(change, replaced=tuple(change) if replace else ())
    except ConfigError as error:
        raise Refused("UPDATE_FAILED", str(error)) from None
    return {"changed": patched.changed, "needs_restart": patched.needs_restart}


async def reload_configuration(control: Control) -> dict[str, Any]:
    """Read files and environment again."""
    try:
        patched = await control.configs.reload()
    except ConfigError as error:
        raise Refused("UPDATE_FAILED", str(error)) from None
    return {"changed": patched.changed, "needs_restart": patched.needs_restart}


async def verify_audit(control: Control) -> AuditVerdict:
    """Check the chain of the audit log."""
    return await control.audit.verify()


HANDLERS: dict[str, Any] = {
    "status": show_status,
    "broker": show_node,
    "broker stats": show_stats,
    "broker metrics": show_metrics,
    "listeners": list_listeners,
    "listeners start": start_listener,
    "listeners stop": stop_listener,
    "listeners restart": restart_listener,
    "listeners enable": enable_listener,
    "log": show_log,
    "log level": set_log_level,
    "license info": show_licence,
    "license update": use_licence_key,
    "license history": list_peaks,
    "conf show": show_configuration,
    "conf show_keys": list_roots,
    "conf load": load_configuration,
    "conf reload": reload_configuration,
    "audit verify": verify_audit,
}
