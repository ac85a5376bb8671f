"""The decisions that are kept for one client."""

from functools import partial

from admin.schemas.authorization_cache import ShownDecision
from admin.table import Access, Call, NoBody, NoQuery, Row

_PATH = "/clients/:clientid/authorization/cache"


async def show_kept(call: Call[NoBody, NoQuery]) -> list[ShownDecision]:
    """Return the decisions that are kept for a client."""
    kept = await call.control.authorization.kept.of(call.params["clientid"])
    return [ShownDecision.of(decision) for decision in kept]


async def forget_kept(call: Call[NoBody, NoQuery]) -> None:
    """Forget the decisions that are kept for a client."""
    call.control.authorization.kept.forget(call.params["clientid"])


_row = partial(Row, tag="Clients", scope="connections", request=NoBody, query=NoQuery, errors=("CLIENTID_NOT_FOUND",))

ROWS = (
    _row(
        method="GET",
        path=_PATH,
        handler=show_kept,
        summary="Show the access decisions kept for a client",
        reply=list[ShownDecision],
        status=200,
        access=Access.READER,
        audit="never",
    ),
    _row(
        method="DELETE",
        path=_PATH,
        handler=forget_kept,
        summary="Forget the access decisions kept for a client",
        reply=None,
        status=204,
        access=Access.ADMINISTRATOR,
        audit="always",
    ),
)
