"""The configuration: shown and changed as a whole, or one root at a time."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec
from starlette.responses import PlainTextResponse, Response

from admin.middleware.errors import ApiError, json_response
from admin.schemas.configs import Changed, ConfigQuery, ConfigUpdateQuery, ResetQuery
from admin.table import DENIED, Access, Call, NoBody, NoQuery, Raw, Row, Text
from pybroker.control.configs import READ_ONLY, ROOTS, parse_hocon
from pybroker.errors import ConfigError, Refused

GLOBAL_ZONE = ("mqtt", "flapping_detect")
"""Roots that EMQX shows as its global zone."""

_RESTART = "x-needs-restart"
_TEXT = Text(("text/plain", "application/json"))


async def show_configs(call: Call[NoBody, ConfigQuery]) -> Response:
    """Return the configuration, as HOCON unless JSON is asked for; secrets are masked."""
    configs, key = call.control.configs, call.query.key
    accept = call.headers.get("accept", "*/*")
    if key is not None and key not in ROOTS:
        raise Refused("NOT_FOUND", f"no such configuration: {key!r}")
    values = configs.show() if key is None else {key: configs.show(key)}
    if "application/json" in accept:
        return json_response(values)
    if "text/plain" in accept or "*/*" in accept or "text/*" in accept:
        # JSON is HOCON.
        return PlainTextResponse(msgspec.json.format(msgspec.json.encode(values), indent=2))
    raise Refused("INVALID_ACCEPT", f"accept must be text/plain or application/json: {accept!r}")


async def update_configs(call: Call[bytes, ConfigUpdateQuery]) -> Response:
    """Change the configuration; sent as HOCON or JSON."""
    change = await asyncio.to_thread(parse_hocon, call.body)
    if call.query.ignore_readonly:
        change = {name: value for name, value in change.items() if name not in READ_ONLY}
    replaced = tuple(change) if call.query.mode == "replace" else ()
    before = call.control.configs.show()
    try:
        patched = await call.control.configs.update(change, replaced=replaced)
    except ConfigError as error:
        raise ApiError(400, "BAD_REQUEST", str(error), {"errors": _by_path(error)}) from None
    after = call.control.configs.show()
    call.note_change({name: before.get(name) for name in change}, {name: after.get(name) for name in change})
    headers = {_RESTART: ", ".join(patched.needs_restart)} if patched.needs_restart else {}
    if "application/json" in call.headers.get("accept", ""):
        return json_response(Changed(changed=patched.changed, needs_restart=patched.needs_restart), 200, headers)
    return Response(headers=headers)


async def show_root(call: Call[NoBody, NoQuery]) -> dict[str, Any]:
    """Return one root; secrets are masked."""
    return call.control.configs.show(call.params["root"])


async def change_root(call: Call[dict[str, Any], NoQuery]) -> Response:
    """Change one root; what is not sent stays."""
    call.control.configs.show(call.params["root"])
    return json_response(await update_root(call, call.params["root"]))


async def show_global_zone(call: Call[NoBody, NoQuery]) -> dict[str, Any]:
    """Return what holds for every zone."""
    return {root: call.control.configs.show(root) for root in GLOBAL_ZONE}


async def change_global_zone(call: Call[dict[str, Any], NoQuery]) -> dict[str, Any]:
    """Change what holds for every zone."""
    if unknown := set(call.body) - set(GLOBAL_ZONE):
        raise Refused("UPDATE_FAILED", f"not part of a zone: {', '.join(sorted(unknown))}")
    before = {root: call.control.configs.show(root) for root in GLOBAL_ZONE}
    await _update(call, call.body)
    after = {root: call.control.configs.show(root) for root in GLOBAL_ZONE}
    call.note_change(before, after)
    return after


async def show_schema(call: Call[NoBody, NoQuery]) -> dict[str, Any]:
    """Return the schema of the configuration, whatever is configured."""
    return call.control.configs.schema(call.params["name"])


async def reset_root(call: Call[NoBody, ResetQuery]) -> Response:
    """Take a root, or one key of it, back to its default."""
    root, path = call.params["root"], call.query.conf_path
    call.control.configs.show(root)
    if root == "listeners":
        raise Refused("NO_DEFAULT_VALUE", "listeners have no default; change or delete each by itself")
    names = [root, *path.split(".")] if path else [root]
    before = call.control.configs.show(root)
    try:
        await call.control.configs.update(_nested(names, None))
    except ConfigError as error:
        code = "NO_DEFAULT_VALUE" if "unknown key" in str(error) or "must be set" in str(error) else "RESET_FAILED"
        raise Refused(code, str(error)) from None
    call.note_change(before, call.control.configs.show(root))
    return Response()


async def update_root(call: Call[dict[str, Any], NoQuery], root: str) -> dict[str, Any]:
    """Put what a call has sent over one root; return the root as it is then.

    Raises:
        Refused: `UPDATE_FAILED`.
    """
    before = call.control.configs.show(root)
    await _update(call, {root: call.body})
    after = call.control.configs.show(root)
    call.note_change(before, after)
    return after


async def _update(call: Call[dict[str, Any], NoQuery], change: Mapping[str, Any]) -> None:
    try:
        await call.control.configs.update(change)
    except ConfigError as error:
        raise Refused("UPDATE_FAILED", str(error)) from None


def _nested(names: list[str], value: object) -> dict[str, Any]:
    tree: Any = value
    for name in reversed(names):
        tree = {name: tree}
    nested: dict[str, Any] = tree
    return nested


def _by_path(error: ConfigError) -> dict[str, str]:
    return {problem.path: problem.message for problem in error.problems}


_row = partial(Row, tag="Configuration", scope="system")
_get = partial(_row, method="GET", request=NoBody, status=200, access=Access.READER, audit="never")
_put = partial(_row, method="PUT", status=200, access=Access.ADMINISTRATOR, audit="always")

ROWS = (
    _get(
        path="/configs",
        handler=show_configs,
        summary="Show the configuration",
        query=ConfigQuery,
        reply=Raw("text/plain"),
        errors=("INVALID_ACCEPT", "NOT_FOUND"),
    ),
    _put(
        path="/configs",
        handler=update_configs,
        summary="Change the configuration",
        request=_TEXT,
        query=ConfigUpdateQuery,
        reply=Changed,
        errors=("BAD_REQUEST", "UPDATE_FAILED"),
    ),
    _get(
        path="/configs/global_zone",
        handler=show_global_zone,
        summary="Show what holds for every zone",
        query=NoQuery,
        reply=dict[str, Any],
        errors=(),
    ),
    _put(
        path="/configs/global_zone",
        handler=change_global_zone,
        summary="Change what holds for every zone",
        request=dict[str, Any],
        query=NoQuery,
        reply=dict[str, Any],
        errors=("UPDATE_FAILED",),
    ),
    _get(
        path="/configs/:root",
        handler=show_root,
        summary="Show one root of the configuration",
        query=NoQuery,
        reply=dict[str, Any],
        errors=("NOT_FOUND",),
    ),
    _put(
        path="/configs/:root",
        handler=change_root,
        summary="Change one root of the configuration",
        request=dict[str, Any],
        query=NoQuery,
        reply=dict[str, Any],
        errors=("NOT_FOUND", "UPDATE_FAILED"),
    ),
    _get(
        path="/schemas/:name",
        handler=show_schema,
        summary="Show the schema of the configuration",
        query=NoQuery,
        reply=dict[str, Any],
        access=Access.OPEN,
        scope=DENIED,
        errors=("NOT_FOUND",),
    ),
    _row(
        method="POST",
        path="/configs_reset/:root",
        handler=reset_root,
        summary="Take configuration back to its defaults",
        request=NoBody,
        query=ResetQuery,
        reply=None,
        status=200,
        access=Access.ADMINISTRATOR,
        audit="always",
        errors=("NOT_FOUND", "NO_DEFAULT_VALUE", "RESET_FAILED", "UPDATE_FAILED"),
    ),
)
