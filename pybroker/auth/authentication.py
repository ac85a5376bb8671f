"""Authentication as it is configured: builds the authenticators, keeps what outlives them, and swaps the chain whole.

Users, verified passwords, counters and answers of services stay when settings change; an authenticator whose settings
are the same goes on as it is. What is stored and shown belongs to `control`.
"""

from typing import TYPE_CHECKING, NamedTuple

from pybroker.auth.answer_cache import AnswerCache
from pybroker.auth.authenticators.built_in import BuiltInDatabase, cache_name
from pybroker.auth.authenticators.client_info import JUDGEMENTS, Check, ClientInfo
from pybroker.auth.chain import AuthenticationChain, Link
from pybroker.auth.client_acl import AclCompiler
from pybroker.auth.hashing import HashingThreads
from pybroker.auth.judgement import Judge, Judgement, Spawn
from pybroker.auth.meter import Meter
from pybroker.auth.passwords import hash_of_nobody
from pybroker.auth.users import Login, ScramLogin, UserStore
from pybroker.auth.verified import VerifiedPasswords
from pybroker.clock import Clock
from pybroker.config.schema import Config
from pybroker.config.sections.access import (
    Authenticator,
    BuiltInPasswords,
    ClientInfoAuthenticator,
    HttpPasswords,
    JwtAuthenticator,
    ScramAuthenticator,
)
from pybroker.errors import ConfigError
from pybroker.types import Namespace
from pybroker.variform.compile import Compiler, Expression
from pybroker.variform.contexts import AUTHENTICATOR_PRECONDITION
from pybroker.variform.errors import ExpressionError

if TYPE_CHECKING:
    import httpx

    from pybroker.auth.authenticators.token_keys import TokenKeys


class _Built(NamedTuple):
    """An authenticator that was built, and from what."""

    settings: Authenticator
    is_hardened: bool
    judge: Judge
    precondition: Expression | None


