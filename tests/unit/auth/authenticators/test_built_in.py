"""Users of the built-in database: names, namespaces, slow hashes in threads, and the cache of verified passwords."""

import asyncio
import threading
from inspect import isawaitable

import pytest

from pybroker.auth import hashing, passwords
from pybroker.auth.authentication import Authentication
from pybroker.auth.authenticators import built_in
from pybroker.auth.judgement import Pass
from pybroker.auth.passwords import StoredPassword, hash_password
from pybroker.auth.users import Login
from pybroker.config.sections.access import PasswordHash
from pybroker.types import Namespace
from tests.support.applicant import applicant, judge
from tests.unit.auth.conftest import Build

DATABASE: dict[str, object] = {"mechanism": "password_based", "backend": "built_in_database"}
SLOW = PasswordHash(name="pbkdf2", iterations=2)


def put(authentication: Authentication, user_id: str, password: str, namespace: str | None = None) -> None:
    stored = hash_password(SLOW, password.encode())
    authentication.users.put(None if namespace is None else Namespace(namespace), user_id, Login(stored))


async def test_user_is_named_by_user_name_or_client_id(build: Build) -> None:
    by_name, by_id = build(DATABASE), build({**DATABASE, "user_id_type": "clientid"})
    for authentication in (by_name, by_id):
        put(authentication, "ann", "pw")
    assert (await judge(by_name.chain, applicant(client_id="x", username="ann", password=b"pw"))).reason == 0
    assert (await judge(by_id.chain, applicant(client_id="ann", username="x", password=b"pw"))).reason == 0
    assert (await judge(by_id.chain, applicant(client_id="x", username="ann", password=b"pw"))).reason == 0x87


async def test_login_without_a_password_or_with_a_method_is_none(build: Build) -> None:
    authentication = build(DATABASE)
    put(authentication, "ann", "pw")
    assert (await judge(authentication.chain, applicant(username="ann"))).reason == 0x87
    one = applicant(username="ann", password=b"pw", authentication_method="m")
    assert authentication.chain.links[0].judge.judge(one) is Pass.IGNORED


async def test_global_users_are_asked_only_if_the_namespace_has_none(build: Build) -> None:
    authentication = build(DATABASE)
    put(authentication, "ann", "global")
    in_namespace = applicant("t", username="ann", password=b"global")
    assert (await judge(authentication.chain, in_namespace)).reason == 0
    put(authentication, "bob", "own", "t")
    assert (await judge(authentication.chain, in_namespace)).reason == 0x87
    assert (await judge(authentication.chain, applicant("t", username="bob", password=b"own"))).reason == 0
    assert (await judge(authentication.chain, applicant("u", username="bob", password=b"own"))).reason == 0x87
    authentication.users.remove(Namespace("t"), "bob")
    assert (await judge(authentication.chain, in_namespace)).reason == 0


