"""Bringing many users in at once: CSV and JSON, passwords or hashes; everything is checked, then stored as a whole.

Reading and hashing happen in a thread; passwords are hashed one after the other there, so that logins keep their own
threads. A bad line refuses the file and is named by its number, never by what stands in it.
"""

import asyncio
import csv
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from pybroker.auth.passwords import StoredPassword, check_hash, recognize, verify_password
from pybroker.auth.users import ScramKeys
from pybroker.config.sections.access import BuiltInPasswords
from pybroker.control.authentication.users import (
    MqttUsers,
    NewUser,
    check_password,
    check_user,
    hash_secret,
    key_of,
    secret_of,
)
from pybroker.errors import Refused
from pybroker.priority import run_behind
from pybroker.slices import drain, let_go

Kind = Literal["plain", "hash"]
Form = Literal["csv", "json"]

MAX_ROWS = 100_000
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_COLUMNS: Mapping[Kind, tuple[str, ...]] = {
    "hash": ("user_id", "password_hash", "salt", "is_superuser"),
    "plain": ("user_id", "password", "is_superuser"),
}
_REQUIRED: Mapping[Kind, tuple[str, ...]] = {"hash": ("user_id", "password_hash"), "plain": ("user_id", "password")}
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False, "": False}


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One user of a file.

    Args:
        place: what an error names: `line 3`, or `entry 3` of JSON.
        namespace: `None`: not said.
        secret: password, or hash.
    """

    place: str
    namespace: str | None
    user_id: str
    secret: str
    salt: str
    is_superuser: bool


class Report(NamedTuple):
    """What came of an import; `total` is the sum of the others."""

    total: int = 0
    success: int = 0
    override: int = 0
    skipped: int = 0
    failed: int = 0


async def import_users(
    users: MqttUsers,
    name: str,
    data: bytes,
    form: Form,
    kind: Kind,
    scope: Callable[[str | None], str | None],
    *,
    replaces: bool = True,
) -> Report:
    """Store the users of a file, all or none.

    Args:
        name: of the authenticator.
        scope: returns the namespace of a row from what it says; raises `Refused` if it must not.
        replaces: whether users who are there are replaced; else they are left alone.

    Raises:
        Refused: `BAD_REQUEST`: the file is empty, a line of it is wrong, or the authenticator takes no import.
    """
    settings = users.authenticator(name)
    if not isinstance(settings, BuiltInPasswords):
        raise Refused("BAD_REQUEST", f"users cannot be imported into {name!r}")
    entries = await asyncio.to_thread(_read, data, form, kind)
    namespaces = {said: scope(said) for said in await asyncio.to_thread(_namespaces_of, entries)}
    # Hashes of many passwords take minutes; everything else gives way to nobody, because it holds the interpreter.
    run = run_behind if kind == "plain" else asyncio.to_thread
    async with users.lock:
        planned, report = await run(_plan, users, name, settings, entries, namespaces, kind, replaces)
        await users.store_all(name, planned)
    return report


def _plan(
    users: MqttUsers,
    name: str,
    settings: BuiltInPasswords,
    entries: list[Entry],
    namespaces: Mapping[str | None, str | None],
    kind: Kind,
    replaces: bool,
) -> tuple[dict[str, NewUser], Report]:
    """Return the users that are to be stored, and what will have come of the rows. The caller holds the lock."""
    total, planned = len(entries), dict[str, NewUser]()
    try:
        counts = _plan_each(users, name, settings, entries, namespaces, kind, replaces, planned)
    except Refused:
        let_go(entries, planned)
        raise
    return planned, Report(total=total, **counts)


def _plan_each(
    users: MqttUsers,
    name: str,
    settings: BuiltInPasswords,
    entries: list[Entry],
    namespaces: Mapping[str | None, str | None],
    kind: Kind,
    replaces: bool,
    planned: dict[str, NewUser],
) -> dict[str, int]:
    """Fill `planned` and return how many rows did what."""
    counts = {"success": 0, "override": 0, "skipped": 0, "failed": 0}
    stored = users.table(name)
    for entry in drain(entries):
        namespace = namespaces[entry.namespace]
        if entry.is_superuser and namespace is not None:
            counts["failed"] += 1
            continue
        _placed(entry.place, check_user, namespace, entry.user_id, is_superuser=entry.is_superuser)
        key = key_of(namespace, entry.user_id)
        known = planned.get(key)
        if known is None and (record := stored.get(key)) is not None:
            known = NewUser(namespace, entry.user_id, secret_of(record), record.is_superuser)
        if known is not None and (not replaces or _is_same(known, entry, kind)):
            counts["skipped"] += 1
            continue
        secret = _secret(settings, entry, kind)
        planned[key] = NewUser(namespace, entry.user_id, secret, entry.is_superuser)
        counts["success" if known is None else "override"] += 1
    return counts


def _namespaces_of(entries: list[Entry]) -> set[str | None]:
    return {entry.namespace for entry in entries}


def _is_same(known: NewUser, entry: Entry, kind: Kind) -> bool:
    stored = known.secret
    if known.is_superuser != entry.is_superuser or not isinstance(stored, StoredPassword):
        return False
    if kind == "hash":
        return (stored.hash, stored.salt) == (entry.secret, entry.salt)
    return verify_password(stored, entry.secret.encode())


def _secret(settings: BuiltInPasswords, entry: Entry, kind: Kind) -> StoredPassword | ScramKeys:
    if kind == "plain":
        _placed(entry.place, check_password, entry.secret)
        return hash_secret(settings, entry.secret)
    algorithm = recognize(settings.password_hash_algorithm, entry.secret)
    stored = StoredPassword(algorithm, entry.secret, entry.salt)
    if (problem := check_hash(stored)) is not None:
        raise Refused("BAD_REQUEST", f"{entry.place}: password_hash {problem}")
    return stored


def _placed(place: str, check: Callable[..., None], *arguments: object, **named: object) -> None:
    """Run a check; its refusal names the line."""
    try:
        check(*arguments, **named)
    except Refused as error:
        raise Refused(error.code, f"{place}: {error.message}") from None


def _read(data: bytes, form: Form, kind: Kind) -> list[Entry]:
    """Return the entries of a file.

    Raises:
        Refused: `BAD_REQUEST`.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Refused("BAD_REQUEST", f"line {line}: is not UTF-8") from None
    entries: list[Entry] = []
    try:
        entries.extend(_of_json(text, kind) if form == "json" else _of_csv(text, kind))
        if not entries:
            raise Refused("BAD_REQUEST", "file has no users")
        if len(entries) > MAX_ROWS:
            raise Refused("BAD_REQUEST", f"file has more than {MAX_ROWS} users: {len(entries)}")
    except Refused:
        let_go(entries)
        raise
    return entries


