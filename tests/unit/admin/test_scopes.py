"""The scope of every row against the table of the contract."""

import pytest

from admin.app import ROWS
from admin.table import PUBLIC, Row

# Path templates, or beginnings of them with a star; the longest that fits counts, an exact one before any other.
_CONTRACT = {
    "connections": "/clients* /clients_v2 /sessions_count /subscriptions /topics* /banned* /mqtt/retainer* "
    "/mqtt/delayed* /mqtt/auto_subscribe /mqtt/topic_rewrite /file_transfer*",
    "publish": "/publish /publish/bulk",
    "access_control": "/authentication* /authorization*",
    "monitoring": "/metrics /stats /monitor* /monitor_current* /alarms* /trace* /tracing /slow_subscriptions* "
    "/mqtt/topic_metrics* /telemetry* /error_codes* /prometheus/stats /prometheus/auth /prometheus/data_integration "
    "/prometheus/schema_validation /prometheus/message_transformation /prometheus/topic_metrics "
    "/prometheus/namespaced_stats",
    "cluster_operations": "/nodes /nodes/:node /nodes/:node/metrics /nodes/:node/stats /cluster* /mt/* "
    "/load_rebalance* /node_eviction/status",
    "system": "/configs* /configs_reset/* /listeners* /listeners_status /plugins* /data/* /certs/* /features /status "
    "/prometheus /opentelemetry*",
    "audit": "/audit",
    "license": "/license*",
    "user_management": "/users /users/:username /users/:username/change_pwd",
    "mfa_management": "/users/:username/mfa",
    "sso_management": "/sso /sso/:backend",
    "api_key_management": "/api_key /api_key/:name",
    PUBLIC: "/login /logout /user_scopes /api_key_scopes /sso/running /sso/login/:backend /sso/token_exchange",
}


def _scope_of(path: str) -> str | None:
    found = [
        (pattern == path, len(pattern), scope)
        for scope, patterns in _CONTRACT.items()
        for pattern in patterns.split()
        if pattern == path or (pattern.endswith("*") and path.startswith(pattern[:-1]))
    ]
    return max(found)[2] if found else None


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.method} {row.path}" for row in ROWS])
def test_row_has_the_scope_of_the_contract(row: Row) -> None:
    contracted = _scope_of(row.path)
    if contracted is not None:
        assert row.scope == contracted
