"""Somebody who knocks, and what the chain says about him, whether it takes time or not."""

from collections.abc import Awaitable
from inspect import isawaitable
from typing import Any

from pybroker.auth.chain import AuthenticationChain
from pybroker.ports import Applicant, ListenerTraits, Verdict
from pybroker.types import ListenerId, Namespace
from tests.support.fake_core import FakeConnect


def applicant(namespace: str | None = None, client_id: str = "c", **connect: Any) -> Applicant:
    """Return somebody who knocks; keywords are fields of the CONNECT."""
    said = FakeConnect(client_id=client_id, **connect)
    one = Applicant(7, said.as_core(), ListenerTraits(id=ListenerId("tcp:default"), port=1883))
    one.namespace = None if namespace is None else Namespace(namespace)
    return one


async def judge(chain: AuthenticationChain, one: Applicant) -> Verdict:
    """Return the verdict about an applicant."""
    verdict: Verdict | Awaitable[Verdict] = chain.authenticate(one)
    return await verdict if isawaitable(verdict) else verdict
