"""Commands about who may what: users of the dashboard, API keys, and decisions of access control that are kept."""

from typing import Any, Literal

from admin.schemas.api_keys import ApiKey
from admin.schemas.users import User
from pybroker.control.caller import Caller
from pybroker.control.door import Control
from pybroker.errors import Refused

OPERATOR = Caller(kind="user", name="", role="administrator")
"""Who a command counts as: an administrator who is no user."""

_DAY_S = 86_400
_MAX_DAYS = 36_500


async def list_users(control: Control) -> list[User]:
    """Return every user."""
    return [User.of(record) for record in control.users.all()]


async def add_user(control: Control, username: str, password: str | None, description: str, role: str) -> None:
    """Create a local user."""
    await control.users.create(username, _given(password), description, role)


async def set_password(control: Control, username: str, password: str | None) -> None:
    """Set a password, end the user's tokens and lift a lock."""
    await control.users.reset_password(username, _given(password))


async def remove_user(control: Control, username: str, backend: str) -> None:
    """Delete any user."""
    await control.users.remove_by_operator(username, backend)


async def switch_mfa(control: Control, username: str, action: Literal["enable", "disable"], mechanism: str) -> None:
    """Switch the second factor of a local user on or off, as an administrator's decision."""
    backend = control.users.find(username).backend
    switch = control.mfa.enable if action == "enable" else control.mfa.disable
    await switch(OPERATOR, username, backend)


async def list_keys(control: Control) -> list[ApiKey]:
    """Return every key."""
    return [_shown(control, record) for record in control.api_keys.visible(OPERATOR)]


async def show_key(control: Control, name: str) -> ApiKey:
    """Return one key."""
    return _shown(control, control.api_keys.find(OPERATOR, name))


async def add_key(
    control: Control, name: str, api_secret: str | None, valid_days: str, role: str, desc: str, scopes: str | None
) -> ApiKey:
    """Make a key; a generated secret is in this reply only."""
    made = await control.api_keys.create(
        OPERATOR,
        name,
        role=role,
        scopes=None if scopes is None else [word.strip() for word in scopes.split(",") if word.strip()],
        description=desc,
        expires_s=_expiry_s(control, valid_days),
        secret=api_secret,
    )
    shown = _shown(control, made.record)
    if api_secret is not None:
        return shown
    return ApiKey.of(made.record, is_expired=shown.expired, secret=made.secret)


async def enable_key(control: Control, name: str) -> ApiKey:
    """Let a key be used."""
    return await _switch_key(control, name, is_enabled=True)


async def disable_key(control: Control, name: str) -> ApiKey:
    """Let a key not be used."""
    return await _switch_key(control, name, is_enabled=False)


async def remove_key(control: Control, name: str) -> None:
    """Delete a key."""
    await control.api_keys.remove(OPERATOR, name)


async def forget_decisions(control: Control, who: str) -> None:
    """Forget the decisions of one client, or of all and of remote sources."""
    if who == "all":
        control.authorization.sources.refresh()
    else:
        control.authorization.kept.forget(who)


async def read_rules_again(control: Control) -> dict[str, int]:
    """Read the file of access rules again."""
    return {"files": await control.authorization.sources.read_again()}


async def _switch_key(control: Control, name: str, *, is_enabled: bool) -> ApiKey:
    record = control.api_keys.find(OPERATOR, name)
    changed = await control.api_keys.update(
        OPERATOR,
        name,
        role=record.role,
        namespace=record.namespace,
        expires_s=record.expires_s,
        is_enabled=is_enabled,
    )
    return _shown(control, changed)


def _shown(control: Control, record: Any) -> ApiKey:
    return ApiKey.of(record, is_expired=control.api_keys.is_expired(record))


def _expiry_s(control: Control, valid_days: str) -> int | None:
    if valid_days == "infinity":
        return None
    if not (valid_days.isascii() and valid_days.isdigit() and 1 <= int(valid_days[:6]) <= _MAX_DAYS):
        raise Refused("BAD_REQUEST", f"valid_days must be 1 to {_MAX_DAYS}, or infinity: {valid_days!r}")
    return control.clock.wall_s() + int(valid_days) * _DAY_S


def _given(password: str | None) -> str:
    if password is None:
        raise Refused("BAD_REQUEST", "password must be given")
    return password


HANDLERS: dict[str, Any] = {
    "admins list": list_users,
    "admins add": add_user,
    "admins passwd": set_password,
    "admins del": remove_user,
    "admins mfa": switch_mfa,
    "api_keys list": list_keys,
    "api_keys show": show_key,
    "api_keys add": add_key,
    "api_keys enable": enable_key,
    "api_keys disable": disable_key,
    "api_keys del": remove_key,
    "authz cache-clean": forget_decisions,
    "authz reload": read_rules_again,
}
