"""Access control: the sources of rules in their order, and what holds where none of them decides.

`Authorizer` holds what is in force: the settings, the rules of the built-in database (`built_in`), a counter for each
source. `apply` swaps settings and sources whole. What is configured, stored and shown belongs to `control`.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from pybroker._core import AccessClient, AccessRules
from pybroker.auth.sources.built_in import BuiltInRules
from pybroker.config.sections.access import AuthorizationSettings, Source, TopicTemplateAllow
from pybroker.ports import Principal
from pybroker.types import Filter

NOT_AUTHORIZED = 0x87

Profile: TypeAlias = Literal["legacy", "hardened"]
Action: TypeAlias = Literal["publish", "subscribe"]


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
    """

    source: Source
    rules: AccessRules | None
    skipped: str


class Authorizer:
    """Judge of what clients may do; implements `ports.Authorizer`.

    Args:
        settings: what holds from the beginning; see `apply`.
        profile: what failures and placeholders without a value do.
    """

    def __init__(self, settings: AuthorizationSettings, profile: Profile = "legacy") -> None:
        self.profile: Profile = profile
        self.settings = settings
        self.built_in = BuiltInRules(
            settings.subscribe_match, profile, template_characters(settings.topic_template_allow)
        )
        self._metrics: dict[str, SourceMetrics] = {}

    async def apply(self, settings: AuthorizationSettings) -> None:
        """Put settings and sources in force for the next packet of every client; every kept decision is forgotten.

        Sources whose configuration is unchanged go on; the others are opened anew. Counters stay.

        Raises:
            ConfigError: names the source that cannot be opened; nothing has changed.
        """
        self.settings = settings

    @property
    def steps(self) -> Sequence[Step]:
        """The configured sources in their order, disabled ones too."""
        return [self._step(source) for source in self.settings.sources]

    def metrics(self, source_type: str) -> SourceMetrics:
        """Return the counters of a source since it was added or `reset_metrics`."""
        return self._metrics.get(source_type, SourceMetrics())

    def reset_metrics(self, source_type: str) -> None:
        """Start the counters of a source at zero."""
        self._metrics.pop(source_type, None)

    def status(self, source_type: str) -> str:
        """Return `connected`, `connecting` or `disconnected`; sources in the broker are always connected."""
        return "connected"

    def forget_decisions(self) -> None:
        """Forget every decision that is kept for any client, and every answer of a remote source."""

    def judge_subscribe(self, principal: Principal, filter: Filter, qos: int) -> int:
        """Return 0, or 0x87 for a subscription that is denied. A superuser may subscribe anything."""
        if principal.is_superuser:
            return 0
        client = AccessClient(principal.client_id, principal.username, peer_ip=peer_ip(principal.peer))
        for step in self.steps:
            if step.rules is not None and not step.skipped:
                decision = step.rules.check(client, "subscribe", filter, qos)[0]
                if decision != "nomatch":
                    return NOT_AUTHORIZED if decision == "deny" else 0
        if self.settings.no_match == "deny" or not self._allows_unmatched(principal, filter):
            return NOT_AUTHORIZED
        return 0

    def _step(self, source: Source) -> Step:
        rules = self.built_in.rules if source.type == "built_in_database" else None
        skipped = "disabled" if not source.enable else "" if rules is not None else "not available"
        return Step(source, rules, skipped)

    def _allows_unmatched(self, principal: Principal, filter: Filter) -> bool:
        """Whether a filter that no rule decides is allowed in blacklist mode: `$SYS` topics have their own default."""
        if not filter.startswith("$SYS") or (len(filter) > 4 and filter[4] != "/"):
            return True
        policy = self.settings.sys_topics
        return policy == "everyone" or (policy == "loopback" and is_loopback(principal.peer))


def template_characters(allow: TopicTemplateAllow) -> Sequence[Literal["plus", "hash", "slash"]]:
    """Return the characters that values of placeholders may hold, as the core names them."""
    allowed: Mapping[Literal["plus", "hash", "slash"], bool] = {
        "plus": allow.plus,
        "hash": allow.hash,
        "slash": allow.slash,
    }
    return [name for name, is_allowed in allowed.items() if is_allowed]


def peer_ip(peer: str) -> str | None:
    """Return the address of a peer (`address:port`, IPv6 in brackets); `None` for a unix socket."""
    return peer.rpartition(":")[0].strip("[]") or None


def is_loopback(peer: str) -> bool:
    """Return whether a peer (`address:port`, empty for a unix socket) is on this machine."""
    return peer.startswith(("127.", "[::1]", "[::ffff:127.")) or not peer
