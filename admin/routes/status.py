"""Health probe: 200 while the broker runs, else 503; text in two lines, or JSON on request."""

from starlette.responses import PlainTextResponse, Response

from admin.middleware.errors import json_response
from admin.schemas.status import Status, StatusQuery
from admin.table import Access, Call, NoBody, Raw, Row

RETRY_AFTER_S = "15"


async def show_status(call: Call[NoBody, StatusQuery]) -> Response:
    """Tell whether the broker runs."""
    about = call.control.about
    runs = about.is_running()
    code, headers = 200 if runs else 503, {"retry-after": RETRY_AFTER_S}
    if call.query.format == "json":
        body = Status(
            node_name=about.node,
            broker_status="started" if runs else "stopped",
            app_status="running" if runs else "not_running",
        )
        return json_response(body, code, headers)
    state = ("started", "running") if runs else ("stopped", "not running")
    return PlainTextResponse(f"Node {about.node} is {state[0]}\npybroker is {state[1]}", code, headers)


STATUS = Row(
    method="GET",
    path="/status",
    handler=show_status,
    summary="Tell whether the broker runs",
    tag="Health",
    request=NoBody,
    query=StatusQuery,
    reply=Raw("text/plain"),
    status=200,
    access=Access.OPEN,
    scope="system",
    audit="never",
    errors=(),
)
"""Also served without the prefix of the API."""

ROWS = (STATUS,)
