"""The catalogue of error codes."""

from functools import partial

from admin.codes import CODES
from admin.schemas.error_codes import ErrorCode
from admin.table import Access, Call, NoBody, NoQuery, Row
from pybroker.errors import Refused


async def list_codes(call: Call[NoBody, NoQuery]) -> list[ErrorCode]:
    """Return every code that is listed."""
    return [ErrorCode(code=name, description=code.description) for name, code in CODES.items() if code.is_listed]


async def show_code(call: Call[NoBody, NoQuery]) -> ErrorCode:
    """Return one code."""
    name = call.params["code"]
    code = CODES.get(name)
    if code is None:
        raise Refused("NOT_FOUND", f"no such code: {name!r}")
    return ErrorCode(code=name, description=code.description)


_get = partial(
    Row,
    method="GET",
    tag="Error codes",
    request=NoBody,
    query=NoQuery,
    status=200,
    access=Access.OPEN,
    scope="monitoring",
    audit="never",
)

ROWS = (
    _get(
        path="/error_codes",
        handler=list_codes,
        summary="List error codes",
        reply=list[ErrorCode],
        errors=(),
    ),
    _get(
        path="/error_codes/:code",
        handler=show_code,
        summary="Show an error code",
        reply=ErrorCode,
        errors=("NOT_FOUND",),
    ),
)
