"""Preconditions of sources: a Variform expression about client and action that must yield `true`."""

from pybroker.auth.sources.source import Question
from pybroker.clock import Clock
from pybroker.errors import ConfigError
from pybroker.plane.facts import cookies_of
from pybroker.variform.compile import Compiler, Expression
from pybroker.variform.contexts import AUTHORIZATION_PRECONDITION, ClientFacts, bind_authorization
from pybroker.variform.errors import ExpressionError


class Precondition:
    """A compiled precondition.

    Args:
        expression: what must yield `true`.
    """

    def __init__(self, expression: Expression) -> None:
        self._expression = expression

    @property
    def text(self) -> str:
        """The expression as it was written."""
        return self._expression.text

    def holds(self, question: Question) -> bool:
        """Whether it yields exactly `true`; a failure is no."""
        subject = question.subject
        host, told = subject.peer_ip or "", subject.handshake
        cookie = told.get("ws_cookie")
        facts = ClientFacts(
            client_id=subject.client_id,
            username=subject.username,
            zone=subject.zone,
            listener=subject.listener,
            peer_host=host,
            peer_name=f"{host}:{subject.peer_port}" if host else "",
            port=subject.local_port,
            server_name=told.get("peersni"),
            websocket_cookies=None if cookie is None else cookies_of(cookie),
            common_name=subject.cert_common_name,
            subject=told.get("cert_subject"),
        )
        bindings = bind_authorization(facts, subject.attributes, question.action, question.topic)
        return self._expression.evaluate(bindings) == "true"


class Preconditions:
    """Compiler of preconditions; keeps what it has compiled."""

    def __init__(self) -> None:
        self._compiler: Compiler | None = None
        self._compiled: dict[str, Precondition] = {}

    def compile(self, text: str) -> Precondition | None:
        """Return a compiled precondition; `None` for an empty text.

        Raises:
            ConfigError: it is not valid.
        """
        if not text:
            return None
        found = self._compiled.get(text)
        if found is None:
            self._compiler = self._compiler or Compiler(Clock())
            try:
                expression = self._compiler.compile(text, AUTHORIZATION_PRECONDITION)
            except ExpressionError as error:
                raise ConfigError("authorization.sources", f"precondition is not valid: {error}: {text!r}") from None
            if len(self._compiled) >= 64:
                self._compiled.clear()
            found = self._compiled[text] = Precondition(expression)
        return found
