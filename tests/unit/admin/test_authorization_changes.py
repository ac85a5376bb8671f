"""Changes of access rules that come at the same time, are cut short, or fail: none is seen by half."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from pybroker._core import AccessClient
from pybroker.control.authorization.lists import Principal
from pybroker.control.authorization.sheets import read_csv
from pybroker.errors import StoreError
from pybroker.persistence.records import AccessRule
from tests.support.admin import Api

ONE = Principal(None, "clientid", "c1")


def rule(topic: str, permission: Any = "allow") -> AccessRule:
    return AccessRule(topic=topic, permission=permission, action="publish")


def decision(api: Api, topic: str) -> str:
    return api.control.plane.authorizer.built_in.rules.check(AccessClient("c1"), "publish", topic)[0]


def importing(api: Api, permission: str, count: int) -> Callable[[], Awaitable[object]]:
    """Return an import of as many rules of one client."""
    lines = ["clientid,topic,action,access", *(f"c1,t{at},pub,{permission}" for at in range(count))]
    content = "\n".join(lines).encode()
    run = api.control.authorization.importer.run
    return lambda: run(partial(read_csv, content, None, None, 0), "replace", is_atomic=True, is_dry_run=False)


async def test_parallel_edits_of_one_list_lose_none(api: Api) -> None:
    records = api.control.authorization.records
    await asyncio.gather(*(records.put(ONE, rule(f"t{at}")) for at in range(40)))
    assert {one.topic for one in api.control.authorization.rules.find(ONE)} == {f"t{at}" for at in range(40)}
    assert all(decision(api, f"t{at}") == "allow" for at in range(40))


async def test_parallel_imports_do_not_mix(api: Api) -> None:
    both = [importing(api, permission, 50) for permission in ("allow", "deny")]
    await asyncio.gather(*(run() for run in both * 3))
    permissions = {one.permission for one in api.control.authorization.rules.find(ONE)}
    assert len(permissions) == 1
    assert {decision(api, f"t{at}") for at in range(50)} == permissions


async def test_edit_beside_an_import_is_before_or_behind_it(api: Api) -> None:
    records, run = api.control.authorization.records, importing(api, "deny", 50)
    await asyncio.gather(run(), records.put(ONE, rule("t7")), records.put(ONE, rule("extra")))
    stored = {one.topic: one.permission for one in api.control.authorization.rules.find(ONE)}
    assert len(stored) == 51
    assert all(decision(api, topic) == permission for topic, permission in stored.items())


async def test_caller_that_goes_away_leaves_a_whole_change(api: Api) -> None:
    records = api.control.authorization.records
    for at in range(20):
        task = asyncio.ensure_future(records.put(ONE, rule(f"t{at}")))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await records.put(ONE, rule("behind"))
        is_stored = f"t{at}" in {one.topic for one in api.control.authorization.rules.find(ONE)}
        assert is_stored == (decision(api, f"t{at}") == "allow")


async def test_failed_write_changes_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    records = api.control.authorization.records
    await records.put(ONE, rule("t"))

    async def fail(work: object) -> None:
        raise StoreError("disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(api.control.database, "write", fail)
        with pytest.raises(StoreError):
            await records.put(ONE, rule("t", "deny"))
        with pytest.raises(StoreError):
            await importing(api, "deny", 5)()
    assert decision(api, "t") == "allow"
    assert api.control.authorization.rules.find(ONE)[0].permission == "allow"
    assert api.control.authorization.rules.lists.total == 1
    assert api.control.authorization.importer.progress.stage == "idle"


async def test_change_of_one_rule_writes_one_row(api: Api) -> None:
    records = api.control.authorization.records
    await asyncio.gather(*(records.put(ONE, rule(f"t{at}")) for at in range(5)))
    await records.put(Principal(None, "all", ""), rule("x"))
    before = await api.control.database.read(_row_versions)
    await records.put(ONE, rule("t3", "deny"))
    after = await api.control.database.read(_row_versions)
    assert sum(before[key] != body for key, body in after.items()) == 1


def _row_versions(connection: Any) -> dict[str, bytes]:
    return {row["key"]: row["body"] for row in connection.execute("SELECT key, body FROM access_list")}
