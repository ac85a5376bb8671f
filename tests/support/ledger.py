"""What an operator was promised: every change whose reply arrived, and the one that was under way when the broker died.

`check` says what a restarted broker has lost. A change of several things counts as one: all of it, or nothing.
"""

from collections.abc import Mapping
from typing import TypeAlias

__all__ = ["Changes", "Ledger", "Thing"]

Thing: TypeAlias = tuple[str, str]
"""Kind and name, such as `("user", "eve")`."""

Changes: TypeAlias = Mapping[Thing, object]
"""New values; `None` for what is gone."""


class Ledger:
    """The changes of one run, over all restarts."""

    def __init__(self) -> None:
        self.promised: dict[Thing, object] = {}
        self._under_way: Changes = {}
        self.count = 0

    def begin(self, changes: Changes) -> None:
        """Note a change that is about to be asked for."""
        self._under_way = changes

    def confirm(self, changes: Changes | None = None) -> None:
        """Note that its reply has arrived; `changes` where only the reply told them."""
        self.promised.update(self._under_way if changes is None else changes)
        self._under_way = {}
        self.count += 1

    def cancel(self) -> None:
        """Note that it was refused."""
        self._under_way = {}

    def names(self, kind: str) -> list[str]:
        """Return the names of the things of a kind that exist."""
        return sorted(name for (its, name), value in self.promised.items() if its == kind and value is not None)

    def check(self, found: Mapping[Thing, object]) -> list[str]:
        """Compare with what a restarted broker has and return what is wrong; what was under way is settled then.

        Args:
            found: value of everything that was ever promised or under way; `None` for what is not there.
        """
        wrong = [
            f"{thing}: promised {value!r}, found {found.get(thing)!r}"
            for thing, value in self.promised.items()
            if thing not in self._under_way and found.get(thing) != value
        ]
        done = {thing: found.get(thing) == value for thing, value in self._under_way.items()}
        undone = {thing: found.get(thing) == self.promised.get(thing) for thing in self._under_way}
        if not all(done.values()) and not all(undone.values()):
            wrong.append(f"half of a change: {dict(self._under_way)!r}, found {[found.get(one) for one in done]!r}")
        if all(done.values()):
            self.promised.update(self._under_way)
        self._under_way = {}
        return wrong

    @property
    def things(self) -> list[Thing]:
        """Return everything that has to be looked at."""
        return [*self.promised, *(thing for thing in self._under_way if thing not in self.promised)]
