"""The built-in access rules of client ids, user names and all users, as whole lists."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any

from admin.schemas.authorization_rules import (
    AllRules,
    ClientRules,
    ClientRulesQuery,
    NamespaceQuery,
    RuleBody,
    ShownAllRules,
    ShownClientRules,
    ShownRule,
    ShownUserRules,
    UserRules,
    UserRulesQuery,
)
from admin.schemas.page import Page, PageQuery
from admin.slices import in_slices
from admin.table import Access, Call, NoBody, Row
from pybroker.control.authorization.lists import Principal, PrincipalKind, Rules
from pybroker.control.authorization.rules import RuleBook
from pybroker.errors import Refused

MAX_BODY = 10 << 20
"""Bytes of a request that brings rules. Contract: authorization 2.6."""

_NOTED = 100
"""Rules of a list that the audit log keeps."""

BASE = "/authorization/sources/built_in_database/rules"


async def list_clients(call: Call[NoBody, ClientRulesQuery]) -> Page[ShownClientRules]:
    """Return one page of the lists of client ids, by their names."""
    rows, count, has_next = await _page(call, "clientid", call.query.like_clientid)
    return _paged(call.query, await in_slices(rows, lambda row: ShownClientRules.of(*row)), count, has_next)


async def create_clients(call: Call[list[ClientRules], NamespaceQuery]) -> None:
    """Store the lists of client ids that have none; all or nothing."""
    await _create(call, "clientid", attrgetter("clientid"))


async def show_client(call: Call[NoBody, NamespaceQuery]) -> ShownClientRules:
    """Return the list of a client id."""
    return ShownClientRules.of(call.params["clientid"], _find(call, "clientid"))


async def replace_client(call: Call[ClientRules, NamespaceQuery]) -> None:
    """Store the list of a client id, whether or not it has one."""
    await _replace(call, "clientid", call.body.clientid, call.body.rules)


async def delete_client(call: Call[NoBody, NamespaceQuery]) -> None:
    """Delete the list of a client id."""
    await _delete(call, "clientid")


async def list_users(call: Call[NoBody, UserRulesQuery]) -> Page[ShownUserRules]:
    """Return one page of the lists of user names, by their names."""
    rows, count, has_next = await _page(call, "username", call.query.like_username)
    return _paged(call.query, await in_slices(rows, lambda row: ShownUserRules.of(*row)), count, has_next)


async def create_users(call: Call[list[UserRules], NamespaceQuery]) -> None:
    """Store the lists of user names that have none; all or nothing."""
    await _create(call, "username", attrgetter("username"))


async def show_user(call: Call[NoBody, NamespaceQuery]) -> ShownUserRules:
    """Return the list of a user name."""
    return ShownUserRules.of(call.params["username"], _find(call, "username"))


async def replace_user(call: Call[UserRules, NamespaceQuery]) -> None:
    """Store the list of a user name, whether or not it has one."""
    await _replace(call, "username", call.body.username, call.body.rules)


async def delete_user(call: Call[NoBody, NamespaceQuery]) -> None:
    """Delete the list of a user name."""
    await _delete(call, "username")


async def show_all(call: Call[NoBody, NamespaceQuery]) -> ShownAllRules:
    """Return the list of all users, which may be empty."""
    principal = Principal(namespace_of(call), "all", "")
    return ShownAllRules(rules=_shown(_book(call).lists.rules_of(principal) or ()))


async def replace_all(call: Call[AllRules, NamespaceQuery]) -> None:
    """Store the list of all users instead of the one before."""
    await _store(call, Principal(namespace_of(call), "all", ""), call.body.rules)


async def delete_all(call: Call[NoBody, NamespaceQuery]) -> None:
    """Delete the list of all users."""
    principal = Principal(namespace_of(call), "all", "")
    before = _book(call).lists.rules_of(principal) or ()
    await _book(call).remove(principal, may_be_missing=True)
    call.note_change(_noted(before), None)


async def purge(call: Call[NoBody, NamespaceQuery]) -> None:
    """Delete every list of the namespace; the source must be disabled."""
    await _book(call).purge(namespace_of(call))


def namespace_of(call: Call[Any, Any]) -> str | None:
    """Return the namespace that a call works in.

    Raises:
        Refused: as `RuleBook.scope`.
    """
    return _book(call).scope(call.caller, call.query.ns)


def _book(call: Call[Any, Any]) -> RuleBook:
    return call.control.authorization.rules


def _shown(rules: Rules) -> list[ShownRule]:
    return [ShownRule.of(rule) for rule in rules]


def _noted(rules: Rules) -> list[ShownRule]:
    """Return what the audit log keeps of a list."""
    return _shown(rules[:_NOTED])


def _stored(call: Call[Any, Any], rules: Sequence[RuleBody]) -> Rules:
    now_ms = call.control.clock.wall_ms()
    return tuple(rule.as_rule(now_ms) for rule in rules)


async def _page(
    call: Call[Any, Any], kind: PrincipalKind, like: str | None
) -> tuple[list[tuple[str, Rules]], int | None, bool]:
    return await _book(call).page(namespace_of(call), kind, like, call.query.offset, call.query.limit)


def _paged(query: PageQuery, rows: list[Any], count: int | None, has_next: bool) -> Page[Any]:
    if count is None:
        return Page[Any].uncounted(query, rows, hasnext=has_next)
    return Page[Any].of(query, rows, count)


def _find(call: Call[Any, Any], kind: PrincipalKind) -> Rules:
    return _book(call).find(Principal(namespace_of(call), kind, call.params[kind]))


async def _create(call: Call[Any, Any], kind: PrincipalKind, name_of: Callable[[Any], str]) -> None:
    """Store the lists of a body, which is empty afterwards; there may be so many that a thread looks at them."""
    namespace = namespace_of(call)

    def read() -> dict[Principal, Rules]:
        updates: dict[Principal, Rules] = {}
        call.body.reverse()
        while call.body:
            body = call.body.pop()
            principal = Principal(namespace, kind, name_of(body))
            if principal in updates:
                raise Refused("BAD_REQUEST", f"{kind} is given twice: {principal.name!r}")
            updates[principal] = _stored(call, body.rules)
        return updates

    await _book(call).create(await asyncio.to_thread(read))


async def _replace(call: Call[Any, Any], kind: PrincipalKind, name: str, rules: Sequence[RuleBody]) -> None:
    if name != call.params[kind]:
        raise Refused("BAD_REQUEST", f"{kind} differs from the path: {name!r}")
    await _store(call, Principal(namespace_of(call), kind, name), rules)


async def _store(call: Call[Any, Any], principal: Principal, rules: Sequence[RuleBody]) -> None:
    before = _book(call).lists.rules_of(principal)
    after = _stored(call, rules)
    await _book(call).replace(principal, after)
    call.note_change(before and _noted(before), _noted(after))


async def _delete(call: Call[Any, Any], kind: PrincipalKind) -> None:
    principal = Principal(namespace_of(call), kind, call.params[kind])
    before = _book(call).find(principal)
    await _book(call).remove(principal)
    call.note_change(_noted(before), None)


_row = partial(Row, tag="Access rules", scope="access_control")
_get = partial(_row, method="GET", request=NoBody, status=200, access=Access.READER, audit="never")
_write = partial(
    _row, query=NamespaceQuery, reply=None, status=204, access=Access.NAMESPACE_ADMINISTRATOR, audit="always"
)
_store_row = partial(_write, body_limit=MAX_BODY, too_large="EXCEED_LIMIT")
_delete_row = partial(_write, method="DELETE", request=NoBody)

ROWS = (
    _get(
        path=f"{BASE}/clients",
        handler=list_clients,
        summary="List the rules of client ids",
        query=ClientRulesQuery,
        reply=Page[ShownClientRules],
        errors=("BAD_REQUEST", "FORBIDDEN", "NOT_FOUND"),
    ),
    _store_row(
        method="POST",
        path=f"{BASE}/clients",
        handler=create_clients,
        summary="Add the rules of client ids",
        request=list[ClientRules],
        errors=("ALREADY_EXISTS", "BAD_REQUEST", "EXCEED_LIMIT", "FORBIDDEN", "NOT_FOUND"),
    ),
    _get(
        path=f"{BASE}/clients/:clientid",
        handler=show_client,
        summary="Show the rules of a client id",
        query=NamespaceQuery,
        reply=ShownClientRules,
        errors=("BAD_REQUEST", "FORBIDDEN", "NOT_FOUND"),
    ),
    _store_row(
        method="PUT",
        path=f"{BASE}/clients/:clientid",
        handler=replace_client,
        summary="Store the rules of a client id",
        request=ClientRules,
        errors=("BAD_REQUEST", "EXCEED_LIMIT", "FORBIDDEN", "NOT_FOUND"),
    ),
    _delete_row(
        path=f"{BASE}/clients/:clientid",
        handler=delete_client,
        summary="Delete the rules of a client id",
        errors=("BAD_REQUEST", "FORBIDDEN", "NOT_FOUND"),
    ),
    _get(
        path=f"{BASE}/users",
        handler=list_users,
        summary="List the rules of user names",
        query=UserRulesQuery,
        reply=Page[ShownUserRules],
        errors=("BAD_REQUEST", "FORBIDDEN", "NOT_FOUND"),
    ),
    _store_row(
        method="POST",
        path=f"{BASE}/users",
        handler=create_users,
        summary="Add the rules of user names",
        request=list[UserRules],
        errors=("ALREADY_EXISTS", "BAD_REQUEST", "EXCEED_LIMIT", "FORBIDDEN", "NOT_FOUND"),
    ),
    _get(
        path=f"{BASE}/users/:username",
        handler=show_user,
        summary="Show the rules of a user name",
        query=NamespaceQuery,
        reply=ShownUserRules,
        errors=("BAD_REQUEST", "FORBIDDEN", "NOT_FOUND"),
    ),
    _store_row(
        method="PUT",
        path=f"{BASE}/users/:username",
        handler=replace_user,
        summary="Store the rules of a user name",
        request=UserRules,
        errors=("BAD_REQUEST", "EXCEED_LIMIT", "FORBIDDEN", "NOT_FOUND"),
    ),
    _delete_row(
        path=f"{BASE}/users/:username",
        handler=delete_user,
        summary="Delete the rules of a user name",
        errors=("BAD_REQUEST", "FORBIDDEN", "NOT_FOUND"),
    ),
    _get(
        path=f"{BASE}/all",
        handler=show_all,
        summary="Show the rules of all users",
        query=NamespaceQuery,
        reply=ShownAllRules,
        errors=("BAD_REQUEST", "FORBIDDEN", "NOT_FOUND"),
    ),
    _store_row(
        method="POST",
        path=f"{BASE}/all",
        handler=replace_all,
        summary="Store the rules of all users",
        request=AllRules,
        errors=("BAD_REQUEST", "EXCEED_LIMIT", "FORBIDDEN", "NOT_FOUND"),
    ),
    _delete_row(
        path=f"{BASE}/all",
        handler=delete_all,
        summary="Delete the rules of all users",
        errors=("BAD_REQUEST", "FORBIDDEN", "NOT_FOUND"),
    ),
    _delete_row(
        path=BASE,
        handler=purge,
        summary="Delete every rule of a namespace",
        errors=("BAD_REQUEST", "FORBIDDEN", "NOT_FOUND"),
    ),
)
