"""Subscriptions that lost their right: found again after every change of rules, sources or users, and taken away.

Runs in the background and never stands between a packet and its subscriber. Re-checks move no counter but
`authorization.revoked`. Remote sources are asked again only for connected clients, at a bounded rate.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

import structlog

from pybroker._core import CLOSE_NOT_AUTHORIZED, Engine
from pybroker.auth.authorizer import NOT_AUTHORIZED, Authorizer
from pybroker.events import EventBus, Unsubscribed
from pybroker.plane.registry import OFFLINE, Registry, Session
from pybroker.plane.subscribe import ExclusiveLocks
from pybroker.types import ClientId, Filter

logger = structlog.get_logger(__name__)

SESSIONS_A_TIME = 500
"""Sessions judged in one call of the core; a few milliseconds in another thread."""

SETTLE_S = 0.5
"""After so long without another change everything is judged once more."""

ROWS_A_TURN = 32
"""Subscriptions taken away before the loop gets its turn."""

REMOTE_PAUSE_S = 0.01
"""Pause between two questions to remote sources: 100 a second at most."""


class Revoker:
    """Watcher over the subscriptions that were granted.

    Args:
        engine: holds them.
        registry: finds their clients.
        locks: exclusive topics, given back with the subscription.
        events: is told what was taken away.
        authorizer: judges; its changes are listened to.
        sleep: waits a number of seconds; tests replace it.
    """

    def __init__(
        self,
        engine: Engine,
        registry: Registry,
        locks: ExclusiveLocks,
        events: EventBus,
        authorizer: Authorizer,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._engine = engine
        self._registry = registry
        self._locks = locks
        self._events = events
        self._authorizer = authorizer
        self._sleep = sleep
        self._wanted = asyncio.Event()
        self._has_all = False
        self._clients: set[ClientId] = set()
        authorizer.listen(self.request)
        events.rights_ended.listen(lambda client: self.request_client(client.client_id))

    def request(self) -> None:
        """Have every subscription judged again soon."""
        self._has_all = True
        self._wanted.set()

    def request_client(self, client_id: ClientId) -> None:
        """Have the subscriptions of one client judged again soon, such as when its rights have ended."""
        self._clients.add(client_id)
        self._wanted.set()

    def demote(self, session: Session) -> None:
        """Take the rights of a superuser from one client at once, and have its subscriptions judged again soon."""
        session.is_superuser = False
        subject = self._engine.subject(session.slot)
        if subject is not None and subject.is_superuser:
            self._engine.set_subject(session.slot, subject.with_superuser(False))
        self.request_client(session.client_id)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            had_all = self._has_all
            await self.work()
            if had_all and not await self._is_wanted_within(SETTLE_S):
                # What was granted just before the change may have come into being behind the first look.
                self._has_all = True
                await self.work()

    async def _is_wanted_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wanted.wait(), seconds)
        return self._wanted.is_set()

    async def work(self) -> None:
        """Judge what was asked for, and take away what is no longer allowed."""
        has_all, self._has_all = self._has_all, False
        clients, self._clients = self._clients, set()
        if self._authorizer.settings.on_revoke == "ignore":
            return
        if has_all:
            await self._work_on_all()
            return
        for client_id in clients:
            session = self._registry.find(client_id)
            if session is not None:
                await self._work_on(self._engine.recheck_session(session.slot))

    async def _work_on_all(self) -> None:
        cursor = 0
        while cursor >= 0:
            doubted, cursor = await asyncio.to_thread(self._engine.recheck_access, cursor, SESSIONS_A_TIME)
            await self._work_on(doubted)

    async def _work_on(self, doubted: Sequence[tuple[int, str, int, str]]) -> None:
        for index, (slot, filter, qos, decision) in enumerate(doubted, 1):
            if index % ROWS_A_TURN == 0:
                await self._sleep(0)
            session = self._registry.at(slot)
            if session is None:
                continue
            if decision == "ask":
                if session.conn == OFFLINE:
                    continue
                await self._sleep(REMOTE_PAUSE_S)
                if await self._authorizer.recheck(slot, Filter(filter), qos):
                    continue
            elif self._engine.check_access(slot, "subscribe", filter, qos, counts=False)[0] != "deny":
                # Allowed again, or another client's session by now.
                continue
            if self._registry.at(slot) is session:
                self._revoke(session, Filter(filter))

    def _revoke(self, session: Session, filter: Filter) -> None:
        if not self._engine.revoke(session.slot, filter):
            return
        logger.info("subscription_revoked", clientid=session.client_id, topic=filter)
        self._locks.release(session, filter)
        if self._events.client_unsubscribed:
            self._events.client_unsubscribed.emit(Unsubscribed(session, filter))
        if self._authorizer.settings.on_revoke == "disconnect" and session.conn != OFFLINE:
            self._engine.disconnect(session.conn, NOT_AUTHORIZED, CLOSE_NOT_AUTHORIZED)
