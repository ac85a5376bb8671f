"""Passwords that were found right not long ago, so that a storm of reconnects does not hash each of them again.

Kept is one keyed digest a user, over password, user and stored hash; the key lives as long as the process and never
leaves it. A changed password makes the digest wrong by itself. Wrong passwords are never kept.
"""

import hashlib
import hmac
import os

from pybroker.auth.passwords import StoredPassword

CAPACITY = 100_000
"""Users that are kept, some 20 MB; the one that was kept first makes room."""


class VerifiedPasswords:
    """The cache of one authenticator; hits cost two hashes of some 100 bytes.

    Args:
        capacity: most users.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.hits = 0
        self._capacity = capacity
        self._key = os.urandom(32)
        self._digests: dict[str, bytes] = {}

    def __len__(self) -> int:
        return len(self._digests)

    def knows(self, user: str, stored: StoredPassword, password: bytes) -> bool:
        """Return whether this password was found right for this user and stored hash."""
        digest = self._digests.get(user)
        if digest is None or not hmac.compare_digest(digest, self._digest(user, stored, password)):
            return False
        self.hits += 1
        return True

    def keep(self, user: str, stored: StoredPassword, password: bytes) -> None:
        """Keep a password that was found right."""
        if user not in self._digests and len(self._digests) >= self._capacity:
            del self._digests[next(iter(self._digests))]
        self._digests[user] = self._digest(user, stored, password)

    def forget(self, user: str) -> None:
        """Forget a user, whose password, rights or existence has changed."""
        self._digests.pop(user, None)

    def clear(self) -> None:
        """Forget everybody."""
        self._digests.clear()

    def _digest(self, user: str, stored: StoredPassword, password: bytes) -> bytes:
        digest = hashlib.blake2b(key=self._key, digest_size=32)
        for part in (user.encode(errors="surrogateescape"), stored.hash.encode(errors="surrogateescape"), password):
            digest.update(len(part).to_bytes(4, "big"))
            digest.update(part)
        return digest.digest()
