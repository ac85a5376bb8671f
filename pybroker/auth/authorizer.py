"""Access control of subscriptions: what holds where no rule decides.

No rules exist yet, so every filter is allowed but for `$SYS` topics, which have a default of their own.
"""

from typing import Literal

from pybroker.ports import Principal
from pybroker.types import Filter

NOT_AUTHORIZED = 0x87

SysTopicsPolicy = Literal["loopback", "everyone", "nobody"]


class Authorizer:
    """Judge of subscriptions; implements `ports.Authorizer`.

    Args:
        sys_topics: who may subscribe `$SYS` topics; may be changed while running.
    """

    def __init__(self, sys_topics: SysTopicsPolicy) -> None:
        self.sys_topics: SysTopicsPolicy = sys_topics

    def judge_subscribe(self, principal: Principal, filter: Filter, qos: int) -> int:
        """Return 0, or 0x87 for a `$SYS` topic that is not for this client. A superuser may subscribe anything."""
        if not filter.startswith("$SYS") or (len(filter) > 4 and filter[4] != "/"):
            return 0
        if principal.is_superuser or self.sys_topics == "everyone":
            return 0
        if self.sys_topics == "loopback" and is_loopback(principal.peer):
            return 0
        return NOT_AUTHORIZED


def is_loopback(peer: str) -> bool:
    """Return whether a peer (`address:port`, empty for a unix socket) is on this machine."""
    return peer.startswith(("127.", "[::1]", "[::ffff:127.")) or not peer
