"""Keys that sign tokens: one from the configuration, or a set that is fetched and fetched again (JWKS)."""

import asyncio
import base64
import binascii
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

import httpx
import msgspec
import structlog
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey, import_key

from pybroker.auth.judgement import Spawn
from pybroker.auth.web_service import sent_with, tls_context
from pybroker.config.sections.access import JwtAuthenticator

logger = structlog.get_logger(__name__)

HMAC_ALGORITHMS = ("HS256", "HS384", "HS512")
PUBLIC_KEY_ALGORITHMS = (
    *("RS256", "RS384", "RS512"),
    *("PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512"),
    "EdDSA",
)
MAX_FAILURES = 5
"""Fetches in a row that may fail before the keys are dropped."""

_TIMEOUT_S = 5.0
_MAX_BYTES = 1 << 20
_PUBLIC_KINDS = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}

Key: TypeAlias = OctKey | RSAKey | ECKey | OKPKey


class TokenKeys(Protocol):
    """Where the keys come from."""

    def candidates(self, header: Mapping[str, object]) -> Sequence[Key] | None:
        """Return the keys that may have signed a token with this header; `None`: no keys could be had."""

    @property
    def is_connected(self) -> bool:
        """Whether there are keys."""

    def start(self, spawn: Spawn) -> None:
        """Fetch from now on, where they are fetched."""

    def close(self) -> None:
        """Fetch no more."""


class FixedKey:
    """The one key of the configuration."""

    is_connected = True

    def __init__(self, key: Key) -> None:
        self._keys = (key,)

    def candidates(self, header: Mapping[str, object]) -> Sequence[Key]:
        """Return the key."""
        return self._keys

    def start(self, spawn: Spawn) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class FetchedKeys:
    """A key set from an address. Its keys hold through failures, until five in a row.

    Args:
        settings: where and how often.
        transport: carries the requests; `None`: the network.

    Raises:
        ValueError: the settings cannot be.
    """

    def __init__(self, settings: JwtAuthenticator, transport: httpx.AsyncBaseTransport | None = None) -> None:
        if not settings.endpoint.startswith(("http://", "https://")):
            raise ValueError("endpoint: must begin with http:// or https://")
        if settings.endpoint.startswith("https:") and not settings.ssl.enable:
            raise ValueError("endpoint: https needs ssl.enable = true")
        self._url = settings.endpoint
        self._pause_s = settings.refresh_interval / 1_000
        self._client = httpx.AsyncClient(
            headers=dict(settings.headers),
            timeout=_TIMEOUT_S,
            verify=tls_context(settings.ssl),
            transport=transport,
            trust_env=False,
        )
        self._extensions = sent_with(settings.ssl)
        self._keys: tuple[Key, ...] | None = None
        self._failures = 0
        self._spawn: Spawn | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def is_connected(self) -> bool:
        """Whether there are keys."""
        return self._keys is not None

    def candidates(self, header: Mapping[str, object]) -> Sequence[Key] | None:
        """Return the key that the token names, or all of the kind that it was signed with if it names none."""
        if self._keys is None:
            return None
        kind, kid = _PUBLIC_KINDS.get(str(header.get("alg"))[:2]), header.get("kid")
        fitting = [key for key in self._keys if key.key_type == kind]
        return fitting if kid is None else [key for key in fitting if key.kid == kid]

    async def run(self) -> None:
        """Fetch now and again until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(self._pause_s)

    async def refresh(self) -> None:
        """Fetch once."""
        try:
            reply = await self._client.get(self._url, extensions=self._extensions)
            reply.raise_for_status()
            if len(reply.content) > _MAX_BYTES:
                raise ValueError("key set is too large")
            self._keys = tuple(_keys_of(msgspec.json.decode(reply.content)))
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError) as error:
            self._failures += 1
            logger.warning("jwks_fetch_failed", url=self._url, failures=self._failures, reason=type(error).__name__)
            if self._failures >= MAX_FAILURES:
                self._keys = None
            return
        self._failures = 0

    def start(self, spawn: Spawn) -> None:
        """Fetch from now on."""
        self._spawn = spawn
        self._task = spawn("jwks", self.run())

    def close(self) -> None:
        """Fetch no more."""
        if self._task is not None and self._spawn is not None:
            self._task.cancel()
            self._spawn("jwks_close", self._client.aclose())


def hmac_key(settings: JwtAuthenticator) -> FixedKey:
    """Return the shared secret of the configuration.

    Raises:
        ValueError: it is empty or no base64.
    """
    secret = settings.secret.encode()
    if settings.secret_base64_encoded:
        try:
            secret = base64.b64decode(secret, validate=True)
        except binascii.Error:
            raise ValueError("secret is no base64") from None
    if not secret:
        raise ValueError("secret must not be empty")
    with warnings.catch_warnings():
        # A short secret is the operator's choice, and known to whoever signs the tokens.
        warnings.simplefilter("ignore", SecurityWarning)
        return FixedKey(OctKey.import_key(secret))


def public_key(settings: JwtAuthenticator) -> FixedKey:
    """Return the public key of the configuration: PEM text, or a file that holds it.

    Raises:
        ValueError: it is missing or cannot be read.
    """
    text = settings.public_key
    if not text:
        raise ValueError("public_key must not be empty")
    if "-----BEGIN" not in text:
        try:
            text = Path(text).read_text("ascii")
        except (OSError, ValueError) as error:
            raise ValueError(f"public_key is no PEM text and no file that can be read ({error})") from None
    for kind in (RSAKey, ECKey, OKPKey):
        try:
            return FixedKey(kind.import_key(text))
        except (ValueError, TypeError, AttributeError, JoseError):
            continue
    raise ValueError("public_key is no RSA, EC or EdDSA key")


def _keys_of(document: object) -> list[Key]:
    """Return the public keys of a key set; those of other kinds are left out."""
    entries = document.get("keys") if isinstance(document, Mapping) else None
    if not isinstance(entries, list):
        raise ValueError("no key set")
    found: list[Key] = []
    for entry in entries:
        if not isinstance(entry, dict) or entry.get("kty") not in ("RSA", "EC", "OKP") or entry.get("use") == "enc":
            continue
        try:
            found.append(import_key(entry))
        except (JoseError, ValueError, TypeError, KeyError):
            logger.warning("jwks_key_ignored", kty=entry.get("kty"))
    return found
