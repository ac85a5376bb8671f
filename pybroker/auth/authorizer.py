"""Access control: the sources of rules in their order, and what holds where none of them decides.

`Authorizer` holds what is in force: the settings, the rules of the built-in database (`built_in`), the open sources.
The core walks the chain; it comes here only for a source that it cannot ask. What is configured, stored and shown
belongs to `control`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import structlog

from pybroker._core import AccessChain, AccessRules, AccessSubject, Engine, Will, topic_matches
from pybroker.auth.answer_cache import AnswerCache
from pybroker.auth.precondition import Precondition, Preconditions
from pybroker.auth.sources.built_in import BuiltInRules
from pybroker.auth.sources.opener import Openers
from pybroker.auth.sources.source import Action, Answer, OpenSource, Question
from pybroker.config.sections.access import AuthorizationSettings, Source, TopicTemplateAllow
from pybroker.errors import ConfigError
from pybroker.types import Filter, Topic

logger = structlog.get_logger(__name__)

NOT_AUTHORIZED = 0x87
BUILT_IN = "built_in_database"
NOT_AVAILABLE = "not available"
"""Why a source is skipped that the broker has no client for, or that is not open."""

Profile: TypeAlias = Literal["legacy", "hardened"]
Decision: TypeAlias = tuple[str, str, str, str, int, int, int]
"""As `Engine.check_access` returns it."""


class SourceMetrics(NamedTuple):
    """How often a source was consulted and what came of it; `total` is the sum of the other four."""

    total: int = 0
    allow: int = 0
    deny: int = 0
    nomatch: int = 0
    ignore: int = 0


class Step(NamedTuple):
    """One configured source, in its place.

    Args:
        source: as configured.
        rules: what it judges by; `None`: it is a remote service, or one that has no effect.
        skipped: why no client is judged by it, such as `disabled`; empty if they are.
        precondition: what must hold for a client to be judged by it; `None`: nothing.
        opened: the source in use; `None` for the built-in database and what is skipped.
    """

    source: Source
    rules: AccessRules | None
    skipped: str
    precondition: Precondition | None = None
    opened: OpenSource | None = None


class Authorizer:
    """Judge of what clients may do; implements `ports.Authorizer`.

    Args:
        engine: walks the chain.
        settings: what holds from the beginning, but for sources that must be opened: those wait for `apply`.
        profile: what failures and placeholders without a value do.
        preconditions: compiles what sources may demand.
        openers: of the sources that are not in the database; `None`: there are none.
    """

    def __init__(
        self,
        engine: Engine,
        settings: AuthorizationSettings,
        profile: Profile = "legacy",
        preconditions: Preconditions | None = None,
        openers: Openers | None = None,
    ) -> None:
        check_excludes(settings)
        self.profile: Profile = profile
        self.settings = settings
        self.built_in = BuiltInRules(
            settings.subscribe_match, profile, template_characters(settings.topic_template_allow)
        )
        self._engine = engine
        self._preconditions = preconditions or Preconditions()
        self._openers = openers
        self._opened: dict[str, OpenSource] = {}
        self._on_change: Callable[[], None] = lambda: None
        self._version = 0
        self._asked: Sequence[Step] = ()
        self.built_in.listen(self._put_in_force)
        self._put_in_force()

    @property
    def disconnects(self) -> bool:
        """Whether a client that is denied something is disconnected."""
        return self.settings.deny_action == "disconnect"

    def listen(self, on_change: Callable[[], None]) -> None:
        """Call `on_change` after every change of rules, sources or settings, instead of whoever was called before."""
        self._on_change = on_change

    async def apply(self, settings: AuthorizationSettings) -> None:
        """Put settings and sources in force for the next packet of every client; every kept decision is forgotten.

        Sources whose configuration is unchanged go on; the others are opened anew. Counters stay.

        Raises:
            ConfigError: names the source that cannot be opened; nothing has changed.
        """
        check_excludes(settings)
        before, openers = self._opened, self._openers
        opened: dict[str, OpenSource] = {}
        is_compiled_anew = settings.topic_template_allow != self.settings.topic_template_allow
        allow = template_characters(settings.topic_template_allow)
        if openers is not None:
            openers.template_allow = allow
        try:
            for source in settings.sources:
                self._preconditions.compile(source.precondition)
                current = before.get(source.type)
                is_same = current is not None and current.source == source
                if current is not None and is_same and not (is_compiled_anew and source.type == "file"):
                    opened[source.type] = current
                elif source.enable and openers is not None and source.type in openers.by_type:
                    opened[source.type] = await openers.by_type[source.type](source)
        except BaseException:
            if openers is not None:
                openers.template_allow = template_characters(self.settings.topic_template_allow)
            await _close(opened, before)
            raise
        await self.built_in.allow(allow)
        self.settings, self._opened = settings, opened
        if openers is not None:
            openers.answers.settings = settings.node_cache
        for one in opened.values():
            one.forget()
        self._put_in_force()
        for step in self.steps:
            if step.skipped == NOT_AVAILABLE:
                logger.warning("authorization_source_without_effect", type=step.source.type)
        await _close(before, opened)

    async def read_again(self) -> int:
        """Read the files of rules again and put them in force; return how many there are.

        Raises:
            ConfigError: one cannot be read or is not valid; what was read before holds on.
        """
        files = {name: one for name, one in self._opened.items() if name == "file"}
        if self._openers is None or not files:
            return 0
        fresh = {name: await self._openers.open_file(one.source) for name, one in files.items()}
        for name, one in fresh.items():
            # The source may have been changed or taken away meanwhile; then it was read just now.
            if self._opened.get(name) is files[name]:
                self._opened[name] = one
        self._put_in_force()
        return len(files)

    async def close(self) -> None:
        """Give back what the sources hold."""
        await _close(self._opened, {})

    @property
    def answers(self) -> AnswerCache[Answer] | None:
        """The node cache: answers of remote sources, shared by all connections; `None`: there can be none."""
        return None if self._openers is None else self._openers.answers

    @property
    def version(self) -> int:
        """Number of the chain in force; changes with every change."""
        return self._version

    @property
    def steps(self) -> Sequence[Step]:
        """The configured sources in their order, disabled ones too."""
        return [self._step(source) for source in self.settings.sources]

    def chain_of(self, steps: Sequence[Step], no_match: Literal["allow", "deny"] | None = None) -> AccessChain:
        """Return the chain of some steps under the settings in force, for a dry run.

        Args:
            no_match: another mode; `None`: the one in force.
        """
        settings, cache = self.settings, self.settings.cache
        return AccessChain(
            [
                (step.source.type, None if step.precondition is not None or step.rules is None else step.rules)
                for step in steps
                if not step.skipped
            ],
            no_match=no_match or settings.no_match,
            disconnects=self.disconnects,
            includes_mountpoint=settings.include_mountpoint,
            sys_topics=settings.sys_topics,
            keeps=cache.enable,
            max_kept=cache.max_size,
            ttl_ms=int(cache.ttl),
            excludes=cache.excludes,
        )

    def metrics(self, source_type: str) -> SourceMetrics:
        """Return the counters of a source since the start or `reset_metrics`."""
        counts = self._engine.access_stats(source_type)
        return SourceMetrics(sum(counts), *counts)

    def reset_metrics(self, source_type: str) -> None:
        """Start the counters of a source at zero."""
        self._engine.reset_access_stats(source_type)

    def status(self, source_type: str) -> str:
        """Return `connected`, `connecting` or `disconnected`; sources in the broker are always connected."""
        opened = self._opened.get(source_type)
        return "connected" if opened is None else opened.status

    def forget_decisions(self) -> None:
        """Forget every decision that is kept for any client, and every answer of a remote source."""
        for opened in self._opened.values():
            opened.forget()
        self._version = self._engine.set_access(self.chain_of(self._asked))

    def judge_subscribe(self, slot: int, filter: Filter, qos: int) -> int | Awaitable[int]:
        """Return 0, or 0x87 for a subscription that is denied. A superuser may subscribe anything."""
        decision = self._engine.check_access(slot, "subscribe", filter, qos)
        if decision[0] == "ask":
            return self._judge_further(slot, "subscribe", filter, qos, False, decision)
        return 0 if decision[0] == "allow" else NOT_AUTHORIZED

    def judge_will(self, subject: AccessSubject, will: Will) -> int | Awaitable[int]:
        """Return 0, or 0x87 for a will that is denied."""
        decision = self._engine.check_access(subject, "publish", will.topic, will.qos, will.is_retain)
        if decision[0] == "ask":
            return self._judge_further(subject, "publish", will.topic, will.qos, will.is_retain, decision)
        return 0 if decision[0] == "allow" else NOT_AUTHORIZED

    async def judge_publish(
        self, slot: int, chain: int, step: int, topic: Topic, qos: int, retain: bool
    ) -> tuple[bool, bool]:
        """Go on with a PUBLISH that the core has judged up to `step`: is it allowed, and may that be kept."""
        decision: Decision = ("ask", "", "", "", -1, chain, step)
        reason = await self._judge_further(slot, "publish", topic, qos, retain, decision)
        if reason == 0 and self._engine.check_access(slot, "publish", topic, qos, retain, counts=False)[0] == "deny":
            # The client's rights have ended while the source thought about it.
            return False, False
        # A verdict of an older chain is good for this packet only.
        return reason == 0, chain == self._version

    async def recheck(self, slot: int, filter: Filter, qos: int) -> bool:
        """Whether a client may keep a subscription, remote sources included. No counter moves."""
        decision = self._engine.check_access(slot, "subscribe", filter, qos, counts=False)
        reason = await self._judge_further(slot, "subscribe", filter, qos, False, decision, counts=False)
        return reason == 0

    def denies(self, slot: int, filter: Filter, qos: int) -> bool:
        """Whether the core denies a subscription now, whatever a remote source has said. No counter moves."""
        return self._engine.check_access(slot, "subscribe", filter, qos, counts=False)[0] == "deny"

    async def _judge_further(
        self,
        asker: int | AccessSubject,
        action: Action,
        topic: str,
        qos: int,
        retain: bool,
        decision: Decision,
        counts: bool = True,
    ) -> int:
        """Take the steps that the core cannot take, until one decides or the chain ends."""
        engine = self._engine
        while decision[0] == "ask":
            version, index = decision[5], decision[6]
            if version != self._version:
                decision = engine.check_access(asker, action, topic, qos, retain, counts=counts)
                continue
            subject = engine.subject(asker) if isinstance(asker, int) else asker
            if subject is None:
                return NOT_AUTHORIZED
            step = self._asked[index]
            said, is_final = await self._ask(step, self._question(subject, action, topic, qos, retain))
            if counts:
                engine.count_access(step.source.type, said, is_final)
            if is_final:
                return 0 if said == "allow" else NOT_AUTHORIZED
            if version != self._version:
                continue
            decision = engine.check_access(asker, action, topic, qos, retain, step=index + 1, counts=counts)
        return 0 if decision[0] == "allow" else NOT_AUTHORIZED

    def _question(self, subject: AccessSubject, action: Action, topic: str, qos: int, retain: bool) -> Question:
        bare = _without_prefix(topic)
        seen = subject.mountpoint + bare if self.settings.include_mountpoint else bare
        return Question(subject, action, seen, qos, retain)

    async def _ask(self, step: Step, question: Question) -> tuple[Literal["allow", "deny", "nomatch", "ignore"], bool]:
        """Ask one step; return what it said and whether that ends the check."""
        if step.precondition is not None and not step.precondition.holds(question):
            return "ignore", False
        answer: Answer
        if step.rules is not None:
            answer = step.rules.judge(*question)
        elif step.opened is not None:
            answer = await step.opened.judge(question)
        else:
            return "ignore", False
        if answer == "failed":
            return "ignore", self.profile == "hardened" and not self.settings.ignore_backend_failures
        return answer, answer in ("allow", "deny")

    def _put_in_force(self) -> None:
        self._asked = [step for step in self.steps if not step.skipped]
        self._version = self._engine.set_access(self.chain_of(self._asked))
        self._on_change()

    def _step(self, source: Source) -> Step:
        opened = self._opened.get(source.type)
        rules: AccessRules | None = None
        skipped = "" if source.enable else "disabled"
        if source.type == BUILT_IN:
            rules = self.built_in.rules
        elif opened is not None:
            rules = opened.rules
        else:
            skipped = skipped or NOT_AVAILABLE
        if rules is not None:
            rules = rules.reading(self.settings.subscribe_match)
        return Step(source, rules, skipped, self._preconditions.compile(source.precondition), opened)


async def _close(opened: Mapping[str, OpenSource], kept: Mapping[str, OpenSource]) -> None:
    """Close the sources that are not kept."""
    for name, one in opened.items():
        if kept.get(name) is not one:
            await one.close()


def _without_prefix(topic: str) -> str:
    """Return a topic as rules see it: without `$delayed/N/`; filters come here without their prefix."""
    if topic.startswith("$delayed/"):
        return topic.split("/", 2)[2]
    return topic


def check_excludes(settings: AuthorizationSettings) -> None:
    """Check that the topics whose decisions are not kept are filters.

    Raises:
        ConfigError: one is not.
    """
    for filter in settings.cache.excludes:
        try:
            topic_matches(filter, "t")
        except ValueError as error:
            raise ConfigError(
                "authorization.cache.excludes", f"found {filter!r}, allowed: topic filters ({error})"
            ) from None


def template_characters(allow: TopicTemplateAllow) -> Sequence[Literal["plus", "hash", "slash"]]:
    """Return the characters that values of placeholders may hold, as the core names them."""
    allowed: Mapping[Literal["plus", "hash", "slash"], bool] = {
        "plus": allow.plus,
        "hash": allow.hash,
        "slash": allow.slash,
    }
    return [name for name, is_allowed in allowed.items() if is_allowed]
