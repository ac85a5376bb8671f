"""What this process is, for everything that tells it to clients."""

from collections.abc import Callable

import msgspec

EDITION = "ee"
"""Edition that clients of EMQX are told everywhere; they offer less to another one."""


class About(msgspec.Struct, frozen=True, kw_only=True):
    """This process.

    Args:
        node: its name.
        version: of the program.
        cluster: its name; there is one node so far.
        started_ms: monotonic.
        is_running: whether the broker serves clients; asked each time.
    """

    node: str
    version: str
    cluster: str = "pybroker"
    started_ms: int = 0
    is_running: Callable[[], bool]
