"""Access rules of the built-in database: whole lists and single records."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import msgspec

from admin.schemas.body import Body
from admin.schemas.page import PageQuery
from pybroker.control.authorization.lists import CONDITIONS, EVERY_QOS, AccessRule, Principal, PrincipalKind, Rules
from pybroker.control.authorization.records import RuleRecord
from pybroker.control.timestamp import render_ms
from pybroker.errors import Refused

Permission = Literal["allow", "deny"]
Action = Literal["publish", "subscribe", "all"]
Retain = bool | Literal["all", "true", "false"]
QosList = Annotated[tuple[Literal[0, 1, 2, "0", "1", "2"], ...], msgspec.Meta(min_length=1)]
UNSET = msgspec.UNSET
Text = str | msgspec.UnsetType

_RETAINS: Mapping[str, bool] = {"true": True, "false": False}


class RuleFields(Body, frozen=True, kw_only=True):
    """What a rule may have beside permission and action."""

    topic: str
    qos: QosList | None = None
    retain: Retain = "all"
    clientid_re: str | None = None
    username_re: str | None = None
    ipaddr: str | None = None
    zone: str | None = None
    zone_re: str | None = None
    listener: str | None = None
    listener_re: str | None = None

    def rule(self, permission: Permission, action: Action, now_ms: int) -> AccessRule:
        """Return the rule as it is stored, made now."""
        retain = _RETAINS.get(self.retain, "all") if isinstance(self.retain, str) else self.retain
        return AccessRule(
            topic=self.topic,
            permission=permission,
            action=action,
            qos=EVERY_QOS if self.qos is None else tuple(sorted({int(qos) for qos in self.qos})),
            retain="all" if action == "subscribe" else retain,  # type: ignore[arg-type]  # the words are exhausted
            created_ms=now_ms,
            updated_ms=now_ms,
            **{name: getattr(self, name) for name in CONDITIONS},
        )


class RuleBody(RuleFields, frozen=True, kw_only=True, gc=False):
    """One rule of a list."""

    permission: Permission
    action: Action

    def as_rule(self, now_ms: int) -> AccessRule:
        """Return the rule as it is stored, made now."""
        return self.rule(self.permission, self.action, now_ms)


class ShownRule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule as shown; conditions that were not given are left out."""

    topic: str
    permission: Permission
    action: Action
    qos: tuple[int, ...]
    retain: bool | Literal["all"]
    clientid_re: Text = UNSET
    username_re: Text = UNSET
    ipaddr: Text = UNSET
    zone: Text = UNSET
    zone_re: Text = UNSET
    listener: Text = UNSET
    listener_re: Text = UNSET

    @classmethod
    def of(cls, rule: AccessRule) -> Self:
        """Return what is shown of a rule."""
        return cls(**shown_fields(rule))


def shown_fields(rule: AccessRule) -> dict[str, Any]:
    """Return the fields of a rule that are shown, by name."""
    conditions = {name: getattr(rule, name) for name in CONDITIONS if getattr(rule, name) is not None}
    return {
        "topic": rule.topic,
        "permission": rule.permission,
        "action": rule.action,
        "qos": rule.qos,
        "retain": rule.retain,
        **conditions,
    }


class ClientRules(Body, frozen=True, kw_only=True, gc=False):
    """The rules of a client id, in the order in which they are tried."""

    clientid: str
    rules: tuple[RuleBody, ...]


class UserRules(Body, frozen=True, kw_only=True, gc=False):
    """The rules of a user name, in the order in which they are tried."""

    username: str
    rules: tuple[RuleBody, ...]


class AllRules(Body, frozen=True, kw_only=True):
    """The rules of all users, in the order in which they are tried."""

    rules: list[RuleBody]


