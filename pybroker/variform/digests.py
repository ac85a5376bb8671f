"""Functions that turn a text into a digest or into a number of a range."""

import hashlib
from collections.abc import Callable

from pybroker import _core
from pybroker.variform.errors import Mistake
from pybroker.variform.values import Value, is_integer, need_text, to_bytes


def _fixed(name: str) -> Callable[[bytes], str]:
    return lambda data: hashlib.new(name, data, usedforsecurity=False).hexdigest()


# SHAKE yields as many bytes as asked for; 16 and 32 are what Erlang's library asks for.
_ALGORITHMS: dict[str, Callable[[bytes], str]] = {
    "md4": lambda data: _core.md4(data).hex(),
    "sha": _fixed("sha1"),
    "shake128": lambda data: hashlib.shake_128(data).hexdigest(16),
    "shake256": lambda data: hashlib.shake_256(data).hexdigest(32),
} | {
    name: _fixed(name)
    for name in (
        "md5",
        "sha1",
        "sha224",
        "sha256",
        "sha384",
        "sha512",
        "sha3_224",
        "sha3_256",
        "sha3_384",
        "sha3_512",
        "blake2b",
        "blake2s",
    )
}


def hash_text(algorithm: Value, value: Value) -> str:
    """Return the digest of a text in lower-case hexadecimal digits."""
    digest = _ALGORITHMS.get(need_text(algorithm))
    if digest is None:
        raise Mistake("unknown_hash_algorithm")
    return digest(to_bytes(need_text(value)))


def hash_to_range(value: Value, low: Value, high: Value) -> int:
    """Return a number between two, both included, by the SHA-256 of a text."""
    if not isinstance(value, str) or not value:
        raise Mistake("badarg")
    return _into_range(int.from_bytes(hashlib.sha256(to_bytes(value)).digest(), "big"), low, high)


def map_to_range(value: Value, low: Value, high: Value) -> int:
    """Return a number between two, both included, by an integer or by the bytes of a text as one."""
    if is_integer(value):
        return _into_range(value, low, high)
    if not isinstance(value, str) or not value:
        raise Mistake("badarg")
    return _into_range(int.from_bytes(to_bytes(value), "big"), low, high)


def _into_range(number: int, low: Value, high: Value) -> int:
    if not is_integer(low) or not is_integer(high) or low > high:
        raise Mistake("badarg")
    return low + number % (high - low + 1)
