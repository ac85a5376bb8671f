"""The schema of the configuration as a JSON Schema, for programs that draw forms from it.

Nothing of what is configured stands in it: only names, types, defaults and texts of the schema.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, get_args, get_origin

from pybroker.config.inert import reason_of
from pybroker.config.keys import QUANTITIES, Key, Section, keys_of
from pybroker.config.render import render_value
from pybroker.config.schema import Config

_PLAIN: Mapping[Any, str] = {bool: "boolean", int: "integer", float: "number", str: "string"}


@cache
def describe(excluded: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the whole schema but for some roots; made once, not to be changed."""
    described = _section(Config, "")
    kept = {name: value for name, value in described["properties"].items() if name not in excluded}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **described, "properties": kept}


def _section(kind: type[Section], path: str) -> dict[str, Any]:
    text = (kind.__doc__ or "").strip().splitlines()[0]
    keys = {key.name: _key(key, f"{path}.{key.name}" if path else key.name) for key in keys_of(kind)}
    required = [key.name for key in keys_of(kind) if key.is_required]
    described = {"type": "object", "description": text, "properties": keys, "additionalProperties": False}
    return {**described, "required": required} if required else described


def _key(key: Key, path: str) -> dict[str, Any]:
    below = _below(key, path)
    notes: dict[str, Any] = {"description": key.description}
    if key.rules.needs_restart:
        notes["x-needs-restart"] = True
    if key.rules.is_secret:
        notes["writeOnly"] = True
    reason = reason_of(path)
    if reason is not None:
        notes["x-without-effect"] = reason
    if key.shape == "leaf":
        notes["x-allowed"] = key.allowed
        if not key.is_required:
            notes["default"] = render_value(key, key.default, masks_secrets=True)
    return {**below, **notes}


def _below(key: Key, path: str) -> dict[str, Any]:
    if key.shape == "variants":
        kinds = key.rules.variants.values() if key.rules.variants else (key.section,)
        kinds_below = [_section(kind, path) for kind in kinds if kind is not None]
        items = kinds_below[0] if len(kinds_below) == 1 else {"oneOf": kinds_below}
        return {"type": "array", "items": items}
    if key.section is None:
        return _type(key)
    section = _section(key.section, f"{path}.NAME" if key.shape == "named" else path)
    return {"type": "object", "additionalProperties": section} if key.shape == "named" else section


def _type(key: Key) -> dict[str, Any]:
    """Return the type of one value; words such as `infinity` stand beside it."""
    described = _type_of(key.value_type)
    word = key.rules.word
    return described if word is None else {"anyOf": [described, {"const": word}]}


def _type_of(annotation: Any) -> dict[str, Any]:
    if annotation in _PLAIN:
        return {"type": _PLAIN[annotation]}
    if annotation in QUANTITIES:
        return {"type": ["string", "number"]}
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is tuple:
        return {"type": "array", "items": _type_of(arguments[0])}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _type_of(arguments[1])}
    return {"anyOf": [_type_of(member) for member in arguments]} if arguments else {}
