"""Users of the built-in authenticators as logins look them up: by namespace and name, in memory.

There may be 100,000, so that they are structs that the collector of garbage need not look at.
`control` fills a store from the database and tells it of each change once that is on disk; nothing is stored here.
"""

import base64
import hashlib
import hmac
import os
from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec

from pybroker.auth.passwords import StoredPassword
from pybroker.config.sections.access import ScramAuthenticator
from pybroker.types import Namespace

Credential = TypeVar("Credential")

_SALT_BYTES = 16


class Login(msgspec.Struct, frozen=True, gc=False):
    """What a user is known by who shows a password."""

    password: StoredPassword
    is_superuser: bool = False


class ScramKeys(msgspec.Struct, frozen=True, gc=False):
    """What is kept of a password; base64 but for the rounds.

    Args:
        algorithm: `sha256` or `sha512`; keys of the other one are of no use.
    """

    algorithm: str
    salt: str
    stored_key: str
    server_key: str
    iterations: int


class ScramLogin(msgspec.Struct, frozen=True, gc=False):
    """What a user is known by who authenticates by SCRAM."""

    keys: ScramKeys
    is_superuser: bool = False


class UserStore(Generic[Credential]):
    """Credentials by namespace and user id."""

    def __init__(self) -> None:
        self._namespaces: dict[Namespace | None, dict[str, Credential]] = {}

    def __len__(self) -> int:
        return sum(len(users) for users in self._namespaces.values())

    def __iter__(self) -> Iterator[tuple[Namespace | None, str]]:
        """Iterate over namespace and user id of every user."""
        for namespace, users in list(self._namespaces.items()):
            for user_id in list(users):
                yield namespace, user_id

    def put(self, namespace: Namespace | None, user_id: str, credential: Credential) -> None:
        """Enter a user, or give one another credential."""
        self._namespaces.setdefault(namespace, {})[user_id] = credential

    def remove(self, namespace: Namespace | None, user_id: str) -> None:
        """Take a user out; a missing one is no error."""
        users = self._namespaces.get(namespace)
        if users is None:
            return
        users.pop(user_id, None)
        if not users:
            del self._namespaces[namespace]

    def clear(self) -> None:
        """Take every user out."""
        self._namespaces.clear()

    def find(self, namespace: Namespace | None, user_id: str) -> tuple[Namespace | None, Credential] | None:
        """Return where a user was found and its credential; `None`: there is no such user.

        The global users are looked at only if the namespace has none at all.
        """
        users = self._namespaces.get(namespace)
        if users is None and namespace is not None:
            namespace, users = None, self._namespaces.get(None)
        credential = None if users is None else users.get(user_id)
        return None if credential is None else (namespace, credential)


def make_keys(settings: ScramAuthenticator, password: str) -> ScramKeys:
    """Return what is to be kept of a new password; takes milliseconds, to be called in a thread. Spec: RFC 5802, 3."""
    digest, salt = settings.algorithm, os.urandom(_SALT_BYTES)
    salted = hashlib.pbkdf2_hmac(digest, password.encode(), salt, settings.iteration_count)
    client_key = hmac.digest(salted, b"Client Key", digest)
    stored_key = hashlib.new(digest, client_key).digest()
    server_key = hmac.digest(salted, b"Server Key", digest)
    texts = [base64.b64encode(part).decode("ascii") for part in (salt, stored_key, server_key)]
    return ScramKeys(digest, texts[0], texts[1], texts[2], settings.iteration_count)
