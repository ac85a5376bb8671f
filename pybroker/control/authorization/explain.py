"""Why somebody may or may not do something: the chain walked as for a client, with every rule on the way.

Nothing is counted and nothing is kept. Facts that a question leaves out are those of the client's session, if it has
one. Remote sources are asked only if the question wants it; otherwise they count as leaving it open.
"""

import ipaddress
from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

from pybroker._core import AccessClient, AccessRules, AccessSubject
from pybroker.auth.authorizer import Step
from pybroker.auth.sources.source import Question
from pybroker.control.authorization.lists import AccessRule, Principal, PrincipalKind
from pybroker.control.authorization.rules import BUILT_IN, RuleBook
from pybroker.control.clients import check_filter, host_of
from pybroker.control.plane import Plane
from pybroker.errors import Refused
from pybroker.plane.registry import Session
from pybroker.types import ClientId

Action = Literal["publish", "subscribe"]
Decision = Literal["allow", "deny"]

MAX_TRACE = 1_000
"""Rules of one source that are listed."""

CLIENT_INFO = "client_info"
_LISTS: Mapping[str, tuple[PrincipalKind, str | None]] = {
    "clientid": ("clientid", None),
    "${clientid}": ("clientid", "${clientid}"),
    "username": ("username", None),
    "${username}": ("username", "${username}"),
    "all": ("all", ""),
}
_WHY = {
    "matches": "matches",
    "denies": "a placeholder has no usable value, which denies in the hardened profile",
    "action": "is about another action",
    "qos": "is about another QoS",
    "retain": "is about another retain flag",
    "topic": "its topic does not match",
    "placeholder_absent": "a placeholder has no value",
    "placeholder_forbidden": "the value of a placeholder has a character that means something in a filter",
    "condition": "a condition does not hold",
    "superseded": "a later rule that is equal but for its permission counts instead",
}


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A question; `None`: what the client's session says, if it has one.

    Args:
        topic: as the client would write it.
        asks_remote: whether remote sources are asked.
    """

    clientid: str
    action: Action
    topic: str
    username: str | None = None
    peerhost: str | None = None
    namespace: str | None = None
    is_superuser: bool | None = None
    listener: str | None = None
    zone: str | None = None
    client_attrs: Mapping[str, str] | None = None
    qos: int = 0
    retain: bool = False
    asks_remote: bool = False


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Who was judged.

    Args:
        has_session: whether facts come from a session.
    """

    clientid: str
    username: str | None
    peerhost: str | None
    namespace: str | None
    is_superuser: bool
    listener: str
    zone: str
    client_attrs: Mapping[str, str]
    has_session: bool


