"""What Prometheus scrapes of access control: every source under EMQX's names, and the number of rules."""

from collections.abc import Callable, Iterator
from functools import partial

from pybroker.control.authorization.rules import BUILT_IN, RuleBook
from pybroker.control.authorization.sources import Sources, SourceState
from pybroker.metrics.prometheus import Family, Kind, Sample

_COUNTS = ("total", "allow", "deny", "nomatch", "ignore")


class AccessFamilies:
    """Maker of the families.

    Args:
        sources: what is asked.
        book: the built-in rules.
    """

    def __init__(self, sources: Sources, book: RuleBook) -> None:
        self._sources = sources
        self._book = book

    def __call__(self) -> Iterator[Family]:
        """Yield every family; none grows with clients or rules."""
        states = {source.type: self._sources.state(source.type) for source in self._sources.configured}
        enabled: dict[str, int] = {source.type: int(source.enable) for source in self._sources.configured}

        def family(name: str, kind: Kind, value: Callable[[str, SourceState], float]) -> Family:
            samples = [Sample(value(one, state), {"type": str(one)}) for one, state in states.items()]
            return Family(f"emqx_authz_{name}", kind, samples)

        yield family("enable", "gauge", lambda one, _: enabled[one])
        yield family("status", "gauge", lambda _, state: int(state.status == "connected"))
        for name in _COUNTS:
            yield family(name, "counter", partial(_metric, name))
        if BUILT_IN in states:
            yield Family("emqx_authz_rules_count", "gauge", [Sample(self._book.lists.total, {"type": BUILT_IN})])


def _metric(name: str, _: str, state: SourceState) -> float:
    return state.metrics[name]
