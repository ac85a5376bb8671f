"""Access rules as rows: which columns there are, what their cells may say, and back to text.

One row is one rule of a client id or a user name; rules of all users have no rows.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from io import StringIO
from typing import Any, Literal, NamedTuple

import msgspec

from pybroker.control.authorization.checks import check_name
from pybroker.control.authorization.lists import CONDITIONS, EVERY_QOS, AccessRule, Principal, Rules
from pybroker.control.csv_text import read_rows, write_row
from pybroker.slices import drain, let_go

NamedKind = Literal["clientid", "username"]
NAMED: tuple[NamedKind, ...] = ("clientid", "username")
"""Principals that rows can name, by their columns."""

REQUIRED = ("topic", "action", "access")
OPTIONAL = ("qos", "retain", *CONDITIONS)
MAX_ROWS = 100_000
"""Rows of one file. Contract: authorization 2.8."""

_ACTIONS: Mapping[str, Literal["publish", "subscribe", "all"]] = {
    "pub": "publish",
    "sub": "subscribe",
    "pubsub": "all",
    "publish": "publish",
    "subscribe": "subscribe",
    "all": "all",
}
_WORDS = {"publish": "pub", "subscribe": "sub", "all": "pubsub"}
_PERMISSIONS: Mapping[str, Literal["allow", "deny"]] = {"allow": "allow", "deny": "deny"}
_RETAINS: Mapping[str, bool | Literal["all"]] = {"": "all", "all": "all", "true": True, "false": False}
_SHOWN = 100
_KNOWN = 1_000
"""Different terms of rules that are kept while a file is read."""

_Terms = dict[str, Any]
_TEMPLATES = {
    "clientid": (("device-1", "sensors/${clientid}/#", "pubsub", "allow"), ("device-2", "alarms/#", "sub", "deny")),
    "username": (("alice", "sensors/${username}/#", "pubsub", "allow"), ("bob", "alarms/#", "sub", "deny")),
}


class RowError(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is wrong with one cell or row.

    Args:
        line: physical line of a CSV file, the header is 1; number of the element of a JSON array.
        field: column; empty where it is the row as a whole.
        value: the cell, cut after 100 characters.
    """

    line: int
    field: str
    code: str
    message: str
    value: str = ""


class UnreadableSheet(Exception):
    """A file of which no row can be read."""

    def __init__(self, error: RowError) -> None:
        super().__init__(error.message)
        self.error = error


class LongSheet(Exception):
    """A file with more rows than may be; nothing is read beyond them."""


class SheetRow(msgspec.Struct, frozen=True, gc=False):
    """One row that can be read."""

    line: int
    principal: Principal
    rule: AccessRule


class Sheet(NamedTuple):
    """The rows of a file.

    Args:
        total: how many rows there are, bad ones too.
        rows: those that can be read.
        errors: of the others, in the order of their lines.
    """

    total: int
    rows: list[SheetRow]
    errors: list[RowError]


def template(kind: NamedKind) -> str:
    """Return an example for a kind of principal."""
    return "".join(map(write_row, ((kind, *REQUIRED), *_TEMPLATES[kind])))


def render_sheet(kind: NamedKind, lists: list[tuple[str, Rules]]) -> str:
    """Return lists as CSV; columns that no rule needs are left out. To be called in a thread; `lists` is used up."""
    columns = _needed(rule for _, rules in lists for rule in rules)
    text = StringIO()
    text.write(write_row((kind, *REQUIRED, *columns)))
    for name, rules in drain(lists):
        for rule in rules:
            whole = (name, rule.topic, _WORDS[rule.action], rule.permission)
            text.write(write_row((*whole, *(_cell(rule, column) for column in columns))))
    return text.getvalue()


def _needed(rules: Iterable[AccessRule]) -> list[str]:
    """Return the optional columns that say something of a rule."""
    missing = set(OPTIONAL)
    for rule in rules:
        # Most rules leave all of them as they are by default, and so out of this dictionary.
        missing -= {name for name in missing & msgspec.to_builtins(rule).keys() if _cell(rule, name)}
    return [name for name in OPTIONAL if name not in missing]


