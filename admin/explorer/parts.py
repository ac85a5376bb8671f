"""Parts of the API description: the operations of one tag, one operation, or all of them as Markdown.

A part is a document of its own: it has the schemas that its operations refer to, and no others.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from admin.table import BASE

Operation = dict[str, Any]

_REFERENCE = re.compile(r'"#/components/schemas/([^"]+)"')


def part_of(document: dict[str, Any], tag: str, name: str | None = None) -> dict[str, Any] | None:
    """Return the operations of a tag, or the one of them whose `operationId` is `name`; `None`: there is none.

    Args:
        document: the whole description.
        tag: in any case.
        name: `None`: all of the tag.
    """

    def fits(operation: Operation) -> bool:
        is_tagged = tag.lower() in (one.lower() for one in operation["tags"])
        return is_tagged and name in (None, operation["operationId"])

    paths = _paths_of(document, fits)
    if not paths:
        return None
    tags = [one for one in document["tags"] if one["name"].lower() == tag.lower()]
    schemas = _schemas_of(document["components"]["schemas"], paths)
    return {
        **document,
        "tags": tags,
        "paths": paths,
        "components": {**document["components"], "schemas": schemas},
    }


def render_markdown(document: dict[str, Any]) -> str:
    """Return a list of all operations, by tag."""
    lines = [f"# {document['info']['title']} {document['info']['version']}"]
    for tag in document["tags"]:
        lines += ["", f"## {tag['name']}", ""]
        for path, operations in document["paths"].items():
            lines += [
                f"* `{method.upper()} {BASE}{path}`: {operation['summary']} (`{operation['operationId']}`)"
                for method, operation in operations.items()
                if tag["name"] in operation["tags"]
            ]
    return "\n".join(lines) + "\n"


def _paths_of(document: dict[str, Any], fits: Callable[[Operation], bool]) -> dict[str, dict[str, Operation]]:
    kept: dict[str, dict[str, Operation]] = {}
    for path, operations in document["paths"].items():
        found = {method: operation for method, operation in operations.items() if fits(operation)}
        if found:
            kept[path] = found
    return kept


def _schemas_of(schemas: dict[str, Any], paths: object) -> dict[str, Any]:
    """Return the schemas that something refers to, and those that they refer to."""
    kept: dict[str, Any] = {}
    waiting = _REFERENCE.findall(json.dumps(paths))
    while waiting:
        name = waiting.pop()
        if name not in kept:
            kept[name] = schemas[name]
            waiting += _REFERENCE.findall(json.dumps(schemas[name]))
    return kept
