"""Signed tokens (`jwt`): signature, times and claims, and what the claims say about the client.

The algorithms that are accepted follow from the kind of key and from nothing that a token says; that is what stops
`none`, and an HMAC made with a public key.
"""

from collections.abc import Mapping

import msgspec
import structlog
from joserfc import jws
from joserfc.errors import JoseError

from pybroker.auth.authenticators.token_keys import HMAC_ALGORITHMS, PUBLIC_KEY_ALGORITHMS, TokenKeys
from pybroker.auth.client_acl import AclCompiler
from pybroker.auth.judgement import REFUSED, Judge, Judgement, Pass, Spawn
from pybroker.auth.login import read_seconds, verdict_of
from pybroker.clock import Clock
from pybroker.config.sections.access import JwtAuthenticator
from pybroker.ports import Applicant
from pybroker.variform.contexts import Context
from pybroker.variform.template import Template, TemplateValues

logger = structlog.get_logger(__name__)

CLAIM = Context(frozenset({"username", "clientid"}), frozenset())
"""Placeholders in a claim that must be so."""

_NO_ATTRIBUTES: dict[str, str] = {}


class Token(Judge):
    """The authenticator.

    Args:
        settings: its part of the configuration.
        keys: that may have signed a token.
        clock: tells whether it has expired.
        acl: compiles the rules of its claim.
        is_hardened: whether what is no valid token is refused, not ignored.
    """

    def __init__(
        self, settings: JwtAuthenticator, keys: TokenKeys, clock: Clock, acl: AclCompiler, *, is_hardened: bool
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._clock = clock
        self._acl = acl
        self._algorithms = HMAC_ALGORITHMS if settings.algorithm == "hmac-based" else PUBLIC_KEY_ALGORITHMS
        self._wanted = {name: Template(text, CLAIM) for name, text in settings.verify_claims.items()}
        self._invalid: Judgement = REFUSED if is_hardened else Pass.IGNORED
        self._missing = REFUSED if is_hardened or settings.on_missing_jwt == "deny" else Pass.IGNORED

    @property
    def is_connected(self) -> bool:  # type: ignore[override]  # the base has a constant
        """Whether there are keys."""
        return self._keys.is_connected

    def judge(self, applicant: Applicant) -> Judgement:
        """Verify the token of CONNECT."""
        if applicant.method is not None:
            return Pass.IGNORED
        text: str | bytes | None = applicant.connect.password
        if self._settings.from_ == "username":
            text = applicant.connect.username
        if text is None:
            return self._missing
        claims = self._verify(text)
        if not isinstance(claims, dict):
            return claims
        expire_at_s = self._judge_times(claims)
        if isinstance(expire_at_s, bool) or not self._has_claims(claims, applicant):
            return REFUSED
        said_acl = claims.get(self._settings.acl_claim_name)
        try:
            acl = None if said_acl is None else self._acl.compile(said_acl)
        except ValueError as error:
            logger.warning("token_acl_refused", clientid=applicant.client_id, reason=str(error)[:200])
            return REFUSED
        return verdict_of(
            claims,
            acl=acl,
            expire_at_s=expire_at_s,
            disconnects_at_expiry=self._settings.disconnect_after_expire,
        )

    def start(self, spawn: Spawn) -> None:
        """Fetch keys, where they are fetched."""
        self._keys.start(spawn)

    def close(self) -> None:
        """Fetch no more keys."""
        self._keys.close()

    def _verify(self, text: str | bytes) -> dict[str, object] | Judgement:
        """Return the claims of a token whose signature is right."""
        try:
            token = jws.extract_compact(text if isinstance(text, bytes) else text.encode())
            header = token.headers()
            if header.get("alg") not in self._algorithms:
                return self._invalid
            keys = self._keys.candidates(header)
            if keys is None:
                return Pass.FAILED
            if not any(_is_signed_by(token, key, self._algorithms) for key in keys):
                return self._invalid
            claims = msgspec.json.decode(token.payload)
        except (JoseError, ValueError, TypeError, RecursionError):
            return self._invalid
        return claims if isinstance(claims, dict) else self._invalid

    def _judge_times(self, claims: Mapping[str, object]) -> int | bool | None:
        """Return when the token expires (`None`: never), or `False` if it does not hold now."""
        now_s = self._clock.wall_s()
        if "nbf" in claims:
            begins_s = read_seconds(claims["nbf"])
            if begins_s is None or begins_s > now_s:
                return False
        if "exp" not in claims:
            return None
        ends_s = read_seconds(claims["exp"])
        return False if ends_s is None or ends_s <= now_s else ends_s

    def _has_claims(self, claims: Mapping[str, object], applicant: Applicant) -> bool:
        if not self._wanted:
            return True
        known = {"username": applicant.username or "", "clientid": applicant.client_id}
        values = TemplateValues(known, _NO_ATTRIBUTES)
        return all(
            name in claims and _says(name, claims[name], template.render(values))
            for name, template in self._wanted.items()
        )


def _is_signed_by(token: jws.CompactSignature, key: object, algorithms: tuple[str, ...]) -> bool:
    try:
        return jws.validate_compact(token, key, algorithms)  # type: ignore[arg-type]  # one of the key classes
    except (JoseError, ValueError, TypeError):
        return False


def _says(name: str, claim: object, wanted: str) -> bool:
    """Return whether a claim has the text that is wanted; of a list of audiences one is enough."""
    if name == "aud" and isinstance(claim, list):
        return any(_as_text(one) == wanted for one in claim)
    return _as_text(claim) == wanted


def _as_text(claim: object) -> str | None:
    if isinstance(claim, bool):
        return "true" if claim else "false"
    return str(claim) if isinstance(claim, str | int | float) else None
