"""Keys of the API."""

from functools import partial

import msgspec

from admin.schemas.api_keys import ApiKey, CreateApiKey, KeyScope, KeyScopes, UpdateApiKey
from admin.table import PUBLIC, Access, Call, NoBody, NoQuery, Row
from pybroker.control.api_keys import ApiKeyRecord, ApiKeys
from pybroker.control.scopes import DESCRIPTIONS, GENERIC
from pybroker.control.timestamp import parse_expiry_s

_TAG = "API Keys"


def _shown(keys: ApiKeys, record: ApiKeyRecord, secret: str | msgspec.UnsetType = msgspec.UNSET) -> ApiKey:
    return ApiKey.of(record, is_expired=keys.is_expired(record), secret=secret)


async def list_keys(call: Call[NoBody, NoQuery]) -> list[ApiKey]:
    """Return the keys that the caller may see."""
    keys = call.control.api_keys
    return [_shown(keys, record) for record in keys.visible(call.caller)]


async def create_key(call: Call[CreateApiKey, NoQuery]) -> ApiKey:
    """Make a key; its secret is in this reply only."""
    body, keys = call.body, call.control.api_keys
    made = await keys.create(
        call.caller,
        body.name,
        role=body.role,
        namespace=body.namespace,
        scopes=body.scopes,
        description=body.desc,
        is_enabled=body.enable,
        expires_s=parse_expiry_s(body.expired_at, "expired_at"),
    )
    call.note_change(None, _shown(keys, made.record))
    return _shown(keys, made.record, made.secret)


async def get_key(call: Call[NoBody, NoQuery]) -> ApiKey:
    """Return one key."""
    keys = call.control.api_keys
    return _shown(keys, keys.find(call.caller, call.params["name"]))


async def update_key(call: Call[UpdateApiKey, NoQuery]) -> ApiKey:
    """Change a key."""
    body, keys = call.body, call.control.api_keys
    before = keys.find(call.caller, call.params["name"])
    record = await keys.update(
        call.caller,
        call.params["name"],
        role=body.role,
        namespace=body.namespace,
        scopes=body.scopes,
        description=body.desc,
        is_enabled=body.enable,
        expires_s=parse_expiry_s(body.expired_at, "expired_at"),
    )
    call.note_change(_shown(keys, before), _shown(keys, record))
    return _shown(keys, record)


async def delete_key(call: Call[NoBody, NoQuery]) -> None:
    """Delete a key."""
    await call.control.api_keys.remove(call.caller, call.params["name"])


async def list_key_scopes(call: Call[NoBody, NoQuery]) -> KeyScopes:
    """Return the scopes that keys may hold."""
    return KeyScopes(scopes=[KeyScope(name=name, desc=DESCRIPTIONS[name]) for name in GENERIC])


_row = partial(Row, tag=_TAG, query=NoQuery, accepts_keys=False)
_read = partial(_row, method="GET", request=NoBody, status=200, access=Access.READER, audit="never")
_write = partial(_row, access=Access.NAMESPACE_ADMINISTRATOR, scope="api_key_management", audit="always")

ROWS = (
    _read(
        path="/api_key",
        handler=list_keys,
        summary="List API keys",
        reply=list[ApiKey],
        scope="api_key_management",
        errors=(),
    ),
    _write(
        method="POST",
        path="/api_key",
        handler=create_key,
        summary="Create an API key",
        request=CreateApiKey,
        reply=ApiKey,
        status=200,
        errors=("BAD_REQUEST", "FORBIDDEN"),
    ),
    _read(
        path="/api_key/:name",
        handler=get_key,
        summary="Show an API key",
        reply=ApiKey,
        scope="api_key_management",
        errors=("NOT_FOUND",),
    ),
    _write(
        method="PUT",
        path="/api_key/:name",
        handler=update_key,
        summary="Change an API key",
        request=UpdateApiKey,
        reply=ApiKey,
        status=200,
        errors=("BAD_REQUEST", "NOT_FOUND"),
    ),
    _write(
        method="DELETE",
        path="/api_key/:name",
        handler=delete_key,
        summary="Delete an API key",
        request=NoBody,
        reply=None,
        status=204,
        errors=("NOT_FOUND",),
    ),
    _read(
        path="/api_key_scopes",
        handler=list_key_scopes,
        summary="List the scopes of API keys",
        reply=KeyScopes,
        scope=PUBLIC,
        errors=(),
    ),
)
