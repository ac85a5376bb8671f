"""Actions that a web service judges (`type: http`)."""

from typing import TYPE_CHECKING

from pybroker.auth.answer_cache import AnswerCache
from pybroker.auth.sources.source import Answer, Question
from pybroker.config.sections.access import HttpSource
from pybroker.variform.contexts import Context

if TYPE_CHECKING:
    from pybroker.auth.web_service import Answer as WebAnswer
    from pybroker.auth.web_service import WebService

ACTION = Context(
    frozenset(
        {
            "username",
            "clientid",
            "peerhost",
            "peerport",
            "proto_name",
            "mountpoint",
            "topic",
            "action",
            "qos",
            "retain",
            "access",
            "cert_common_name",
            "cert_subject",
            "zone",
            "listener",
        }
    ),
    frozenset({"client_attrs"}),
)
"""Placeholders of the request; not the certificate, which is not kept with a session."""


_RESULTS: dict[str, Answer] = {"allow": "allow", "deny": "deny", "ignore": "ignore"}


class WebSource:
    """The source; implements `OpenSource`.

    Args:
        source: its configuration.
        service: is asked.
        cache: of its answers; shared by all connections.
    """

    rules = None

    def __init__(self, source: HttpSource, service: "WebService", cache: AnswerCache[Answer]) -> None:
        self.source = source
        self._service = service
        self._cache = cache

    @property
    def status(self) -> str:
        """Return whether the service answered last."""
        return "connected" if self._service.is_connected else "disconnected"

    async def judge(self, question: Question) -> Answer:
        """Ask the service, unless it has answered the same question not long ago."""
        asked = self._service.question(_values(question), question.subject.attributes)
        if asked is None:
            return "failed"
        known = self._cache.find(*asked)
        if known is not None:
            return known
        cleared = self._cache.cleared
        reply = await self._service.ask(asked)
        answer = "failed" if reply is None else _read(reply)
        if answer != "failed":
            self._cache.keep(answer, *asked, asked_after=cleared)
        return answer

    def forget(self) -> None:
        """Forget the answers that are kept."""
        self._cache.clear()

    async def close(self) -> None:
        """Close the connections once requests under way are answered."""
        await self._service.aclose()


def _read(reply: "WebAnswer") -> Answer:
    if reply.status == 204:
        return "allow"
    if reply.status == 200:
        result = (reply.fields or {}).get("result")
        return _RESULTS.get(result, "failed") if isinstance(result, str) else "failed"
    return "nomatch" if 200 < reply.status < 300 else "failed"


def _values(question: Question) -> dict[str, str | None]:
    subject = question.subject
    return {
        "username": subject.username,
        "clientid": subject.client_id,
        "peerhost": subject.peer_ip,
        "peerport": str(subject.peer_port) if subject.peer_ip else "",
        "proto_name": "MQTT",
        "mountpoint": subject.mountpoint,
        "topic": question.topic,
        "action": question.action,
        "qos": str(question.qos),
        "retain": "true" if question.retain else "false",
        "access": "2" if question.action == "publish" else "1",
        "cert_common_name": subject.cert_common_name,
        "cert_subject": subject.handshake.get("cert_subject"),
        "zone": subject.zone,
        "listener": subject.listener,
    }
