"""The cache of remote answers, which all connections share: how often it helped, and how full it is."""

import msgspec

from pybroker.control.authorization.rates import Rates
from pybroker.control.plane import Plane

_COUNTED = ("hits", "misses", "inserts")


class CountRate(msgspec.Struct, frozen=True, kw_only=True):
    """How many a second."""

    current: float
    max: float
    last5m: float


class CacheCount(msgspec.Struct, frozen=True, kw_only=True):
    """A counter and its rate."""

    value: int
    rate: CountRate


class CacheMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """What the cache has done since the start or the last reset.

    Args:
        count: answers that it holds.
        memory: bytes that they take, about.
    """

    hits: CacheCount
    misses: CacheCount
    inserts: CacheCount
    count: int
    memory: int


class RemoteAnswers:
    """Reader of the cache.

    Args:
        plane: has it.
        rates: of its counters.
    """

    def __init__(self, plane: Plane, rates: Rates) -> None:
        self._answers = plane.authorizer.answers
        self._rates = rates

    def show(self) -> CacheMetrics:
        """Return what the cache has done."""
        answers = self._answers
        return CacheMetrics(
            hits=self._count("hits"),
            misses=self._count("misses"),
            inserts=self._count("inserts"),
            count=0 if answers is None else len(answers),
            memory=0 if answers is None else answers.memory,
        )

    def reset(self) -> None:
        """Forget every answer and begin to count anew."""
        if self._answers is not None:
            self._answers.reset()
        for name in _COUNTED:
            self._rates.reset(_key(name))

    def sample(self) -> None:
        """Take note of the counters for their rates."""
        for name in _COUNTED:
            self._rates.sample(_key(name), self._value(name))

    def _value(self, name: str) -> int:
        value: int = 0 if self._answers is None else getattr(self._answers, name)
        return value

    def _count(self, name: str) -> CacheCount:
        value = self._value(name)
        rates = self._rates.of(_key(name), value)
        rate = CountRate(current=rates["rate"], max=rates["rate_max"], last5m=rates["rate_last5m"])
        return CacheCount(value=value, rate=rate)


def _key(name: str) -> str:
    return f"node_cache.{name}"
