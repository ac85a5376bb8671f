"""Roles and how they are written: `viewer`, or `ns:NAMESPACE::viewer` for one that is bound to a namespace."""

from collections.abc import Collection
from typing import NamedTuple

from pybroker.errors import Refused

USER_ROLES = ("administrator", "viewer")
"""Roles of dashboard users."""

KEY_ROLES = ("administrator", "viewer", "publisher")
"""Roles of API keys."""

_PREFIX = "ns:"
_SEPARATOR = "::"


class Role(NamedTuple):
    """A bare role and the namespace it is bound to; `None`: global."""

    name: str
    namespace: str | None = None


def parse_role(text: str, allowed: Collection[str], denied: Collection[str]) -> Role:
    """Return the role that a request names.

    Args:
        text: as in the request.
        allowed: bare roles.
        denied: names that no namespace may have.

    Raises:
        Refused: `BAD_REQUEST`: no such role, a wrong prefix, or a reserved namespace.
    """
    prefix, separator, name = text.partition(_SEPARATOR)
    if not separator:
        prefix, name = "", text
    if separator and (not prefix.startswith(_PREFIX) or prefix == _PREFIX):
        raise Refused("BAD_REQUEST", "Invalid namespace tag")
    if name not in allowed:
        raise Refused("BAD_REQUEST", "Role does not exist")
    namespace = prefix.removeprefix(_PREFIX) if separator else None
    if namespace is not None and namespace in denied:
        raise Refused("BAD_REQUEST", "Denied namespace")
    return Role(name, namespace)
