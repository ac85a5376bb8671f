"""Users of the dashboard: who exists, with which role and scopes, and the accounts that protect access itself.

The default administrator (`dashboard.default_username`) and the last effective global administrator can be neither
deleted nor weakened. Logging in stands in `login.py`, the second factor in `mfa.py`.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec
import structlog

from pybroker.clock import Clock
from pybroker.control.caller import Caller
from pybroker.control.configuration import Configuration
from pybroker.control.namespaces.managed import ManagedNamespaces
from pybroker.control.password import PasswordHasher, check_password, generate_password
from pybroker.control.roles import USER_ROLES, Role, parse_role
from pybroker.control.scopes import ALL, UNSET, check_user_scopes, effective_scopes
from pybroker.control.throttle import Limits, Throttle
from pybroker.control.tokens import Tokens
from pybroker.errors import Refused
from pybroker.persistence.records import SettingRecord, UserRecord
from pybroker.persistence.sqlite import Database
from pybroker.persistence.table import Change, RecordTable, apply

__all__ = ["LOCAL", "MAX_USERNAME", "ScopesGiven", "UserRecord", "Users", "is_effective", "user_key"]

logger = structlog.get_logger(__name__)

LOCAL = "local"
"""Backend of users whose password is kept here."""

MAX_USERNAME = 100
_USERNAME = re.compile(r"[A-Za-z0-9_]+")
_DEFAULT_USERNAME = "default_username"

_WRONG_OLD_PASSWORDS = Limits(max_failures=5, interval_ms=300_000, shut_ms=300_000)

ScopesGiven = Sequence[str] | Literal["unset"] | None
"""`scopes` of a request: a list, the word, or `None` where the field is missing."""


def user_key(username: str, backend: str = LOCAL) -> str:
    """Return the key of a user's record."""
    return f"{backend}:{username}"


