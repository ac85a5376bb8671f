"""Logging in and out."""

from typing import Annotated

import msgspec

from admin.schemas.body import Body


class LoginRequest(Body, frozen=True, kw_only=True):
    """Name, password and, where one is set up, the code of the second factor."""

    username: str
    password: str
    mfa_token: Annotated[str, msgspec.Meta(max_length=9)] | None = None


class Licence(msgspec.Struct, frozen=True, kw_only=True):
    """Edition that clients are told."""

    edition: str


class LoginReply(msgspec.Struct, frozen=True, kw_only=True):
    """Token and who it stands for.

    Args:
        password_expire_in_seconds: negative once it is over; left out where passwords do not age.
    """

    token: str
    role: str
    namespace: str | None
    version: str
    license: Licence
    password_expire_in_seconds: int | msgspec.UnsetType = msgspec.UNSET


class LogoutRequest(Body, frozen=True, kw_only=True):
    """Name of the token's owner."""

    username: str


class LogoutQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Backend of the token's owner; not needed."""

    backend: str | None = None
