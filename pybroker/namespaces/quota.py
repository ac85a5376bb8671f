"""The quota of the whole broker: how many sessions there may be, judged when a new one would begin."""

from collections.abc import Callable

from pybroker.plane.registry import Registry
from pybroker.ports import Applicant, NamespaceResolver
from pybroker.types import Mountpoint, Namespace

QUOTA_EXCEEDED = 0x97

_EXACT_UP_TO = 25
_TOLERANCE = 1.1


def most_sessions(quota: int) -> int | None:
    """Return how many sessions a quota lets in: itself up to 25, else a tenth more; `None` for 0, no quota."""
    if quota <= 0:
        return None
    return quota if quota <= _EXACT_UP_TO else int(quota * _TOLERANCE)


class ConnectionQuota:
    """A gate in front of the namespaces' own; implements `ports.NamespaceResolver`. A session that exists may return.

    Args:
        inner: judges everything else.
        registry: the sessions that count, connected or not.
        quota: sessions at which it is full; 0: no quota. Asked at each CONNECT.
    """

    def __init__(self, inner: NamespaceResolver, registry: Registry, quota: Callable[[], int]) -> None:
        self._inner = inner
        self._registry = registry
        self._quota = quota

    def resolve(self, applicant: Applicant) -> None:
        """Leave it to the namespaces."""
        self._inner.resolve(applicant)

    def judge(self, applicant: Applicant) -> int:
        """Leave it to the namespaces; who is not authenticated learns nothing about the quota."""
        return self._inner.judge(applicant)

    def judge_again(self, applicant: Applicant) -> int:
        """Return what the namespaces say, else 0x97 if the applicant's session would be one too many."""
        reason = self._inner.judge_again(applicant)
        if reason:
            return reason
        most = most_sessions(self._quota())
        if most is None or len(self._registry) < most or self._registry.find(applicant.client_id) is not None:
            return 0
        return QUOTA_EXCEEDED

    def resolve_again(self, applicant: Applicant, before: Namespace | None, keeps_client_id: bool) -> int:
        """Leave it to the namespaces."""
        return self._inner.resolve_again(applicant, before, keeps_client_id)

    def mountpoint(self, applicant: Applicant) -> Mountpoint | None:
        """Leave it to the namespaces."""
        return self._inner.mountpoint(applicant)

    def let_go(self, applicant: Applicant) -> None:
        """Leave it to the namespaces."""
        self._inner.let_go(applicant)
