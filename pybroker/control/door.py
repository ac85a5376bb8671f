"""The door: every control service in one place, for the HTTP API and the command line.

A subject of its own is one module here and one field of `Control`. `open_control` builds the services in their order
and reads what is stored.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec

from pybroker.clock import Clock
from pybroker.config.schema import Config
from pybroker.control.api_keys import ApiKeys
from pybroker.control.audit import AuditLog
from pybroker.control.bootstrap import load_bootstrap_file
from pybroker.control.configuration import Configuration
from pybroker.control.licence import Licence
from pybroker.control.login import Logins, login_limits
from pybroker.control.mfa import MfaEnrolment
from pybroker.control.namespaces import ManagedNamespaces
from pybroker.control.password import PasswordHasher
from pybroker.control.throttle import Throttle
from pybroker.control.tokens import SWEEP_S, Tokens
from pybroker.control.users import Users
from pybroker.persistence.records import UserRecord
from pybroker.persistence.sqlite import Database, open_database
from pybroker.persistence.table import RecordTable

EDITION = "ee"
"""Edition that clients of EMQX are told everywhere; they offer less to another one."""


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What this process is.

    Args:
        node: its name.
        version: of the program.
        is_running: whether the broker serves clients; asked each time.
    """

    node: str
    version: str
    is_running: Callable[[], bool]


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """Every service that an operator can reach.

    Args:
        bootstrap_failure: why the bootstrap file of API keys was not loaded; `None`: it was, or there is none.
    """

    about: About
    clock: Clock
    configuration: Configuration
    database: Database
    namespaces: ManagedNamespaces
    hasher: PasswordHasher
    users: Users
    tokens: Tokens
    logins: Logins
    mfa: MfaEnrolment
    api_keys: ApiKeys
    audit: AuditLog
    licence: Licence
    bootstrap_failure: str | None = None

    async def remove_namespace(self, namespace: str) -> None:
        """Delete a managed namespace with its users, their tokens and its keys."""
        users, keys = self.users.removing_namespace(namespace), self.api_keys.removing_namespace(namespace)
        await self.namespaces.remove(namespace, *users, *keys)

    async def run(self) -> None:
        """Do the regular work of the services until cancelled."""
        while True:
            await self.tokens.sweep()
            await asyncio.sleep(SWEEP_S)

    def close(self) -> None:
        """Finish what is being written and close the database."""
        self.audit.close()
        self.hasher.close()
        self.database.close()


async def open_control(
    config: Config, clock: Clock, about: About, announce: Callable[[str], None], hasher: PasswordHasher | None = None
) -> Control:
    """Open the database and build every service.

    Args:
        config: as loaded.
        clock: tells the time.
        about: what this process is.
        announce: takes the line with the password of a new default administrator.
        hasher: hashes passwords; `None`: with the usual cost.

    Raises:
        StoreError: the database cannot be used.
    """
    database = await asyncio.to_thread(open_database, Path(config.node.data_dir))
    hasher = hasher or PasswordHasher()
    try:
        return await _build(config, clock, about, announce, database, hasher)
    except BaseException:
        hasher.close()
        database.close()
        raise


async def _build(
    config: Config,
    clock: Clock,
    about: About,
    announce: Callable[[str], None],
    database: Database,
    hasher: PasswordHasher,
) -> Control:
    configuration = Configuration(config)
    wrong_passwords, wrong_codes = (Throttle(clock, lambda: login_limits(configuration)) for _ in range(2))
    namespaces = ManagedNamespaces(database, clock, configuration)
    user_table = RecordTable(database, "user", UserRecord)
    tokens = Tokens(database, user_table, clock, configuration)
    users = Users(database, user_table, tokens, namespaces, hasher, clock, wrong_passwords, configuration)
    keys = ApiKeys(database, namespaces, clock)
    for part in (namespaces.table, users, tokens.table, keys):
        await part.load()
    await users.ensure_default(announce)
    bootstrap_failure = None
    if config.api_key.bootstrap_file:
        bootstrap_failure = await load_bootstrap_file(config.api_key.bootstrap_file, keys, namespaces)
    return Control(
        about=about,
        clock=clock,
        configuration=configuration,
        database=database,
        namespaces=namespaces,
        hasher=hasher,
        users=users,
        tokens=tokens,
        logins=Logins(users, tokens, hasher, clock, wrong_passwords, wrong_codes, configuration),
        mfa=MfaEnrolment(users, tokens),
        api_keys=keys,
        audit=AuditLog(database, clock, configuration),
        licence=Licence(database, users.settings, clock, configuration),
        bootstrap_failure=bootstrap_failure,
    )
