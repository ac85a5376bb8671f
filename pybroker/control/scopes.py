"""The 14 scopes: their names, who holds which, and which lists may be stored.

A scope narrows what a role may do; it never widens it. Which route needs which scope stands in the route table.
"""

from collections.abc import Iterable, Sequence

from pybroker.errors import Refused

GENERIC = (
    "connections",
    "publish",
    "data_integration",
    "access_control",
    "gateways",
    "monitoring",
    "cluster_operations",
    "system",
    "audit",
    "license",
)
"""Scopes of users and keys."""

LOGIN_ONLY = ("user_management", "sso_management", "api_key_management", "mfa_management")
"""Scopes that only users may hold."""

ALL = (*GENERIC, *LOGIN_ONLY)

ADMINISTRATOR_ONLY = frozenset({"user_management", "sso_management", "api_key_management"})
"""Login-only scopes that a viewer cannot hold."""

PRIVILEGED = frozenset({"system", "user_management", "api_key_management", "sso_management"})
"""Scopes that amount to administration; they do not mix with others in one list."""

NAMESPACE_ADMINISTRATOR = (
    "connections",
    "monitoring",
    "data_integration",
    "access_control",
    "system",
    "cluster_operations",
    "license",
    "user_management",
    "api_key_management",
)
"""Everything that the administrator of a namespace may ever hold."""

UNSET = "unset"
"""Word for "no list" in requests and replies."""

DESCRIPTIONS = {
    "connections": "Clients, sessions, subscriptions, topics, bans, retained and delayed messages",
    "publish": "Publish messages",
    "data_integration": "Rules, connectors, actions and sources",
    "access_control": "Authentication and authorization",
    "gateways": "Gateways",
    "monitoring": "Metrics, statistics, alarms, traces and slow subscriptions",
    "cluster_operations": "Nodes, cluster and namespaces",
    "system": "Configuration, listeners, plugins, backup and certificates",
    "audit": "Audit log",
    "license": "Connection quota",
    "user_management": "Users of the dashboard",
    "sso_management": "Sign-on by other systems",
    "api_key_management": "API keys",
    "mfa_management": "Second factor of users",
}
"""What each scope opens, for people."""


def effective_scopes(role: str, namespace: str | None) -> tuple[str, ...]:
    """Return the scopes of a user that has no list of its own."""
    if role != "administrator":
        return GENERIC
    return ALL if namespace is None else NAMESPACE_ADMINISTRATOR


def default_key_scopes(role: str) -> tuple[str, ...]:
    """Return the list that is stored with a new key whose request names none."""
    return ("publish",) if role == "publisher" else GENERIC


def check_user_scopes(scopes: Sequence[str], role: str, namespace: str | None) -> None:
    """Check an explicit list of a user; one equal to that of the role always passes.

    Raises:
        Refused: `BAD_REQUEST`: an unknown name, one the role may not hold, or a mix of privileged and other ones.
    """
    _check_names(scopes, ALL)
    default = effective_scopes(role, namespace)
    if set(scopes) == set(default):
        return
    if role == "administrator":
        if namespace is not None:
            _check_held(scopes, NAMESPACE_ADMINISTRATOR, "administrator of a namespace")
    else:
        _check_held(scopes, [name for name in ALL if name not in ADMINISTRATOR_ONLY], role)
    if namespace is None:
        _check_mix(scopes)


def check_key_scopes(scopes: Sequence[str], role: str) -> None:
    """Check an explicit list of a key. Unlike with users, the default list of the role does not pass by itself.

    Raises:
        Refused: `BAD_REQUEST`: a publisher with anything but `publish`, a name that is unknown or for users only, or a
            mix of privileged and other ones.
    """
    if role == "publisher" and scopes and set(scopes) != {"publish"}:
        raise Refused("BAD_REQUEST", "a publisher key may hold the scope publish only")
    for name in scopes:
        if name in LOGIN_ONLY:
            raise Refused("BAD_REQUEST", f"scope is for users only: {name!r}")
    _check_names(scopes, GENERIC)
    _check_mix(scopes)


def without_mix(scopes: Iterable[str]) -> tuple[str, ...]:
    """Return the list without its privileged scopes if it has others too."""
    names = tuple(scopes)
    others = tuple(name for name in names if name not in PRIVILEGED)
    return others or names


def _check_names(scopes: Sequence[str], known: Sequence[str]) -> None:
    for name in scopes:
        if name not in known:
            raise Refused("BAD_REQUEST", f"unknown scope: {name!r}")


def _check_held(scopes: Sequence[str], allowed: Sequence[str], role: str) -> None:
    for name in scopes:
        if name not in allowed:
            raise Refused("BAD_REQUEST", f"role {role} cannot hold the scope: {name!r}")


def _check_mix(scopes: Sequence[str]) -> None:
    if 0 < len(PRIVILEGED & set(scopes)) < len(set(scopes)):
        raise Refused(
            "BAD_REQUEST", f"privileged scopes do not mix with others: {', '.join(sorted(PRIVILEGED & set(scopes)))}"
        )
