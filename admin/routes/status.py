"""Health probes: `/status` in EMQX's form (text in two lines, or JSON on request), `/livez` and `/readyz`."""

from starlette.responses import PlainTextResponse, Response

from admin.middleware.errors import json_response
from admin.schemas.status import Status, StatusQuery
from admin.table import Access, Call, NoBody, NoQuery, Raw, Row

RETRY_AFTER_S = "15"


async def show_status(call: Call[NoBody, StatusQuery]) -> Response:
    """Tell whether the broker runs."""
    about = call.control.about
    runs = about.is_running()
    code, headers = 200 if runs else 503, {"retry-after": RETRY_AFTER_S}
    if call.query.format == "json":
        body = Status(
            node_name=about.node,
            cluster=about.cluster,
            broker_status="started" if runs else "stopped",
            app_status="running" if runs else "not_running",
        )
        return json_response(body, code, headers)
    state = ("started", "running") if runs else ("stopped", "not running")
    return PlainTextResponse(f"Node {about.node} is {state[0]}\npybroker is {state[1]}", code, headers)


async def show_life(call: Call[NoBody, NoQuery]) -> Response:
    """Tell that the process answers."""
    return PlainTextResponse("ok")


async def show_readiness(call: Call[NoBody, NoQuery]) -> Response:
    """Tell whether clients may be sent here."""
    if call.control.about.is_running():
        return PlainTextResponse("ok")
    return PlainTextResponse("not running", 503, {"retry-after": RETRY_AFTER_S})


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

LIVEZ = Row(
    method="GET",
    path="/livez",
    handler=show_life,
    summary="Tell that the process answers",
    tag="Health",
    request=NoBody,
    query=NoQuery,
    reply=Raw("text/plain"),
    status=200,
    access=Access.OPEN,
    scope="system",
    audit="never",
    errors=(),
)

READYZ = Row(
    method="GET",
    path="/readyz",
    handler=show_readiness,
    summary="Tell whether clients may be sent here",
    tag="Health",
    request=NoBody,
    query=NoQuery,
    reply=Raw("text/plain"),
    status=200,
    access=Access.OPEN,
    scope="system",
    audit="never",
    errors=("SERVICE_UNAVAILABLE",),
)

ROWS = (STATUS, LIVEZ, READYZ)
"""All are served without the prefix of the API too."""
