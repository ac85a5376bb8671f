"""One spelling for every path, so that routing, rights and audit cannot disagree about what was asked.

Segments are split before they are decoded: an encoded slash stays inside its segment. Dot segments are resolved after
decoding. Empty segments stay, and match no route; a dot segment at the end leaves one (RFC 3986, 5.2.4). So what is
done to one thing that is named `..` is never done to the whole list instead.
"""

from urllib.parse import quote, unquote_to_bytes

from starlette.types import ASGIApp, Receive, Scope, Send

_NOWHERE = "/%00"


class CanonicalPath:
    """Layer that rewrites `path` of the scope; the parts of the path stay encoded until a route has matched.

    Args:
        app: next layer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Rewrite the path and pass the request on."""
        if scope["type"] == "http":
            raw = scope.get("raw_path") or scope["path"].encode()
            scope = {**scope, "path": canonical(raw), "root_path": ""}
        await self._app(scope, receive, send)


def canonical(raw: bytes) -> str:
    """Return the path in its one spelling; a path that is no UTF-8 becomes one that nothing matches."""
    kept: list[str] = []
    segment = ""
    for part in raw.split(b"?", 1)[0].split(b"/")[1:]:
        try:
            segment = unquote_to_bytes(part).decode("utf-8")
        except UnicodeDecodeError:
            return _NOWHERE
        if segment == "..":
            if kept:
                kept.pop()
        elif segment != ".":
            kept.append(quote(segment, safe=""))
    if segment in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)
