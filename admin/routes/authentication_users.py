"""Users of the authenticators that keep them in the broker's own database."""

from functools import partial

from admin.multipart import find_part
from admin.schemas.authentication import (
    CreatedMqttUser,
    CreateMqttUser,
    ImportQuery,
    ImportReport,
    MqttUser,
    MqttUserQuery,
    NamespaceQuery,
    UpdateMqttUser,
)
from admin.schemas.page import Page
from admin.table import Access, Call, NoBody, Row, Text
from pybroker.control.authentication.imports import Form, import_users
from pybroker.errors import Refused

_FORM = "multipart/form-data"
_JSON = "application/json"
_IMPORT_BYTES = 10 << 20


async def list_users(call: Call[NoBody, MqttUserQuery]) -> Page[MqttUser]:
    """Return one page of users."""
    users, query, name = call.control.authentication.users, call.query, call.params["id"]
    users.authenticator(name)
    namespace = users.scope(call.caller, query.ns)
    wanted = None if query.is_superuser is None else query.is_superuser == "true"
    found = await users.listed(name, namespace, query.like_user_id, wanted)
    shown = [MqttUser.of(record) for record in found[query.offset : query.offset + query.limit]]
    if query.like_user_id is None:
        return Page[MqttUser].of(query, shown, len(found))
    return Page[MqttUser].uncounted(query, shown, hasnext=query.offset + query.limit < len(found))


async def create_user(call: Call[CreateMqttUser, NamespaceQuery]) -> CreatedMqttUser:
    """Create a user."""
    users, body, name = call.control.authentication.users, call.body, call.params["id"]
    users.authenticator(name)
    namespace = users.scope(call.caller, call.query.ns, body.namespace)
    record = await users.create(name, namespace, body.user_id, body.password, is_superuser=body.is_superuser)
    created = CreatedMqttUser.of(record)
    call.note_change(None, created)
    return created


async def show_user(call: Call[NoBody, NamespaceQuery]) -> MqttUser:
    """Return a user."""
    users, name = call.control.authentication.users, call.params["id"]
    users.authenticator(name)
    return MqttUser.of(users.find(name, users.scope(call.caller, call.query.ns), call.params["user_id"]))


async def change_user(call: Call[UpdateMqttUser, NamespaceQuery]) -> MqttUser:
    """Change password or rights of a user."""
    users, body, name = call.control.authentication.users, call.body, call.params["id"]
    users.authenticator(name)
    if body.password is None and body.is_superuser is None:
        raise Refused("BAD_REQUEST", "password or is_superuser must be set")
    namespace = users.scope(call.caller, call.query.ns)
    before, after = await users.change(name, namespace, call.params["user_id"], body.password, body.is_superuser)
    call.note_change(MqttUser.of(before), MqttUser.of(after))
    return MqttUser.of(after)


async def delete_user(call: Call[NoBody, NamespaceQuery]) -> None:
    """Delete a user."""
    users, name = call.control.authentication.users, call.params["id"]
    users.authenticator(name)
    record = await users.remove(name, users.scope(call.caller, call.query.ns), call.params["user_id"])
    call.note_change(MqttUser.of(record), None)


async def import_file(call: Call[bytes, ImportQuery]) -> ImportReport:
    """Bring users in from a CSV or JSON file, all or none."""
    users, query = call.control.authentication.users, call.query
    users.authenticator(call.params["id"])
    content_type = call.headers.get("content-type", "")
    form: Form = "json"
    data = call.body
    if content_type.partition(";")[0].strip().lower() == _FORM:
        part = find_part(call.body, content_type, "filename")
        suffix = part.file_name.rpartition(".")[2].lower()
        if suffix not in ("csv", "json"):
            raise Refused("BAD_REQUEST", f"name of the file must end in .csv or .json: {part.file_name!r}")
        form, data = "csv" if suffix == "csv" else "json", part.content
    report = await import_users(
        users,
        call.params["id"],
        data,
        form,
        query.type,
        lambda said: users.scope(call.caller, query.ns, said),
    )
    answer = ImportReport.of(report)
    call.note_change(None, answer)
    return answer


_row = partial(Row, tag="Authentication", scope="access_control", query=NamespaceQuery)
_get = partial(_row, method="GET", request=NoBody, status=200, access=Access.READER, audit="never")
_change = partial(_row, access=Access.NAMESPACE_ADMINISTRATOR, audit="always")
_USERS = "/authentication/:id/users"

ROWS = (
    _get(
        path=_USERS,
        handler=list_users,
        summary="List users of an authenticator",
        query=MqttUserQuery,
        reply=Page[MqttUser],
        errors=("BAD_REQUEST", "FORBIDDEN", "NOT_FOUND"),
    ),
    _change(
        method="POST",
        path=_USERS,
        handler=create_user,
        summary="Create a user of an authenticator",
        request=CreateMqttUser,
        reply=CreatedMqttUser,
        status=201,
        errors=("ALREADY_EXISTS", "BAD_REQUEST", "FORBIDDEN", "NOT_FOUND", "SERVICE_UNAVAILABLE"),
    ),
    _get(
        path=f"{_USERS}/:user_id",
        handler=show_user,
        summary="Show a user of an authenticator",
        reply=MqttUser,
        errors=("BAD_REQUEST", "FORBIDDEN", "NOT_FOUND"),
    ),
    _change(
        method="PUT",
        path=f"{_USERS}/:user_id",
        handler=change_user,
        summary="Change a user of an authenticator",
        request=UpdateMqttUser,
        reply=MqttUser,
        status=200,
        errors=("BAD_REQUEST", "FORBIDDEN", "NOT_FOUND", "SERVICE_UNAVAILABLE"),
    ),
    _change(
        method="DELETE",
        path=f"{_USERS}/:user_id",
        handler=delete_user,
        summary="Delete a user of an authenticator",
        request=NoBody,
        reply=None,
        status=204,
        errors=("BAD_REQUEST", "FORBIDDEN", "NOT_FOUND"),
    ),
    _change(
        method="POST",
        path="/authentication/:id/import_users",
        handler=import_file,
        summary="Import users of an authenticator",
        request=Text((_FORM, _JSON)),
        query=ImportQuery,
        reply=ImportReport,
        status=200,
        access=Access.ADMINISTRATOR,
        body_limit=_IMPORT_BYTES,
        errors=("BAD_REQUEST", "FORBIDDEN", "NOT_FOUND"),
    ),
)