class Users:
    """Every user of the dashboard.

    Args:
        database: keeps them.
        table: their records.
        tokens: ends those of changed users.
        namespaces: checks the one of a role.
        hasher: hashes passwords.
        clock: tells the time.
        wrong_logins: counts of failed logins by user; a new password clears them.
        configuration: names the default administrator.
    """

    def __init__(
        self,
        database: Database,
        table: RecordTable[UserRecord],
        tokens: Tokens,
        namespaces: ManagedNamespaces,
        hasher: PasswordHasher,
        clock: Clock,
        wrong_logins: Throttle,
        configuration: Configuration,
    ) -> None:
        self._database = database
        self._tokens = tokens
        self._namespaces = namespaces
        self._hasher = hasher
        self._clock = clock
        self._configuration = configuration
        self._wrong_logins = wrong_logins
        self._wrong_passwords = Throttle(clock, lambda: _WRONG_OLD_PASSWORDS)
        self.table = table
        self.settings = RecordTable(database, "setting", SettingRecord)
        # Held from a check to the write that rests on it.
        self.changing = asyncio.Lock()

    async def load(self) -> None:
        """Read what is stored; to be awaited once, before anything else."""
        await self.table.load()
        await self.settings.load()

    def all(self) -> Sequence[UserRecord]:
        """Return every user, in the order of their keys."""
        return [record for _, record in sorted(self.table.records.items())]

    def find(self, username: str, backend: str = LOCAL) -> UserRecord:
        """Return one user.

        Raises:
            Refused: `USER_NOT_FOUND`.
        """
        record = self.table.get(user_key(username, backend))
        if record is None:
            raise Refused("USER_NOT_FOUND", "username_not_found")
        return record

    def is_default(self, username: str, backend: str = LOCAL) -> bool:
        """Return whether that is the protected default administrator."""
        return backend == LOCAL and username == self._configuration.current.dashboard.default_username != ""

    async def create(
        self, username: str, password: str, description: str, role: str = "administrator", scopes: ScopesGiven = None
    ) -> UserRecord:
        """Create a local user.

        Raises:
            Refused: `BAD_REQUEST`: name, password, role, namespace or scopes are not allowed, or the name is taken.
        """
        if not _USERNAME.fullmatch(username) or len(username) > MAX_USERNAME:
            raise Refused("BAD_REQUEST", f"username must have 1 to {MAX_USERNAME} of A-Z, a-z, 0-9 and _")
        check_password(password)
        parsed = self._parse(role)
        stored = self._scopes_of(scopes, parsed, effective_scopes(parsed.name, parsed.namespace))
        self._check_is_free(username)
        password_hash = await self._hasher.hash(password)
        async with self.changing:
            self._check_is_free(username)
            record = UserRecord(
                username=username,
                password_hash=password_hash,
                password_changed_ms=self._clock.wall_ms(),
                description=description,
                role=parsed.name,
                namespace=parsed.namespace,
                scopes=stored,
            )
            await self.save(record)
        return record

    async def update(
        self, username: str, backend: str, description: str, role: str = "administrator", scopes: ScopesGiven = None
    ) -> UserRecord:
        """Change description, role and scopes; a changed role ends the user's tokens.

        Raises:
            Refused: `NOT_ALLOWED`: the user is protected; `BAD_REQUEST`: role, namespace or scopes are not allowed;
                `USER_NOT_FOUND`.
        """
        async with self.changing:
            if self.is_default(username, backend):
                self._check_default(role, scopes)
            parsed = parse_role(role, USER_ROLES, self._namespaces.denied)
            record = self.find(username, backend)
            if parsed.namespace != record.namespace:
                raise Refused("BAD_REQUEST", "changing_namespace_is_forbidden")
            stored = self._scopes_of(scopes, parsed, record.scopes)
            changed = msgspec.structs.replace(record, description=description, role=parsed.name, scopes=stored)
            if not is_effective(changed):
                self._check_is_not_last(record)
            if changed.role != record.role:
                await self.save(changed, *self._tokens.revoking([user_key(username, backend)]))
            else:
                await self.save(changed)
        return changed

    async def remove(self, username: str, backend: str, caller: Caller) -> None:
        """Delete a user and his tokens.

        Raises:
            Refused: `NOT_ALLOWED`: the default administrator, the caller himself, or the last effective global
                administrator; `USER_NOT_FOUND`.
        """
        async with self.changing:
            if self.is_default(username, backend):
                raise Refused("NOT_ALLOWED", "the default administrator cannot be deleted")
            if caller.is_user(username) and caller.backend == backend:
                raise Refused("NOT_ALLOWED", "nobody can delete himself")
            record = self.find(username, backend)
            self._check_is_not_last(record)
            key = user_key(username, backend)
            await apply(self._database, self.table.remove(key), *self._tokens.revoking([key]))

    async def change_password(self, username: str, old: str, new: str) -> None:
        """Change a local user's password and end all his tokens and locks.

        Raises:
            Refused: `BAD_REQUEST`: a password is empty, or the new one is not allowed; `USER_NOT_FOUND`;
                `ERROR_PWD_NOT_MATCH`: the old one is wrong; `TOO_MANY_REQUESTS`: it was wrong too often.
        """
        if not old or not new:
            raise Refused("BAD_REQUEST", "password must not be empty")
        record = self.find(username)
        key = user_key(username)
        if self._wrong_passwords.is_shut(key):
            raise Refused("TOO_MANY_REQUESTS", "the old password was wrong too often, try again in five minutes")
        if not await self._hasher.verify(record.password_hash, old):
            self._wrong_passwords.fail(key)
            raise Refused("ERROR_PWD_NOT_MATCH", "the old password is wrong")
        check_password(new)
        password_hash = await self._hasher.hash(new)
        async with self.changing:
            current = self.find(username)
            if current.password_hash != record.password_hash:
                raise Refused("ERROR_PWD_NOT_MATCH", "the old password is wrong")
            await self._set_password(current, password_hash)

    async def reset_password(self, username: str, new: str) -> None:
        """Set a local user's password without the old one, for the command line.

        Raises:
            Refused: `BAD_REQUEST`: it is not allowed; `USER_NOT_FOUND`.
        """
        self.find(username)
        check_password(new)
        password_hash = await self._hasher.hash(new)
        async with self.changing:
            await self._set_password(self.find(username), password_hash)

    async def remove_by_operator(self, username: str, backend: str = LOCAL) -> None:
        """Delete any user, the default administrator too, for the command line.

        Raises:
            Refused: `USER_NOT_FOUND`.
        """
        async with self.changing:
            self.find(username, backend)
            key = user_key(username, backend)
            await apply(self._database, self.table.remove(key), *self._tokens.revoking([key]))

    def removing_namespace(self, namespace: str) -> Sequence[Change]:
        """Describe the deletion of every user of a namespace, for the transaction that deletes it."""
        keys = [key for key, record in self.table.records.items() if record.namespace == namespace]
        return [*map(self.table.remove, keys), *self._tokens.revoking(keys)]

    async def ensure_default(self, announce: Callable[[str], None]) -> None:
        """Create the default administrator on the first start, or on the first one with another name.

        Args:
            announce: takes the line with a made-up password; it is written nowhere else.
        """
        dashboard = self._configuration.current.dashboard
        name, password = dashboard.default_username, dashboard.default_password
        seen = self.settings.get(_DEFAULT_USERNAME)
        is_new_name = seen is not None and seen.value != name
        has_administrator = any(record.role == "administrator" for record in self.table)
        note = self.settings.put(_DEFAULT_USERNAME, SettingRecord(value=name))
        if not name or password == "" or self.table.get(user_key(name)) or (has_administrator and not is_new_name):
            if seen is None or is_new_name:
                await apply(self._database, note)
            return
        chosen = generate_password() if password is None else password
        record = UserRecord(
            username=name,
            password_hash=await self._hasher.hash(chosen),
            password_changed_ms=self._clock.wall_ms(),
            description="administrator",
            scopes=ALL,
        )
        await self.save(record, note)
        logger.info("default_administrator_created", username=name)
        if password is None:
            announce(f"dashboard user {name} password {chosen} (shown this once)")

    async def save(self, record: UserRecord, *changes: Change) -> None:
        """Store a user together with other changes; the caller holds `changing`."""
        await apply(self._database, self.table.put(user_key(record.username, record.backend), record), *changes)

    async def _set_password(self, record: UserRecord, password_hash: str) -> None:
        changed = msgspec.structs.replace(
            record, password_hash=password_hash, password_changed_ms=self._clock.wall_ms(), locked_until_ms=0
        )
        key = user_key(record.username, record.backend)
        await self.save(changed, *self._tokens.revoking([key]))
        self._wrong_passwords.forget(key)
        self._wrong_logins.forget(key)

    def _parse(self, role: str) -> Role:
        parsed = parse_role(role, USER_ROLES, self._namespaces.denied)
        self._namespaces.check(parsed.namespace)
        return parsed

    def _check_is_free(self, username: str) -> None:
        if self.table.get(user_key(username)) is not None:
            raise Refused("BAD_REQUEST", "username_already_exists")

    def _check_default(self, role: str, scopes: ScopesGiven) -> None:
        if role != "administrator":
            raise Refused("NOT_ALLOWED", "the role of the default administrator cannot be changed")
        if scopes is not None and scopes != UNSET and set(scopes) != set(ALL):
            raise Refused("NOT_ALLOWED", "the scopes of the default administrator cannot be changed")

    def _check_is_not_last(self, record: UserRecord) -> None:
        if is_effective(record) and sum(map(is_effective, self.table)) == 1:
            raise Refused("NOT_ALLOWED", "the last global administrator cannot be deleted or restricted")

    @staticmethod
    def _scopes_of(given: ScopesGiven, role: Role, stored: "tuple[str, ...] | None") -> "tuple[str, ...] | None":
        """Return the list to store; `stored` is what holds where the request gives none."""
        if given is None:
            if stored is not None:
                check_user_scopes(stored, role.name, role.namespace)
            return stored
        if isinstance(given, str):
            return None
        check_user_scopes(given, role.name, role.namespace)
        is_default = set(given) == set(effective_scopes(role.name, role.namespace))
        return None if is_default else tuple(given)


def is_effective(record: UserRecord) -> bool:
    """Return whether a user is a global administrator whom no list of scopes restricts."""
    is_whole = record.scopes is None or set(record.scopes) == set(ALL)
    return record.role == "administrator" and record.namespace is None and is_whole
