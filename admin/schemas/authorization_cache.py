"""The decisions that are kept for one client."""

from typing import Literal, Self

import msgspec

from pybroker.control.authorization.kept import KeptDecision


class KeptAccess(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for."""

    action_type: Literal["publish"]
    qos: int
    retain: bool


class ShownDecision(msgspec.Struct, frozen=True, kw_only=True):
    """A decision as shown; `updated_time` is in wall milliseconds."""

    access: KeptAccess
    topic: str
    result: Literal["allow", "deny"]
    updated_time: int

    @classmethod
    def of(cls, kept: KeptDecision) -> Self:
        """Return what is shown of a decision."""
        return cls(
            access=KeptAccess(action_type="publish", qos=kept.qos, retain=kept.retain),
            topic=kept.topic,
            result="allow" if kept.is_allowed else "deny",
            updated_time=kept.decided_ms,
        )
