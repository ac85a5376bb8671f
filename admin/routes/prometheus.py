"""Metrics for Prometheus, and their settings."""

from functools import partial
from typing import Any, get_args

from starlette.datastructures import Headers
from starlette.responses import Response

from admin.middleware.errors import ApiError
from admin.routes.configs import update_root
from admin.schemas.prometheus import NamespacedQuery, ScrapeQuery
from admin.table import Access, Call, NoBody, NoQuery, Raw, Row
from pybroker.control.prometheus import CONTENT_TYPE, Subject

_ROOT = "prometheus"


def refuse_json(headers: Headers) -> None:
    """Check that the caller takes text.

    Raises:
        ApiError: 400; EMQX answers so, though it has had a form in JSON.
    """
    if headers.get("accept", "").strip().lower().startswith("application/json"):
        raise ApiError(400, "BAD_REQUEST", "metrics are text: accept must not be 'application/json'")


async def scrape(subject: Subject, call: Call[NoBody, ScrapeQuery]) -> Response:
    """Return the exposition of one subject."""
    refuse_json(call.headers)
    return Response(call.control.prometheus.expose(subject, call.query.mode), media_type=CONTENT_TYPE)


async def scrape_namespaces(call: Call[NoBody, NamespacedQuery]) -> Response:
    """Return the exposition of namespaces."""
    refuse_json(call.headers)
    exposition = call.control.namespaced_exposition.expose(call.caller, call.query.ns, call.query.mode)
    return Response(exposition, media_type=CONTENT_TYPE)


async def show_settings(call: Call[NoBody, NoQuery]) -> dict[str, Any]:
    """Return the settings; secrets are masked."""
    return call.control.configs.show(_ROOT)


async def update_settings(call: Call[dict[str, Any], NoQuery]) -> dict[str, Any]:
    """Change settings; what is not sent stays."""
    return await update_root(call, _ROOT)


def _scrape_row(subject: Subject) -> Row:
    async def handle(call: Call[NoBody, ScrapeQuery]) -> Response:
        return await scrape(subject, call)

    handle.__doc__ = scrape.__doc__
    return Row(
        method="GET",
        path=f"/prometheus/{subject}",
        handler=handle,
        summary=f"Scrape: {subject.replace('_', ' ')}",
        tag="Prometheus",
        request=NoBody,
        query=ScrapeQuery,
        reply=Raw("text/plain"),
        status=200,
        access=Access.READER,
        scope="monitoring",
        audit="never",
        errors=("BAD_REQUEST",),
        opens_when=lambda control: control.prometheus.is_open,
    )


_settings = partial(Row, path="/prometheus", tag="Prometheus", query=NoQuery, scope="system", status=200)

ROWS = (
    *map(_scrape_row, get_args(Subject)),
    Row(
        method="GET",
        path="/prometheus/namespaced_stats",
        handler=scrape_namespaces,
        summary="Scrape: namespaces",
        tag="Prometheus",
        request=NoBody,
        query=NamespacedQuery,
        reply=Raw("text/plain"),
        status=200,
        access=Access.READER,
        scope="monitoring",
        audit="never",
        errors=("BAD_REQUEST", "FORBIDDEN", "TOO_MANY_REQUESTS"),
        opens_when=lambda control: control.prometheus.is_open,
    ),
    _settings(
        method="GET",
        handler=show_settings,
        summary="Show the settings of metrics",
        request=NoBody,
        reply=dict[str, Any],
        access=Access.READER,
        audit="never",
        errors=(),
    ),
    _settings(
        method="PUT",
        handler=update_settings,
        summary="Change the settings of metrics",
        request=dict[str, Any],
        reply=dict[str, Any],
        access=Access.ADMINISTRATOR,
        audit="always",
        errors=("BAD_REQUEST", "UPDATE_FAILED"),
    ),
)