class Authentication:
    """The authenticators of the broker.

    Args:
        chain: gets the authenticators that are enabled.
        clock: tells the time.
        spawn: starts supervised tasks.
        transport: carries requests to services; `None`: the network.
    """

    def __init__(
        self,
        chain: AuthenticationChain,
        clock: Clock,
        spawn: Spawn,
        transport: "httpx.AsyncBaseTransport | None" = None,
    ) -> None:
        self.chain = chain
        self.users: UserStore[Login] = UserStore()
        self.scram_users: UserStore[ScramLogin] = UserStore()
        self.verified = VerifiedPasswords()
        self.threads = HashingThreads()
        self.answers: AnswerCache[Judgement] = AnswerCache(clock, Config().authentication_settings.node_cache)
        self._clock = clock
        self._spawn = spawn
        self._transport = transport
        self._acl = AclCompiler()
        self._compiler: Compiler | None = None
        self._built: dict[str, _Built] = {}
        self._meters: dict[str, Meter] = {}

    def apply(self, config: Config) -> None:
        """Put a configuration into force for the next CONNECT.

        Raises:
            ConfigError: an authenticator cannot be built from its settings; nothing has changed.
        """
        is_hardened = config.security_profile == "hardened"
        built: dict[str, _Built] = {}
        for index, settings in enumerate(config.authentication):
            name, old = authenticator_id(settings), self._built.get(authenticator_id(settings))
            if old is not None and (old.settings, old.is_hardened) == (settings, is_hardened):
                built[name] = old
                continue
            try:
                judge, precondition = self._judge(settings, is_hardened), self._precondition(settings.precondition)
            except (ValueError, ExpressionError) as error:
                raise ConfigError(f"authentication[{index}]", str(error)) from None
            built[name] = _Built(settings, is_hardened, judge, precondition)
        self._swap(built)
        self._acl.follow(config)
        settings_of_chain = config.authentication_settings
        if self.answers.settings != settings_of_chain.node_cache:
            self.answers.settings = settings_of_chain.node_cache
            self.answers.clear()
        self.chain.allows_anonymous = config.is_anonymous_allowed
        self.chain.refuses_on_failure = is_hardened and not settings_of_chain.ignore_backend_failures

    def meter(self, name: str) -> Meter:
        """Return the counters of an authenticator."""
        return self._meters.setdefault(name, Meter(self._clock))

    def is_connected(self, name: str) -> bool:
        """Return whether the service behind an authenticator answered last."""
        built = self._built.get(name)
        return built is not None and built.judge.is_connected

    def forget(self, namespace: Namespace | None, user_id: str) -> None:
        """Forget the verified password of a user that has changed."""
        self.verified.forget(cache_name(namespace, user_id))

    def close(self) -> None:
        """End the threads; tasks and connections end with their supervisor and the process."""
        self.threads.close()

    def _swap(self, built: dict[str, _Built]) -> None:
        """Replace the authenticators; those that are gone or changed let go of what they hold."""
        before, self._built = self._built, built
        if before.items() != built.items():
            self.answers.clear()
        for name, one in before.items():
            if built.get(name) is not one:
                one.judge.close()
        for name, one in built.items():
            if before.get(name) is not one and one.settings.enable:
                one.judge.start(self._spawn)
        self._meters = {name: self.meter(name) for name in built}
        self.chain.links = tuple(
            Link(name, one.judge, self._meters[name], one.precondition)
            for name, one in built.items()
            if one.settings.enable
        )

    def _judge(self, settings: Authenticator, is_hardened: bool) -> Judge:
        """Return an authenticator.

        Raises:
            ValueError: a setting cannot be.
            ExpressionError: an expression of it cannot be compiled.
        """
        if isinstance(settings, BuiltInPasswords):
            nobody = hash_of_nobody(settings.password_hash_algorithm)
            return BuiltInDatabase(settings, self.users, self.verified, self.threads, nobody)
        # Their packages take 3 to 9 MB and a third of a second; most brokers have one of them, or none.
        if isinstance(settings, ScramAuthenticator):
            from pybroker.auth.authenticators.scram import Scram

            return Scram(settings, self.scram_users)
        if isinstance(settings, JwtAuthenticator):
            from pybroker.auth.authenticators.token import Token

            return Token(settings, self._keys(settings), self._clock, self._acl, is_hardened=is_hardened)
        if isinstance(settings, HttpPasswords):
            from pybroker.auth.authenticators.web import LOGIN, WebLogin
            from pybroker.auth.web_service import WebService

            service = WebService(settings, LOGIN, self._transport)
            return WebLogin(service, self.answers, self._clock, self._acl, self._spawn)
        assert isinstance(settings, ClientInfoAuthenticator)
        checks = (
            Check(tuple(self._compile(text) for text in check.is_match), JUDGEMENTS[check.result])
            for check in settings.checks
        )
        return ClientInfo(tuple(checks))

    def _keys(self, settings: JwtAuthenticator) -> "TokenKeys":
        from pybroker.auth.authenticators.token_keys import FetchedKeys, hmac_key, public_key

        if settings.algorithm == "hmac-based":
            return hmac_key(settings)
        return FetchedKeys(settings, self._transport) if settings.use_jwks else public_key(settings)

    def _precondition(self, text: str) -> Expression | None:
        return self._compile(text) if text.strip() else None

    def _compile(self, text: str) -> Expression:
        if self._compiler is None:
            # The parser's tables take 35 ms to build; most configurations have no expression.
            self._compiler = Compiler(self._clock)
        return self._compiler.compile(text, AUTHENTICATOR_PRECONDITION)


def authenticator_id(settings: Authenticator) -> str:
    """Return what names an authenticator: mechanism and backend."""
    backend = getattr(settings, "backend", "")
    return f"{settings.mechanism}:{backend}" if backend else settings.mechanism
