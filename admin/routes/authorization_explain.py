"""Questions about access control: why is it allowed or denied, and what would other rules do. Nothing changes."""

from functools import partial

from admin.routes.authorization_rules import MAX_BODY
from admin.schemas.authorization_explain import ExplainBody, ShownExplanation, SimulateBody, SimulateQuery
from admin.schemas.authorization_rules import principal_of
from admin.schemas.page import Page
from admin.table import Access, Call, NoQuery, Row
from pybroker.control.authorization.explain import Asked
from pybroker.control.authorization.lists import Principal, Rules
from pybroker.control.authorization.simulate import Affected
from pybroker.errors import Refused


async def explain(call: Call[ExplainBody, NoQuery]) -> ShownExplanation:
    """Say whether a client may do something, and why."""
    body, authorization = call.body, call.control.authorization
    asked = Asked(
        clientid=body.clientid,
        action=body.action,
        topic=body.topic,
        username=body.username,
        peerhost=body.peerhost,
        namespace=authorization.rules.space(call.caller, body.namespace) if call.caller.namespace else body.namespace,
        is_superuser=body.is_superuser,
        listener=body.listener,
        zone=body.zone,
        client_attrs=body.client_attrs,
        qos=body.qos,
        retain=body.retain,
        asks_remote=body.remote,
    )
    only_own = call.caller.namespace is not None
    return ShownExplanation.of(await authorization.explainer.explain(asked, only_namespace=only_own))


async def simulate(call: Call[SimulateBody, SimulateQuery]) -> Page[Affected]:
    """Say which subscriptions would be lost or gained."""
    body, query, now_ms = call.body, call.query, call.control.clock.wall_ms()
    namespace = call.control.authorization.rules.scope(call.caller, query.ns)
    lists: dict[Principal, Rules] = {}
    for tried in body.rules:
        principal = principal_of(namespace, tried.clientid, tried.username, tried.all)
        if principal in lists:
            raise Refused("BAD_REQUEST", f"{principal.kind} is given twice: {principal.name!r}")
        lists[principal] = tuple(rule.as_rule(now_ms) for rule in tried.rules)
    rows, has_next = await call.control.authorization.simulator.run(
        lists,
        body.mode,
        query.offset,
        query.limit,
        replaces_all=body.replace_all,
        namespace=namespace,
        is_whole=namespace is None,
    )
    return Page[Affected].uncounted(query, rows, hasnext=has_next)


_row = partial(
    Row,
    method="POST",
    tag="Access control",
    scope="access_control",
    status=200,
    access=Access.READER,
    audit="always",
)

ROWS = (
    _row(
        path="/authorization/explain",
        handler=explain,
        summary="Explain whether a client may do something",
        request=ExplainBody,
        query=NoQuery,
        reply=ShownExplanation,
        errors=("BAD_REQUEST", "FORBIDDEN"),
    ),
    _row(
        path="/authorization/simulate",
        handler=simulate,
        summary="Tell what other rules or another mode would do",
        request=SimulateBody,
        query=SimulateQuery,
        reply=Page[Affected],
        errors=("BAD_REQUEST", "FORBIDDEN", "NOT_FOUND"),
        body_limit=MAX_BODY,
        too_large="EXCEED_LIMIT",
    ),
)
