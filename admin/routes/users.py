"""Users of the dashboard, their passwords and their second factor."""

from functools import partial

import structlog

from admin.schemas.users import BackendQuery, ChangePassword, CreateUser, EnableMfa, Scope, Scopes, UpdateUser, User
from admin.table import PUBLIC, Access, Call, NoBody, NoQuery, Row
from pybroker.control.scopes import ADMINISTRATOR_ONLY, ALL, DESCRIPTIONS
from pybroker.control.users import LOCAL

logger = structlog.get_logger(__name__)

_TAG = "Users"
_DEFAULT_ROLE = "administrator"


async def list_users(call: Call[NoBody, NoQuery]) -> list[User]:
    """Return every user."""
    return [User.of(record) for record in call.control.users.all()]


async def create_user(call: Call[CreateUser, NoQuery]) -> User:
    """Create a local user."""
    body = call.body
    record = await call.control.users.create(body.username, body.password, body.description, body.role, body.scopes)
    call.note_change(None, User.of(record))
    return User.of(record)


async def update_user(call: Call[UpdateUser, BackendQuery]) -> User:
    """Change description, role and scopes."""
    username, backend, body = call.params["username"], call.query.backend or LOCAL, call.body
    before = call.control.users.table.get(f"{backend}:{username}")
    if body.role is None and before is not None and before.role != _DEFAULT_ROLE:
        logger.warning("user_update_without_role", username=username, role_before=before.role, role=_DEFAULT_ROLE)
    record = await call.control.users.update(
        username, backend, body.description, body.role or _DEFAULT_ROLE, body.scopes
    )
    call.note_change(before and User.of(before), User.of(record))
    return User.of(record)


async def delete_user(call: Call[NoBody, BackendQuery]) -> None:
    """Delete a user."""
    await call.control.users.remove(call.params["username"], call.query.backend or LOCAL, call.caller)


async def change_password(call: Call[ChangePassword, NoQuery]) -> None:
    """Change a password; the old one is needed, whoever asks."""
    await call.control.users.change_password(call.params["username"], call.body.old_pwd, call.body.new_pwd)


async def enable_mfa(call: Call[EnableMfa, BackendQuery]) -> None:
    """Give a user a new second factor."""
    await call.control.mfa.enable(call.caller, call.params["username"], _backend(call))


async def disable_mfa(call: Call[NoBody, BackendQuery]) -> None:
    """Switch a user's second factor off."""
    await call.control.mfa.disable(call.caller, call.params["username"], _backend(call))


async def list_scopes(call: Call[NoBody, NoQuery]) -> Scopes:
    """Return the scopes that users may hold."""
    return Scopes(
        scopes=[Scope(name=name, desc=DESCRIPTIONS[name], admin_only=name in ADMINISTRATOR_ONLY) for name in ALL]
    )


def _backend(call: Call[EnableMfa, BackendQuery] | Call[NoBody, BackendQuery]) -> str:
    if call.query.backend is not None:
        return call.query.backend
    return call.caller.backend if call.caller.is_user(call.params["username"]) else LOCAL


_row = partial(Row, tag=_TAG)
_read = partial(
    _row, method="GET", request=NoBody, query=NoQuery, status=200, access=Access.READER, audit="never", errors=()
)
_write = partial(_row, audit="always", accepts_keys=False)

ROWS = (
    _read(
        path="/users",
        handler=list_users,
        summary="List users",
        reply=list[User],
        scope="user_management",
        accepts_keys=False,
    ),
    _write(
        method="POST",
        path="/users",
        handler=create_user,
        summary="Create a user",
        request=CreateUser,
        query=NoQuery,
        reply=User,
        status=200,
        access=Access.ADMINISTRATOR,
        scope="user_management",
        errors=("BAD_REQUEST",),
    ),
    _write(
        method="PUT",
        path="/users/:username",
        handler=update_user,
        summary="Change a user",
        request=UpdateUser,
        query=BackendQuery,
        reply=User,
        status=200,
        access=Access.ADMINISTRATOR,
        scope="user_management",
        errors=("NOT_ALLOWED", "USER_NOT_FOUND"),
    ),
    _write(
        method="DELETE",
        path="/users/:username",
        handler=delete_user,
        summary="Delete a user",
        request=NoBody,
        query=BackendQuery,
        reply=None,
        status=204,
        access=Access.ADMINISTRATOR,
        scope="user_management",
        errors=("NOT_ALLOWED", "USER_NOT_FOUND"),
    ),
    _write(
        method="POST",
        path="/users/:username/change_pwd",
        handler=change_password,
        summary="Change a password",
        request=ChangePassword,
        query=NoQuery,
        reply=None,
        status=204,
        access=Access.SELF,
        scope="user_management",
        errors=("ERROR_PWD_NOT_MATCH", "USER_NOT_FOUND", "TOO_MANY_REQUESTS", "SERVICE_UNAVAILABLE"),
    ),
    _write(
        method="POST",
        path="/users/:username/mfa",
        handler=enable_mfa,
        summary="Set up a second factor",
        request=EnableMfa,
        query=BackendQuery,
        reply=None,
        status=204,
        access=Access.SELF,
        scope="mfa_management",
        errors=("USER_NOT_FOUND", "MFA_LOCKED", "MFA_SELF_ONLY", "MFA_MGMT_REQUIRED"),
    ),
    _write(
        method="DELETE",
        path="/users/:username/mfa",
        handler=disable_mfa,
        summary="Switch a second factor off",
        request=NoBody,
        query=BackendQuery,
        reply=None,
        status=204,
        access=Access.SELF,
        scope="mfa_management",
        errors=("USER_NOT_FOUND", "MFA_LOCKED", "MFA_SELF_ONLY", "MFA_MGMT_REQUIRED"),
    ),
    _read(
        path="/user_scopes",
        handler=list_scopes,
        summary="List the scopes of users",
        reply=Scopes,
        scope=PUBLIC,
    ),
)