def read_csv(content: bytes, namespace: str | None, kind: NamedKind | None, now_ms: int) -> Sheet:
    """Read a CSV file; to be called in a thread.

    Args:
        kind: the only one that rows may name; `None`: both.
        now_ms: wall time at which the rules are made.

    Raises:
        UnreadableSheet: encoding or header are wrong.
        LongSheet: there are too many rows.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UnreadableSheet(RowError(line=line, field="", code="ENCODING", message="text is not UTF-8")) from None
    rows = read_rows(text)
    header = next(rows, None)
    if header is None:
        raise UnreadableSheet(RowError(line=1, field="", code="MISSING_COLUMN", message="file is empty"))
    if header.problem:
        raise UnreadableSheet(RowError(line=header.line, field="", code="INVALID_VALUE", message=header.problem))
    columns = list(header.cells)
    _check_header(columns, header.line, kind)
    reader = _Reader(namespace, kind, now_ms, columns)
    for row in rows:
        if row.problem:
            reader.refuse(row.line, "", "INVALID_VALUE", row.problem)
        elif len(row.cells) != len(columns):
            reader.refuse(row.line, "", "COLUMN_COUNT", f"must have {len(columns)} cells: {len(row.cells)}")
        else:
            reader.read(row.line, dict(zip(columns, row.cells, strict=True)))
    return reader.sheet()


def read_json(content: bytes, namespace: str | None, kind: NamedKind | None, now_ms: int) -> Sheet:
    """Read a JSON array of rows; as `read_csv`.

    Raises:
        UnreadableSheet: it is no array of objects.
        LongSheet: there are too many rows.
    """
    reader = _Reader(namespace, kind, now_ms)
    known = {*NAMED, *REQUIRED, *OPTIONAL}
    for line, item in enumerate(_items(content), 1):
        unknown = next((name for name in item if name not in known), None)
        cells = {name: _text(value) for name, value in item.items() if value is not None}
        wrong = next((name for name, cell in cells.items() if cell is None), None)
        if unknown is not None:
            reader.refuse(line, unknown, "UNKNOWN_COLUMN", f"field is not known: {unknown[:_SHOWN]!r}")
        elif wrong is not None:
            reader.refuse(line, wrong, "INVALID_VALUE", "must be a text")
        else:
            reader.read(line, {name: cell or "" for name, cell in cells.items()})
    return reader.sheet()


def _items(content: bytes) -> Iterator[dict[str, Any]]:
    """Yield the objects of an array, each decoded by itself: all in one go would hold the interpreter.

    Raises:
        UnreadableSheet: it is no array of objects.
    """
    decode, read = msgspec.json.Decoder(dict[str, Any]).decode, 0
    try:
        for raw in drain(msgspec.json.decode(content, type=list[msgspec.Raw])):
            read += 1
            yield decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        where = f" - at `$[{read - 1}]`" if read else ""
        raise UnreadableSheet(RowError(line=1, field="", code="INVALID_VALUE", message=f"{error}{where}")) from None
    except RecursionError:
        raise UnreadableSheet(
            RowError(line=1, field="", code="INVALID_VALUE", message="JSON is nested too deeply")
        ) from None


class _Reader:
    """Rows of one file, read one by one."""

    def __init__(
        self,
        namespace: str | None,
        kind: NamedKind | None,
        now_ms: int,
        columns: Collection[str] = (*REQUIRED, *OPTIONAL),
    ) -> None:
        self._namespace = namespace
        self._kind = kind
        self._now_ms = now_ms
        self._total = 0
        self._rows: list[SheetRow] = []
        self._errors: list[RowError] = []
        # The cells that most rows share, by name, and what has been made of them.
        self._shared = [name for name in ("action", "access", *OPTIONAL) if name in columns]
        self._known: dict[tuple[str | None, ...], _Terms] = {}

    def sheet(self) -> Sheet:
        return Sheet(self._total, self._rows, self._errors)

    def refuse(self, line: int, field: str, code: str, message: str, value: str = "") -> None:
        self._count()
        self._fail(line, field, code, message, value)

    def read(self, line: int, cells: Mapping[str, str]) -> None:
        """Read one row; cells that are missing are empty."""
        self._count()
        principal = self._principal(line, cells)
        key = tuple(map(cells.get, self._shared))
        terms = self._known.get(key) or self._terms(line, cells, key)
        topic = cells.get("topic")
        if not topic:
            self._fail(line, "topic", "MISSING_VALUE", "must not be empty")
        elif principal is not None and terms is not None:
            self._rows.append(SheetRow(line, principal, AccessRule(topic=topic, **terms)))

    def _terms(self, line: int, cells: Mapping[str, str], key: tuple[str | None, ...]) -> "_Terms | None":
        """Return the fields of a rule but for its topic; `None`: a cell is wrong."""
        found = len(self._errors)
        action = self._choice(line, "action", cells, _ACTIONS, "sub, pub or pubsub")
        permission = self._choice(line, "access", cells, _PERMISSIONS, "allow or deny")
        retain = self._choice(line, "retain", cells, _RETAINS, "true, false or all")
        qos = self._qos(line, cells.get("qos", ""))
        if found < len(self._errors):
            return None
        terms: _Terms = {
            "permission": permission,
            "action": action,
            "qos": qos,
            "retain": "all" if action == "subscribe" else retain,
            "created_ms": self._now_ms,
            "updated_ms": self._now_ms,
            **{name: cell for name in CONDITIONS if (cell := cells.get(name))},
        }
        if len(self._known) < _KNOWN:
            self._known[key] = terms
        return terms

    def _count(self) -> None:
        self._total += 1
        if self._total > MAX_ROWS:
            let_go(self._rows, self._errors)
            raise LongSheet

    def _fail(self, line: int, field: str, code: str, message: str, value: str = "") -> None:
        self._errors.append(RowError(line=line, field=field, code=code, message=message, value=value[:_SHOWN]))

    def _principal(self, line: int, cells: Mapping[str, str]) -> Principal | None:
        named = [kind for kind in NAMED if cells.get(kind)]
        if len(named) != 1:
            code = "AMBIGUOUS_PRINCIPAL" if named else "MISSING_PRINCIPAL"
            self._fail(line, self._kind or NAMED[0], code, "exactly one must be given: clientid or username")
            return None
        kind = named[0]
        name = cells[kind]
        problem = f"only rows of {self._kind} are taken" if self._kind not in (None, kind) else check_name(name)
        if problem is not None:
            self._fail(line, kind, "INVALID_VALUE", problem, name)
            return None
        return Principal(self._namespace, kind, name)

    def _choice(self, line: int, field: str, cells: Mapping[str, str], words: Mapping[str, Any], allowed: str) -> Any:
        value = cells.get(field, "")
        if value in words:
            return words[value]
        code = "INVALID_VALUE" if value else "MISSING_VALUE"
        self._fail(line, field, code, f"must be {allowed}", value)
        return None

    def _qos(self, line: int, cell: str) -> tuple[int, ...]:
        if not cell:
            return EVERY_QOS
        words = {word.strip() for word in cell.split(",")}
        if not words <= {"0", "1", "2"}:
            self._fail(line, "qos", "INVALID_VALUE", "must be some of 0, 1 and 2, separated by commas", cell)
            return EVERY_QOS
        return tuple(sorted(map(int, words)))


def _check_header(columns: Sequence[str], line: int, kind: NamedKind | None) -> None:
    """Check the names of the columns.

    Raises:
        UnreadableSheet: with the first that is wrong.
    """
    for code, message, names in _header_problems(columns, kind):
        for name in names:
            raise UnreadableSheet(
                RowError(line=line, field=name, code=code, message=f"{message}: {name!r}", value=name[:_SHOWN])
            )


def _header_problems(columns: Sequence[str], kind: NamedKind | None) -> Iterator[tuple[str, str, list[str]]]:
    known = {*NAMED, *REQUIRED, *OPTIONAL}
    yield "UNKNOWN_COLUMN", "column is not known", [name for name in columns if name not in known]
    yield "DUPLICATE_COLUMN", "column is there twice", [name for name in columns if columns.count(name) > 1]
    required = [*([kind] if kind else []), *REQUIRED]
    yield "MISSING_COLUMN", "column is missing", [name for name in required if name not in columns]
    if not set(NAMED) & set(columns):
        yield "MISSING_COLUMN", "column is missing", [NAMED[0]]


def _text(value: Any) -> str | None:
    """Return a value of JSON as its cell would be; `None`: it cannot be one."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return ",".join(map(str, value))
    return None


def _cell(rule: AccessRule, column: str) -> str:
    """Return an optional cell of a rule; empty where it says nothing."""
    if column == "qos":
        return "" if rule.qos == EVERY_QOS else ",".join(map(str, rule.qos))
    if column == "retain":
        return "" if rule.retain == "all" else str(rule.retain).lower()
    value: str | None = getattr(rule, column)
    return value or ""
