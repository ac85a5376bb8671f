"""The authentication chain: authenticators in order, and what holds when none of them decides.

Each one says yes, no, or nothing; the first yes or no ends it. The chain is replaced as a whole when the configuration
changes; a login that waits for an answer goes on with the chain that it began with. Answers that need neither the
network nor a slow hash are given at once, without a coroutine.
"""

from collections.abc import Awaitable, Sequence
from typing import NamedTuple

from pybroker.auth.facts import bindings_of
from pybroker.auth.judgement import CONTINUE, NOT_AUTHORIZED, Exchange, ExchangeJudge, Judge, Judgement, Pass
from pybroker.auth.meter import Meter
from pybroker.ports import Applicant, Renewal, Verdict
from pybroker.variform.compile import Expression

BAD_AUTHENTICATION_METHOD = 0x8C

_ADMITTED = Verdict(0)
_DENIED = Verdict(NOT_AUTHORIZED)
_UNKNOWN_METHOD = Verdict(BAD_AUTHENTICATION_METHOD)
_AT_ONCE = (Verdict, Pass)


class Link(NamedTuple):
    """One authenticator of the chain.

    Args:
        id: its mechanism and backend.
        judge: decides.
        meter: counts what it decided; outlives changes of its settings.
        precondition: it is asked only if this yields `true`; `None`: always.
    """

    id: str
    judge: Judge
    meter: Meter
    precondition: Expression | None = None


class _UnderWay(NamedTuple):
    """An enhanced authentication and the authenticator that judges it."""

    link: Link
    exchange: Exchange


class AuthenticationChain:
    """The chain of all listeners; implements `ports.Authenticator`. Attributes may be replaced while running.

    Args:
        allows_anonymous: whether a client that no authenticator accepted may enter: anyone while there is none, and
            only clients without a user name otherwise.
        links: authenticators that are enabled, in order.
        refuses_on_failure: whether one that cannot find out refuses; else the next one is asked.
    """

    def __init__(self, allows_anonymous: bool, links: Sequence[Link] = (), *, refuses_on_failure: bool = False) -> None:
        self.allows_anonymous = allows_anonymous
        self.links: tuple[Link, ...] = tuple(links)
        self.refuses_on_failure = refuses_on_failure

    def authenticate(self, applicant: Applicant) -> Verdict | Awaitable[Verdict]:
        """Judge an applicant by its CONNECT.

        Spec: [MQTT5-4.12.0-1]
        """
        links, method = self.links, applicant.method
        if method is not None and all(_taker(link.judge, method) is None for link in links):
            return _UNKNOWN_METHOD
        if not links:
            return _ADMITTED if self.allows_anonymous else _DENIED
        return self._ask(applicant, links, 0)

    def proceed(self, applicant: Applicant, data: bytes) -> Verdict:
        """Judge the next step of an enhanced authentication."""
        under_way = applicant.exchange
        if not isinstance(under_way, _UnderWay):
            return _UNKNOWN_METHOD
        return self._counted(under_way.link, under_way.exchange.proceed(data))

    def authenticate_again(self, renewal: Renewal, data: bytes) -> Verdict:
        """Judge a step of a re-authentication; the first one begins an exchange of the method.

        Whoever proves to be somebody else than the session's user is refused: its rights and its bans are those of that
        user. [MQTT5-4.12.1-1]
        """
        under_way = renewal.exchange
        if not isinstance(under_way, _UnderWay):
            under_way = renewal.exchange = self._begin_again(renewal)
            if under_way is None:
                return _UNKNOWN_METHOD
        verdict = under_way.exchange.proceed(data)
        if not verdict.reason and verdict.username is not None and verdict.username != renewal.username:
            verdict = _DENIED
        return self._counted(under_way.link, verdict)

    def _begin_again(self, renewal: Renewal) -> _UnderWay | None:
        """Return the exchange of a re-authentication; `None`: no authenticator takes its method."""
        for link in self.links:
            taker = _taker(link.judge, renewal.method)
            if taker is not None:
                return _UnderWay(link, taker.begin(renewal.namespace))
        return None

    def _ask(self, applicant: Applicant, links: tuple[Link, ...], first: int) -> Verdict | Awaitable[Verdict]:
        """Ask the authenticators from one on until one decides."""
        for index in range(first, len(links)):
            link = links[index]
            if link.precondition is not None and link.precondition.evaluate(bindings_of(applicant)) != "true":
                link.meter.count("nomatch")
                continue
            if applicant.method is not None and (taker := _taker(link.judge, applicant.method)) is not None:
                return self._begin(applicant, link, taker)
            judgement = link.judge.judge(applicant)
            if not isinstance(judgement, _AT_ONCE):
                return self._wait(applicant, links, index, judgement)
            verdict = self._weigh(link, judgement)
            if verdict is not None:
                return verdict
        return self._leave(applicant, links)

    async def _wait(
        self, applicant: Applicant, links: tuple[Link, ...], index: int, judgement: Awaitable[Judgement]
    ) -> Verdict:
        verdict = self._weigh(links[index], await judgement)
        if verdict is not None:
            return verdict
        later = self._ask(applicant, links, index + 1)
        return later if isinstance(later, Verdict) else await later

    def _begin(self, applicant: Applicant, link: Link, taker: ExchangeJudge) -> Verdict:
        under_way = _UnderWay(link, taker.begin(applicant.namespace, applicant.username))
        applicant.exchange = under_way
        return self._counted(link, under_way.exchange.proceed(applicant.connect.authentication_data or b""))

    def _weigh(self, link: Link, judgement: Judgement) -> Verdict | None:
        """Count what an authenticator said, and return its verdict; `None`: the next one is asked."""
        if isinstance(judgement, Verdict):
            return self._counted(link, judgement)
        if judgement is Pass.FAILED and self.refuses_on_failure:
            return self._counted(link, _DENIED)
        link.meter.count("nomatch")
        return None

    def _counted(self, link: Link, verdict: Verdict) -> Verdict:
        if verdict.reason != CONTINUE:
            link.meter.count("failed" if verdict.reason else "success")
        return verdict

    def _leave(self, applicant: Applicant, links: tuple[Link, ...]) -> Verdict | Awaitable[Verdict]:
        """Decide about a client that no authenticator knows."""
        if self.allows_anonymous and applicant.username is None:
            return _ADMITTED
        feigned = [wait for link in links if (wait := link.judge.feign(applicant)) is not None]
        return _after(feigned) if feigned else _DENIED


def _taker(judge: Judge, method: str) -> ExchangeJudge | None:
    """Return an authenticator if it takes a method of enhanced authentication."""
    return judge if isinstance(judge, ExchangeJudge) and judge.method == method else None


async def _after(waits: list[Awaitable[None]]) -> Verdict:
    """Refuse as late as a wrong password is refused."""
    for wait in waits:
        await wait
    return _DENIED
