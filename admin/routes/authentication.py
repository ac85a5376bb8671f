"""Authenticators of MQTT clients."""

from functools import partial
from typing import Any

from admin.middleware.errors import ApiError
from admin.schemas.authentication import (
    AuthenticatorBody,
    AuthenticatorId,
    AuthenticatorStatus,
    CacheStatus,
    NodeMetrics,
)
from admin.table import Access, Call, NoBody, NoQuery, Row
from pybroker.errors import Refused


async def list_authenticators(call: Call[NoBody, NoQuery]) -> list[dict[str, Any]]:
    """Return the authenticators in their order."""
    return call.control.authentication.authenticators.listed()


async def create_authenticator(call: Call[AuthenticatorBody, NoQuery]) -> dict[str, Any]:
    """Append an authenticator."""
    created = await call.control.authentication.authenticators.create(call.body)
    call.note_change(None, created)
    return created


async def show_authenticator(call: Call[NoBody, NoQuery]) -> dict[str, Any]:
    """Return one authenticator."""
    return call.control.authentication.authenticators.find(call.params["id"])


async def change_authenticator(call: Call[AuthenticatorBody, NoQuery]) -> None:
    """Replace the settings of an authenticator."""
    body = {name: value for name, value in call.body.items() if name != "id"}
    before, after = await call.control.authentication.authenticators.change(call.params["id"], body)
    call.note_change(before, after)


async def delete_authenticator(call: Call[NoBody, NoQuery]) -> None:
    """Remove an authenticator and its users."""
    try:
        before = await call.control.authentication.authenticators.remove(call.params["id"])
    except Refused as error:
        if error.code != "UPDATE_FAILED":
            raise
        raise ApiError(400, "BAD_REQUEST", error.message) from None
    call.note_change(before, None)


async def move_authenticator(call: Call[NoBody, NoQuery]) -> None:
    """Move an authenticator."""
    authenticators = call.control.authentication.authenticators
    before = authenticators.names
    await authenticators.move(call.params["id"], call.params["position"])
    call.note_change(before, authenticators.names)


async def order_authenticators(call: Call[list[AuthenticatorId], NoQuery]) -> None:
    """Put all authenticators into another order."""
    authenticators = call.control.authentication.authenticators
    before = authenticators.names
    await authenticators.arrange([one.id for one in call.body])
    call.note_change(before, authenticators.names)


async def show_status(call: Call[NoBody, NoQuery]) -> AuthenticatorStatus:
    """Return state and counters."""
    status, metrics = call.control.authentication.authenticators.status(call.params["id"])
    return AuthenticatorStatus.of(call.control.about.node, status, metrics)


async def reset_metrics(call: Call[NoBody, NoQuery]) -> None:
    """Begin to count anew."""
    call.control.authentication.authenticators.reset(call.params["id"])


async def show_settings(call: Call[NoBody, NoQuery]) -> dict[str, Any]:
    """Return what holds for the whole chain."""
    return call.control.authentication.authenticators.settings()


async def change_settings(call: Call[dict[str, Any], NoQuery]) -> None:
    """Replace what holds for the whole chain."""
    authenticators = call.control.authentication.authenticators
    before = authenticators.settings()
    await authenticators.change_settings(call.body)
    call.note_change(before, authenticators.settings())


async def show_cache(call: Call[NoBody, NoQuery]) -> CacheStatus:
    """Return the counters of the cache."""
    metrics = call.control.authentication.authenticators.cache_metrics()
    return CacheStatus(metrics=metrics, node_metrics=[NodeMetrics(node=call.control.about.node, metrics=metrics)])


async def reset_cache(call: Call[NoBody, NoQuery]) -> None:
    """Empty the cache."""
    call.control.authentication.authenticators.reset_cache()


_row = partial(Row, tag="Authentication", scope="access_control", query=NoQuery)
_get = partial(_row, method="GET", request=NoBody, status=200, access=Access.READER, audit="never")
_change = partial(_row, access=Access.ADMINISTRATOR, audit="always", status=204, reply=None)

ROWS = (
    _get(
        path="/authentication",
        handler=list_authenticators,
        summary="List authenticators",
        reply=list[dict[str, Any]],
        errors=(),
    ),
    _row(
        method="POST",
        path="/authentication",
        handler=create_authenticator,
        summary="Add an authenticator",
        request=AuthenticatorBody,
        reply=dict[str, Any],
        status=200,
        access=Access.ADMINISTRATOR,
        audit="always",
        errors=("ALREADY_EXISTS", "BAD_REQUEST", "UPDATE_FAILED"),
    ),
    _change(
        method="PUT",
        path="/authentication/order",
        handler=order_authenticators,
        summary="Order authenticators",
        request=list[AuthenticatorId],
        errors=("BAD_REQUEST",),
    ),
    _get(
        path="/authentication/settings",
        handler=show_settings,
        summary="Show what holds for the whole chain",
        reply=dict[str, Any],
        errors=(),
    ),
    _change(
        method="PUT",
        path="/authentication/settings",
        handler=change_settings,
        summary="Change what holds for the whole chain",
        request=dict[str, Any],
        errors=("BAD_REQUEST",),
    ),
    _get(
        path="/authentication/node_cache/status",
        handler=show_cache,
        summary="Show the counters of the cache of remote answers",
        reply=CacheStatus,
        errors=(),
    ),
    _change(
        method="POST",
        path="/authentication/node_cache/reset",
        handler=reset_cache,
        summary="Empty the cache of remote answers",
        request=NoBody,
        errors=(),
    ),
    _get(
        path="/authentication/:id",
        handler=show_authenticator,
        summary="Show an authenticator",
        reply=dict[str, Any],
        errors=("NOT_FOUND",),
    ),
    _change(
        method="PUT",
        path="/authentication/:id",
        handler=change_authenticator,
        summary="Change an authenticator",
        request=AuthenticatorBody,
        errors=("BAD_REQUEST", "NOT_FOUND", "UPDATE_FAILED"),
    ),
    _change(
        method="DELETE",
        path="/authentication/:id",
        handler=delete_authenticator,
        summary="Remove an authenticator and its users",
        request=NoBody,
        errors=("BAD_REQUEST", "NOT_FOUND"),
    ),
    _change(
        method="PUT",
        path="/authentication/:id/position/:position",
        handler=move_authenticator,
        summary="Move an authenticator",
        request=NoBody,
        errors=("BAD_REQUEST", "NOT_FOUND"),
    ),
    _get(
        path="/authentication/:id/status",
        handler=show_status,
        summary="Show state and counters of an authenticator",
        reply=AuthenticatorStatus,
        errors=("NOT_FOUND",),
    ),
    _change(
        method="POST",
        path="/authentication/:id/metrics/reset",
        handler=reset_metrics,
        summary="Reset the counters of an authenticator",
        request=NoBody,
        errors=("NOT_FOUND",),
    ),
)
