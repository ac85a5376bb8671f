"""What the broker does for each command: one call to a control service, the reply in the shapes of the HTTP API."""

from collections.abc import Awaitable, Callable, Mapping

from pybroker.ctl.handlers import access, clients, system, traces

HANDLERS: Mapping[str, Callable[..., Awaitable[object]]] = {
    **system.HANDLERS,
    **clients.HANDLERS,
    **access.HANDLERS,
    **traces.HANDLERS,
}
"""By the name of the command; each takes `Control` and the command's parameters."""
