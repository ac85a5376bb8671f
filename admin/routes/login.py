"""Logging in and out."""

import msgspec

from admin.schemas.login import Licence, LoginReply, LoginRequest, LogoutQuery, LogoutRequest
from admin.table import PUBLIC, Access, Call, NoQuery, Row
from pybroker.control.door import EDITION


async def log_in(call: Call[LoginRequest, NoQuery]) -> LoginReply:
    """Trade name, password and code for a token."""
    call.source = call.body.username
    done = await call.control.logins.log_in(call.body.username, call.body.password, call.body.mfa_token)
    expires_in_s = done.password_expires_in_s
    return LoginReply(
        token=done.token,
        role=done.user.role,
        namespace=done.user.namespace,
        version=call.control.about.version,
        license=Licence(edition=EDITION),
        password_expire_in_seconds=msgspec.UNSET if expires_in_s is None else expires_in_s,
    )


async def log_out(call: Call[LogoutRequest, LogoutQuery]) -> None:
    """End the token that the call shows."""
    await call.control.logins.log_out(call.caller, call.body.username, call.query.backend or call.caller.backend)


ROWS = (
    Row(
        method="POST",
        path="/login",
        handler=log_in,
        summary="Log in",
        tag="Login",
        request=LoginRequest,
        query=NoQuery,
        reply=LoginReply,
        status=200,
        access=Access.OPEN,
        scope=PUBLIC,
        audit="always",
        errors=("BAD_USERNAME_OR_PWD", "BAD_MFA_TOKEN", "LOGIN_LOCKED", "SERVICE_UNAVAILABLE"),
    ),
    Row(
        method="POST",
        path="/logout",
        handler=log_out,
        summary="Log out",
        tag="Login",
        request=LogoutRequest,
        query=LogoutQuery,
        reply=None,
        status=204,
        access=Access.ANYBODY,
        scope=PUBLIC,
        audit="always",
        errors=("WRONG_TOKEN_OR_USERNAME",),
        accepts_keys=False,
    ),
)
