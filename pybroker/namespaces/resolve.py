"""From a client to its namespace: attributes, client id, the gate, the prefix of its topics.

The order of the steps is that of the connect pipeline. What an expression fails at is logged and changes nothing: no
expression refuses a client, and none gives it the session of another one.
"""

import structlog

from pybroker.clock import Clock
from pybroker.config.schema import Config
from pybroker.events import Client, EventBus, QuotaCrossing
from pybroker.namespaces.rate import TokenBucket
from pybroker.namespaces.registry import Tenant, Tenants
from pybroker.namespaces.settings import NamespaceSettings, SettingsCompiler, ZoneRules
from pybroker.namespaces.warnings import warnings_of
from pybroker.plane.attributes import NAMESPACE_ATTRIBUTE, can_be_mountpoint, is_text, merge_attributes
from pybroker.plane.facts import alternative_names_of, facts_of
from pybroker.plane.registry import Registry
from pybroker.ports import Applicant
from pybroker.types import ClientId, Mountpoint, Namespace
from pybroker.variform.compile import Expression
from pybroker.variform.contexts import bind_client_attrs_init, bind_clientid_override, bind_post_auth
from pybroker.variform.errors import Failure
from pybroker.variform.values import Bindings

logger = structlog.get_logger(__name__)

CLIENT_ID_NOT_VALID = 0x85
NOT_AUTHORIZED = 0x87
SERVER_UNAVAILABLE = 0x88
QUOTA_EXCEEDED = 0x97


