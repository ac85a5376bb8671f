"""Passwords of MQTT users: how they are hashed, and whether one fits a hash. Pure computation, no state.

A stored hash carries the text form of its algorithm, so that a change of the authenticator's settings concerns new
passwords only. What `is_slow` says must be computed in threads. As in EMQX the text of a salt is hashed, not the bytes
that it may stand for.
"""

import base64
import hashlib
import hmac
import re
import secrets
from functools import lru_cache

import bcrypt
import msgspec
from argon2 import PasswordHasher as Argon2
from argon2.exceptions import InvalidHashError, VerificationError

from pybroker._core import md4
from pybroker.config.sections.access import PasswordHash

_BCRYPT_BYTES = 72  # what the algorithm looks at
_BCRYPT_ROUNDS = (5, 10)
# OWASP's second choice for argon2id (19 MiB, 2 passes, 1 lane), as for the dashboard: about 20 ms.
_ARGON2 = Argon2(time_cost=2, memory_cost=19_456, parallelism=1)
_ARGON2_HEAD = "$argon2id$v=19$m=19456,t=2,p=1$"
_DIGESTS = ("md5", "sha", "sha256", "sha512")
_HEX = re.compile(r"[0-9a-fA-F]+")
_BCRYPT = re.compile(r"\$2[abxy]?\$\d\d\$[./A-Za-z0-9]{53}")
_MD4_BLOCK = 64


class StoredPassword(msgspec.Struct, frozen=True, gc=False):
    """What is kept of a password.

    Args:
        algorithm: in the text form of `render_algorithm`.
        hash: in the form of the algorithm; the password itself for `plain`.
        salt: as text; empty where the hash holds it, or there is none.
    """

    algorithm: str
    hash: str
    salt: str = ""


def render_algorithm(algorithm: PasswordHash) -> str:
    """Return the text form of an algorithm: its name and what is needed to check a hash of it."""
    if algorithm.name in _DIGESTS:
        return f"{algorithm.name}:{algorithm.salt_position}"
    if algorithm.name == "pbkdf2":
        length = "" if algorithm.dk_length is None else str(algorithm.dk_length)
        return f"pbkdf2:{algorithm.mac_fun}:{algorithm.iterations}:{length}"
    return algorithm.name


def is_slow(algorithm: str) -> bool:
    """Return whether an algorithm takes milliseconds, hence a thread."""
    return algorithm.startswith(("argon2", "bcrypt", "pbkdf2"))


def hash_password(algorithm: PasswordHash, password: bytes) -> StoredPassword:
    """Return what is to be kept of a new password, with a fresh salt; slow where `is_slow` says so."""
    text = render_algorithm(algorithm)
    if algorithm.name == "argon2id":
        return StoredPassword(text, _ARGON2.hash(password))
    if algorithm.name == "bcrypt":
        low, high = _BCRYPT_ROUNDS
        salt = bcrypt.gensalt(min(max(algorithm.salt_rounds, low), high))
        return StoredPassword(text, bcrypt.hashpw(password[:_BCRYPT_BYTES], salt).decode())
    if algorithm.name == "plain":
        return StoredPassword(text, password.decode(errors="surrogateescape"))
    has_salt = algorithm.name == "pbkdf2" or algorithm.salt_position != "disable"
    salt_text = secrets.token_hex(16) if has_salt else ""
    return StoredPassword(text, _digest(text, salt_text.encode(), password), salt_text)


def verify_password(stored: StoredPassword, password: bytes) -> bool:
    """Return whether a password fits, in a time that does not depend on how much of it does."""
    algorithm = stored.algorithm
    if algorithm.startswith("argon2"):
        try:
            return _ARGON2.verify(stored.hash, password)
        except (VerificationError, InvalidHashError):
            return False
    if algorithm == "bcrypt":
        try:
            return bcrypt.checkpw(password[:_BCRYPT_BYTES], stored.hash.encode())
        except ValueError:
            return False
    if algorithm == "plain":
        return hmac.compare_digest(stored.hash.encode(errors="surrogateescape"), password)
    digest = _digest(algorithm, stored.salt.encode(), password)
    return hmac.compare_digest(digest.encode(), stored.hash.lower().encode())


