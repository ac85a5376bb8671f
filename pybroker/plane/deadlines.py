"""What offline sessions wait for: one heap and one timer of the loop, however many sessions there are.

A cancelled deadline stays in the heap until its time or until such entries are half of it; so setting and cancelling
cost O(log n) at most. Time comes from a `Clock`, the timer from the loop; tests give both.
"""

import heapq
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from pybroker.clock import Clock

BATCH = 1_000
"""Deadlines that are met before the loop gets its turn again: some 10 ms of work."""

_SMALL = 64

Owner = TypeVar("Owner")


class Handle(Protocol):
    """A timer that was set."""

    def cancel(self) -> None:
        """Forget it."""


class Deadline(Generic[Owner]):
    """One point in time that an owner waits for.

    Args:
        owner: whom it concerns; `None` once it is cancelled or met.
        due_ms: monotonic.
    """

    __slots__ = ("due_ms", "owner")

    def __init__(self, owner: Owner, due_ms: int) -> None:
        self.owner: Owner | None = owner
        self.due_ms = due_ms


class Deadlines(Generic[Owner]):
    """The heap and its timer.

    Args:
        clock: tells the time.
        call_later: sets a timer, in seconds; the loop's.
        on_due: called with the owner when its time has come.
    """

    __slots__ = ("_armed_ms", "_call_later", "_cancelled", "_clock", "_heap", "_on_due", "_serial", "_timer")

    def __init__(
        self,
        clock: Clock,
        call_later: Callable[[float, Callable[[], None]], Handle],
        on_due: Callable[[Owner], None],
    ) -> None:
        self._clock = clock
        self._call_later = call_later
        self._on_due = on_due
        self._heap: list[tuple[int, int, Deadline[Owner]]] = []
        self._serial = 0
        self._cancelled = 0
        self._timer: Handle | None = None
        self._armed_ms = 0

    def __len__(self) -> int:
        """Return how many deadlines are awaited."""
        return len(self._heap) - self._cancelled

    def set(self, owner: Owner, due_ms: int) -> Deadline[Owner]:
        """Wait for `due_ms` (monotonic) on behalf of `owner`; the owner keeps what is returned."""
        deadline = Deadline(owner, due_ms)
        self._serial += 1
        heapq.heappush(self._heap, (due_ms, self._serial, deadline))
        self._arm()
        return deadline

    def cancel(self, deadline: Deadline[Owner]) -> None:
        """Forget a deadline; one that was met or cancelled before is left as it is."""
        if deadline.owner is None:
            return
        deadline.owner = None
        self._cancelled += 1
        if self._cancelled > _SMALL and self._cancelled * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].owner is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def stop(self) -> None:
        """Set no timer any more and forget everything."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._heap.clear()
        self._cancelled = 0

    def _arm(self) -> None:
        if not self._heap:
            return
        due_ms = self._heap[0][0]
        if self._timer is not None:
            if self._armed_ms <= due_ms:
                return
            self._timer.cancel()
        self._armed_ms = due_ms
        self._timer = self._call_later(max(0, due_ms - self._clock.now_ms()) / 1_000, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now_ms = self._clock.now_ms()
        heap = self._heap
        try:
            for _ in range(BATCH):
                if not heap or heap[0][0] > now_ms:
                    break
                deadline = heapq.heappop(heap)[2]
                owner = deadline.owner
                if owner is None:
                    self._cancelled -= 1
                    continue
                deadline.owner = None
                self._on_due(owner)
                heap = self._heap
        finally:
            self._arm()
