"""Keys of the API: pairs of key and secret for scripts. The secret is shown once; its keyed hash is kept."""

import asyncio
import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from pybroker.clock import Clock
from pybroker.control.caller import Caller
from pybroker.control.namespaces.managed import ManagedNamespaces
from pybroker.control.roles import KEY_ROLES, Role, parse_role
from pybroker.control.scopes import check_key_scopes, default_key_scopes
from pybroker.control.throttle import Limits, Throttle
from pybroker.errors import Refused
from pybroker.persistence.records import ApiKeyRecord
from pybroker.persistence.sqlite import Database
from pybroker.persistence.table import Change, RecordTable, apply

__all__ = ["MAX_KEYS", "MAX_NAME_BYTES", "ApiKeyRecord", "ApiKeys", "NewKey"]

MAX_KEYS = 100
MAX_NAME_BYTES = 256
MIN_SECRET_BYTES = 32
"""Of a secret that an operator chooses."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")

_BASE62 = string.digits + string.ascii_letters
_KEY_LENGTH = 16
# 43 characters of 62 hold 256 bits, as 32 random bytes do.
_SECRET_LENGTH = 43
_SALT_BYTES = 16

# Guessing a generated secret is hopeless; those of a bootstrap file may be short. Counted per key and address, so that
# nobody shuts out the owner.
_WRONG_SECRETS = Limits(max_failures=10, interval_ms=60_000, shut_ms=60_000)

_BAD_KEY = ("BAD_API_KEY_OR_SECRET", "key or secret is wrong, disabled or expired")


class NewKey(NamedTuple):
    """A key that was just made, and its secret."""

    record: ApiKeyRecord
    secret: str


class ApiKeys:
    """Every key.

    Args:
        database: keeps them.
        namespaces: checks the one of a role.
        clock: tells the time.
    """

    def __init__(self, database: Database, namespaces: ManagedNamespaces, clock: Clock) -> None:
        self._database = database
        self._namespaces = namespaces
        self._clock = clock
        self._failures = Throttle(clock, lambda: _WRONG_SECRETS)
        self._changing = asyncio.Lock()
        self._names: dict[str, str] = {}
        self.table = RecordTable(database, "api_key", ApiKeyRecord)

    async def load(self) -> None:
        """Read what is stored; to be awaited once, before anything else."""
        await self.table.load()
        self._names = {record.api_key: record.name for record in self.table}

    def authenticate(self, api_key: str, secret: str, address: str) -> Caller:
        """Return who shows a key.

        Args:
            api_key: as shown.
            secret: as shown.
            address: where the request came from; guesses are counted by it.

        Raises:
            Refused: `BAD_API_KEY_OR_SECRET`, whatever is wrong.
        """
        record = self.table.get(self._names.get(api_key, ""))
        salt, expected = (record.salt, record.secret_hash) if record else (b"", b"")
        is_right = hmac.compare_digest(_hash(salt, secret), expected)
        place = f"{address} {api_key}"
        if record is None or self._failures.is_shut(place):
            raise Refused(*_BAD_KEY)
        if not is_right:
            self._failures.fail(place)
            raise Refused(*_BAD_KEY)
        if not record.is_enabled or self.is_expired(record):
            raise Refused(*_BAD_KEY)
        self._failures.forget(place)
        return Caller(kind="api_key", name=api_key, role=record.role, namespace=record.namespace, scopes=record.scopes)

    def is_expired(self, record: ApiKeyRecord) -> bool:
        """Return whether a key's time is over."""
        return record.expires_s is not None and record.expires_s <= self._clock.wall_s()

    def visible(self, caller: Caller) -> Sequence[ApiKeyRecord]:
        """Return the keys that a caller may see, by name: all, or those of the caller's namespace."""
        return [
            record
            for _, record in sorted(self.table.records.items())
            if caller.namespace is None or record.namespace == caller.namespace
        ]

    def find(self, caller: Caller, name: str) -> ApiKeyRecord:
        """Return one key.

        Raises:
            Refused: `NOT_FOUND`: there is none, or it belongs to another namespace.
        """
        record = self.table.get(name)
        if record is None or (caller.namespace is not None and record.namespace != caller.namespace):
            raise Refused("NOT_FOUND", f"no such API key: {name!r}")
        return record

    async def create(
        self,
        caller: Caller,
        name: str,
        *,
        role: str = "administrator",
        namespace: str | None = None,
        scopes: Sequence[str] | None = None,
        description: str = "",
        is_enabled: bool = True,
        expires_s: int | None = None,
        secret: str | None = None,
    ) -> NewKey:
        """Make a key; `None` for the secret makes a random one.

        Raises:
            Refused: `BAD_REQUEST`: name, role, namespace, scopes or secret are not allowed, the name is taken, or there
                are 100 keys; `FORBIDDEN`: the caller is bound to another namespace.
        """
        if not _NAME.fullmatch(name) or len(name) > MAX_NAME_BYTES:
            raise Refused("BAD_REQUEST", "name must begin with a letter, then letters, digits, - and _, 256 at most")
        parsed = self._parse(role, namespace)
        if caller.namespace is not None and parsed.namespace != caller.namespace:
            raise Refused("FORBIDDEN", "keys can be made for the own namespace only")
        self._namespaces.check(parsed.namespace)
        if scopes is not None:
            check_key_scopes(scopes, parsed.name)
        if secret is None:
            secret = "".join(secrets.choice(_BASE62) for _ in range(_SECRET_LENGTH))
        elif len(secret.encode("utf-8", "surrogateescape")) < MIN_SECRET_BYTES:
            raise Refused("BAD_REQUEST", f"secret must have at least {MIN_SECRET_BYTES} bytes")
        salt = secrets.token_bytes(_SALT_BYTES)
        record = ApiKeyRecord(
            name=name,
            api_key="".join(secrets.choice(_BASE62) for _ in range(_KEY_LENGTH)),
            salt=salt,
            secret_hash=_hash(salt, secret),
            is_enabled=is_enabled,
            expires_s=expires_s,
            created_s=self._clock.wall_s(),
            description=description,
            role=parsed.name,
            namespace=parsed.namespace,
            scopes=default_key_scopes(parsed.name) if scopes is None else tuple(scopes),
        )
        async with self._changing:
            if self.table.get(name) is not None:
                raise Refused("BAD_REQUEST", f"API key exists already: {name!r}")
            if len(self.table) >= MAX_KEYS:
                raise Refused("BAD_REQUEST", f"there are {MAX_KEYS} API keys already")
            await self._apply(self.table.put(name, record))
        return NewKey(record, secret)

    async def update(
        self,
        caller: Caller,
        name: str,
        *,
        role: str = "administrator",
        namespace: str | None = None,
        scopes: Sequence[str] | None = None,
        description: str | None = None,
        is_enabled: bool | None = None,
        expires_s: int | None = None,
    ) -> ApiKeyRecord:
        """Change a key; role and expiry return to their defaults where they are not given, the rest stays.

        Raises:
            Refused: `NOT_FOUND`, or `BAD_REQUEST`: role or scopes are not allowed, or the namespace differs.
        """
        async with self._changing:
            record = self.find(caller, name)
            parsed = self._parse(role, namespace)
            if parsed.namespace != record.namespace:
                raise Refused("BAD_REQUEST", "changing_namespace_is_forbidden")
            if scopes is not None:
                check_key_scopes(scopes, parsed.name)
            elif parsed.name != record.role and record.scopes is not None:
                _check_stored(record.scopes, parsed.name)
            changed = msgspec.structs.replace(
                record,
                role=parsed.name,
                expires_s=expires_s,
                scopes=record.scopes if scopes is None else tuple(scopes),
                description=record.description if description is None else description,
                is_enabled=record.is_enabled if is_enabled is None else is_enabled,
            )
            await self._apply(self.table.put(name, changed))
        return changed

    async def remove(self, caller: Caller, name: str) -> None:
        """Delete a key.

        Raises:
            Refused: `NOT_FOUND`.
        """
        async with self._changing:
            self.find(caller, name)
            await self._apply(self.table.remove(name))

    async def replace_all(self, records: Sequence[tuple[ApiKeyRecord, str]]) -> None:
        """Store keys whose secrets are known, all or none; keys of the same string or name are replaced.

        Args:
            records: without salt and hash, each with its secret; a later one wins.
        """
        changes: dict[str, Change] = {}
        async with self._changing:
            for record, secret in records:
                salt = secrets.token_bytes(_SALT_BYTES)
                hashed = msgspec.structs.replace(
                    record, salt=salt, secret_hash=_hash(salt, secret), created_s=self._clock.wall_s()
                )
                other = self._names.get(record.api_key)
                if other is not None and other != record.name:
                    changes[other] = self.table.remove(other)
                changes[record.name] = self.table.put(record.name, hashed)
            await self._apply(*changes.values())

    def removing_namespace(self, namespace: str) -> Sequence[Change]:
        """Describe the deletion of every key of a namespace, for the transaction that deletes it."""
        return [self.table.remove(record.name) for record in self.table if record.namespace == namespace]

    async def _apply(self, *changes: Change) -> None:
        await apply(self._database, *changes)
        self._names = {record.api_key: record.name for record in self.table}

    def _parse(self, role: str, namespace: str | None) -> Role:
        """Return the role; its namespace may stand in the role, beside it, or in both places alike."""
        parsed = parse_role(role, KEY_ROLES, self._namespaces.denied)
        if namespace is None:
            return parsed
        if not namespace:
            raise Refused("BAD_REQUEST", "namespace must not be empty")
        if namespace in self._namespaces.denied:
            raise Refused("BAD_REQUEST", "Denied namespace")
        if parsed.namespace not in (None, namespace):
            raise Refused("BAD_REQUEST", f"namespace mismatch: {parsed.namespace!r} and {namespace!r}")
        return Role(parsed.name, namespace)


def _check_stored(scopes: Sequence[str], role: str) -> None:
    """Check a stored list against a new role; the default list of a role may be kept by another than publisher."""
    if role == "publisher" or tuple(scopes) != default_key_scopes(role):
        check_key_scopes(scopes, role)


def _hash(salt: bytes, secret: str) -> bytes:
    return hmac.digest(salt, secret.encode("utf-8", "surrogateescape"), hashlib.sha256)
