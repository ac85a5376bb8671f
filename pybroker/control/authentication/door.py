"""Everything about authentication in one place, for the API and the command line."""

import msgspec

from pybroker.config.sections.access import BuiltInPasswords
from pybroker.control.authentication.authenticators import Authenticators
from pybroker.control.authentication.bootstrap import load_users_file
from pybroker.control.authentication.rights import RightsWatch
from pybroker.control.authentication.users import PASSWORDS, MqttUsers
from pybroker.control.configs import Configs
from pybroker.control.configuration import Configuration
from pybroker.control.namespaces.managed import ManagedNamespaces
from pybroker.control.plane import Plane
from pybroker.persistence.sqlite import Database


class Authentication(msgspec.Struct, frozen=True, kw_only=True):
    """The services around authentication.

    Args:
        bootstrap_failure: why the file of users was not loaded; `None`: it was, or there is none.
    """

    authenticators: Authenticators
    users: MqttUsers
    rights: RightsWatch
    bootstrap_failure: str | None = None


async def open_authentication(
    configuration: Configuration, configs: Configs, database: Database, plane: Plane, namespaces: ManagedNamespaces
) -> Authentication:
    """Build the services, put the stored users into force and load the file of users.

    Raises:
        StoreError: a record cannot be read.
    """
    rights = RightsWatch(plane)
    users = MqttUsers(database, plane, namespaces, configuration, rights.on_lost)
    await users.load()
    failure = None
    for settings in configuration.current.authentication:
        if isinstance(settings, BuiltInPasswords) and settings.bootstrap_file:
            failure = await load_users_file(settings, users, PASSWORDS, namespaces)
    return Authentication(
        authenticators=Authenticators(configuration, configs, plane, users),
        users=users,
        rights=rights,
        bootstrap_failure=failure,
    )
