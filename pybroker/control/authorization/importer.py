"""Many rules in one go: read and checked in a thread, planned over what is stored, written in one transaction.

One import runs at a time. Nothing takes effect before every row was looked at; then either all of it does, or with
`atomic=False` the rows that are good.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec

from pybroker.clock import Clock
from pybroker.control.authorization.checks import find_faults
from pybroker.control.authorization.lists import AccessRule, Principal, Rules
from pybroker.control.authorization.records import put_rule
from pybroker.control.authorization.rules import RuleBook
from pybroker.control.authorization.sheets import NamedKind, RowError, Sheet, SheetRow, render_sheet
from pybroker.slices import drain, let_go

OnConflict = Literal["replace", "skip", "fail", "append"]
"""What happens to a row whose principal has a rule for that topic already: it takes its place, is left out, is refused,
or comes to the end all the same."""

Stage = Literal["idle", "reading", "checking", "planning", "storing"]
MAX_ERRORS = 1_000
"""Errors that a report lists. Contract: authorization 2.8."""

_STEP = 5_000

Read = Callable[[], Sheet]


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an import did, or would do.

    Args:
        total: rows of the file.
        success: rows that were new.
        updated: rows that took the place of others.
        unchanged: rows that said nothing new, or were left out.
        failed: rows that are wrong.
        errors: the first 1,000, by their lines.
    """

    total: int
    success: int
    updated: int
    unchanged: int
    failed: int
    errors: list[RowError]
    errors_truncated: bool


class ImportProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far the import is that runs now.

    Args:
        total: rows; 0 while they are read.
        done: rows that are through with this stage.
    """

    stage: Stage
    total: int = 0
    done: int = 0


class RuleImporter:
    """Imports and exports.

    Args:
        book: the lists.
        clock: tells the time.
    """

    def __init__(self, book: RuleBook, clock: Clock) -> None:
        self._book = book
        self._clock = clock
        self._turn = asyncio.Lock()
        self.progress = ImportProgress(stage="idle")

    def now_ms(self) -> int:
        """Return the wall time of new rules."""
        return self._clock.wall_ms()

    async def export(self, namespace: str | None, kind: NamedKind) -> str:
        """Return the rules of one kind of principals as CSV."""
        lists = self._book.lists
        blocks = lists.names(namespace, kind).blocks()

        def render() -> str:
            principals = (Principal(namespace, kind, name) for block in blocks for name in block)
            # One of them may be gone since then.
            return render_sheet(kind, [(one.name, rules) for one in principals if (rules := lists.rules_of(one))])

        return await asyncio.to_thread(render)

    async def run(self, read: Read, on_conflict: OnConflict, *, is_atomic: bool, is_dry_run: bool) -> ImportReport:
        """Read rows and store them.

        Args:
            read: reads the file; called in a thread.
            is_atomic: one bad row, and nothing is stored.
            is_dry_run: nothing is stored.

        Raises:
            UnreadableSheet: no row can be read.
            LongSheet: there are too many rows.
            Refused: `NOT_FOUND`: the source is not configured.
        """
        async with self._turn:
            try:
                self.progress = ImportProgress(stage="reading")
                sheet = await asyncio.to_thread(read)
                await asyncio.to_thread(self._check, sheet)
                return await self._book.run_alone(lambda: self._store(sheet, on_conflict, is_atomic, is_dry_run))
            finally:
                self.progress = ImportProgress(stage="idle")

    def _check(self, sheet: Sheet) -> None:
        """Take the rows that the core would not compile out of a sheet, and put their errors in."""
        bad: set[int] = set()
        for start in range(0, len(sheet.rows), _STEP):
            self.progress = ImportProgress(stage="checking", total=len(sheet.rows), done=start)
            for fault in find_faults([row.rule for row in sheet.rows[start : start + _STEP]]):
                bad.add(start + fault.at)
                row = sheet.rows[start + fault.at]
                value = str(getattr(row.rule, fault.field, ""))[:100]
                sheet.errors.append(
                    RowError(line=row.line, field=fault.field, code=fault.code, message=fault.message, value=value)
                )
        if bad:
            sheet.rows[:] = [row for at, row in enumerate(drain(sheet.rows)) if at not in bad]

    async def _store(self, sheet: Sheet, on_conflict: OnConflict, is_atomic: bool, is_dry_run: bool) -> ImportReport:
        total = len(sheet.rows)
        plan = _Plan(self._book, on_conflict)
        self.progress = ImportProgress(stage="planning", total=total)
        updates = await asyncio.to_thread(plan.add_all, drain(sheet.rows))
        errors, failed = await asyncio.to_thread(_sorted, sheet.errors, plan.errors)
        is_refused = bool(errors) and is_atomic
        if is_refused or is_dry_run:
            await asyncio.to_thread(let_go, updates)
        else:
            self.progress = ImportProgress(stage="storing", total=total)
            await self._book.store(updates)
        return ImportReport(
            total=sheet.total,
            success=0 if is_refused else plan.created,
            updated=0 if is_refused else plan.updated,
            unchanged=0 if is_refused else plan.unchanged,
            failed=failed,
            errors=errors[:MAX_ERRORS],
            errors_truncated=len(errors) > MAX_ERRORS,
        )


def _sorted(*parts: list[RowError]) -> tuple[list[RowError], int]:
    """Return the first errors by their lines, one more than a report lists, and how many lines have any."""
    errors = sorted((error for part in parts for error in drain(part)), key=lambda error: error.line)
    failed = len({error.line for error in errors})
    first = errors[: MAX_ERRORS + 1]
    let_go(errors)
    return first, failed


Settled = Literal["append", "replace", "keep"]


class _Plan:
    """What the lists would be, row by row."""

    def __init__(self, book: RuleBook, on_conflict: OnConflict) -> None:
        self._book = book
        self._on_conflict = on_conflict
        self._max_rules = book.source.max_rules
        self._room = book.limit - book.lists.total
        self._drafts: dict[Principal, _Draft] = {}
        # Lists that one row has changed, and its topic: so are most of most files, for which a draft would be too much.
        self._firsts: dict[Principal, Rules] = {}
        self._topics: dict[Principal, str] = {}
        self.created = self.updated = self.unchanged = 0
        self.errors: list[RowError] = []

    def add_all(self, rows: Iterable[SheetRow]) -> dict[Principal, Rules]:
        """Put rows over the lists, from top to bottom, and return the lists that are other than before.

        Called once, in a thread while the lists cannot change.
        """
        for row in rows:
            principal = row.principal
            draft = self._drafts.get(principal)
            if draft is None:
                first = self._firsts.pop(principal, None)
                if first is None:
                    self._add_first(row, self._book.lists.rules_of(principal) or ())
                    continue
                draft = self._drafts[principal] = _Draft(first, self._topics.pop(principal))
            self._add(row, draft)
        let_go(self._topics)
        while self._drafts:
            principal, draft = self._drafts.popitem()
            self._firsts[principal] = draft.rules()
        return self._firsts

    def _add_first(self, row: SheetRow, rules: Rules) -> None:
        """Put the first row of a principal over its list."""
        topic = row.rule.topic
        entries = () if self._on_conflict == "append" else [rule for rule in rules if rule.topic == topic]
        settled = self._settle(row, entries, len(rules), is_imported=False)
        if settled == "append":
            self._firsts[row.principal] = (*rules, row.rule)
            self._topics[row.principal] = topic
        elif settled == "replace":
            self._firsts[row.principal] = put_rule(rules, row.rule)[0]
            self._topics[row.principal] = topic

    def _add(self, row: SheetRow, draft: "_Draft") -> None:
        topic = row.rule.topic
        entries = () if self._on_conflict == "append" else draft.entries(topic)
        settled = self._settle(row, entries, draft.size, is_imported=draft.is_imported(topic))
        if settled == "append":
            draft.append(row.rule)
        elif settled == "replace":
            draft.replace(row.rule)

    def _settle(self, row: SheetRow, entries: Sequence[AccessRule], size: int, *, is_imported: bool) -> Settled:
        """Count a row and say what it does.

        Args:
            entries: rules of its topic that are there.
            size: of the list.
            is_imported: whether they are from this file.
        """
        if not entries:
            return self._settle_new(row, size)
        if len(entries) == 1 and _is_same(entries[0], row.rule):
            self.unchanged += 1
        elif is_imported or self._on_conflict == "replace":
            self.updated += 1
            self._room += len(entries) - 1
            return "replace"
        elif self._on_conflict == "skip":
            self.unchanged += 1
        else:
            self._fail(row, "CONFLICT", "there is another rule for it")
        return "keep"

    def _settle_new(self, row: SheetRow, size: int) -> Settled:
        if size >= self._max_rules:
            self._fail(row, "TOO_MANY_RULES", f"{row.principal.kind} has max_rules already: {self._max_rules}")
        elif self._room <= 0:
            self._fail(row, "EXCEED_LIMIT", f"there are as many rules as can be: {self._book.limit}")
        else:
            self._room -= 1
            self.created += 1
            return "append"
        return "keep"

    def _fail(self, row: SheetRow, code: str, message: str) -> None:
        value = row.rule.topic[:100]
        self.errors.append(RowError(line=row.line, field="topic", code=code, message=message, value=value))


class _Draft:
    """One list that is being changed; finding a topic costs the same in a long one.

    Args:
        rules: as they are.
        imported: topic of the row that has changed them.
    """

    __slots__ = ("_imported", "_places", "_rules", "size")

    def __init__(self, rules: Rules, imported: str) -> None:
        self._rules: list[AccessRule | None] = list(rules)
        self._places: dict[str, list[int]] = {}
        self._imported = {imported}
        self.size = len(rules)
        for place, rule in enumerate(rules):
            self._places.setdefault(rule.topic, []).append(place)

    def rules(self) -> Rules:
        return tuple(rule for rule in self._rules if rule is not None)

    def entries(self, topic: str) -> list[AccessRule]:
        found = [self._rules[place] for place in self._places.get(topic, ())]
        return [rule for rule in found if rule is not None]

    def is_imported(self, topic: str) -> bool:
        return topic in self._imported

    def append(self, rule: AccessRule) -> None:
        self._places.setdefault(rule.topic, []).append(len(self._rules))
        self._rules.append(rule)
        self._imported.add(rule.topic)
        self.size += 1

    def replace(self, rule: AccessRule) -> None:
        """Put a rule in the place of all entries of its topic."""
        first, *others = self._places[rule.topic]
        before = self._rules[first]
        self._rules[first] = msgspec.structs.replace(rule, created_ms=before.created_ms if before else 0)
        for place in others:
            self._rules[place] = None
        self._places[rule.topic] = [first]
        self._imported.add(rule.topic)
        self.size -= len(others)


def _is_same(one: AccessRule, other: AccessRule) -> bool:
    """Return whether two rules say the same, whenever they were made."""
    if one.topic != other.topic or one.permission != other.permission or one.action != other.action:
        return False
    return msgspec.structs.replace(one, created_ms=other.created_ms, updated_ms=other.updated_ms) == other
