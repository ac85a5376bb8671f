"""The HTTP application: the route table and the order of the layers on one page.

A request passes the layers from top to bottom: `ReplyHeaders`, cross-origin rules if they are on, `CanonicalPath`,
errors, then the `Resource` of its path, which takes the steps from authentication to audit.
"""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Route

from admin.explorer import explorer_routes
from admin.middleware.errors import on_defect, on_http_error
from admin.middleware.headers import ReplyHeaders
from admin.middleware.path import CanonicalPath
from admin.resource import Resource
from admin.routes import (
    alarms,
    api_keys,
    audit,
    authentication,
    authentication_users,
    authorization_cache,
    authorization_csv,
    authorization_explain,
    authorization_records,
    authorization_rules,
    authorization_settings,
    authorization_sources,
    banned,
    clients,
    configs,
    delayed,
    error_codes,
    licence,
    listeners,
    login,
    monitor,
    mt,
    nodes,
    prometheus,
    publish,
    retained,
    slow_subscriptions,
    statistics,
    status,
    subscriptions,
    topics,
    traces,
    users,
)
from admin.table import BASE, Row, by_path
from pybroker.control.door import Control

ROWS: tuple[Row, ...] = (
    *login.ROWS,
    *users.ROWS,
    *api_keys.ROWS,
    *audit.ROWS,
    *licence.ROWS,
    *status.ROWS,
    *nodes.ROWS,
    *statistics.ROWS,
    *monitor.ROWS,
    *prometheus.ROWS,
    *slow_subscriptions.ROWS,
    *traces.ROWS,
    *clients.ROWS,
    *subscriptions.ROWS,
    *topics.ROWS,
    *publish.ROWS,
    *retained.ROWS,
    *delayed.ROWS,
    *banned.ROWS,
    *authentication.ROWS,
    *authentication_users.ROWS,
    *authorization_rules.ROWS,
    *authorization_records.ROWS,
    *authorization_csv.ROWS,
    *authorization_sources.ROWS,
    *authorization_settings.ROWS,
    *authorization_explain.ROWS,
    *authorization_cache.ROWS,
    *listeners.ROWS,
    *alarms.ROWS,
    *configs.ROWS,
    *mt.ROWS,
    *error_codes.ROWS,
)
"""Every route of the API."""


def create_app(control: Control) -> Starlette:
    """Return the application over `control`."""
    dashboard = control.configuration.current.dashboard
    routes: list[BaseRoute] = [Route(path, Resource(control, path, rows)) for path, rows in by_path(status.ROWS)]
    for path, rows in by_path(ROWS):
        routes.append(Route(BASE + _pattern(path), Resource(control, path, rows)))
    if dashboard.swagger_support:
        routes += explorer_routes(control, ROWS)
    layers = [Middleware(ReplyHeaders)]
    if dashboard.cors:
        layers.append(Middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"]))
    layers.append(Middleware(CanonicalPath))
    app = Starlette(routes=routes, middleware=layers, exception_handlers={404: on_http_error, Exception: on_defect})
    app.router.redirect_slashes = False
    return app


def _pattern(path: str) -> str:
    """Return a template in the form of the router; every parameter is one segment."""
    return "/".join(f"{{{part[1:]}}}" if part.startswith(":") else part for part in path.split("/"))