class TraceRow(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one rule, or of a source as a whole.

    Args:
        principal: whose list the rule is in; empty for a source as a whole.
        index: of the rule in its list; -1 for a source as a whole.
        rule: as stored; `None` where it is not known here.
        is_reached: whether the check came so far.
    """

    source: str
    principal: str
    index: int
    rule: AccessRule | None
    matched: bool
    is_reached: bool
    why: str


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """The answer.

    Args:
        source: what decided: a type of source, `client_info`, `superuser`, `no_match`, `expired` or `malformed`.
        rule: that decided; `None`: none did, or it is not known here.
        left_out: rules that are not in the trace because there are too many.
    """

    decision: Decision
    source: str
    rule: AccessRule | None
    principal: str
    facts: Facts
    trace: list[TraceRow]
    left_out: int


class _Walk:
    """One walk through the chain."""

    def __init__(self) -> None:
        self.decision: Decision | None = None
        self.source = ""
        self.rule: AccessRule | None = None
        self.principal = ""
        self.trace: list[TraceRow] = []
        self.left_out = 0

    def note(self, source: str, why: str, *, matched: bool = False) -> None:
        """Say something of a source as a whole."""
        self.trace.append(
            TraceRow(
                source=source,
                principal="",
                index=-1,
                rule=None,
                matched=matched,
                is_reached=self.decision is None,
                why=why,
            )
        )

    def decide(self, decision: Decision, source: str, rule: AccessRule | None = None, principal: str = "") -> None:
        """Take a decision, unless there is one."""
        if self.decision is None:
            self.decision, self.source, self.rule, self.principal = decision, source, rule, principal


class _Subject(NamedTuple):
    """Who is judged, in the forms that the parts want."""

    facts: Facts
    client: AccessClient
    whole: AccessSubject
    session: Session | None


class Explainer:
    """Answers questions about access control.

    Args:
        plane: has the chain and the sessions.
        book: the built-in rules.
    """

    def __init__(self, plane: Plane, book: RuleBook) -> None:
        self._plane = plane
        self._book = book

    async def explain(self, asked: Asked, *, only_namespace: bool = False) -> Explanation:
        """Answer a question.

        Args:
            only_namespace: whether only a session of that namespace may be looked at.

        Raises:
            Refused: `BAD_REQUEST`: topic, filter, QoS or address cannot be.
        """
        self._check(asked)
        subject = self._subject(asked, only_namespace)
        walk = _Walk()
        bare = self._begin(walk, asked, subject)
        for step in self._plane.authorizer.steps:
            await self._take(walk, step, asked, subject, bare)
        if walk.decision is None:
            decision, why = self._unmatched(asked, bare, subject.facts)
            walk.note("no_match", why, matched=True)
            walk.decide(decision, "no_match")
        assert walk.decision is not None
        return Explanation(
            decision=walk.decision,
            source=walk.source,
            rule=walk.rule,
            principal=walk.principal,
            facts=subject.facts,
            trace=walk.trace,
            left_out=walk.left_out,
        )

    def _check(self, asked: Asked) -> None:
        if asked.qos not in (0, 1, 2):
            raise Refused("BAD_REQUEST", f"qos must be 0, 1 or 2: {asked.qos}")
        if not asked.clientid:
            raise Refused("BAD_REQUEST", "clientid must not be empty")
        if asked.action == "subscribe":
            check_filter(self._plane, asked.topic, "BAD_REQUEST")
        elif not asked.topic or {"+", "#", "\0"} & set(asked.topic):
            raise Refused("BAD_REQUEST", f"topic cannot be published to: {asked.topic[:100]!r}")

    def _subject(self, asked: Asked, only_namespace: bool) -> _Subject:
        session = self._plane.registry.find(ClientId(asked.clientid))
        if session is not None and (only_namespace or asked.namespace) and session.namespace != asked.namespace:
            session = None
        facts = _facts(asked, session)
        known = None if session is None else self._plane.engine.subject(session.slot)
        settings = self._plane.authorizer.settings
        try:
            client = AccessClient(
                facts.clientid,
                facts.username,
                peer_ip=facts.peerhost,
                peer_port=0 if known is None else known.peer_port,
                local_port=0 if known is None else known.local_port,
                namespace=facts.namespace,
                zone=facts.zone,
                listener=facts.listener,
                cert_common_name=None if known is None else known.cert_common_name,
                attributes=list(facts.client_attrs.items()),
                handshake=[] if known is None else list(known.handshake.items()),
                mountpoint=session.mountpoint if session is not None and settings.include_mountpoint else "",
            )
        except ValueError:
            raise Refused("BAD_REQUEST", f"peerhost is no address: {asked.peerhost!r}") from None
        acl = None if session is None else session.acl
        whole = AccessSubject(
            client,
            is_superuser=facts.is_superuser,
            acl=None if acl is None else acl.rules,
            is_acl_final=acl is not None and acl.is_final,
            expire_at_s=None if session is None else session.expire_at_s,
        )
        return _Subject(facts, client, whole, session)

    def _begin(self, walk: _Walk, asked: Asked, subject: _Subject) -> str:
        """Take what comes before the sources; return the topic as rules see it."""
        decision, source, *_ = self._plane.engine.check_access(
            subject.whole, asked.action, asked.topic, asked.qos, asked.retain, counts=False
        )
        early = {
            "malformed": "a delayed topic without a second slash is denied",
            "expired": "the rights of the client have expired",
            "superuser": "a superuser may do everything",
        }
        if source in early:
            walk.note(source, early[source], matched=True)
            walk.decide("allow" if decision == "allow" else "deny", source)
        session = subject.session
        if session is not None and session.acl is not None:
            self._take_rules(walk, CLIENT_INFO, session.acl.rules, asked, subject)
            if session.acl.is_final and walk.decision is None:
                walk.note(CLIENT_INFO, "the client's own rules deny what they do not list", matched=True)
                walk.decide("deny", CLIENT_INFO)
        return _bare(asked)

    async def _take(self, walk: _Walk, step: Step, asked: Asked, subject: _Subject, bare: str) -> None:
        """Say what one source says."""
        name = step.source.type
        mountpoint = subject.whole.mountpoint if self._plane.authorizer.settings.include_mountpoint else ""
        question = Question(subject.whole, asked.action, mountpoint + bare, asked.qos, asked.retain)
        if step.skipped:
            walk.note(name, step.skipped)
        elif step.precondition is not None and not step.precondition.holds(question):
            walk.note(name, f"its precondition is not true: {step.precondition.text}")
        elif step.rules is not None:
            self._take_rules(walk, name, step.rules, asked, subject)
        elif not asked.asks_remote or step.opened is None:
            walk.note(name, "skipped: a remote source, which was not asked")
        elif walk.decision is not None:
            walk.note(name, "not asked: it is decided")
        else:
            answer = await step.opened.judge(question)
            walk.note(name, f"answered: {answer}", matched=answer in ("allow", "deny"))
            if answer == "allow":
                walk.decide("allow", name)
            elif answer == "deny" or (answer == "failed" and self._denies_failures):
                walk.decide("deny", name)

    @property
    def _denies_failures(self) -> bool:
        authorizer = self._plane.authorizer
        return authorizer.profile == "hardened" and not authorizer.settings.ignore_backend_failures

    def _take_rules(self, walk: _Walk, source: str, rules: AccessRules, asked: Asked, subject: _Subject) -> None:
        verdict, entries, left_out = rules.explain(
            subject.client, asked.action, asked.topic, asked.qos, asked.retain, MAX_TRACE
        )
        for scope, label, index, outcome, is_reached, placeholder, replaced_by in entries:
            rule = self._stored(source, subject.facts, scope, label, index)
            why = _WHY[outcome] + (f": ${{{placeholder}}}" if placeholder else "")
            walk.trace.append(
                TraceRow(
                    source=source,
                    principal=label,
                    index=index,
                    rule=rule,
                    matched=outcome in ("matches", "denies"),
                    is_reached=is_reached and walk.decision is None,
                    why=why if replaced_by is None else f"{why}: rules[{replaced_by}]",
                )
            )
        if not entries:
            walk.note(source, "has no rules for this client")
        walk.left_out += left_out
        decision, scope, label, index = verdict
        if decision != "nomatch":
            walk.decide(decision, source, self._stored(source, subject.facts, scope, label, index), label)

    def _stored(self, source: str, facts: Facts, scope: str, label: str, index: int) -> AccessRule | None:
        """Return a rule as it is stored; `None` for those of other sources, or if it has changed meanwhile."""
        if source != BUILT_IN or label not in _LISTS:
            return None
        kind, name = _LISTS[label]
        if name is None:
            name = facts.clientid if kind == "clientid" else facts.username or ""
        principal = Principal(facts.namespace if scope == "namespace" else None, kind, name)
        rules = self._book.lists.rules_of(principal) or ()
        return rules[index] if index < len(rules) else None

    def _unmatched(self, asked: Asked, bare: str, facts: Facts) -> tuple[Decision, str]:
        settings = self._plane.authorizer.settings
        if settings.no_match == "deny":
            return "deny", "no rule decides, and the mode is whitelist"
        is_system = asked.action == "subscribe" and (bare == "$SYS" or bare.startswith("$SYS/"))
        if not is_system:
            return "allow", "no rule decides, and the mode is blacklist"
        is_allowed = settings.sys_topics == "everyone" or (
            settings.sys_topics == "loopback" and _is_loopback(facts.peerhost)
        )
        return "allow" if is_allowed else "deny", f"no rule decides, and sys_topics is {settings.sys_topics}"


def _facts(asked: Asked, session: Session | None) -> Facts:
    """Return what the question says, and for the rest what the session does."""
    if session is None:
        return Facts(
            clientid=asked.clientid,
            username=asked.username,
            peerhost=asked.peerhost,
            namespace=asked.namespace,
            is_superuser=bool(asked.is_superuser),
            listener=asked.listener or "",
            zone=asked.zone or "default",
            client_attrs=asked.client_attrs or {},
            has_session=False,
        )
    return Facts(
        clientid=asked.clientid,
        username=session.username if asked.username is None else asked.username,
        peerhost=(host_of(session.peer) or None) if asked.peerhost is None else asked.peerhost,
        namespace=session.namespace,
        is_superuser=session.is_superuser if asked.is_superuser is None else asked.is_superuser,
        listener=session.listener.id if asked.listener is None else asked.listener,
        zone=session.zone if asked.zone is None else asked.zone,
        client_attrs=(session.attributes or {}) if asked.client_attrs is None else asked.client_attrs,
        has_session=True,
    )


def _bare(asked: Asked) -> str:
    """Return the topic as rules see it."""
    topic = asked.topic
    if asked.action == "subscribe":
        if topic.startswith("$share/"):
            topic = topic.split("/", 2)[2]
        elif topic.startswith(("$queue/", "$exclusive/")):
            topic = topic.partition("/")[2]
    if topic.startswith("$delayed/"):
        topic = topic.partition("/")[2].partition("/")[2]
    return topic


def _is_loopback(peerhost: str | None) -> bool:
    return peerhost is not None and ipaddress.ip_address(peerhost).is_loopback
