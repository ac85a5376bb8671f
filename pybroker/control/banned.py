"""Bans: stored, shown, and in force at once, also for those who are connected.

A ban ends the connections that it covers; their wills are not sent. Offline sessions stay, for as long as they last.
What a client id has published before it was banned is not delivered any more: dropped where it waits, passed over where
it is retained.
"""

import asyncio
from collections.abc import Sequence
from typing import get_args

import msgspec
import structlog

from pybroker.auth.banned import BanKind, BanList, found_in, normalize, pattern
from pybroker.clock import Clock
from pybroker.control.banned_file import read_bans
from pybroker.control.clients import BATCH, WINDOW, host_of
from pybroker.control.plane import Plane
from pybroker.control.timestamp import INFINITY, render_s
from pybroker.errors import Refused
from pybroker.persistence.records import BanRecord
from pybroker.persistence.sqlite import Database
from pybroker.persistence.table import RecordTable, apply
from pybroker.types import ClientId

__all__ = ["BANNED", "KINDS", "BanFilter", "BanKind", "BanRecord", "Bans"]

logger = structlog.get_logger(__name__)

BANNED = 0x98
FLAPPING = "flapping detector"
"""Who has made the bans of clients that connect too often."""

KINDS: tuple[BanKind, ...] = get_args(BanKind)


class BanFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which bans to list.

    Args:
        kind: what `who` is.
        who: exact, or a regular expression that is searched for.
    """

    kind: BanKind
    who: str
    is_pattern: bool = False


class Bans:
    """The list of bans.

    Args:
        database: keeps them.
        plane: enforces them.
        clock: tells the time.
    """

    def __init__(self, database: Database, plane: Plane, clock: Clock) -> None:
        self._database = database
        self._plane = plane
        self._clock = clock
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self.table = RecordTable(database, "ban", BanRecord)

    async def load(self, bootstrap_file: str = "") -> None:
        """Read what is stored and put it into force; into an empty table a file is loaded first.

        Args:
            bootstrap_file: CSV of bans; a line of it that is none is left out with a warning. Empty: there is none.

        Raises:
            StoreError: a record cannot be read.
        """
        await self.table.load()
        self._plane.flapping.on_flapping = self._on_flapping
        if bootstrap_file and not len(self.table):
            bans = await asyncio.to_thread(read_bans, bootstrap_file, self._clock.wall_s())
            await apply(self._database, *(self.table.put(_key(ban.kind, ban.who), ban) for ban in bans))
        for ban in self.table:
            self._plane.bans.add(ban.kind, ban.who, ban.until_s)
            if ban.kind == "clientid":
                self._plane.engine.silence(ban.who)

    def now_s(self) -> int:
        """Return the wall time of a new ban."""
        return self._clock.wall_s()

    def listed(self, wanted: BanFilter | None) -> list[BanRecord]:
        """Return the bans that are in force and fit, oldest first.

        Raises:
            Refused: `BAD_REQUEST`: the pattern is none.
        """
        now_s = self._clock.wall_s()
        bans = [ban for ban in self.table if ban.until_s is None or ban.until_s > now_s]
        if wanted is not None:
            bans = [ban for ban in bans if ban.kind == wanted.kind and _search(wanted, ban.who)]
        return sorted(bans, key=lambda ban: (ban.at_s, ban.kind, ban.who))

    async def add(self, ban: BanRecord) -> BanRecord:
        """Store a ban, put it into force and end the connections that it covers; return it as stored.

        Raises:
            Refused: `ALREADY_EXISTS` with the ban that is there; `BAD_REQUEST`: it is over already, or `who` cannot be.
        """
        if ban.until_s is not None and ban.until_s <= self._clock.wall_s():
            raise Refused("BAD_REQUEST", "until is in the past")
        try:
            ban = msgspec.structs.replace(ban, who=normalize(ban.kind, ban.who))
        except ValueError as error:
            raise Refused("BAD_REQUEST", f"{ban.kind} {error}") from None
        async with self._lock:
            present = self.table.get(_key(ban.kind, ban.who))
            if present is not None and (present.until_s is None or present.until_s > self._clock.wall_s()):
                raise Refused("ALREADY_EXISTS", _described(present))
            await apply(self._database, self.table.put(_key(ban.kind, ban.who), ban))
            self._plane.bans.add(ban.kind, ban.who, ban.until_s)
        await self._enforce(ban)
        return ban

    def _on_flapping(self, client_id: ClientId, ban_ms: int) -> None:
        """Ban a client id that connects too often: in force at once, stored in the background."""
        now_s = self._clock.wall_s()
        until_s = now_s + -(-ban_ms // 1_000)
        present = self.table.get(_key("clientid", client_id))
        if present is not None and (present.until_s is None or present.until_s >= until_s):
            return
        ban = BanRecord(kind="clientid", who=client_id, by=FLAPPING, at_s=now_s, until_s=until_s)
        self._plane.bans.add(ban.kind, ban.who, ban.until_s)
        self._plane.sessions.kick(client_id, BANNED, sends_will=False, ends=False)
        logger.warning("client_flapping", clientid=client_id, banned_until=render_s(until_s))
        task = asyncio.get_running_loop().create_task(self._store(ban))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _store(self, ban: BanRecord) -> None:
        async with self._lock:
            await apply(self._database, self.table.put(_key(ban.kind, ban.who), ban))
            await asyncio.to_thread(self._plane.engine.silence, ban.who)

    async def settle(self) -> None:
        """Wait until every ban that was made in the background is stored."""
        await asyncio.gather(*self._tasks)

    async def remove(self, kind: str, who: str) -> BanRecord:
        """Lift a ban and return it.

        Raises:
            Refused: `NOT_FOUND`.
        """
        async with self._lock:
            ban = self._find(kind, who)
            await apply(self._database, self.table.remove(_key(ban.kind, ban.who)))
            self._lift(ban)
        return ban

    async def clear(self) -> None:
        """Lift every ban."""
        await self._remove_all(list(self.table))

    async def sweep(self) -> None:
        """Remove the bans whose time is over; they ban nobody any more."""
        now_s = self._clock.wall_s()
        await self._remove_all([ban for ban in self.table if ban.until_s is not None and ban.until_s <= now_s])

    async def _remove_all(self, bans: Sequence[BanRecord]) -> None:
        async with self._lock:
            await apply(self._database, *(self.table.remove(_key(ban.kind, ban.who)) for ban in bans))
            for ban in bans:
                self._lift(ban)

    def _lift(self, ban: BanRecord) -> None:
        self._plane.bans.remove(ban.kind, ban.who)
        if ban.kind == "clientid":
            self._plane.engine.unsilence(ban.who)

    def _find(self, kind: str, who: str) -> BanRecord:
        known = next((one for one in KINDS if one == kind), None)
        if known is None:
            raise Refused("BAD_REQUEST", f"as must be one of: {', '.join(KINDS)}")
        try:
            name = normalize(known, who)
        except ValueError:
            name = who
        ban = self.table.get(_key(kind, name))
        if ban is None:
            raise Refused("NOT_FOUND", f"no such ban: {kind} {who!r}")
        return ban

    async def _enforce(self, ban: BanRecord) -> None:
        """End the live connections that one ban covers."""
        plane, alone = self._plane, BanList(self._clock.wall_s)
        alone.add(ban.kind, ban.who, ban.until_s)
        if ban.kind == "clientid":
            plane.sessions.kick(ClientId(ban.who), BANNED, sends_will=False, ends=False)
            await asyncio.to_thread(plane.engine.silence, ban.who)
            return
        for slot in range(0, plane.registry.slots, WINDOW):
            covered = [
                session.client_id
                for session in plane.registry.window(slot, WINDOW)
                if session.is_online and alone.covers(session.client_id, session.username, host_of(session.peer))
            ]
            for index, client_id in enumerate(covered, 1):
                plane.sessions.kick(client_id, BANNED, sends_will=False, ends=False)
                if index % BATCH == 0:
                    await asyncio.sleep(0)
            await asyncio.sleep(0)


def _described(ban: BanRecord) -> dict[str, object]:
    until = INFINITY if ban.until_s is None else render_s(ban.until_s)
    return {
        "as": ban.kind,
        "who": ban.who,
        "by": ban.by,
        "reason": ban.reason,
        "at": render_s(ban.at_s),
        "until": until,
    }


def _key(kind: str, who: str) -> str:
    return f"{kind}:{who}"


def _search(wanted: BanFilter, who: str) -> bool:
    if not wanted.is_pattern:
        return who == wanted.who
    try:
        return found_in(pattern(wanted.who), who)
    except ValueError as error:
        raise Refused("BAD_REQUEST", str(error)) from None
