"""Questions about access control: why, and what if."""

from typing import Annotated, Literal, Self

import msgspec

from admin.schemas.authorization_rules import RuleBody, ShownRule
from admin.schemas.body import Body
from admin.schemas.page import PageQuery
from pybroker.control.authorization.explain import Explanation, Facts, TraceRow
from pybroker.control.authorization.settings import Mode


class ExplainBody(Body, frozen=True, kw_only=True):
    """Who wants to do what. Facts that are left out are those of the client's session, if it has one.

    Args:
        topic: as the client would write it.
        remote: whether remote sources are asked too.
    """

    clientid: str
    action: Literal["publish", "subscribe"]
    topic: str
    username: str | None = None
    peerhost: str | None = None
    namespace: str | None = None
    is_superuser: bool | None = None
    listener: str | None = None
    zone: str | None = None
    client_attrs: dict[str, str] | None = None
    qos: Annotated[int, msgspec.Meta(ge=0, le=2)] = 0
    retain: bool = False
    remote: bool = False


class ShownTrace(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one rule, or, with index -1, of a source as a whole.

    Args:
        reached: whether the check came so far before it was decided.
    """

    source: str
    principal: str
    index: int
    rule: ShownRule | None
    matched: bool
    reached: bool
    why: str

    @classmethod
    def of(cls, row: TraceRow) -> Self:
        """Return what is shown of a row."""
        return cls(
            source=row.source,
            principal=row.principal,
            index=row.index,
            rule=None if row.rule is None else ShownRule.of(row.rule),
            matched=row.matched,
            reached=row.is_reached,
            why=row.why,
        )


class ShownExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """The decision, what made it, and what came of every rule on the way."""

    decision: Literal["allow", "deny"]
    source: str
    rule: ShownRule | None
    principal: str
    facts: Facts
    trace: list[ShownTrace]
    left_out: int

    @classmethod
    def of(cls, found: Explanation) -> Self:
        """Return what is shown of an answer."""
        return cls(
            decision=found.decision,
            source=found.source,
            rule=None if found.rule is None else ShownRule.of(found.rule),
            principal=found.principal,
            facts=found.facts,
            trace=[ShownTrace.of(row) for row in found.trace],
            left_out=found.left_out,
        )


class TriedRules(Body, frozen=True, kw_only=True):
    """The rules of one principal; exactly one of `clientid`, `username` and `all` says whose they are."""

    rules: list[RuleBody]
    clientid: str | None = None
    username: str | None = None
    all: bool = False


class SimulateBody(Body, frozen=True, kw_only=True):
    """Lists that would take the place of those of the same principals, and the mode that would be.

    Args:
        mode: left out: as it is.
        replace_all: whether all other lists would go.
    """

    rules: list[TriedRules] = msgspec.field(default_factory=list)
    mode: Mode | None = None
    replace_all: bool = False


class SimulateQuery(PageQuery, frozen=True, kw_only=True):
    """In which namespace the rules would be, and which page."""

    ns: str | None = None
