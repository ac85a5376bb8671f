"""The API description as a document, and a page that shows it and tries it out without any request to the internet.

The page itself says nothing about this broker and is open; the document needs a credential, as every reading route.
"""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from urllib.parse import unquote

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from admin.explorer.parts import part_of, render_markdown
from admin.middleware.authentication import authenticate
from admin.middleware.errors import json_response, render
from admin.openapi import build_document
from admin.security.access import check_access
from admin.table import PUBLIC, Access, Call, NoBody, NoQuery, Row
from pybroker.control.door import Control
from pybroker.errors import BrokerError, Refused

_FOLDER = Path(__file__).parent
_PAGE = "/api-spec.html"
_FILES = {
    _PAGE: ("explorer.html", "text/html"),
    "/api-spec.js": ("explorer.js", "text/javascript"),
    "/api-spec.css": ("explorer.css", "text/css"),
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


async def _show(call: Call[NoBody, NoQuery]) -> None:
    """Stand in the row that says who may read the document."""


_READ = Row(
    method="GET",
    path="/api-docs/swagger.json",
    handler=_show,
    summary="Describe the API",
    tag="API",
    request=NoBody,
    query=NoQuery,
    reply=None,
    status=200,
    access=Access.READER,
    scope=PUBLIC,
    audit="never",
    errors=(),
)


def explorer_routes(control: Control, rows: Sequence[Row]) -> list[BaseRoute]:
    """Return the routes of document, its parts and the page; they stand at the root, not below the API."""
    document = build_document(rows, control.about.version)
    whole = _json(document)

    def reader(make: Callable[[dict[str, str]], Response | None]) -> Callable[[Request], Awaitable[Response]]:
        """Return what answers those who may read the description; `make` gets the parts of the path."""

        async def on_request(request: Request) -> Response:
            peer = request.client.host if request.client else ""
            try:
                check_access(_READ, await authenticate(control, _READ, request.headers, peer), {})
                found = make({name: unquote(value) for name, value in request.path_params.items()})
                if found is None:
                    raise Refused("NOT_FOUND", "no such part of the description")
            except BrokerError as error:
                return _stub(error)
            return found

        return on_request

    def on_part(params: dict[str, str]) -> Response | None:
        part = part_of(document, params["tag"], params.get("name"))
        return None if part is None else _json(part)

    async def on_page(request: Request) -> Response:
        return RedirectResponse(_PAGE, 308)

    async def on_start(request: Request) -> Response:
        # Not for ever: the dashboard will stand here.
        return RedirectResponse(_PAGE, 307)

    return [
        Route("/", on_start),
        Route("/api-docs", on_page),
        Route("/api-docs/index.html", on_page),
        Route("/api-docs/swagger.json", reader(lambda _: whole)),
        Route("/api-spec.json", reader(lambda _: whole)),
        Route("/api-spec.md", reader(lambda _: Response(render_markdown(document), media_type="text/markdown"))),
        Route("/api-spec/{tag}", reader(on_part)),
        Route("/api-spec/{tag}/{name}", reader(on_part)),
        *(Route(path, _file(name, kind)) for path, (name, kind) in _FILES.items()),
    ]


def _json(document: object) -> Response:
    return Response(msgspec.json.encode(document), media_type="application/json")


def _stub(error: BrokerError) -> Response:
    """Return a refusal that is a description too, of nothing: the version is not told to strangers."""
    response, body = render(error)
    stub = {**body, "openapi": "3.0.0", "info": {"title": "pybroker API", "version": ""}, "paths": {}}
    # The length of the refusal is not that of the stub.
    challenge = {name: value for name, value in response.headers.items() if name == "www-authenticate"}
    return json_response(stub, response.status_code, challenge)


def _file(name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    content = (_FOLDER / name).read_bytes()

    async def on_file(request: Request) -> Response:
        headers = {"content-security-policy": _POLICY, "cache-control": "no-cache"}
        return Response(content, headers=headers, media_type=media_type)

    return on_file