def hash_of_nobody(algorithm: PasswordHash) -> StoredPassword:
    """Return what the passwords of unknown users are compared with: no password fits, and it takes as long."""
    text, salt = render_algorithm(algorithm), secrets.token_hex(16)
    if algorithm.name == "argon2id":
        return StoredPassword(text, f"{_ARGON2_HEAD}{_base64(16)}${_base64(32)}")
    if algorithm.name == "bcrypt":
        low, high = _BCRYPT_ROUNDS
        rounds = min(max(algorithm.salt_rounds, low), high)
        return StoredPassword(text, f"$2b${rounds:02d}${'.' * 22}{secrets.token_hex(16)[:31]}")
    if algorithm.name == "plain":
        return StoredPassword(text, secrets.token_hex(16))
    return StoredPassword(text, secrets.token_hex(_digest_length(text)), salt)


def check_hash(stored: StoredPassword) -> str | None:
    """Return what is wrong with the form of an imported hash; `None`: nothing. The hash is not repeated."""
    algorithm = stored.algorithm
    if not stored.hash:
        return "must not be empty"
    if algorithm == "plain":
        return None
    if algorithm.startswith("argon2"):
        return None if stored.hash.startswith("$argon2") else "is no argon2 hash"
    if algorithm == "bcrypt":
        return None if _BCRYPT.fullmatch(stored.hash) else "is no bcrypt hash"
    length = _digest_length(algorithm)
    if not _HEX.fullmatch(stored.hash) or len(stored.hash) != 2 * length:
        return f"is no {algorithm.partition(':')[0]} hash: {2 * length} hexadecimal digits are needed"
    return None


def recognize(configured: PasswordHash, stored_hash: str) -> str:
    """Return the algorithm of an imported hash: the configured one, unless the hash itself says otherwise.

    Where none was configured (argon2id is the default), plain hexadecimal digits are EMQX's default: SHA-256 behind
    its salt.
    """
    if stored_hash.startswith("$argon2"):
        return "argon2id"
    if _BCRYPT.fullmatch(stored_hash):
        return "bcrypt"
    if configured.name == "argon2id":
        return "sha256:prefix"
    return render_algorithm(configured)


def _base64(size: int) -> str:
    return base64.b64encode(secrets.token_bytes(size)).decode("ascii").rstrip("=")


def _digest(algorithm: str, salt: bytes, password: bytes) -> str:
    """Return the hexadecimal hash of a digest or of pbkdf2."""
    name, *options = algorithm.split(":")
    if name == "pbkdf2":
        mac, iterations, length = options
        return _pbkdf2(mac, password, salt, int(iterations), int(length) if length else None).hex()
    data = {"prefix": salt + password, "suffix": password + salt, "disable": password}[options[0]]
    return hashlib.new(_name_of(name), data, usedforsecurity=False).hexdigest()


@lru_cache(64)
def _digest_length(algorithm: str) -> int:
    """Return how many bytes a hash has."""
    return len(_digest(_with_one_round(algorithm), b"", b"")) // 2


def _with_one_round(algorithm: str) -> str:
    name, *options = algorithm.split(":")
    return f"pbkdf2:{options[0]}:1:{options[2]}" if name == "pbkdf2" else algorithm


def _name_of(digest: str) -> str:
    return "sha1" if digest == "sha" else digest


def _pbkdf2(mac: str, password: bytes, salt: bytes, iterations: int, length: int | None) -> bytes:
    if mac != "md4":
        return hashlib.pbkdf2_hmac(_name_of(mac), password, salt, iterations, length)
    # OpenSSL has no MD4 any more; hashes that were made with it can be checked all the same.
    derived = b""
    while len(derived) < (length or 16):
        block = _hmac_md4(password, salt + (len(derived) // 16 + 1).to_bytes(4, "big"))
        total = int.from_bytes(block, "big")
        for _ in range(iterations - 1):
            block = _hmac_md4(password, block)
            total ^= int.from_bytes(block, "big")
        derived += total.to_bytes(16, "big")
    return derived[: length or 16]


def _hmac_md4(key: bytes, data: bytes) -> bytes:
    if len(key) > _MD4_BLOCK:
        key = md4(key)
    key = key.ljust(_MD4_BLOCK, b"\0")
    inner = md4(bytes(byte ^ 0x36 for byte in key) + data)
    return md4(bytes(byte ^ 0x5C for byte in key) + inner)
