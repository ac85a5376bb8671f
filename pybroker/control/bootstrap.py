"""The bootstrap file of API keys: lines `key:secret[:role[:scope,scope]]`, loaded at the start, all or none."""

import asyncio
import hashlib
from pathlib import Path

import structlog

from pybroker.control.api_keys import ApiKeys
from pybroker.control.namespaces.managed import ManagedNamespaces
from pybroker.control.roles import KEY_ROLES, parse_role
from pybroker.control.scopes import GENERIC, default_key_scopes, without_mix
from pybroker.errors import Refused
from pybroker.persistence.records import ApiKeyRecord

logger = structlog.get_logger(__name__)

_NAME_PREFIX = "from_bootstrap_file_"
_DESCRIPTION = "Bootstrapped From File"


async def load_bootstrap_file(path: str, keys: ApiKeys, namespaces: ManagedNamespaces) -> str | None:
    """Load the file into the table of keys and return why it was not loaded; `None`: it was.

    A bad line loads none; the error names its number, never its content.
    """
    try:
        text = await asyncio.to_thread(Path(path).read_text, "utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = f"file cannot be read: {type(error).__name__}"
        logger.error("api_key_bootstrap_failed", file=path, reason=reason)
        return reason
    records = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            records.append(_parse(line.strip(), number, namespaces))
        except Refused as error:
            reason = f"line {number} is wrong: {error.message}"
            logger.error("api_key_bootstrap_failed", file=path, reason=reason)
            return reason
    await keys.replace_all(records)
    logger.info("api_keys_bootstrapped", file=path, keys=len(records))
    return None


def _parse(line: str, number: int, namespaces: ManagedNamespaces) -> tuple[ApiKeyRecord, str]:
    """Return the key of one line and its secret."""
    api_key, _, rest = line.partition(":")
    secret, has_role, rest = rest.partition(":")
    if not api_key or not secret:
        raise Refused("BAD_REQUEST", "key or secret is missing")
    role_text, has_scopes, scopes_text = _split_role(rest) if has_role else ("administrator", False, "")
    role = parse_role(role_text, KEY_ROLES, namespaces.denied)
    namespaces.check(role.namespace)
    scopes = _scopes(scopes_text, role.name, number) if has_scopes else default_key_scopes(role.name)
    name = _NAME_PREFIX + hashlib.sha512(api_key.encode()).hexdigest()[:16]
    record = ApiKeyRecord(
        name=name,
        api_key=api_key,
        salt=b"",
        secret_hash=b"",
        description=_DESCRIPTION,
        role=role.name,
        namespace=role.namespace,
        scopes=scopes,
    )
    return record, secret


def _split_role(text: str) -> tuple[str, bool, str]:
    """Return the role, whether scopes follow, and their text; the colons of a namespaced role are its own."""
    head, separator, tail = text.partition("::")
    if separator:
        role, has_scopes, scopes = tail.partition(":")
        return f"{head}::{role}", bool(has_scopes), scopes
    role, has_scopes, scopes = text.partition(":")
    return role, bool(has_scopes), scopes


def _scopes(text: str, role: str, number: int) -> tuple[str, ...]:
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    known = [name for name in names if name in GENERIC]
    if len(known) < len(names):
        logger.warning("api_key_bootstrap_scopes_dropped", line=number, dropped=len(names) - len(known))
    if role == "publisher":
        return tuple(name for name in known if name == "publish")
    return without_mix(known)
