"""The node cache: answers of remote services by the question as it was rendered, for all connections.

A question may hold a password, so only a keyed digest of it is kept. Expired answers are removed by a sweep; a full
cache takes no new answers until then.
"""

import hashlib
import os
from collections.abc import Hashable
from typing import Generic, TypeVar

from pybroker.clock import Clock
from pybroker.config.sections.access import NodeCache

T = TypeVar("T")

ENTRY_BYTES = 400
"""What one answer is counted as; measured with verdicts that hold no rules."""


class AnswerCache(Generic[T]):
    """One cache.

    Args:
        clock: tells how old an answer is.
        settings: may be replaced while running.
    """

    def __init__(self, clock: Clock, settings: NodeCache) -> None:
        self.settings = settings
        self.hits = self.misses = self.inserts = 0
        self.cleared = 0
        self._clock = clock
        self._key = os.urandom(32)
        self._answers: dict[bytes, tuple[int, T]] = {}
        self._swept_ms = clock.now_ms()

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def memory(self) -> int:
        """Bytes that the answers take, about."""
        return len(self._answers) * ENTRY_BYTES

    def find(self, *question: Hashable) -> T | None:
        """Return the answer to a question; `None`: there is none, or it is too old."""
        if not self.settings.enable:
            return None
        entry = self._answers.get(self._digest(question))
        if entry is None or self._clock.now_ms() - entry[0] >= self.settings.cache_ttl:
            self.misses += 1
            return None
        self.hits += 1
        return entry[1]

    def keep(self, answer: T, *question: Hashable, asked_after: int | None = None) -> None:
        """Keep an answer, if there is room.

        Args:
            asked_after: what `cleared` was when the question was asked; an answer that was under way while the others
                were forgotten is not kept. `None`: it was asked now.
        """
        settings, now_ms = self.settings, self._clock.now_ms()
        if not settings.enable or asked_after not in (None, self.cleared):
            return
        if now_ms - self._swept_ms >= settings.cleanup_interval:
            self.sweep()
        is_full = settings.max_count is not None and len(self._answers) >= settings.max_count
        if is_full or (settings.max_memory is not None and self.memory >= settings.max_memory):
            return
        self._answers[self._digest(question)] = (now_ms, answer)
        self.inserts += 1

    def sweep(self) -> None:
        """Remove the answers that are too old."""
        self._swept_ms = self._clock.now_ms()
        oldest = self._swept_ms - self.settings.cache_ttl
        self._answers = {key: entry for key, entry in self._answers.items() if entry[0] > oldest}

    def clear(self) -> None:
        """Forget every answer; the counters stay."""
        self.cleared += 1
        self._answers.clear()

    def reset(self) -> None:
        """Forget every answer and begin to count anew."""
        self.clear()
        self.hits = self.misses = self.inserts = 0

    def _digest(self, question: tuple[Hashable, ...]) -> bytes:
        return hashlib.blake2b(repr(question).encode(), key=self._key, digest_size=32).digest()
