"""Whether a caller may use a route: first the role, then the scope. The body is not looked at yet."""

from collections.abc import Mapping

from admin.table import DENIED, PUBLIC, Access, Row
from pybroker.control.caller import Caller
from pybroker.errors import Refused

_READERS = ("administrator", "viewer")


def check_access(row: Row, caller: Caller, params: Mapping[str, str], backend: str | None = None) -> None:
    """Check role and scope.

    Args:
        row: of the route.
        caller: who asks.
        params: decoded parts of the path; `username` tells who "self" is.
        backend: of the user that is meant; `None`: not given, hence that of the caller.

    Raises:
        Refused: `UNAUTHORIZED_ROLE`.
    """
    is_self = (
        row.access is Access.SELF
        and caller.is_user(params.get("username", ""))
        and (backend is None or backend == caller.backend)
    )
    if not is_self and not _has_role(row, caller):
        raise Refused("UNAUTHORIZED_ROLE", "the role does not permit it")
    if is_self or row.scope == PUBLIC or (row.access is Access.PUBLISHER and caller.role == "publisher"):
        return
    if row.scope == DENIED or not caller.has_scope(row.scope):
        raise Refused("UNAUTHORIZED_ROLE", f"the scope is needed: {row.scope}")


def _has_role(row: Row, caller: Caller) -> bool:
    match row.access:
        case Access.OPEN:
            return True
        case Access.ANYBODY | Access.READER:
            return caller.role in _READERS
        case Access.GLOBAL_READER:
            return caller.role in _READERS and caller.namespace is None
        case Access.NAMESPACE_ADMINISTRATOR:
            return caller.is_administrator
        case Access.PUBLISHER:
            return caller.is_global_administrator or (caller.role == "publisher" and caller.namespace is None)
        case Access.ADMINISTRATOR | Access.SELF:
            return caller.is_global_administrator
