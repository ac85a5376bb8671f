"""Users of the dashboard."""

from typing import Literal, Self

import msgspec

from admin.schemas.body import Body
from pybroker.control.users import UserRecord

Backend = Literal["local", "ldap", "saml", "oidc"]


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A user as shown; password and secrets never are.

    Args:
        role: bare, without the namespace.
        scopes: a list, or `unset`: those of the role.
    """

    username: str
    role: str
    namespace: str | None
    description: str
    backend: str
    mfa: Literal["none", "totp", "disabled"]
    scopes: tuple[str, ...] | Literal["unset"]

    @classmethod
    def of(cls, record: UserRecord) -> Self:
        """Return what is shown of a record."""
        mfa: Literal["none", "totp", "disabled"] = "none"
        if record.mfa is not None:
            mfa = "disabled" if record.mfa.state == "disabled" else "totp"
        return cls(
            username=record.username,
            role=record.role,
            namespace=record.namespace,
            description=record.description,
            backend=record.backend,
            mfa=mfa,
            scopes="unset" if record.scopes is None else record.scopes,
        )


class CreateUser(Body, frozen=True, kw_only=True):
    """A new local user."""

    username: str
    password: str
    description: str
    role: str = "administrator"
    scopes: tuple[str, ...] | Literal["unset"] | None = None


class UpdateUser(Body, frozen=True, kw_only=True):
    """What may change of a user; a missing role is `administrator`."""

    description: str
    role: str | None = None
    scopes: tuple[str, ...] | Literal["unset"] | None = None


class ChangePassword(Body, frozen=True, kw_only=True):
    """Old and new password."""

    old_pwd: str
    new_pwd: str


class EnableMfa(Body, frozen=True, kw_only=True):
    """Kind of second factor."""

    mechanism: Literal["totp"]


class BackendQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Where the user comes from; by default `local`, for the own second factor the caller's."""

    backend: Backend | None = None


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """A scope of users."""

    name: str
    desc: str
    admin_only: bool


class Scopes(msgspec.Struct, frozen=True, kw_only=True):
    """All scopes of users."""

    scopes: list[Scope]