class Namespaces:
    """Finds and judges the namespace of each applicant; implements `ports.NamespaceResolver`.

    Args:
        tenants: the namespaces that are known, and who is in them.
        registry: every session, for the isolation of client ids.
        clock: refills the rate of connects.
        events: is told when a quota is reached, and when it is kept again.
        config: checked; `apply` replaces it while running, for the next CONNECT.
    """

    def __init__(
        self,
        tenants: Tenants,
        registry: Registry,
        clock: Clock,
        events: EventBus,
        config: Config,
    ) -> None:
        self._compiler = SettingsCompiler(clock)
        self.settings = NamespaceSettings()
        self.tenants = tenants
        self._registry = registry
        self._clock = clock
        self._events = events
        self._held: dict[int, tuple[Tenant, ClientId]] = {}
        self._mode = _mode_of(config)
        self.changed_at_ms = 0
        """When settings changed by which clients come to namespace, client id and prefix, wall clock; 0: never."""
        self.apply(config)
        events.session_discarded.listen(self._on_ended)
        events.session_terminated.listen(self._on_ended)

    def apply(self, config: Config) -> None:
        """Take the settings of a checked configuration; what they hold that is hardly meant goes to the log."""
        self.settings = self._compiler.compile(config)
        mode = _mode_of(config)
        if mode != self._mode:
            self._mode = mode
            self.changed_at_ms = self._clock.wall_ms()
            logger.warning("namespace_settings_changed", sessions_as_before=len(self._registry))
        for tenant in self.tenants:
            self._relax(tenant)
        for path, message in warnings_of(self.settings):
            logger.warning("expression_notice", path=path, notice=message)

    def resolve(self, applicant: Applicant) -> None:
        """Set attributes and namespace, then the client id where an override is configured."""
        rules = self._rules(applicant)
        if rules.attributes:
            self._set_attributes(applicant, rules)
        if rules.override is not None:
            _override(applicant, rules.override)

    def judge(self, applicant: Applicant) -> int:
        """Return 0, or why the namespace is closed to the applicant; asked of nobody if `resolve_again` decides."""
        if self.settings.post_auth is not None:
            return 0
        return self._pass_gate(applicant)

    def resolve_again(self, applicant: Applicant, before: Namespace | None, keeps_client_id: bool) -> int:
        """Let the expression decide that runs after authentication; a changed namespace gives another client id."""
        if self.settings.post_auth is not None:
            reason = self._resolve_after(applicant, self.settings.post_auth)
            if reason:
                return reason
        if applicant.namespace != before and not keeps_client_id:
            rules = self._rules(applicant)
            if rules.override is not None:
                applicant.client_id = applicant.declared_client_id
                _override(applicant, rules.override)
        return 0

    def judge_again(self, applicant: Applicant) -> int:
        """Return 0, or why the applicant may not have the namespace and client id that are settled now.

        Only here the rate of connects is paid: strangers who name a tenant must not use up what its clients have.
        """
        if self._is_of_somebody_else(applicant):
            return CLIENT_ID_NOT_VALID
        reason = self._keep_place(applicant)
        if reason or applicant.namespace is None:
            return reason
        tenant = self.tenants.at(applicant.namespace)
        return QUOTA_EXCEEDED if self._is_too_fast(tenant, pays=True) else 0

    def mountpoint(self, applicant: Applicant) -> Mountpoint | None:
        """Return the namespace and a slash where it stands before topics; `None` if it would reach others' topics."""
        namespace = applicant.namespace
        if namespace is None or not self._rules(applicant).is_mountpoint:
            return Mountpoint("")
        if not can_be_mountpoint(namespace):
            return None
        return Mountpoint(namespace + "/")

    def limit(self, tenant: Tenant, max_sessions: int | None, rate: TokenBucket | None) -> None:
        """Put limits of a namespace in force; a quota that is raised is kept again."""
        former, tenant.connect_rate = tenant.connect_rate, rate
        if former is not None and former is not rate and former.is_exceeded:
            self._events.quota_crossed.emit(QuotaCrossing(tenant.name, "max_conn_rate", False))
        tenant.max_sessions = max_sessions
        self._relax(tenant)

    def let_go(self, applicant: Applicant) -> None:
        """Give back the place that an applicant holds; its session, if it has got one, has it now."""
        held = self._held.pop(applicant.conn, None)
        if held is None:
            return
        tenant, client_id = held
        tenant.release(client_id)
        self.tenants.drop_if_unused(tenant)

    def _rules(self, applicant: Applicant) -> ZoneRules:
        settings = self.settings
        return settings.zones.get(applicant.zone, settings.general) if settings.zones else settings.general

    def _set_attributes(self, applicant: Applicant, rules: ZoneRules) -> None:
        connect = applicant.connect
        bindings = bind_client_attrs_init(
            facts_of(applicant), connect.password, connect.user_properties, alternative_names_of(applicant)
        )
        for name, expression in rules.attributes:
            value = _evaluate(applicant, expression, bindings, f"client_attrs.{name}")
            if value:
                merge_attributes(applicant, {name: value})

    def _resolve_after(self, applicant: Applicant, expression: Expression) -> int:
        attributes = applicant.attributes or {}
        bindings = bind_post_auth(facts_of(applicant), attributes, applicant.is_superuser)
        found = _evaluate(applicant, expression, bindings, "post_auth_tns_expression")
        if found:
            merge_attributes(applicant, {NAMESPACE_ATTRIBUTE: found})
            return 0
        if applicant.namespace is not None and applicant.namespace in self.settings.denied:
            return NOT_AUTHORIZED
        # Nothing is found: what the client was before does not count either.
        applicant.namespace = None
        if applicant.attributes is not None:
            applicant.attributes.pop(NAMESPACE_ATTRIBUTE, None)
        return 0

    def _is_of_somebody_else(self, applicant: Applicant) -> bool:
        """Whether the client id has a session that another namespace, or another id before the override, has begun.

        Without any override client ids name one session for the whole broker, whatever the namespace.
        """
        session = self._registry.find(applicant.client_id)
        if session is None:
            return False
        is_overridden = (
            applicant.client_id != applicant.declared_client_id or session.client_id != session.declared_client_id
        )
        if not is_overridden and not self.settings.has_override:
            return False
        return bool(
            session.namespace != applicant.namespace or session.declared_client_id != applicant.declared_client_id
        )

    def _keep_place(self, applicant: Applicant) -> int:
        """Judge whether an applicant keeps the place that it holds, or gets one where it is now."""
        held = self._held.get(applicant.conn)
        if held is not None:
            tenant, client_id = held
            if tenant.name == applicant.namespace and client_id == applicant.client_id:
                # What was open may have been closed while authentication was waited for.
                return self._judge_name(tenant.name)
            self.let_go(applicant)
        return self._pass_gate(applicant)

    def _pass_gate(self, applicant: Applicant) -> int:
        """Judge namespace, rate and quota; who passes holds a place."""
        settings, namespace = self.settings, applicant.namespace
        if namespace is None:
            return NOT_AUTHORIZED if settings.allows_only_managed else 0
        reason = self._judge_name(namespace)
        if reason:
            return reason
        tenant = self.tenants.at(namespace)
        if self._is_too_fast(tenant, pays=False) or self._is_full(tenant, applicant.client_id):
            return QUOTA_EXCEEDED
        tenant.reserve(applicant.client_id)
        self._held[applicant.conn] = (tenant, applicant.client_id)
        return 0

    def _judge_name(self, namespace: Namespace) -> int:
        """Judge what a namespace is, whoever wants to enter."""
        settings = self.settings
        if namespace in settings.denied:
            return NOT_AUTHORIZED
        tenant = self.tenants.find(namespace)
        if tenant is not None and tenant.is_broken:
            return SERVER_UNAVAILABLE
        is_closed = settings.allows_only_managed and (tenant is None or not tenant.is_managed)
        return NOT_AUTHORIZED if is_closed else 0

    def _is_too_fast(self, tenant: Tenant, *, pays: bool) -> bool:
        rate = tenant.connect_rate
        if rate is None:
            return False
        now_ms = self._clock.now_ms()
        is_exceeded = not (rate.take(now_ms) if pays else rate.has(now_ms))
        if is_exceeded != rate.is_exceeded:
            rate.is_exceeded = is_exceeded
            self._events.quota_crossed.emit(QuotaCrossing(tenant.name, "max_conn_rate", is_exceeded))
        return is_exceeded

    def _is_full(self, tenant: Tenant, client_id: ClientId) -> bool:
        if client_id in tenant.places:
            return False
        most = self._most_of(tenant)
        is_exceeded = most is not None and len(tenant.places) >= most
        if is_exceeded != tenant.is_full:
            tenant.is_full = is_exceeded
            self._events.quota_crossed.emit(QuotaCrossing(tenant.name, "max_sessions", is_exceeded))
        return is_exceeded

    def _most_of(self, tenant: Tenant) -> int | None:
        return tenant.max_sessions if tenant.is_managed else self.settings.default_max_sessions

    def _on_ended(self, session: Client) -> None:
        """Look whether a quota is kept again; the place itself is the registry's."""
        tenant = self.tenants.find(session.namespace) if session.namespace is not None else None
        if tenant is not None:
            self._relax(tenant)

    def _relax(self, tenant: Tenant) -> None:
        """Say that the quota of sessions is kept again once there is room."""
        if not tenant.is_full:
            return
        most = self._most_of(tenant)
        if most is None or len(tenant.places) < most:
            tenant.is_full = False
            self._events.quota_crossed.emit(QuotaCrossing(tenant.name, "max_sessions", False))


def _mode_of(config: Config) -> object:
    """Return what decides how a client comes to its namespace, client id and prefix."""
    mqtt, zones = config.mqtt, {name: zone.mqtt for name, zone in config.zones.items()}
    own = (mqtt.client_attrs_init, mqtt.clientid_override, mqtt.namespace_as_mountpoint)
    return own, zones, config.multi_tenancy.post_auth_tns_expression


def _override(applicant: Applicant, expression: Expression) -> None:
    bindings = bind_clientid_override(facts_of(applicant), applicant.attributes or {})
    client_id = _evaluate(applicant, expression, bindings, "clientid_override")
    if client_id:
        applicant.client_id = ClientId(client_id)


def _evaluate(applicant: Applicant, expression: Expression, bindings: Bindings, purpose: str) -> str:
    """Return the result of an expression; empty, with a warning, if there is none that can be used."""
    result = expression.evaluate(bindings)
    if isinstance(result, Failure):
        logger.warning(
            "expression_failed",
            clientid=applicant.client_id,
            purpose=purpose,
            reason=result.reason,
            detail=result.detail,
        )
        return ""
    if not is_text(result):
        logger.warning("expression_failed", clientid=applicant.client_id, purpose=purpose, reason="control_character")
        return ""
    return result
