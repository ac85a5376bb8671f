"""The file of users that is loaded at the start: as an import, but users who are there are never replaced."""

import asyncio
from pathlib import Path

import structlog

from pybroker.config.sections.access import BuiltInPasswords
from pybroker.control.authentication.imports import Form, import_users
from pybroker.control.authentication.users import MqttUsers
from pybroker.control.namespaces.managed import ManagedNamespaces
from pybroker.errors import Refused

logger = structlog.get_logger(__name__)


async def load_users_file(
    settings: BuiltInPasswords, users: MqttUsers, name: str, namespaces: ManagedNamespaces
) -> str | None:
    """Load the file of an authenticator and return why it was not loaded; `None`: it was.

    A bad line loads none of them; the error names its number, never its content.
    """

    def scope(said: str | None) -> str | None:
        namespaces.check(said)
        return said

    path = Path(settings.bootstrap_file)
    form: Form = "json" if path.suffix.lower() == ".json" else "csv"
    try:
        data = await asyncio.to_thread(path.read_bytes)
        report = await import_users(users, name, data, form, settings.bootstrap_type, scope, replaces=False)
    except OSError as error:
        return _failed(settings, f"file cannot be read: {(error.strerror or type(error).__name__).lower()}")
    except Refused as error:
        return _failed(settings, str(error.message))
    logger.info("mqtt_users_bootstrapped", file=settings.bootstrap_file, users=report.success)
    return None


def _failed(settings: BuiltInPasswords, reason: str) -> str:
    logger.error("mqtt_users_bootstrap_failed", file=settings.bootstrap_file, reason=reason)
    return reason