class ShownClientRules(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of a client id."""

    clientid: str
    rules: list[ShownRule]

    @classmethod
    def of(cls, name: str, rules: Rules) -> Self:
        """Return what is shown of a list."""
        return cls(clientid=name, rules=[ShownRule.of(rule) for rule in rules])


class ShownUserRules(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of a user name."""

    username: str
    rules: list[ShownRule]

    @classmethod
    def of(cls, name: str, rules: Rules) -> Self:
        """Return what is shown of a list."""
        return cls(username=name, rules=[ShownRule.of(rule) for rule in rules])


class ShownAllRules(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of all users."""

    rules: list[ShownRule]


class NamespaceQuery(msgspec.Struct, frozen=True, kw_only=True):
    """In which namespace to work: a global administrator may name one, others always work in their own."""

    ns: str | None = None


class ClientRulesQuery(PageQuery, frozen=True, kw_only=True):
    """Which lists of client ids."""

    ns: str | None = None
    like_clientid: str | None = None


class UserRulesQuery(PageQuery, frozen=True, kw_only=True):
    """Which lists of user names."""

    ns: str | None = None
    like_username: str | None = None


class RecordsQuery(PageQuery, frozen=True, kw_only=True):
    """Which records."""

    ns: str | None = None
    kind: PrincipalKind | None = None
    like_clientid: str | None = None
    like_username: str | None = None
    like_topic: str | None = None


class RecordQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which record: its topic and one of the three others."""

    topic: str
    ns: str | None = None
    clientid: str | None = None
    username: str | None = None
    all: bool = False


class RecordBody(RuleFields, frozen=True, kw_only=True):
    """One record; exactly one of `clientid`, `username` and `all` says whose it is. `access` is `permission`."""

    clientid: str | None = None
    username: str | None = None
    all: bool = False
    permission: Permission | None = None
    access: Permission | None = None
    action: Literal["publish", "subscribe", "all", "pub", "sub", "pubsub"]

    def as_rule(self, now_ms: int) -> AccessRule:
        """Return the rule as it is stored, made now.

        Raises:
            Refused: `BAD_REQUEST`: there is no permission, or two that differ.
        """
        permission = self.permission or self.access
        if permission is None or (self.access or permission) != permission:
            raise Refused("BAD_REQUEST", "permission must be given once: allow or deny")
        return self.rule(permission, ACTIONS[self.action], now_ms)


ACTIONS: Mapping[str, Action] = {
    "publish": "publish",
    "pub": "publish",
    "subscribe": "subscribe",
    "sub": "subscribe",
    "all": "all",
    "pubsub": "all",
}
"""Every spelling of an action."""


def principal_of(namespace: str | None, clientid: str | None, username: str | None, is_all: bool) -> Principal:
    """Return whose a record is.

    Raises:
        Refused: `BAD_REQUEST`: none or several are named.
    """
    named: list[Principal] = []
    if clientid is not None:
        named.append(Principal(namespace, "clientid", clientid))
    if username is not None:
        named.append(Principal(namespace, "username", username))
    if is_all:
        named.append(Principal(namespace, "all", ""))
    if len(named) != 1:
        raise Refused("BAD_REQUEST", "exactly one must be given: clientid, username or all")
    return named[0]


class ShownRecord(ShownRule, frozen=True, kw_only=True):
    """One record as shown."""

    clientid: Text = UNSET
    username: Text = UNSET
    all: bool | msgspec.UnsetType = UNSET
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, record: RuleRecord) -> Self:  # type: ignore[override]  # a record is a rule and whose it is
        """Return what is shown of a record."""
        principal, rule = record
        whose: dict[str, Any] = {"all": True} if principal.kind == "all" else {principal.kind: principal.name}
        return cls(
            **shown_fields(rule), **whose, created_at=render_ms(rule.created_ms), updated_at=render_ms(rule.updated_ms)
        )


class PutRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What storing a record did."""

    result: Literal["created", "replaced"]


class TopicBody(Body, frozen=True, kw_only=True):
    """A topic by name."""

    topic: str
