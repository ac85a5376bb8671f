"""How long the loop stands still while 100,000 rules or 20,000 users come, change and go, in CPU time.

The bound of the house is 10 ms. Allowed is half as much again: a collection of garbage, a cold cache or a busy
neighbour may fall into any piece. Of what holds the interpreter in other threads only the coarse is caught here, since
the machine may run them while the loop waits for its turn.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import pytest_asyncio

from pybroker.control.authorization.lists import AccessRule, Principal
from tests.support.admin import Api, add_client, config_with, open_api
from tests.support.stalls import Stall, watch

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

_RULES = "/authorization/sources/built_in_database"
_PASSWORDS = "/authentication/password_based:built_in_database"
_SOURCE = {"type": "built_in_database"}
_COUNT = 100_000
_USERS = 20_000
_CLIENTS = 20_000
_EDITS = 100
_LOOP_MS = 15
_HELD_MS = 60
_TRIES = 3

Attempt = Callable[[int], Awaitable[httpx.Response]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crowded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Api, str]]:
    """Give an API over 100,000 rules and 20,000 clients with a subscription each, and a token."""
    async with open_api(config_with(tmp_path_factory.mktemp("crowded"))) as api:
        for number in range(_CLIENTS):
            session = add_client(api.control, f"c{number}")
            api.control.plane.engine.subscribe(session.slot, f"house/{number}/+", 0)
        token = await api.log_in()
        assert (await _import(api, token, _rules(_COUNT, "allow"))).json()["success"] == _COUNT
        yield api, token


def _rules(count: int, access: str, prefix: str = "c") -> bytes:
    rows = "\n".join(f"{prefix}{at},a/{at}/+,pub,{access}" for at in range(count))
    return f"clientid,topic,action,access\n{rows}".encode()


async def _import(api: Api, token: str, content: bytes, query: str = "") -> httpx.Response:
    headers = {"content-type": "text/csv"}
    return await api.call("POST", f"{_RULES}/rules/import{query}", content, auth=token, headers=headers)


async def _least(attempt: Attempt) -> Stall:
    """Return the shortest stall of some attempts, until one is short enough; each gets its number."""
    found: list[Stall] = []
    for number in range(_TRIES):
        reply, stall = await watch(attempt(number))
        assert reply.status_code < 300, reply.text
        found.append(stall)
        if stall.loop_ms < _LOOP_MS and stall.held_ms < _HELD_MS:
            break
    return Stall(min(stall.loop_ms for stall in found), min(stall.held_ms for stall in found))


async def _check(attempt: Attempt) -> None:
    stall = await _least(attempt)
    assert stall.loop_ms < _LOOP_MS, stall
    assert stall.held_ms < _HELD_MS, stall


async def test_import_of_all_rules_leaves_the_loop_free(crowded: tuple[Api, str]) -> None:
    api, token = crowded
    contents = [_rules(_COUNT, access) for access in ("deny", "allow", "deny")]
    await _check(lambda number: _import(api, token, contents[number]))


async def test_import_that_is_refused_leaves_the_loop_free(crowded: tuple[Api, str]) -> None:
    api, token = crowded
    content = _rules(_COUNT // 2, "allow").replace(b",allow", b",nonsense", 1)
    query = "?dry_run=true"
    await _check(lambda _: _import(api, token, content, query))


async def test_import_of_json_leaves_the_loop_free(crowded: tuple[Api, str]) -> None:
    api, token = crowded
    rows = [{"clientid": f"c{at}", "topic": f"a/{at}/+", "action": "pub", "access": "deny"} for at in range(_COUNT)]
    contents = [msgspec.json.encode(rows).replace(b'"deny"', access) for access in (b'"deny"', b'"allow"', b'"deny"')]
    path = f"{_RULES}/rules/import"
    await _check(lambda number: api.call("POST", path, contents[number], auth=token))


@pytest.mark.parametrize(
    "path",
    [
        f"{_RULES}/rules/export?kind=clientid",
        f"{_RULES}/records?limit=1000&page=90",
        f"{_RULES}/records?like_topic=nobody",
        f"{_RULES}/records?like_clientid=nobody",
        f"{_RULES}/rules/clients?limit=1000&page=90",
        f"{_RULES}/rules/clients?like_clientid=nobody",
        "/authorization/statistics",
    ],
)
async def test_reading_all_rules_leaves_the_loop_free(crowded: tuple[Api, str], path: str) -> None:
    api, token = crowded
    await _check(lambda _: api.call("GET", path, auth=token))


async def test_mode_explain_and_simulate_leave_the_loop_free(crowded: tuple[Api, str]) -> None:
    api, token = crowded
    asked = {"clientid": "c5", "action": "publish", "topic": "a/5/x"}
    modes = ("whitelist", "blacklist", "whitelist")
    await _check(lambda number: api.call("PUT", "/authorization/mode", {"mode": modes[number]}, auth=token))
    await _check(lambda _: api.call("POST", "/authorization/explain", asked, auth=token))
    await _check(lambda _: api.call("POST", "/authorization/simulate", {"mode": "whitelist"}, auth=token))
    reply = await api.call("PUT", "/authorization/mode", {"mode": "blacklist"}, auth=token)
    assert reply.status_code < 300


async def test_change_of_a_rule_is_in_force_within_50_ms(crowded: tuple[Api, str]) -> None:
    api, _ = crowded
    records, engine = api.control.authorization.records, api.control.plane.engine
    session = next(one for one in api.control.plane.registry if one.client_id == "c7")
    costs: list[float] = []
    for number in range(_EDITS):
        permission = ("deny", "allow")[number % 2]
        rule = AccessRule(topic="a/7/+", permission=permission, action="publish")  # type: ignore[arg-type]  # a word
        started = time.process_time()
        await records.put(Principal(None, "clientid", "c7"), rule)
        costs.append((time.process_time() - started) * 1_000)
        assert engine.check_access(session.slot, "publish", "a/7/x", 0, False)[0] == permission
    # All threads count: the call, the disk, the compiler and the swap.
    assert max(costs) < 50, sorted(costs)[-5:]


async def test_clients_are_judged_again_beside_the_loop(crowded: tuple[Api, str]) -> None:
    api, _ = crowded
    revoker = api.control.plane.revoker

    async def judge(_: int) -> httpx.Response:
        revoker.request()
        await revoker.work()
        return httpx.Response(200)

    await _check(judge)


@pytest.mark.parametrize("form", ["csv", "json"])
async def test_import_of_users_leaves_the_loop_free(tmp_path: Path, form: str) -> None:
    async with open_api(config_with(tmp_path)) as api:
        token = await api.log_in()
        digest = {"name": "sha256", "salt_position": "prefix"}
        body = {"mechanism": "password_based", "backend": "built_in_database", "password_hash_algorithm": digest}
        assert (await api.call("POST", "/authentication", body, auth=token)).status_code == 200
        contents = [_users(form, number) for number in range(_TRIES)]
        headers = {"content-type": "multipart/form-data; boundary=X"}
        path = f"{_PASSWORDS}/import_users?type=hash"
        await _check(lambda number: api.call("POST", path, contents[number], auth=token, headers=headers))
        reply, stall = await watch(api.call("DELETE", _PASSWORDS, auth=token))
        assert reply.status_code == 204
        assert stall.loop_ms < _LOOP_MS, stall


def _users(form: str, turn: int) -> bytes:
    rows: list[dict[str, Any]] = [
        {"user_id": f"u{at}", "password_hash": f"{turn}{at:063x}", "salt": "s", "is_superuser": False}
        for at in range(_USERS)
    ]
    if form == "json":
        content = msgspec.json.encode(rows)
    else:
        lines = [",".join(str(value).lower() for value in row.values()) for row in rows]
        content = "\n".join([",".join(rows[0]), *lines]).encode()
    head = f'--X\r\ncontent-disposition: form-data; name="filename"; filename="u.{form}"\r\n\r\n'
    return head.encode() + content + b"\r\n--X--\r\n"


async def test_lists_come_and_go_beside_the_loop(tmp_path: Path) -> None:
    bodies = msgspec.json.encode([{"clientid": f"n{at}", "rules": [_rule(at)]} for at in range(_COUNT // 2)])
    stalls: dict[bool, list[float]] = {True: [], False: []}
    async with open_api(config_with(tmp_path)) as api:
        token = await api.log_in()
        for enable in (True, False) * _TRIES:
            reply = await api.call("PUT", _RULES, {**_SOURCE, "enable": enable}, auth=token)
            assert reply.status_code == 204
            if enable:
                reply, stall = await watch(api.call("POST", f"{_RULES}/rules/clients", bodies, auth=token))
            else:
                reply, stall = await watch(api.call("DELETE", f"{_RULES}/rules", auth=token))
            assert reply.status_code == 204
            stalls[enable].append(stall.loop_ms)
    assert max(map(min, stalls.values())) < _LOOP_MS, stalls


def _rule(at: int) -> dict[str, str]:
    return {"topic": f"a/{at}", "permission": "allow", "action": "publish"}


async def test_namespaces_come_and_go_out_beside_the_loop(tmp_path: Path) -> None:
    names = [f"ns{at}" for at in range(1_000)]
    configs = msgspec.json.encode([{"ns": name, "config": {"session": {"max_sessions": 100}}} for name in names])
    async with open_api(config_with(tmp_path)) as api:
        token = await api.log_in()
        await _check(lambda _: api.call("POST", "/mt/bulk_import_configs", configs, auth=token))
        wanted = {"namespaces": names}
        await _check(lambda _: api.call("POST", "/mt/bulk_export_ns_configs", wanted, auth=token))
        await _check(lambda _: api.call("GET", "/mt/managed_ns_list_details?limit=1000", auth=token))


async def test_watcher_sees_a_stall() -> None:
    async def stand_still() -> None:
        await asyncio.sleep(0.001)
        until = time.thread_time() + 0.03
        while time.thread_time() < until:
            pass

    _, stall = await watch(stand_still())
    assert stall.loop_ms >= 30
    assert stall.held_ms >= 30
