"""The door: every control service in one place, for the HTTP API and the command line.

A subject of its own is one module here and one field of `Control`. `open_control` builds the services in their order
and reads what is stored.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from pybroker.clock import Clock
from pybroker.control.about import EDITION, About
from pybroker.control.alarms import Alarms
from pybroker.control.api_keys import ApiKeys
from pybroker.control.audit import AuditLog
from pybroker.control.authentication.door import Authentication, open_authentication
from pybroker.control.authentication.exposition import LoginFamilies
from pybroker.control.authorization.door import Authorization, open_authorization
from pybroker.control.banned import Bans
from pybroker.control.bootstrap import load_bootstrap_file
from pybroker.control.clients import Clients
from pybroker.control.configs import Configs
from pybroker.control.configuration import Configuration
from pybroker.control.delayed import Delayed
from pybroker.control.licence import Licence
from pybroker.control.listeners import ListenerControl
from pybroker.control.login import Logins, login_limits
from pybroker.control.mfa import MfaEnrolment
from pybroker.control.monitor import Monitor
from pybroker.control.namespaces.exposition import NamespacedExposition
from pybroker.control.namespaces.kicker import Kicker
from pybroker.control.namespaces.managed import ManagedNamespaces
from pybroker.control.namespaces.settings import NamespaceSettingsControl
from pybroker.control.namespaces.tenancy import Tenancy
from pybroker.control.nodes import Nodes
from pybroker.control.password import PasswordHasher
from pybroker.control.plane import Plane
from pybroker.control.prometheus import Prometheus
from pybroker.control.publish import Publisher
from pybroker.control.retained import Retained
from pybroker.control.session_messages import SessionMessages
from pybroker.control.slow_subscriptions import SlowSubscriptions
from pybroker.control.statistics import Statistics
from pybroker.control.subscriptions import Subscriptions
from pybroker.control.throttle import Throttle
from pybroker.control.tokens import SWEEP_S, Tokens
from pybroker.control.traces import Traces
from pybroker.control.users import Users
from pybroker.persistence.records import UserRecord
from pybroker.persistence.sqlite import Database
from pybroker.persistence.table import Change, RecordTable, apply

__all__ = ["EDITION", "About", "Control", "open_control"]


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
    plane: Plane
    nodes: Nodes
    statistics: Statistics
    monitor: Monitor
    prometheus: Prometheus
    clients: Clients
    session_messages: SessionMessages
    subscriptions: Subscriptions
    alarms: Alarms
    bans: Bans
    configs: Configs
    listeners: ListenerControl
    publisher: Publisher
    retained: Retained
    authorization: Authorization
    authentication: Authentication
    tenancy: Tenancy
    namespace_settings: NamespaceSettingsControl
    namespaced_exposition: NamespacedExposition
    delayed: Delayed
    slow_subscriptions: SlowSubscriptions
    traces: Traces
    bootstrap_failure: str | None = None

    async def remove_namespace(self, namespace: str) -> None:
        """Delete what belongs to a namespace: users, their tokens, keys, MQTT users, access rules and traces."""
        users, keys = self.users.removing_namespace(namespace), self.api_keys.removing_namespace(namespace)
        mqtt_users = self.authentication.users.removing_namespace(namespace)
        traces = self.traces.removing_namespace(namespace)

        async def remove(lists: Sequence[Change]) -> None:
            await apply(self.database, *users, *keys, *mqtt_users, *traces, *lists)

        await self.authorization.rules.remove_namespace(namespace, remove)
        self.authentication.users.forget_namespace(namespace)
        await self.traces.remove_files()

    async def run(self) -> None:
        """Do the regular work of the services until cancelled."""
        while True:
            await self.tokens.sweep()
            await self.bans.sweep()
            await self.alarms.sweep()
            self.slow_subscriptions.sweep()
            await asyncio.sleep(SWEEP_S)

    def close(self) -> None:
        """Finish what is being done; the database is closed by its owner."""
        self.tenancy.kicker.stop()
        self.traces.close()
        self.audit.close()
        self.hasher.close()
        self.plane.authentication.close()


async def open_control(
    configuration: Configuration,
    database: Database,
    plane: Plane,
    clock: Clock,
    about: About,
    announce: Callable[[str], None],
    hasher: PasswordHasher | None = None,
) -> Control:
    """Build every service and read what is stored.

    Args:
        configuration: in effect.
        database: open; its owner closes it after the services.
        plane: what operators look at and act on.
        clock: tells the time.
        about: what this process is.
        announce: takes the line with the password of a new default administrator.
        hasher: hashes passwords; `None`: with the usual cost.

    Raises:
        StoreError: a record cannot be read.
    """
    hasher = hasher or PasswordHasher()
    try:
        identity = await _open_identity(configuration, database, plane, clock, announce, hasher)
        operations = await _open_operations(configuration, database, plane, clock, about)
        namespaces = identity["namespaces"]
        authorization = await open_authorization(
            configuration, operations["configs"], operations["clients"], database, plane, clock, namespaces
        )
        authentication = await open_authentication(configuration, operations["configs"], database, plane, namespaces)
        tenancy = Tenancy(
            namespaces,
            plane,
            authorization.rules.lists,
            authentication.users,
            operations["alarms"],
            Kicker(plane),
        )
    except BaseException:
        hasher.close()
        raise
    control = Control(
        about=about,
        clock=clock,
        configuration=configuration,
        database=database,
        audit=AuditLog(database, clock, configuration),
        **identity,
        **operations,
        authorization=authorization,
        authentication=authentication,
        tenancy=tenancy,
        namespaced_exposition=NamespacedExposition(tenancy, plane, operations["nodes"], configuration, clock),
        namespace_settings=NamespaceSettingsControl(operations["configs"], configuration, plane),
    )
    control.configs.followers.append(control.namespaces.follow)
    await tenancy.attach(control.remove_namespace)
    control.prometheus.join(authorization.families)
    control.prometheus.join(LoginFamilies(authentication.authenticators, authentication.users))
    control.licence.attach(lambda: len(plane.registry), control.alarms.raise_soon, control.alarms.clear_soon)
    if control.bootstrap_failure is not None:
        await control.alarms.activate("api_key_bootstrap", control.bootstrap_failure, {})
    if authentication.bootstrap_failure is not None:
        await control.alarms.activate("mqtt_user_bootstrap", authentication.bootstrap_failure, {})
    return control


async def _open_identity(
    configuration: Configuration,
    database: Database,
    plane: Plane,
    clock: Clock,
    announce: Callable[[str], None],
    hasher: PasswordHasher,
) -> dict[str, Any]:
    """Return the services of users, keys and the quota by their field of `Control`."""
    wrong_passwords, wrong_codes = (Throttle(clock, lambda: login_limits(configuration)) for _ in range(2))
    namespaces = ManagedNamespaces(database, clock, configuration, plane)
    user_table = RecordTable(database, "user", UserRecord)
    tokens = Tokens(database, user_table, clock, configuration)
    users = Users(database, user_table, tokens, namespaces, hasher, clock, wrong_passwords, configuration)
    keys = ApiKeys(database, namespaces, clock)
    for part in (namespaces, users, tokens.table, keys):
        await part.load()
    await users.ensure_default(announce)
    bootstrap_failure = None
    if file := configuration.current.api_key.bootstrap_file:
        bootstrap_failure = await load_bootstrap_file(file, keys, namespaces)
    return {
        "namespaces": namespaces,
        "hasher": hasher,
        "users": users,
        "tokens": tokens,
        "logins": Logins(users, tokens, hasher, clock, wrong_passwords, wrong_codes, configuration),
        "mfa": MfaEnrolment(users, tokens),
        "api_keys": keys,
        "licence": Licence(database, users.settings, clock, configuration),
        "bootstrap_failure": bootstrap_failure,
    }


async def _open_operations(
    configuration: Configuration, database: Database, plane: Plane, clock: Clock, about: About
) -> dict[str, Any]:
    """Return the services around the running broker by their field of `Control`."""
    clients, configs = Clients(plane, configuration), Configs(configuration, plane)
    bans, alarms = Bans(database, plane, clock), Alarms(database, clock, configuration)
    await bans.load(configuration.current.banned.bootstrap_file)
    await alarms.table.load()
    traces, slow = Traces(database, plane, clock, configuration), SlowSubscriptions(plane, configuration)
    await traces.table.load()
    configs.followers.append(slow.follow)
    nodes, statistics = Nodes(plane, clock, about, configuration), Statistics(plane.counters)
    return {
        "alarms": alarms,
        "bans": bans,
        "configs": configs,
        "listeners": ListenerControl(plane, configuration, configs),
        "publisher": Publisher(plane, configuration, clock),
        "retained": Retained(plane),
        "delayed": Delayed(plane, clock),
        "slow_subscriptions": slow,
        "traces": traces,
        "plane": plane,
        "clients": clients,
        "session_messages": SessionMessages(plane, clients),
        "subscriptions": Subscriptions(plane, clients),
        "nodes": nodes,
        "statistics": statistics,
        "monitor": Monitor(database, statistics, nodes, clock, configuration),
        "prometheus": Prometheus(plane, statistics, nodes, configuration, about, bans),
    }
