"""What one authenticator answers, and the form that all of them have.

An outcome that is expected is a value: a wrong password, a stranger, a service that does not answer.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from enum import Enum
from typing import Protocol, TypeAlias

from pybroker.ports import Applicant, Verdict
from pybroker.types import Namespace, Username

CONTINUE = 0x18
BAD_CREDENTIALS = 0x86
NOT_AUTHORIZED = 0x87
SERVER_BUSY = 0x89


Spawn: TypeAlias = Callable[[str, Coroutine[object, object, object]], "asyncio.Task[None]"]
"""Starts a supervised task."""


class Pass(Enum):
    """An authenticator has not decided; the next one is asked."""

    IGNORED = "ignored"
    """It does not know the client, or the client has not shown what it wants."""
    FAILED = "failed"
    """It could not find out; the hardened profile refuses then."""


Judgement: TypeAlias = Verdict | Pass

REFUSED = Verdict(BAD_CREDENTIALS)
"""The credentials are wrong: nobody else is asked."""


class Exchange(Protocol):
    """One enhanced authentication under way. It never passes: whoever began it is admitted or refused by it."""

    def proceed(self, data: bytes) -> Verdict:
        """Judge the next step by what CONNECT or AUTH carried."""


class Judge(ABC):
    """One authenticator."""

    is_connected = True
    """Whether the service behind it answered last; those without one always do."""

    @abstractmethod
    def judge(self, applicant: Applicant) -> Judgement | Awaitable[Judgement]:
        """Judge by CONNECT; answered at once unless it takes the network or a slow hash."""

    def feign(self, applicant: Applicant) -> Awaitable[None] | None:
        """Take the time of a wrong password, where `judge` was faster because the user is unknown."""
        return None

    def start(self, spawn: Spawn) -> None:  # noqa: B027  # most have nothing to do in the background
        """Begin to work in the background, where that is needed."""

    def close(self) -> None:  # noqa: B027  # nor anything to let go of
        """Let go of connections and tasks; requests under way are answered."""


class ExchangeJudge(Judge):
    """An authenticator that takes a method of enhanced authentication.

    Args:
        method: as clients name it.
    """

    def __init__(self, method: str) -> None:
        self.method = method

    def judge(self, applicant: Applicant) -> Judgement:
        """Ignore: only an exchange convinces it."""
        return Pass.IGNORED

    @abstractmethod
    def begin(self, namespace: Namespace | None, username: Username | None = None) -> Exchange:
        """Begin an exchange.

        Args:
            username: whom CONNECT names, and who then must be convinced of; `None`: nobody.
        """
