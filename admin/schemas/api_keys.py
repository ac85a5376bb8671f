"""Keys of the API."""

from typing import Literal, Self

import msgspec

from admin.schemas.body import Body
from pybroker.control.api_keys import ApiKeyRecord
from pybroker.control.timestamp import INFINITY, render_s


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as shown.

    Args:
        api_secret: in the reply to its creation only.
    """

    name: str
    api_key: str
    enable: bool
    expired: bool
    expired_at: str
    created_at: str
    desc: str
    role: str
    namespace: str | None
    scopes: tuple[str, ...] | Literal["unset"]
    api_secret: str | msgspec.UnsetType = msgspec.UNSET

    @classmethod
    def of(cls, record: ApiKeyRecord, *, is_expired: bool, secret: str | msgspec.UnsetType = msgspec.UNSET) -> Self:
        """Return what is shown of a record."""
        return cls(
            name=record.name,
            api_key=record.api_key,
            enable=record.is_enabled,
            expired=is_expired,
            expired_at=INFINITY if record.expires_s is None else render_s(record.expires_s),
            created_at=render_s(record.created_s),
            desc=record.description,
            role=record.role,
            namespace=record.namespace,
            scopes="unset" if record.scopes is None else record.scopes,
            api_secret=secret,
        )


class CreateApiKey(Body, frozen=True, kw_only=True):
    """A new key."""

    name: str
    desc: str = ""
    enable: bool = True
    expired_at: str | int = INFINITY
    role: str = "administrator"
    namespace: str | None = None
    scopes: tuple[str, ...] | None = None


class UpdateApiKey(Body, frozen=True, kw_only=True):
    """What may change of a key; missing role and expiry return to their defaults, the rest stays."""

    desc: str | None = None
    enable: bool | None = None
    expired_at: str | int = INFINITY
    role: str = "administrator"
    namespace: str | None = None
    scopes: tuple[str, ...] | None = None


class KeyScope(msgspec.Struct, frozen=True, kw_only=True):
    """A scope of keys."""

    name: str
    desc: str


class KeyScopes(msgspec.Struct, frozen=True, kw_only=True):
    """All scopes of keys."""

    scopes: list[KeyScope]
