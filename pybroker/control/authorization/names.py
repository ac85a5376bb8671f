"""Names in their order, of which there may be 100,000: no step takes longer than one of its blocks.

One long list would be sorted whole after an import; here each name goes to its place. Nothing but the order is known.
"""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import chain, islice

_BLOCK = 512
"""Names of a block before it is halved: finding the block and moving its names then cost about the same."""


class SortedNames:
    """A set of names in their order. Changes are O(log names + block)."""

    def __init__(self) -> None:
        self._blocks: list[list[str]] = []
        self._lasts: list[str] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names as they are now."""
        return chain.from_iterable(self.blocks())

    def blocks(self) -> list[list[str]]:
        """Return the names as they are now, some at a time, to be looked at while they change."""
        return [block.copy() for block in self._blocks]

    def page(self, offset: int, limit: int) -> list[str]:
        """Return some names. O(blocks)."""
        for at, block in enumerate(self._blocks):
            if offset < len(block):
                return list(islice(chain.from_iterable(self._blocks[at:]), offset, offset + limit))
            offset -= len(block)
        return []

    def add(self, name: str) -> None:
        """Put a name in its place; one that is there stays."""
        at = bisect_left(self._lasts, name)
        if at == len(self._blocks):
            if not at:
                self._blocks.append([])
                self._lasts.append(name)
            at = len(self._blocks) - 1
        block = self._blocks[at]
        place = bisect_left(block, name)
        if place < len(block) and block[place] == name:
            return
        block.insert(place, name)
        self._count += 1
        self._lasts[at] = block[-1]
        if len(block) > _BLOCK:
            self._halve(at)

    def discard(self, name: str) -> None:
        """Take a name out; a missing one is no error."""
        at = bisect_left(self._lasts, name)
        if at == len(self._blocks):
            return
        block = self._blocks[at]
        place = bisect_left(block, name)
        if block[place] != name:
            return
        del block[place]
        self._count -= 1
        if block:
            self._lasts[at] = block[-1]
        else:
            del self._blocks[at], self._lasts[at]

    def _halve(self, at: int) -> None:
        block = self._blocks[at]
        middle = len(block) // 2
        self._blocks[at : at + 1] = [block[:middle], block[middle:]]
        self._lasts[at : at + 1] = [block[middle - 1], block[-1]]
