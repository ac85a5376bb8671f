"""Passwords that a web service judges (`password_based:http`)."""

import base64
from collections.abc import Awaitable, Mapping

import structlog

from pybroker.auth.answer_cache import AnswerCache
from pybroker.auth.client_acl import AclCompiler
from pybroker.auth.judgement import NOT_AUTHORIZED, REFUSED, Judge, Judgement, Pass, Spawn
from pybroker.auth.login import read_seconds, verdict_of
from pybroker.auth.web_service import Answer, Question, WebService
from pybroker.clock import Clock
from pybroker.ports import Applicant, Verdict
from pybroker.variform.contexts import Context

logger = structlog.get_logger(__name__)

LOGIN = Context(
    frozenset(
        {
            "username",
            "clientid",
            "password",
            "peerhost",
            "peerport",
            "cert_subject",
            "cert_common_name",
            "cert_pem",
            "zone",
            "listener",
        }
    ),
    frozenset({"client_attrs"}),
)
"""Placeholders of the request."""

_DENIED = Verdict(NOT_AUTHORIZED)
_NO_ATTRIBUTES: dict[str, str] = {}


class WebLogin(Judge):
    """The authenticator.

    Args:
        service: is asked.
        cache: of its answers.
        clock: tells whether a login has expired.
        acl: compiles rules of an answer.
        spawn: starts the closing of connections.
    """

    def __init__(
        self,
        service: WebService,
        cache: AnswerCache[Judgement],
        clock: Clock,
        acl: AclCompiler,
        spawn: Spawn,
    ) -> None:
        self._service = service
        self._cache = cache
        self._clock = clock
        self._acl = acl
        self._spawn = spawn

    @property
    def is_connected(self) -> bool:  # type: ignore[override]  # the base has a constant
        """Whether the service answered last."""
        return self._service.is_connected

    def judge(self, applicant: Applicant) -> Judgement | Awaitable[Judgement]:
        """Ask the service, unless it has answered the same question not long ago."""
        connect = applicant.connect
        if applicant.method is not None or connect.password is None:
            return Pass.IGNORED
        question = self._service.question(_values(applicant), applicant.attributes or _NO_ATTRIBUTES)
        if question is None:
            return Pass.FAILED
        known = self._cache.find(*question)
        if known is not None and not self._has_expired(known):
            return known
        return self._ask(question, applicant.client_id)

    def close(self) -> None:
        """Close the connections once requests under way are answered."""
        self._spawn("web_login_close", self._service.aclose())

    async def _ask(self, question: Question, client_id: str) -> Judgement:
        cleared = self._cache.cleared
        answer = await self._service.ask(question)
        judgement = Pass.FAILED if answer is None else self._read(answer, client_id)
        if judgement is not Pass.FAILED:
            self._cache.keep(judgement, *question, asked_after=cleared)
        return judgement

    def _read(self, answer: Answer, client_id: str) -> Judgement:
        if answer.status == 204:
            return Verdict(0)
        if answer.status != 200 or answer.fields is None:
            return Pass.FAILED
        result = answer.fields.get("result", "ignore")
        if result == "ignore":
            return Pass.IGNORED
        if result == "deny":
            return _DENIED
        return self._accepted(answer.fields, client_id) if result == "allow" else Pass.FAILED

    def _accepted(self, said: Mapping[str, object], client_id: str) -> Judgement:
        """Return the verdict of an accepted login; one whose end or rules cannot be is refused."""
        expire_at_s = None
        if said.get("expire_at") is not None:
            expire_at_s = read_seconds(said["expire_at"])
            if expire_at_s is None or expire_at_s <= self._clock.wall_s():
                return REFUSED
        try:
            acl = None if said.get("acl") is None else self._acl.compile_list(said["acl"])
        except ValueError as error:
            logger.warning("login_acl_refused", clientid=client_id, reason=str(error)[:200])
            return REFUSED
        return verdict_of(said, acl=acl, expire_at_s=expire_at_s)

    def _has_expired(self, judgement: Judgement) -> bool:
        ends_s = judgement.expire_at_s if isinstance(judgement, Verdict) else None
        return ends_s is not None and ends_s <= self._clock.wall_s()


def _values(applicant: Applicant) -> dict[str, str | None]:
    connect = applicant.connect
    password = connect.password or b""
    der = connect.certificate_der
    host, port = applicant.host, applicant.port
    return {
        "username": applicant.username,
        "clientid": applicant.client_id,
        "password": password.decode(errors="surrogateescape"),
        "peerhost": host,
        "peerport": str(port) if host else "",
        "cert_subject": connect.certificate_subject,
        "cert_common_name": connect.certificate_common_name,
        "cert_pem": base64.b64encode(der).decode("ascii") if der else None,
        "zone": applicant.zone,
        "listener": applicant.listener.id,
    }