def _of_csv(text: str, kind: Kind) -> Iterator[Entry]:
    # Not by `StringIO`, which would first make four bytes of every character.
    reader = csv.reader((line[0] for line in _LINE.finditer(text)), strict=True)
    header: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            place, line = f"line {line}", reader.line_num + 1
            if not cells:
                continue
            if header is None:
                header = [cell.strip() for cell in cells]
                _check_columns(header, kind, place)
                continue
            if len(cells) != len(header):
                raise Refused("BAD_REQUEST", f"{place}: has {len(cells)} columns, not {len(header)}")
            yield _entry(dict(zip(header, cells, strict=True)), kind, place)
    except csv.Error as error:
        raise Refused("BAD_REQUEST", f"line {reader.line_num}: {error}") from None


def _check_columns(header: list[str], kind: Kind, place: str) -> None:
    known = (*_COLUMNS[kind], "namespace")
    for column in header:
        if column not in known or header.count(column) > 1:
            raise Refused("BAD_REQUEST", f"{place}: unknown or repeated column: {column!r}")
    for column in _REQUIRED[kind]:
        if column not in header:
            raise Refused("BAD_REQUEST", f"{place}: column is missing: {column}")


def _of_json(text: str, kind: Kind) -> Iterator[Entry]:
    try:
        rows = msgspec.json.decode(text, type=list[msgspec.Raw]) if text.strip() else []
    except msgspec.ValidationError:
        raise Refused("BAD_REQUEST", "JSON must be an array of users") from None
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Refused("BAD_REQUEST", f"JSON cannot be read: {error}") from None
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    for index, raw in enumerate(drain(rows), 1):
        try:
            row = decode(raw)
        except msgspec.ValidationError:
            raise Refused("BAD_REQUEST", f"entry {index}: is no object") from None
        except (msgspec.MsgspecError, RecursionError) as error:
            raise Refused("BAD_REQUEST", f"JSON cannot be read: entry {index}: {error}") from None
        for name in row:
            if name not in (*_COLUMNS[kind], "namespace"):
                raise Refused("BAD_REQUEST", f"entry {index}: unknown field: {name!r}")
        yield _entry(row, kind, f"entry {index}")


def _entry(row: Mapping[str, object], kind: Kind, place: str) -> Entry:
    secret = "password_hash" if kind == "hash" else "password"
    for name in ("user_id", secret):
        if not isinstance(row.get(name), str) or not row[name]:
            raise Refused("BAD_REQUEST", f"{place}: {name} must not be empty")
    said = row.get("is_superuser", False)
    is_superuser = said if isinstance(said, bool) else _BOOLEANS.get(str(said).strip().lower())
    if is_superuser is None:
        raise Refused("BAD_REQUEST", f"{place}: is_superuser must be true or false")
    salt, namespace = row.get("salt") or "", row.get("namespace") or None
    if not isinstance(salt, str) or not (namespace is None or isinstance(namespace, str)):
        raise Refused("BAD_REQUEST", f"{place}: salt and namespace must be text")
    return Entry(place, namespace, str(row["user_id"]), str(row[secret]), salt, is_superuser)
