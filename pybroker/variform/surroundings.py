"""Functions that look out of the expression: the time, chance, the environment of the process."""

from collections.abc import Callable, Mapping

from pybroker.clock import Clock
from pybroker.variform.errors import Mistake
from pybroker.variform.values import Value, check_size, is_integer, need_text

_ALPHABET = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# Bytes from 248 on are thrown away, so that every character is equally likely.
_FAIR = len(_ALPHABET) * 4
_TO_ALPHABET = (_ALPHABET * 5)[:256]
_UNFAIR = bytes(range(_FAIR, 256))

# The later one goes before the one that EMQX reads.
_PREFIXES = ("EMQXVAR_", "PYBROKERVAR_")


class Surroundings:
    """What the functions of one compiler see of the process.

    Args:
        clock: the time.
        environ: the environment; what it holds now is what expressions see.
        entropy: returns as many random bytes as asked for.
    """

    def __init__(self, clock: Clock, environ: Mapping[str, str], entropy: Callable[[int], bytes]) -> None:
        self._clock = clock
        self._entropy = entropy
        self._variables = {
            name.removeprefix(prefix): value
            for prefix in _PREFIXES
            for name, value in environ.items()
            if name.startswith(prefix)
        }

    def getenv(self, name: Value) -> str:
        """Return a variable of the environment, nothing if there is none."""
        return self._variables.get(need_text(name), "")

    def rand_str(self, length: Value) -> str:
        """Return random characters: digits and ASCII letters."""
        wanted = _positive(length)
        check_size(wanted)
        found = b""
        while len(found) < wanted:
            found += self._entropy(wanted - len(found) + 8).translate(_TO_ALPHABET, _UNFAIR)
        return found[:wanted].decode("ascii")

    def rand_int(self, high: Value) -> int:
        """Return a random integer from 1 to a number."""
        most = _positive(high)
        # Eight bytes more than the number has: what is more likely then is so by less than one in 2**64.
        return 1 + int.from_bytes(self._entropy(most.bit_length() // 8 + 8), "big") % most

    def timestamp_s(self) -> int:
        """Return seconds since 1970."""
        return self._clock.wall_s()

    def timestamp_ms(self) -> int:
        """Return milliseconds since 1970."""
        return self._clock.wall_ms()


def _positive(value: Value) -> int:
    if is_integer(value) and value >= 1:
        return value
    raise Mistake("badarg")
