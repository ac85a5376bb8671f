"""The settings of all namespaces as one object: eight keys of the configuration, changed together or not at all."""

from collections.abc import Mapping
from typing import Any

import msgspec

from pybroker.control.configs import Configs
from pybroker.control.configuration import Configuration
from pybroker.control.plane import Plane
from pybroker.errors import Refused
from pybroker.namespaces.warnings import warnings_of

KEYS: Mapping[str, tuple[str, str]] = {
    "allow_only_managed_namespaces": ("multi_tenancy", "allow_only_managed_namespaces"),
    "default_max_sessions": ("multi_tenancy", "default_max_sessions"),
    "deny_namespaces": ("multi_tenancy", "deny_namespaces"),
    "post_auth_tns_expression": ("multi_tenancy", "post_auth_tns_expression"),
    "client_attrs_init": ("mqtt", "client_attrs_init"),
    "clientid_override": ("mqtt", "clientid_override"),
    "namespace_as_mountpoint": ("mqtt", "namespace_as_mountpoint"),
    "include_mountpoint": ("authorization", "include_mountpoint"),
}
"""Each setting and the key that holds it."""


class SettingsView(msgspec.Struct, frozen=True, kw_only=True):
    """The settings, and whom they do not reach yet.

    Args:
        values: by name, in the form of the configuration.
        unmanaged_clients: sessions in namespaces that nobody created, or in none; they stay until they leave.
        outdated_clients: clients that came to their namespace, client id or prefix by older settings.
        warnings: what the settings hold that is hardly meant: key and text.
    """

    values: dict[str, Any]
    unmanaged_clients: int
    outdated_clients: int
    warnings: list[tuple[str, str]]


class NamespaceSettingsControl:
    """Reader and changer of the settings.

    Args:
        configs: changes the configuration.
        configuration: in effect.
        plane: knows the clients.
    """

    def __init__(self, configs: Configs, configuration: Configuration, plane: Plane) -> None:
        self._configs = configs
        self._configuration = configuration
        self._plane = plane

    def show(self) -> SettingsView:
        """Return the settings. O(sessions): all are looked at, some 20 ms for 100,000."""
        shown = {root: self._configs.show(root) for root in ("multi_tenancy", "mqtt", "authorization")}
        namespaces, registry = self._plane.namespaces, self._plane.registry
        managed = sum(tenant.session_count for tenant in namespaces.tenants if tenant.is_managed)
        since_ms = namespaces.changed_at_ms
        return SettingsView(
            values={name: shown[root][key] for name, (root, key) in KEYS.items()},
            unmanaged_clients=len(registry) - managed,
            outdated_clients=sum(one.connected_at_ms <= since_ms for one in registry) if since_ms else 0,
            warnings=warnings_of(namespaces.settings),
        )

    async def update(self, change: Mapping[str, Any]) -> SettingsView:
        """Change what is sent, all or nothing; what is not sent stays.

        Raises:
            Refused: `BAD_REQUEST`: a name is unknown.
            ConfigError: a value is wrong; nothing has changed.
        """
        unknown = [name for name in change if name not in KEYS]
        if unknown:
            raise Refused("BAD_REQUEST", f"unknown setting: {unknown[0]!r}, allowed: {', '.join(KEYS)}")
        nested: dict[str, dict[str, Any]] = {}
        for name, value in change.items():
            root, key = KEYS[name]
            nested.setdefault(root, {})[key] = value
        if nested:
            await self._configs.update(nested)
        return self.show()
