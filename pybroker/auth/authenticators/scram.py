"""SCRAM (`scram:built_in_database`): the enhanced authentication of MQTT 5.0, by which no password crosses the wire.

The messages and proofs are the package's (RFC 5802, 7677); here is what the broker keeps of a user and what it answers.
An unknown user gets a challenge like any other, always the same one, and is refused with the proof.
"""

import base64
import hmac
import os
from typing import Protocol

from scramp import ScramException, ScramMechanism

from pybroker.auth.judgement import CONTINUE, REFUSED, ExchangeJudge
from pybroker.auth.users import ScramKeys, ScramLogin, UserStore
from pybroker.config.sections.access import ScramAuthenticator
from pybroker.ports import Verdict
from pybroker.types import Namespace, Username

_SALT_BYTES = 16
_DIGESTS = {"sha256": "SCRAM-SHA-256", "sha512": "SCRAM-SHA-512"}


class _Server(Protocol):
    """The package's side of an exchange; every method raises `ScramException`."""

    def set_client_first(self, message: str) -> None: ...
    def get_server_first(self) -> str: ...
    def set_client_final(self, message: str) -> None: ...
    def get_server_final(self) -> str: ...


class Scram(ExchangeJudge):
    """The authenticator.

    Args:
        settings: its part of the configuration.
        users: who is known; belongs to all generations of this authenticator.
    """

    def __init__(self, settings: ScramAuthenticator, users: UserStore[ScramLogin]) -> None:
        super().__init__(_DIGESTS[settings.algorithm])
        self._settings = settings
        self._users = users
        self._mechanism = ScramMechanism(self.method)
        self._secret = os.urandom(32)

    def begin(self, namespace: Namespace | None, username: Username | None = None) -> "ScramExchange":
        """Begin an exchange with a user of a namespace; with no other than CONNECT names, if it names one."""
        return ScramExchange(self, namespace, username)

    def find(self, namespace: Namespace | None, user_id: str) -> ScramLogin | None:
        """Return a user whose keys fit the algorithm; `None`: there is none."""
        found = self._users.find(namespace, user_id)
        return found[1] if found is not None and found[1].keys.algorithm == self._settings.algorithm else None

    def invented_keys(self, user_id: str) -> ScramKeys:
        """Return keys that no password fits, the same ones for the same name."""
        seed = hmac.digest(self._secret, user_id.encode(), "sha512")
        salt, key = _encode(seed[:_SALT_BYTES]), _encode(seed[_SALT_BYTES:])
        return ScramKeys(self._settings.algorithm, salt, key, key, self._settings.iteration_count)

    def server(self, exchange: "ScramExchange") -> _Server:
        """Return the package's side of an exchange."""
        server: _Server = self._mechanism.make_server(exchange.keys_of)
        return server


class ScramExchange:
    """One exchange: the client's first message, its final one, the end."""

    def __init__(self, scram: Scram, namespace: Namespace | None, username: Username | None = None) -> None:
        self._scram = scram
        self._namespace = namespace
        self._username = username
        self._login: ScramLogin | None = None
        self._user_id = ""
        self._server = scram.server(self)
        self._is_challenged = False

    def keys_of(self, user_id: str) -> tuple[bytes, bytes, bytes, int]:
        """Return the keys of the user that the client names, as the package takes them."""
        self._user_id = user_id
        # Whoever proves to be one user has not proved to be another: rules and bans go by the name in CONNECT.
        is_named = not self._username or self._username == user_id
        self._login = self._scram.find(self._namespace, user_id) if is_named else None
        keys = self._scram.invented_keys(user_id) if self._login is None else self._login.keys
        return _decode(keys.salt), _decode(keys.stored_key), _decode(keys.server_key), keys.iterations

    def proceed(self, data: bytes) -> Verdict:
        """Answer a message with the challenge, or with the verdict and the proof of the broker."""
        server = self._server
        try:
            text = data.decode()
            if not self._is_challenged:
                self._is_challenged = True
                server.set_client_first(text)
                return Verdict(CONTINUE, data=server.get_server_first().encode())
            server.set_client_final(text)
            final = server.get_server_final().encode()
        except (ScramException, ValueError):
            return REFUSED
        # What the user is now counts: a client may take its time between two messages.
        login = self._scram.find(self._namespace, self._user_id)
        if self._login is None or login is None or login.keys != self._login.keys:
            return REFUSED
        return Verdict(0, is_superuser=login.is_superuser, data=final, username=Username(self._user_id))


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _decode(text: str) -> bytes:
    return base64.b64decode(text)
