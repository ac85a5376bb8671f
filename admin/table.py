"""The form of the route table. A route is a row; authentication, rights, audit and the API description read the rows.

Every field that has no default must be chosen for every row: an omission is a `TypeError` at import.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from enum import Enum
from typing import Any, Generic, Literal, TypeVar

import msgspec
from starlette.datastructures import Headers

from pybroker.control.caller import Caller
from pybroker.control.door import Control

BASE = "/api/v5"
"""Prefix of every path of the table."""

PUBLIC = "public"
"""Scope of routes that need none."""

DENIED = "$denied"
"""Scope of routes that no key reaches."""

BODY_LIMIT = 1 << 20
"""Bytes of a request's body unless the row says otherwise; the largest JSON of a list of 10,000 names fits."""

Method = Literal["GET", "POST", "PUT", "DELETE"]


class Access(Enum):
    """The least role that a route asks for."""

    OPEN = "open"
    """No credential is looked at."""
    ANYBODY = "anybody"
    """Every role that is logged in; publisher keys are not."""
    READER = "reader"
    """Administrators and viewers, of namespaces too."""
    GLOBAL_READER = "global_reader"
    """Administrators and viewers outside of namespaces: the route shows payloads of all of them."""
    ADMINISTRATOR = "administrator"
    """Administrators outside of namespaces."""
    NAMESPACE_ADMINISTRATOR = "namespace_administrator"
    """Administrators, those of namespaces too; the handler keeps them apart."""
    SELF = "self"
    """Administrators outside of namespaces, and the user that `:username` names, whatever his scopes."""
    PUBLISHER = "publisher"
    """Administrators and publisher keys outside of namespaces."""


Audit = Literal["never", "always", "unless_frequent"]
"""Whether calls of a route are recorded; `unless_frequent`: not while `ignore_high_frequency_request` is on."""


class Raw(msgspec.Struct, frozen=True):
    """A reply that is no JSON; the handler returns a `Response`."""

    media_type: str


class Text(msgspec.Struct, frozen=True):
    """Requests whose body is handed over as bytes, of any of these media types."""

    media_types: tuple[str, ...]


class NoBody(msgspec.Struct, frozen=True):
    """Requests whose body is not read."""


class NoQuery(msgspec.Struct, frozen=True):
    """Requests without parameters behind the path."""


B = TypeVar("B")
Q = TypeVar("Q")

NOBODY = Caller(kind="user", name="", role="")
"""The caller of an open route."""


class Call(Generic[B, Q]):
    """One request, checked: what a handler gets.

    Args:
        control: every service.
        caller: who asks; `NOBODY` on open routes.
        params: decoded parts of the path by name.
        query: decoded parameters behind the path.
        body: decoded body.
        headers: as sent.
        peer: address of the connection, not that of the client behind a proxy.
    """

    def __init__(
        self,
        control: Control,
        caller: Caller,
        params: dict[str, str],
        query: Q,
        body: B,
        headers: Headers,
        peer: str,
    ) -> None:
        self.control = control
        self.caller = caller
        self.params = params
        self.query = query
        self.body = body
        self.headers = headers
        self.peer = peer
        self.source = caller.name
        """Who stands in the audit record; a login sets it, because nobody is authenticated yet."""
        self.change: dict[str, Any] | None = None

    def note_change(self, before: object, after: object) -> None:
        """Keep what the call changed for the audit record; plain data or structs, masked later."""
        self.change = {"before": msgspec.to_builtins(before), "after": msgspec.to_builtins(after)}


Handler = Callable[[Call[Any, Any]], Awaitable[object]]
"""Returns the reply struct, `None` for an empty body, or a `Response` that is sent as it is."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One route.

    Args:
        method: of HTTP.
        path: template below `BASE`; `:name` stands for one segment.
        handler: answers; makes one call to `control`.
        summary: one line for the API description.
        tag: group in the API description.
        request: struct of the body; `NoBody`: none.
        query: struct of the parameters.
        reply: struct of the reply, a `Raw`, or `None` for an empty body.
        status: of a success.
        access: least role.
        scope: one of the 14, `PUBLIC` or `DENIED`.
        audit: whether calls are recorded.
        errors: codes beyond those of authentication and parsing.
        accepts_keys: whether API keys may call it; else they get `API_KEY_NOT_ALLOW`.
        opens_when: makes the route open while it returns true.
        body_limit: bytes of the body.
        too_large: code of a larger body; the status is 413.
        others: bodies by status that the handler sends itself, beside success and refusals.
    """

    method: Method
    path: str
    handler: Handler
    summary: str
    tag: str
    request: Any
    query: type[msgspec.Struct]
    reply: Any
    status: int
    access: Access
    scope: str
    audit: Audit
    errors: tuple[str, ...]
    accepts_keys: bool = True
    opens_when: Callable[[Control], bool] | None = None
    body_limit: int = BODY_LIMIT
    too_large: str = "PAYLOAD_TOO_LARGE"
    others: Mapping[int, Any] = {}

    @property
    def operation_id(self) -> str:
        """Name of the route in the API description."""
        words = [part.removeprefix(":") for part in self.path.split("/") if part]
        return "_".join([self.method.lower(), *words]).replace("-", "_")


def by_path(rows: Iterable[Row]) -> list[tuple[str, tuple[Row, ...]]]:
    """Return the rows of each path, in the order in which paths are tried: literal segments before parameters."""
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(row.path, []).append(row)
    return sorted(
        ((path, tuple(group)) for path, group in grouped.items()),
        key=lambda item: [(part.startswith(":"), part) for part in item[0].split("/")],
    )
