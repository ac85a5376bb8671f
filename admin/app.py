"""The HTTP application: route table and middleware order on one page."""

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

RETRY_AFTER_S = "15"


def create_app(node: str, is_running: Callable[[], bool]) -> Starlette:
    """Return the application.

    Args:
        node: name of this node.
        is_running: whether the broker serves clients; asked at each request.
    """

    def status(request: Request) -> Response:
        """Answer a health probe: 200 while the broker runs, else 503; text in two lines, or JSON on request."""
        runs = is_running()
        code, headers = 200 if runs else 503, {"retry-after": RETRY_AFTER_S}
        if request.query_params.get("format") == "json":
            body = {
                "node_name": node,
                "broker_status": "started" if runs else "stopped",
                "app_status": "running" if runs else "not_running",
            }
            return JSONResponse(body, code, headers)
        state = ("started", "running") if runs else ("stopped", "not running")
        return PlainTextResponse(f"Node {node} is {state[0]}\npybroker is {state[1]}", code, headers)

    async def on_status(request: Request) -> Response:
        return status(request)

    return Starlette(routes=[Route("/status", on_status), Route("/api/v5/status", on_status)])
