"""Users of the built-in authenticators: stored, shown without their secrets, and in force at once.

Each authenticator has users of its own, by namespace. A change is on disk before logins see it; what was known of a
user's password is forgotten with it, and whoever must know of lost rights is told.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal, cast

import msgspec

from pybroker.auth.authentication import authenticator_id
from pybroker.auth.authenticators.built_in import cache_name
from pybroker.auth.passwords import StoredPassword, hash_password, is_slow, render_algorithm
from pybroker.auth.users import Login, ScramKeys, ScramLogin, make_keys
from pybroker.config.sections.access import Authenticator, BuiltInPasswords, ScramAuthenticator
from pybroker.control.caller import Caller
from pybroker.control.configuration import Configuration
from pybroker.control.namespaces.managed import ManagedNamespaces
from pybroker.control.plane import Plane
from pybroker.errors import Refused
from pybroker.persistence.records import MqttUserRecord, ScramUserRecord
from pybroker.persistence.sqlite import Database
from pybroker.persistence.table import Change, RecordTable, apply, apply_all
from pybroker.slices import drain, let_go
from pybroker.types import Namespace

PASSWORDS = "password_based:built_in_database"
SCRAM = "scram:built_in_database"
MAX_BYTES = 65_535
"""Longest name and password, as in MQTT."""

_FEW = 250
"""Users that are looked at without leaving the loop: less than a millisecond."""

UserRecord = MqttUserRecord | ScramUserRecord
LostRights = Callable[[Namespace | None, str, Literal["username", "clientid"], bool], None]
"""Told of a user who was deleted or is no superuser any more: namespace, name, what the name is, and whether he still
is a superuser."""


class NewUser(msgspec.Struct, frozen=True, gc=False):
    """A user to be stored, with what is known of his password.

    Args:
        secret: a password that was hashed.
    """

    namespace: str | None
    user_id: str
    secret: StoredPassword | ScramKeys
    is_superuser: bool


class MqttUsers:
    """The users.

    Args:
        database: keeps them.
        plane: logs them in.
        namespaces: knows which namespaces exist.
        configuration: says which authenticators there are.
        on_lost_rights: is told of those who may do less than before.
    """

    def __init__(
        self,
        database: Database,
        plane: Plane,
        namespaces: ManagedNamespaces,
        configuration: Configuration,
        on_lost_rights: LostRights,
    ) -> None:
        self.lock = asyncio.Lock()
        self._database = database
        self._authentication = plane.authentication
        self._namespaces = namespaces
        self._configuration = configuration
        self._on_lost_rights = on_lost_rights
        self._passwords = RecordTable(database, "mqtt_user", MqttUserRecord)
        self._scram = RecordTable(database, "scram_user", ScramUserRecord)

    async def load(self) -> None:
        """Read what is stored and put it into force.

        Raises:
            StoreError: a record cannot be read.
        """
        for table in (self._passwords, self._scram):
            await table.load()
            for record in table:
                self._put(record)

    def authenticator(self, name: str) -> BuiltInPasswords | ScramAuthenticator:
        """Return the settings of an authenticator that has users.

        Raises:
            Refused: `NOT_FOUND`: it is not configured; `BAD_REQUEST`: it has no users of its own.
        """
        settings = find_authenticator(self._configuration.current.authentication, name)
        if not isinstance(settings, BuiltInPasswords | ScramAuthenticator):
            raise Refused("BAD_REQUEST", f"authenticator has no users of its own: {name!r}")
        return settings

    def table(self, name: str) -> RecordTable[MqttUserRecord] | RecordTable[ScramUserRecord]:
        """Return the records of an authenticator's users, by `key_of`.

        Raises:
            Refused: as `authenticator`.
        """
        return self._passwords if isinstance(self.authenticator(name), BuiltInPasswords) else self._scram

    def scope(self, caller: Caller, namespace: str | None, said: str | None = None) -> str | None:
        """Return the namespace that a call is about, `None` for the global one.

        Args:
            namespace: of the query.
            said: of the body.

        Raises:
            Refused: `BAD_REQUEST`: query and body differ, or it does not exist; `FORBIDDEN`: it is not the caller's.
        """
        if namespace is not None and said is not None and namespace != said:
            raise Refused("BAD_REQUEST", f"namespace of query and body differ: {namespace!r}, {said!r}")
        named = said if namespace is None else namespace
        if caller.namespace is not None:
            if named not in (None, caller.namespace):
                raise Refused("FORBIDDEN", f"namespace is not yours: {named!r}")
            return caller.namespace
        self._namespaces.check(named)
        return named

    async def listed(
        self, name: str, namespace: str | None, like: str | None = None, is_superuser: bool | None = None
    ) -> list[UserRecord]:
        """Return the users of a namespace that fit, by their names; many are looked through in a thread.

        Args:
            like: part of the name, in its case.

        Raises:
            Refused: as `authenticator`.
        """
        records: list[UserRecord] = [*self.table(name)]

        def fitting() -> list[UserRecord]:
            found = [
                record
                for record in records
                if record.namespace == namespace
                and (like is None or like in record.user_id)
                and (is_superuser is None or record.is_superuser == is_superuser)
            ]
            return sorted(found, key=lambda record: record.user_id)

        return await asyncio.to_thread(fitting) if len(records) > _FEW else fitting()

    def find(self, name: str, namespace: str | None, user_id: str) -> UserRecord:
        """Return a user.

        Raises:
            Refused: `NOT_FOUND`, or as `authenticator`.
        """
        record = self.table(name).get(key_of(namespace, user_id))
        if record is None:
            raise Refused("NOT_FOUND", f"no such user: {user_id!r}")
        return record

    async def create(
        self, name: str, namespace: str | None, user_id: str, password: str, *, is_superuser: bool
    ) -> UserRecord:
        """Store a new user.

        Raises:
            Refused: `ALREADY_EXISTS`, `BAD_REQUEST`: he cannot be; `SERVICE_UNAVAILABLE`: too many hashes wait.
        """
        settings = self.authenticator(name)
        check_user(namespace, user_id, is_superuser=is_superuser)
        secret = await self._hash(settings, password)
        async with self.lock:
            if self.table(name).get(key_of(namespace, user_id)) is not None:
                raise Refused("ALREADY_EXISTS", f"user exists: {user_id!r}")
            return await self._store(name, NewUser(namespace, user_id, secret, is_superuser))

    async def change(
        self, name: str, namespace: str | None, user_id: str, password: str | None, is_superuser: bool | None
    ) -> tuple[UserRecord, UserRecord]:
        """Give a user another password, or other rights; `None` keeps what he has. Return him as before and now.

        Raises:
            Refused: `NOT_FOUND`, `BAD_REQUEST`, or as `create`.
        """
        settings = self.authenticator(name)
        self.find(name, namespace, user_id)
        secret = None if password is None else await self._hash(settings, password)
        async with self.lock:
            before = self.find(name, namespace, user_id)
            rights = before.is_superuser if is_superuser is None else is_superuser
            check_user(namespace, user_id, is_superuser=rights)
            kept = secret_of(before) if secret is None else secret
            after = await self._store(name, NewUser(namespace, user_id, kept, rights))
        if before.is_superuser and not rights:
            self._tell(name, before, False)
        return before, after

    async def remove(self, name: str, namespace: str | None, user_id: str) -> UserRecord:
        """Delete a user and return him.

        Raises:
            Refused: `NOT_FOUND`.
        """
        async with self.lock:
            record = self.find(name, namespace, user_id)
            await self._remove([self.table(name).remove(key_of(namespace, user_id))], [record])
        self._tell(name, record, False)
        return record

    async def clear(self, name: str) -> None:
        """Delete every user of an authenticator that is gone."""
        if name not in (PASSWORDS, SCRAM):
            return
        async with self.lock:
            table = self._passwords if name == PASSWORDS else self._scram
            records: list[UserRecord] = [*table]
            changes = await asyncio.to_thread(lambda: [table.remove(key) for key in list(table.records)])
            await self._remove(changes, records)

    def counts(self) -> Counter[str | None]:
        """Return how many users each namespace has; those that have none are missing. O(users)."""
        tables = (self._passwords, self._scram)
        return Counter(record.namespace for table in tables for record in table.records.values())

    def removing_namespace(self, namespace: str) -> list[Change]:
        """Describe deleting the users of a namespace, for its own transaction; `forget_namespace` follows."""
        return [
            table.remove(key)
            for table in (self._passwords, self._scram)
            for key, record in table.records.items()
            if record.namespace == namespace
        ]

    def forget_namespace(self, namespace: str) -> None:
        """Log nobody in any more who was deleted with a namespace."""
        for store in (self._authentication.users, self._authentication.scram_users):
            for owner, user_id in list(store):
                if owner == namespace:
                    store.remove(owner, user_id)
                    self._authentication.forget(owner, user_id)

    async def store_all(self, name: str, users: dict[str, NewUser]) -> None:
        """Store users as one transaction; those who are there are replaced. To be called with the lock.

        Each of them is known at once when he is stored; the loop gets its turn between some of them.

        Args:
            users: by `key_of`; empty afterwards, so that nobody has to free them at once.
        """
        records, changes, demoted = await asyncio.to_thread(_changes_of, self.table(name), users)
        await apply_all(self._database, changes)
        for index, record in enumerate(drain(records), 1):
            self._put(record)
            if index % _FEW == 0:
                await asyncio.sleep(0)
        for record in demoted:
            self._tell(name, record, False)

    async def _store(self, name: str, user: NewUser) -> UserRecord:
        (record,), changes, _ = _changes_of(self.table(name), {key_of(user.namespace, user.user_id): user})
        await apply(self._database, *changes)
        self._put(record)
        return record

    async def _remove(self, changes: list[Change], records: list[UserRecord]) -> None:
        await apply_all(self._database, changes)
        for index, record in enumerate(drain(records), 1):
            if index % _FEW == 0:
                await asyncio.sleep(0)
            namespace = _namespace_of(record)
            if isinstance(record, MqttUserRecord):
                self._authentication.users.remove(namespace, record.user_id)
                self._authentication.forget(namespace, record.user_id)
            else:
                self._authentication.scram_users.remove(namespace, record.user_id)

    def _put(self, record: UserRecord) -> None:
        namespace, secret = _namespace_of(record), secret_of(record)
        if isinstance(secret, StoredPassword):
            self._authentication.users.put(namespace, record.user_id, Login(secret, record.is_superuser))
            self._authentication.verified.forget(cache_name(namespace, record.user_id))
        else:
            self._authentication.scram_users.put(namespace, record.user_id, ScramLogin(secret, record.is_superuser))

    def _tell(self, name: str, record: UserRecord, is_superuser: bool) -> None:
        settings = find_authenticator(self._configuration.current.authentication, name)
        kind = settings.user_id_type if isinstance(settings, BuiltInPasswords) else "username"
        self._on_lost_rights(_namespace_of(record), record.user_id, kind, is_superuser)

    async def _hash(self, settings: BuiltInPasswords | ScramAuthenticator, password: str) -> StoredPassword | ScramKeys:
        check_password(password)
        threads = self._authentication.threads
        if isinstance(settings, BuiltInPasswords) and not is_slow(render_algorithm(settings.password_hash_algorithm)):
            return hash_secret(settings, password)
        if threads.is_full:
            raise Refused("SERVICE_UNAVAILABLE", "too many passwords are hashed at the moment")
        return await threads.run(hash_secret, settings, password)


def find_authenticator(authenticators: Sequence[Authenticator], name: str) -> Authenticator:
    """Return the settings of an authenticator.

    Raises:
        Refused: `NOT_FOUND`.
    """
    for one in authenticators:
        if authenticator_id(one) == name:
            return one
    raise Refused("NOT_FOUND", f"no such authenticator: {name!r}")


def hash_secret(settings: BuiltInPasswords | ScramAuthenticator, password: str) -> StoredPassword | ScramKeys:
    """Return what is to be kept of a new password; may take tens of milliseconds."""
    if isinstance(settings, ScramAuthenticator):
        return make_keys(settings, password)
    return hash_password(settings.password_hash_algorithm, password.encode())


def check_user(namespace: str | None, user_id: str, *, is_superuser: bool) -> None:
    """Check what a user is to be.

    Raises:
        Refused: `BAD_REQUEST` with the field.
    """
    if not user_id or len(user_id.encode(errors="surrogateescape")) > MAX_BYTES:
        raise Refused("BAD_REQUEST", f"user_id must have 1 to {MAX_BYTES} bytes")
    if is_superuser and namespace is not None:
        raise Refused("BAD_REQUEST", f"is_superuser: nobody is a superuser in a namespace: {user_id!r}")


def check_password(password: str) -> None:
    """Check a new password.

    Raises:
        Refused: `BAD_REQUEST`; the message does not repeat it.
    """
    if not password or len(password.encode(errors="surrogateescape")) > MAX_BYTES:
        raise Refused("BAD_REQUEST", f"password must have 1 to {MAX_BYTES} bytes")


def key_of(namespace: str | None, user_id: str) -> str:
    """Return the key of a user's record; no namespace holds a control character."""
    return cache_name(None if namespace is None else Namespace(namespace), user_id)


