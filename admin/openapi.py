"""The description of the API: OpenAPI 3.0, made from the route table and the structs of its rows."""

from collections.abc import Iterable
from typing import Any

import msgspec

from admin.codes import CODES
from admin.table import BASE, Access, NoBody, Raw, Row, Text, by_path

_SCHEMAS = "#/components/schemas/{name}"


class Error(msgspec.Struct, frozen=True, kw_only=True):
    """Body of every refusal; `message` is a text, or an object where programs read it."""

    code: str
    message: str | dict[str, Any]


def build_document(rows: Iterable[Row], version: str) -> dict[str, Any]:
    """Return the whole document.

    Args:
        rows: the route table.
        version: of the program.
    """
    ordered = [row for _, group in by_path(rows) for row in group]
    bodies = [row.request for row in ordered if row.request is not NoBody and not isinstance(row.request, Text)]
    replies = [row.reply for row in ordered if row.reply is not None and not isinstance(row.reply, Raw)]
    replies += [kind for row in ordered for kind in row.others.values()]
    kinds = [*bodies, *replies, Error]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_SCHEMAS)
    by_kind = {repr(kind): _lower(schema) for kind, schema in zip(kinds, schemas, strict=True)}
    paths: dict[str, Any] = {}
    for row in ordered:
        paths.setdefault(_template(row.path), {})[row.method.lower()] = _operation(row, by_kind)
    return {
        "openapi": "3.0.0",
        "info": {"title": "pybroker API", "version": version},
        "servers": [{"url": BASE}],
        "tags": [{"name": tag} for tag in sorted({row.tag for row in ordered})],
        "paths": paths,
        "components": {
            "schemas": _lower(components),
            "securitySchemes": {
                "bearerAuth": {"type": "http", "scheme": "bearer"},
                "basicAuth": {"type": "http", "scheme": "basic"},
            },
        },
    }


def _operation(row: Row, by_kind: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": row.operation_id,
        "summary": row.summary,
        "tags": [row.tag],
        "parameters": [*_path_parameters(row), *_query_parameters(row)],
        "responses": _responses(row, by_kind),
        "security": _security(row),
        "x-role": row.access.value,
        "x-scope": row.scope,
    }
    if isinstance(row.request, Text):
        content = {media_type: {"schema": {"type": "string"}} for media_type in row.request.media_types}
        operation["requestBody"] = {"required": True, "content": content}
    elif row.request is not NoBody:
        schema = by_kind[repr(row.request)]
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _security(row: Row) -> list[dict[str, list[str]]]:
    if row.access is Access.OPEN:
        return []
    bearer: dict[str, list[str]] = {"bearerAuth": []}
    return [bearer, {"basicAuth": []}] if row.accepts_keys else [bearer]


def _path_parameters(row: Row) -> list[dict[str, Any]]:
    names = [part[1:] for part in row.path.split("/") if part.startswith(":")]
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _query_parameters(row: Row) -> list[dict[str, Any]]:
    parameters = []
    for field in msgspec.structs.fields(row.query):
        schema = _lower(msgspec.json.schema(field.type))
        if field.default not in (msgspec.NODEFAULT, None, msgspec.UNSET):
            # As JSON has it: a tuple is an array there.
            schema["default"] = msgspec.json.decode(msgspec.json.encode(field.default))
        # A parameter cannot be null, only left out.
        schema.pop("nullable", None)
        parameters.append({"name": field.encode_name, "in": "query", "required": field.required, "schema": schema})
    return parameters


def _responses(row: Row, by_kind: dict[str, Any]) -> dict[str, Any]:
    success: dict[str, Any] = {"description": "done"}
    if isinstance(row.reply, Raw):
        success["content"] = {row.reply.media_type: {"schema": {"type": "string"}}}
    elif row.reply is not None:
        success["content"] = {"application/json": {"schema": by_kind[repr(row.reply)]}}
    codes = list(row.errors)
    if row.access is not Access.OPEN:
        codes += ["AUTHORIZATION_HEADER_ERROR", "BAD_TOKEN", "TOKEN_TIME_OUT", "UNAUTHORIZED_ROLE"]
        codes += ["BAD_API_KEY_OR_SECRET"] if row.accepts_keys else ["API_KEY_NOT_ALLOW"]
    if row.request is not NoBody:
        codes += ["BAD_REQUEST", "UNSUPPORTED_MEDIA_TYPE", "PAYLOAD_TOO_LARGE", "REQUEST_TIMEOUT"]
    if msgspec.structs.fields(row.query):
        codes.append("BAD_REQUEST")
    responses: dict[str, Any] = {str(row.status): success}
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes):
        by_status.setdefault(CODES[code].status, []).append(code)
    for status, names in sorted(by_status.items()):
        responses[str(status)] = {
            "description": ", ".join(names),
            "content": {"application/json": {"schema": by_kind[repr(Error)]}},
        }
    for status, kind in row.others.items():
        described = responses.setdefault(str(status), {"description": "done in part, or not", "content": {}})
        schema = by_kind[repr(kind)]
        if "application/json" in described["content"]:
            schema = {"anyOf": [described["content"]["application/json"]["schema"], schema]}
        described["content"]["application/json"] = {"schema": schema}
    return responses


def _template(path: str) -> str:
    return "/".join(f"{{{part[1:]}}}" if part.startswith(":") else part for part in path.split("/"))


def _lower(schema: Any) -> Any:
    """Return a JSON schema in the words of OpenAPI 3.0, which knows neither `null` nor `const`."""
    if isinstance(schema, list):
        return [_lower(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    lowered = {name: _lower(part) for name, part in schema.items() if name != "$comment"}
    if lowered.get("required") == []:
        del lowered["required"]
    if "const" in lowered:
        lowered["enum"] = [lowered.pop("const")]
    for bound in ("Minimum", "Maximum"):
        limit = lowered.get(f"exclusive{bound}")
        if isinstance(limit, int | float) and not isinstance(limit, bool):
            lowered[bound.lower()], lowered[f"exclusive{bound}"] = limit, True
    if "prefixItems" in lowered:
        lowered["items"] = {"anyOf": lowered.pop("prefixItems")}
    return _nullable(lowered)


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    choices = schema.get("anyOf")
    if schema.get("enum") and None in schema["enum"]:
        return {**schema, "nullable": True}
    if not isinstance(choices, list) or {"type": "null"} not in choices:
        return schema
    rest = [choice for choice in choices if choice != {"type": "null"}]
    others = {name: part for name, part in schema.items() if name != "anyOf"}
    if len(rest) == 1 and "$ref" not in rest[0]:
        return {**rest[0], **others, "nullable": True}
    return {**others, "anyOf": rest, "nullable": True}
