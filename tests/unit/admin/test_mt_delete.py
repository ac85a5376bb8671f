"""Kicking the clients of a namespace, and deleting it, by REST."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import structlog

from pybroker._core import CLOSE_KICKED
from pybroker.errors import StoreError
from pybroker.plane.registry import Session
from tests.support.admin import Api, add_client, config_with, open_api


async def call(api: Api, method: str, path: str, body: object = None) -> tuple[int, Any]:
    reply = await api.call(method, path, body, auth=await api.log_in())
    return reply.status_code, reply.json() if reply.content else None


async def test_kicking_all_clients_ends_their_sessions(api: Api) -> None:
    for name in ("c1", "c2"):
        add_client(api.control, name, namespace="a", is_offline=True)
    add_client(api.control, "other", namespace="b", is_offline=True)
    assert await call(api, "POST", "/mt/ns/a/kick_all_clients") == (202, None)
    await api.control.tenancy.kicker.settle()
    assert (await call(api, "GET", "/mt/ns/a/client_count"))[1] == {"count": 0}
    assert (await call(api, "GET", "/mt/ns/b/client_count"))[1] == {"count": 1}
    assert (await call(api, "POST", "/mt/ns/nope/kick_all_clients"))[0] == 404


async def test_kicking_goes_in_batches_and_one_at_a_time(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from pybroker.control.namespaces import kicker

    paused, go_on = asyncio.Event(), asyncio.Event()

    async def pause(seconds: float) -> None:
        assert seconds == 0.25
        paused.set()
        await go_on.wait()

    monkeypatch.setattr(kicker, "BATCH", 2)
    monkeypatch.setattr(api.control.tenancy.kicker, "_pause", pause)
    for number in range(3):
        add_client(api.control, f"c{number}", namespace="a", is_offline=True)
    assert (await call(api, "POST", "/mt/ns/a/kick_all_clients"))[0] == 202
    await paused.wait()
    assert (await call(api, "GET", "/mt/ns/a/client_count"))[1] == {"count": 1}
    conflict = {"code": "CONFLICT", "message": "Kick process already underway"}
    assert await call(api, "POST", "/mt/ns/a/kick_all_clients") == (409, conflict)
    assert (await call(api, "DELETE", "/mt/ns/a"))[0] == 204
    # Not while its clients are still being ended.
    status, body = await call(api, "POST", "/mt/ns/a")
    assert (status, body["code"]) == (409, "CONFLICT")
    status, body = await call(api, "POST", "/mt/bulk_import_configs", [{"ns": "a", "config": {}}])
    assert (status, body["code"]) == (409, "CONFLICT")
    go_on.set()
    await api.control.tenancy.kicker.settle()
    assert (await call(api, "GET", "/mt/ns/a/client_count"))[0] == 404
    assert (await call(api, "POST", "/mt/ns/a"))[0] == 204


async def test_deleting_an_unknown_namespace_is_no_error(api: Api) -> None:
    assert await call(api, "DELETE", "/mt/ns/nope") == (204, None)


async def test_deleting_an_implicit_namespace_ends_its_sessions(api: Api) -> None:
    add_client(api.control, "c", namespace="n1", is_offline=True)
    assert (await call(api, "DELETE", "/mt/ns/n1"))[0] == 204
    await api.control.tenancy.kicker.settle()
    assert len(api.control.plane.registry) == 0
    assert (await call(api, "GET", "/mt/ns_list"))[1] == ["a", "b"]


async def test_namespace_that_is_created_again_starts_with_nothing(api: Api) -> None:
    await call(api, "PUT", "/mt/ns/a/config", {"session": {"max_sessions": 1}})
    await api.add_user("n", "ns:a::administrator")
    add_client(api.control, "c", namespace="a", is_offline=True)
    assert (await call(api, "DELETE", "/mt/ns/a"))[0] == 204
    await api.control.tenancy.kicker.settle()
    assert (await call(api, "POST", "/mt/ns/a"))[0] == 204
    assert (await call(api, "GET", "/mt/ns/a/config"))[1] == {}
    metrics = (await call(api, "GET", "/mt/ns/a/metrics"))[1]
    assert metrics["session_count"] == metrics["builtin_authz_record_count"] == 0
    assert set(metrics["messaging_stats"].values()) == {0}
    assert "messages.received" in metrics["messaging_stats"]
    assert "n" not in [user.username for user in api.control.users.table]


async def test_removal_that_failed_keeps_the_name_and_goes_on_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_with(tmp_path)

    async def fail(name: str) -> None:
        raise StoreError("disk is full")

    async with open_api(config) as api:
        await call(api, "POST", "/mt/ns/n1")
        await api.add_user("n", "ns:n1::viewer")
        monkeypatch.setattr(api.control.tenancy, "_remove", fail)
        status, body = await call(api, "DELETE", "/mt/bulk_delete_ns", {"nss": ["n1", "nope"]})
        assert (status, body["code"]) == (500, "INTERNAL_ERROR")
        assert list(body["errors"]) == ["n1", "nope"]
        assert "hint" in body
        message = {"code": "BAD_REQUEST", "message": "namespace_being_deleted"}
        assert await call(api, "POST", "/mt/ns/n1") == (400, message)
        assert (await call(api, "GET", "/mt/managed_ns_list"))[1] == []
        assert (await call(api, "PUT", "/mt/ns/n1/config", {}))[0] == 404
    async with open_api(config) as api:
        assert [user.username for user in api.control.users.table] == ["admin"]
        assert (await call(api, "POST", "/mt/ns/n1"))[0] == 204


async def test_bulk_delete_is_idempotent(api: Api) -> None:
    for _ in range(2):
        assert await call(api, "DELETE", "/mt/bulk_delete_ns", {"nss": ["a", "b", "nope"]}) == (204, None)
    assert (await call(api, "GET", "/mt/ns_list"))[1] == []


# What a namespace leaves behind


def close(api: Api, session: Session, expiry_s: int = -1) -> None:
    """Report the end of the connection of a client that was kicked."""
    api.control.plane.sessions.on_closed(session.conn, session.slot, CLOSE_KICKED, 0x98, expiry_s, False)


async def test_name_is_free_when_the_last_connection_has_closed(api: Api) -> None:
    client = add_client(api.control, "c", namespace="a")
    assert (await call(api, "DELETE", "/mt/ns/a"))[0] == 204
    for _ in range(3):
        status, body = await call(api, "POST", "/mt/ns/a")
        assert (status, body["code"]) == (409, "CONFLICT")
    close(api, client)
    await api.control.tenancy.kicker.settle()
    assert (await call(api, "POST", "/mt/ns/a"))[0] == 204


async def test_session_that_is_kicked_is_not_prolonged_by_a_last_disconnect(api: Api) -> None:
    client = add_client(api.control, "c", namespace="a")
    assert (await call(api, "DELETE", "/mt/ns/a"))[0] == 204
    close(api, client, expiry_s=3_600)
    await api.control.tenancy.kicker.settle()
    assert len(api.control.plane.registry) == 0


async def test_name_that_could_not_be_freed_in_the_background_is_freed_by_deleting_again(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(name: str) -> None:
        raise StoreError("disk is full")

    managed = api.control.tenancy.managed
    client = add_client(api.control, "c", namespace="a")
    with monkeypatch.context() as patched, structlog.testing.capture_logs() as lines:
        patched.setattr(managed, "lift", fail)
        assert (await call(api, "DELETE", "/mt/ns/a"))[0] == 204
        close(api, client)
        await api.control.tenancy.kicker.settle()
    assert "namespace_removal_failed" in [line["event"] for line in lines]
    message = {"code": "BAD_REQUEST", "message": "namespace_being_deleted"}
    assert await call(api, "POST", "/mt/ns/a") == (400, message)
    assert (await call(api, "DELETE", "/mt/ns/a"))[0] == 204
    assert (await call(api, "POST", "/mt/ns/a"))[0] == 204