def secret_of(record: UserRecord) -> StoredPassword | ScramKeys:
    """Return what is kept of a user's password."""
    if isinstance(record, MqttUserRecord):
        return StoredPassword(record.algorithm, record.password_hash, record.salt)
    return ScramKeys(record.algorithm, record.salt, record.stored_key, record.server_key, record.iterations)


def _changes_of(
    table: RecordTable[MqttUserRecord] | RecordTable[ScramUserRecord], users: dict[str, NewUser]
) -> tuple[list[UserRecord], list[Change], list[UserRecord]]:
    """Return the records of users, how they are written, and those of them who are a superuser until then."""
    put = cast("RecordTable[UserRecord]", table).put  # the table of this kind of record
    records: list[UserRecord] = []
    changes: list[Change] = []
    demoted: list[UserRecord] = []
    for key, user in users.items():
        record, before = _record_of(user), table.get(key)
        records.append(record)
        changes.append(put(key, record))
        if before is not None and before.is_superuser and not record.is_superuser:
            demoted.append(before)
    let_go(users)
    return records, changes, demoted


def _record_of(user: NewUser) -> UserRecord:
    secret = user.secret
    if isinstance(secret, StoredPassword):
        return MqttUserRecord(
            user_id=user.user_id,
            namespace=user.namespace,
            password_hash=secret.hash,
            salt=secret.salt,
            algorithm=secret.algorithm,
            is_superuser=user.is_superuser,
        )
    return ScramUserRecord(
        user_id=user.user_id,
        namespace=user.namespace,
        algorithm=secret.algorithm,
        salt=secret.salt,
        stored_key=secret.stored_key,
        server_key=secret.server_key,
        iterations=secret.iterations,
        is_superuser=user.is_superuser,
    )


def _namespace_of(record: UserRecord) -> Namespace | None:
    return None if record.namespace is None else Namespace(record.namespace)
