"""What the configuration says about namespaces, with its expressions compiled once.

Each zone has its own rules; what holds for all of them is in `NamespaceSettings` itself.
"""

from collections.abc import Mapping

import msgspec

from pybroker.clock import Clock
from pybroker.config.schema import Config, MqttSettings
from pybroker.variform.compile import Compiler, Expression
from pybroker.variform.contexts import CLIENT_ATTRS_INIT, CLIENTID_OVERRIDE, POST_AUTH_TNS_EXPRESSION, Context


class ZoneRules(msgspec.Struct, frozen=True, kw_only=True):
    """How clients of one zone come to their namespace.

    Args:
        attributes: names and expressions, in the order in which they are set.
        override: gives the client id; `None`: it stays.
        is_mountpoint: whether the namespace and a slash stand before every topic.
        keeps_placeholders: whether a listener's mountpoint keeps a placeholder without value as text.
    """

    attributes: tuple[tuple[str, Expression], ...] = ()
    override: Expression | None = None
    is_mountpoint: bool = False
    keeps_placeholders: bool = False


class NamespaceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of all namespaces.

    Args:
        general: of zones that have none of their own.
        zones: by name.
        default_max_sessions: of namespaces that nobody created; `None`: no limit.
        post_auth: gives the namespace after authentication; `None`: off.
    """

    general: ZoneRules = ZoneRules()
    zones: Mapping[str, ZoneRules] = {}
    allows_only_managed: bool = False
    default_max_sessions: int | None = None
    denied: frozenset[str] = frozenset()
    post_auth: Expression | None = None

    @property
    def has_override(self) -> bool:
        """Whether clients of any zone have their client id overridden."""
        return self.general.override is not None or any(rules.override is not None for rules in self.zones.values())

    @property
    def has_mountpoints(self) -> bool:
        """Whether topics of clients of any zone lie below their namespace."""
        return self.general.is_mountpoint or any(rules.is_mountpoint for rules in self.zones.values())


class SettingsCompiler:
    """Compiles configurations; the parser is built when the first expression is met.

    Args:
        clock: limits evaluations.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._compiler: Compiler | None = None

    def compile(self, config: Config) -> NamespaceSettings:
        """Return what a checked configuration says.

        Raises:
            ExpressionError: an expression of it is none; `config.checks` lets none through.
        """
        tenancy = config.multi_tenancy
        post_auth = tenancy.post_auth_tns_expression
        return NamespaceSettings(
            general=self._zone(config.mqtt),
            zones={name: self._zone(zone.mqtt_over(config.mqtt)) for name, zone in config.zones.items()},
            allows_only_managed=tenancy.allow_only_managed_namespaces,
            default_max_sessions=tenancy.default_max_sessions,
            denied=frozenset(tenancy.deny_namespaces),
            post_auth=self.expression(post_auth, POST_AUTH_TNS_EXPRESSION) if post_auth else None,
        )

    def expression(self, text: str, context: Context) -> Expression:
        """Compile one expression.

        Raises:
            ExpressionError: it is none, with its position.
        """
        if self._compiler is None:
            self._compiler = Compiler(self._clock)
        return self._compiler.compile(text, context)

    def _zone(self, mqtt: MqttSettings) -> ZoneRules:
        override = mqtt.clientid_override
        return ZoneRules(
            attributes=tuple(
                (one.set_as_attr, self.expression(one.expression, CLIENT_ATTRS_INIT)) for one in mqtt.client_attrs_init
            ),
            override=self.expression(override, CLIENTID_OVERRIDE) if override else None,
            is_mountpoint=mqtt.namespace_as_mountpoint,
            keeps_placeholders=mqtt.mountpoint_missing_attr == "literal",
        )