async def test_reconnect_is_answered_at_once_and_hashes_nothing(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    authentication = build(DATABASE)
    put(authentication, "ann", "pw")
    one = applicant(username="ann", password=b"pw")
    first = authentication.chain.authenticate(one)
    assert isawaitable(first)
    assert (await first).reason == 0
    hashed: list[object] = []
    monkeypatch.setattr(built_in, "verify_password", lambda *arguments: hashed.append(arguments))
    for _ in range(100):
        assert not isawaitable(authentication.chain.authenticate(one))
    assert hashed == []
    assert authentication.verified.hits == 100


@pytest.mark.parametrize(("change", "reason"), [("demoted", 0), ("deleted", 0x86), ("other password", 0x86)])
async def test_user_who_changes_while_his_password_is_hashed_is_what_he_is_then(
    build: Build, change: str, reason: int
) -> None:
    authentication = build(DATABASE)
    stored = hash_password(SLOW, b"pw")
    authentication.users.put(None, "ann", Login(stored, is_superuser=True))
    one = applicant(username="ann", password=b"pw")
    waiting = authentication.chain.authenticate(one)
    assert isawaitable(waiting)
    if change == "demoted":
        authentication.users.put(None, "ann", Login(stored))
    elif change == "deleted":
        authentication.users.remove(None, "ann")
    else:
        put(authentication, "ann", "other")
    verdict = await waiting
    assert (verdict.reason, verdict.is_superuser) == (reason, False)


async def test_cache_knows_no_other_password_user_or_namespace(build: Build) -> None:
    authentication = build(DATABASE)
    put(authentication, "ann", "pw")
    put(authentication, "ann", "other", "t")
    assert (await judge(authentication.chain, applicant(username="ann", password=b"pw"))).reason == 0
    assert (await judge(authentication.chain, applicant(username="ann", password=b"pW"))).reason == 0x86
    assert (await judge(authentication.chain, applicant("t", username="ann", password=b"pw"))).reason == 0x86
    assert (await judge(authentication.chain, applicant(username="bob", password=b"pw"))).reason == 0x87


async def test_changed_password_empties_the_cache(build: Build) -> None:
    authentication = build(DATABASE)
    put(authentication, "ann", "pw")
    assert (await judge(authentication.chain, applicant(username="ann", password=b"pw"))).reason == 0
    put(authentication, "ann", "new")
    assert (await judge(authentication.chain, applicant(username="ann", password=b"pw"))).reason == 0x86
    authentication.forget(None, "ann")
    assert len(authentication.verified) == 0


async def test_cache_is_bounded(build: Build) -> None:
    authentication = build(DATABASE)
    authentication.verified._capacity = 2
    for name in ("a", "b", "c"):
        put(authentication, name, "pw")
        await judge(authentication.chain, applicant(username=name, password=b"pw"))
    assert len(authentication.verified) == 2


async def test_unknown_user_costs_the_hash_of_a_known_one_before_the_refusal(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[StoredPassword] = []

    def verify(stored: StoredPassword, password: bytes) -> bool:
        hashed.append(stored)
        return passwords.verify_password(stored, password)

    monkeypatch.setattr(built_in, "verify_password", verify)
    algorithm = {"name": "pbkdf2", "iterations": 2}
    accept = {"mechanism": "cinfo", "checks": [{"is_match": ["str_eq(clientid, 'vip')"], "result": "allow"}]}
    authentication = build({**DATABASE, "password_hash_algorithm": algorithm}, accept)
    assert (await judge(authentication.chain, applicant(username="bob", password=b"pw"))).reason == 0x87
    assert len(hashed) == 1
    # Whom another authenticator accepts does not pay for it.
    assert (await judge(authentication.chain, applicant(client_id="vip", username="bob", password=b"pw"))).reason == 0
    assert len(hashed) == 1
    # Nor does a client that shows no password.
    assert (await judge(authentication.chain, applicant(username="bob"))).reason == 0x87
    assert len(hashed) == 1


async def test_slow_hashes_never_run_in_the_loop(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []

    def verify(stored: StoredPassword, password: bytes) -> bool:
        threads.append(threading.current_thread().name)
        return passwords.verify_password(stored, password)

    monkeypatch.setattr(built_in, "verify_password", verify)
    authentication = build({**DATABASE, "password_hash_algorithm": {"name": "pbkdf2", "iterations": 2}})
    put(authentication, "ann", "pw")
    for name, password in (("ann", b"pw"), ("ann", b"no"), ("bob", b"pw")):
        await judge(authentication.chain, applicant(username=name, password=password))
    assert len(threads) == 3
    assert all(name.startswith("mqtt-password") for name in threads)


async def test_clients_of_one_user_that_come_together_wait_for_few_hashes(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[bytes] = []
    may_go_on = threading.Event()

    def verify(stored: StoredPassword, password: bytes) -> bool:
        hashed.append(password)
        may_go_on.wait(10)
        return passwords.verify_password(stored, password)

    monkeypatch.setattr(built_in, "verify_password", verify)
    authentication = build(DATABASE)
    put(authentication, "ann", "pw")
    stored = authentication.users.find(None, "ann")
    assert stored is not None
    waiting = [authentication.chain.authenticate(applicant(username="ann", password=b"pw")) for _ in range(50)]
    tasks = [asyncio.ensure_future(one) for one in waiting if isawaitable(one)]
    # What the first one finds is kept before the threads come to those that still wait.
    await asyncio.sleep(0)
    authentication.verified.keep(built_in.cache_name(None, "ann"), stored[1].password, b"pw")
    may_go_on.set()
    assert {verdict.reason for verdict in await asyncio.gather(*tasks)} == {0}
    assert len(tasks) == 50
    assert len(hashed) <= hashing.THREADS


async def test_too_many_hashes_at_a_time_are_refused_as_busy(build: Build) -> None:
    authentication = build(DATABASE)
    put(authentication, "ann", "pw")
    authentication.threads._max_waiting = 0
    assert authentication.chain.authenticate(applicant(username="ann", password=b"pw")).reason == 0x89  # type: ignore[union-attr]  # at once
