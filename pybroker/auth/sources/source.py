"""What a source is to the chain: rules that the core holds, or something that is asked for each action."""

from typing import Literal, NamedTuple, Protocol, TypeAlias

from pybroker._core import AccessRules, AccessSubject
from pybroker.config.sections.access import Source

Action: TypeAlias = Literal["publish", "subscribe"]

Answer: TypeAlias = Literal["allow", "deny", "nomatch", "ignore", "failed"]
"""`ignore`: it does not want to say; `failed`: it could not, and the profile says what that means."""


class Question(NamedTuple):
    """One action that a client asks for.

    Args:
        subject: the client.
        topic: as rules see it: without prefixes, behind the mountpoint where that is configured.
        qos: of the PUBLISH, or the one that SUBSCRIBE asks for.
        retain: of the PUBLISH.
    """

    subject: AccessSubject
    action: Action
    topic: str
    qos: int
    retain: bool


class OpenSource(Protocol):
    """A configured source that is in use."""

    @property
    def source(self) -> Source:
        """Return its configuration."""

    @property
    def rules(self) -> AccessRules | None:
        """Return what the core judges by; `None`: `judge` is asked."""

    @property
    def status(self) -> str:
        """Return `connected`, `connecting` or `disconnected`."""

    async def judge(self, question: Question) -> Answer:
        """Judge one action."""

    def forget(self) -> None:
        """Forget the answers that are kept."""

    async def close(self) -> None:
        """Give back what it holds."""
