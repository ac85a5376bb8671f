"""Passwords of the dashboard: which are allowed, and how they are hashed without holding up the loop."""

import asyncio
import secrets
import string
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher as Argon2
from argon2.exceptions import InvalidHashError, VerificationError

from pybroker.errors import Refused
from pybroker.priority import step_back

MIN_BYTES = 8
MAX_BYTES = 64
SPECIALS = "!@#$%^&*()_+-=[]{}\"|;':,./<>?`~ "

# OWASP's second choice for argon2id (19 MiB, 2 passes, 1 lane): about 20 ms here. Two threads bound the memory to
# 38 MiB and leave the other cores to messages.
_TIME_COST = 2
_MEMORY_KIB = 19_456
_LANES = 1
_THREADS = 2
_MAX_WAITING = 64

_GENERATED_LENGTH = 16
T = TypeVar("T")

_LETTERS = string.ascii_letters + string.digits


class PasswordHasher:
    """argon2id in threads of its own.

    Args:
        time_cost: passes.
        memory_kib: memory of one hash; tests take less.
    """

    def __init__(self, time_cost: int = _TIME_COST, memory_kib: int = _MEMORY_KIB) -> None:
        self._argon2 = Argon2(time_cost=time_cost, memory_cost=memory_kib, parallelism=_LANES)
        self._threads = ThreadPoolExecutor(_THREADS, "password", initializer=step_back)
        self._waiting = 0
        # Verified for users that do not exist, so that they cost the same time.
        self._nobody = self._argon2.hash(secrets.token_hex(16))

    async def hash(self, password: str) -> str:
        """Return the hash of a password in the text form of argon2.

        Raises:
            Refused: `SERVICE_UNAVAILABLE`: too many others wait.
        """
        return await self._run(self._argon2.hash, password)

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Return whether the password fits the hash; `None`: nobody's, which fits nothing and takes as long.

        Raises:
            Refused: `SERVICE_UNAVAILABLE`: too many others wait.
        """
        return await self._run(self._verify, password_hash or self._nobody, password) and password_hash is not None

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(cancel_futures=True)

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            return self._argon2.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[..., T], *arguments: str) -> T:
        if self._waiting >= _MAX_WAITING:
            raise Refused("SERVICE_UNAVAILABLE", "too many logins at a time")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        finally:
            self._waiting -= 1


def check_password(password: str) -> None:
    """Check a new password: 8 to 64 ASCII characters with two of letters, digits and specials.

    Raises:
        Refused: `BAD_REQUEST`: it is not allowed; the message does not repeat it.
    """
    if not password.isascii() or not MIN_BYTES <= len(password) <= MAX_BYTES:
        raise Refused("BAD_REQUEST", f"password must have {MIN_BYTES} to {MAX_BYTES} ASCII characters")
    classes = (string.ascii_letters, string.digits, SPECIALS)
    if any(letter not in "".join(classes) for letter in password):
        raise Refused("BAD_REQUEST", "password must not contain control characters")
    if sum(any(letter in kind for letter in password) for kind in classes) < 2:
        raise Refused("BAD_REQUEST", "password must mix two of letters, digits and special characters")


def generate_password() -> str:
    """Return a random password that is allowed: 16 letters and digits, 95 bits."""
    while True:
        password = "".join(secrets.choice(_LETTERS) for _ in range(_GENERATED_LENGTH))
        if not password.isalpha() and not password.isdigit():
            return password
