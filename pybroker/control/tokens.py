"""Tokens of logged-in users: random strings that mean what this table says, hence revoked by a removed row.

Only the hash of a token is kept. The expiry slides with every use; it reaches the disk in steps of a tenth of the life
time, so that reading requests do not write.
"""

import hashlib
import secrets
from collections.abc import Iterable

from pybroker.clock import Clock
from pybroker.control.caller import Caller
from pybroker.control.configuration import Configuration
from pybroker.errors import Refused
from pybroker.persistence.records import TokenRecord, UserRecord
from pybroker.persistence.sqlite import Database
from pybroker.persistence.table import Change, RecordTable, apply

_TOKEN_BYTES = 32
_REMEMBERED_MS = 24 * 3_600 * 1_000
"""How long an expired token is told from one that never was."""

_STEPS = 10
SWEEP_S = 600.0
"""Pause between two removals of forgotten tokens."""


class Tokens:
    """Every token that was issued and not revoked.

    Args:
        database: keeps them.
        users: table of their owners.
        clock: tells the time.
        configuration: knows their life time.
    """

    def __init__(
        self, database: Database, users: RecordTable[UserRecord], clock: Clock, configuration: Configuration
    ) -> None:
        self._database = database
        self._users = users
        self._clock = clock
        self._configuration = configuration
        self.table = RecordTable(database, "token", TokenRecord)
        self._expires_ms: dict[str, int] = {}

    async def issue(self, owner: str, user: UserRecord, *changes: Change) -> str:
        """Store a new token of a user, together with other changes, and return it; it cannot be read again."""
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        expires_ms = self._clock.wall_ms() + self._life_ms
        record = TokenRecord(owner=owner, role=user.role, namespace=user.namespace, expires_ms=expires_ms)
        await apply(self._database, self.table.put(_id(token), record), *changes)
        return token

    async def authenticate(self, token: str) -> Caller:
        """Return who holds a token and move its expiry.

        Raises:
            Refused: `BAD_TOKEN`: unknown or revoked; `TOKEN_TIME_OUT`: expired less than a day ago.
        """
        token_id = _id(token)
        record = self.table.get(token_id)
        user = self._users.get(record.owner) if record else None
        now, life_ms = self._clock.wall_ms(), self._life_ms
        expires_ms = max(self._expires_ms.get(token_id, 0), record.expires_ms if record else 0)
        if record is None or user is None or expires_ms + _REMEMBERED_MS <= now:
            raise Refused("BAD_TOKEN", "unknown token")
        if expires_ms <= now:
            raise Refused("TOKEN_TIME_OUT", "token has expired, log in again")
        self._expires_ms[token_id] = now + life_ms
        if now + life_ms - record.expires_ms >= life_ms // _STEPS:
            slid = TokenRecord(
                owner=record.owner, role=record.role, namespace=record.namespace, expires_ms=now + life_ms
            )
            await self.table.refresh(token_id, slid)
        return Caller(
            kind="user",
            name=user.username,
            backend=user.backend,
            role=record.role,
            namespace=record.namespace,
            scopes=user.scopes,
            token_id=token_id,
        )

    async def revoke(self, token_id: str) -> None:
        """End one token by its id, as `Caller.token_id` has it."""
        await apply(self._database, self.table.remove(token_id))
        self._expires_ms.pop(token_id, None)

    def revoking(self, owners: Iterable[str]) -> list[Change]:
        """Describe the end of every token of users, for a transaction with what caused it."""
        ending = set(owners)
        return [self.table.remove(key) for key, record in self.table.records.items() if record.owner in ending]

    async def sweep(self) -> None:
        """Remove what expired more than a day ago."""
        horizon = self._clock.wall_ms() - _REMEMBERED_MS
        old = [
            key
            for key, record in self.table.records.items()
            if max(record.expires_ms, self._expires_ms.get(key, 0)) <= horizon
        ]
        await apply(self._database, *map(self.table.remove, old))
        self._expires_ms = {key: at for key, at in self._expires_ms.items() if self.table.get(key) is not None}

    @property
    def _life_ms(self) -> int:
        return self._configuration.current.dashboard.token_expired_time


def _id(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
