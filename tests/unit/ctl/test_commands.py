"""Each command as an operator types it: what it does, what it prints, and the exit code."""

import json
import sqlite3
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from pybroker.cli import ExitCode, run
from pybroker.control.publish import Outgoing
from pybroker.ctl.display import print_result
from tests.support.admin import add_client
from tests.support.commands import Console

Capture = pytest.CaptureFixture[str]


async def shown(console: Console, capsys: Capture, *words: str) -> Any:
    """Run a command for programs and return what it prints; the broker of the test tells of listeners on the way."""
    assert await console.type(*words, "--json") == ExitCode.OK, capsys.readouterr().err
    lines = capsys.readouterr().out.splitlines()
    return json.loads("\n".join(line for line in lines if not line.startswith("listener ")))


async def test_status_tells_that_the_broker_runs(console: Console, capsys: Capture) -> None:
    found = await shown(console, capsys, "status")
    assert (found["status"], found["version"], found["sessions"]) == ("running", "9.9.9", 0)


@pytest.mark.parametrize(
    ("words", "key"),
    [(["broker"], "node_status"), (["broker", "stats"], "sessions.count"), (["broker", "metrics"], "bytes.sent")],
)
async def test_broker_tells_what_it_is(console: Console, capsys: Capture, words: list[str], key: str) -> None:
    assert key in await shown(console, capsys, *words)


async def test_clients_are_listed_by_page_and_filter(console: Console, capsys: Capture) -> None:
    for name in ("a1", "a2", "b1"):
        add_client(console.api.control, name)
    add_client(console.api.control, "gone", is_offline=True)
    page = await shown(console, capsys, "clients", "list", "--limit", "1", "--page", "2")
    assert (page["data"][0]["clientid"], page["meta"]["count"]) == ("a2", 4)
    like = await shown(console, capsys, "clients", "--like-clientid", "a")
    assert [row["clientid"] for row in like["data"]] == ["a1", "a2"]
    offline = await shown(console, capsys, "clients", "list", "--state", "disconnected")
    assert [row["clientid"] for row in offline["data"]] == ["gone"]


async def test_table_of_clients_tells_where_the_next_page_is(console: Console, capsys: Capture) -> None:
    for name in ("one", "two"):
        add_client(console.api.control, name, username="u")
    assert await console.type("clients", "list", "--limit", "1") == ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["clientid", "username", "connected"]
    assert lines[1].split()[:3] == ["one", "u", "yes"]
    assert lines[2] == "page 1, 1 rows of 2; next: --page 2"


async def test_client_is_shown_and_kicked(console: Console, capsys: Capture) -> None:
    add_client(console.api.control, "c", is_offline=True)
    assert (await shown(console, capsys, "clients", "show", "c"))["clientid"] == "c"
    assert await shown(console, capsys, "clients", "kick", "c") == "ok"
    assert await console.type("clients", "show", "c") == ExitCode.REFUSED
    assert "CLIENTID_NOT_FOUND: no such client: 'c'" in capsys.readouterr().err


async def test_subscriptions_are_made_listed_and_given_up(console: Console, capsys: Capture) -> None:
    add_client(console.api.control, "c")
    made = await shown(console, capsys, "subscriptions", "add", "c", "t/#", "1")
    assert (made["topic"], made["qos"]) == ("t/#", 1)
    listed = await shown(console, capsys, "subscriptions")
    assert [row["topic"] for row in listed["data"]] == ["t/#"]
    exact = await shown(console, capsys, "subscriptions", "list", "--topic", "t/#")
    assert len(exact["data"]) == 1
    assert [row["clientid"] for row in await shown(console, capsys, "subscriptions", "show", "c")] == ["c"]
    assert [row["topic"] for row in (await shown(console, capsys, "topics"))["data"]] == ["t/#"]
    assert await shown(console, capsys, "topics", "show", "t/#") != []
    await shown(console, capsys, "subscriptions", "del", "c", "t/#")
    assert await shown(console, capsys, "subscriptions", "show", "c") == []
    assert await console.type("topics", "show", "t/#") == ExitCode.REFUSED
    assert await console.type("subscriptions", "add", "c", "t", "3") == ExitCode.REFUSED


async def test_listeners_start_and_stop(console: Console, capsys: Capture) -> None:
    await console.api.control.listeners.create({"type": "tcp", "name": "x", "bind": "127.0.0.1:0"})

    async def is_running() -> bool:
        (row,) = await shown(console, capsys, "listeners")
        assert row["id"] == "tcp:x"
        return bool(row["running"])

    steps = (("stop",), False), (("start",), True), (("restart",), True)
    for words, expected in steps:
        await shown(console, capsys, "listeners", *words, "tcp:x")
        assert await is_running() is expected
    for word, expected in (("false", False), ("true", True)):
        await shown(console, capsys, "listeners", "enable", "tcp:x", word)
        assert await is_running() is expected
    assert await console.type("listeners", "stop", "tcp:none") == ExitCode.REFUSED


async def test_users_are_made_changed_and_deleted(console: Console, capsys: Capture) -> None:
    assert await console.type("admins", "add", "eve", "Secret-123", "for tests", "viewer") == ExitCode.OK
    assert capsys.readouterr().out == "ok\n"
    users = {row["username"]: row for row in await shown(console, capsys, "admins")}
    assert (users["eve"]["role"], users["eve"]["description"]) == ("viewer", "for tests")
    token = await console.api.log_in("eve")
    await shown(console, capsys, "admins", "passwd", "eve", "Another-456")
    assert (await console.api.call("GET", "/clients", auth=token)).json()["code"] == "BAD_TOKEN"
    await console.api.log_in("eve", "Another-456")
    await shown(console, capsys, "admins", "mfa", "eve", "enable", "totp")
    assert console.api.control.users.find("eve").mfa_decision == "required"
    await shown(console, capsys, "admins", "mfa", "eve", "disable")
    assert console.api.control.users.find("eve").mfa_decision == "exempted"
    await shown(console, capsys, "admins", "del", "eve")
    await shown(console, capsys, "admins", "del", "admin")
    assert await shown(console, capsys, "admins", "list") == []


async def test_password_that_is_left_out_is_read(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO("Secret-123\n"))
    assert await console.type("admins", "add", "eve") == ExitCode.OK
    await console.api.log_in("eve")


async def test_password_that_is_missing_in_a_request_is_refused(console: Console) -> None:
    assert (await console.ask("admins passwd", username="admin"))["error"]["message"] == "password must be given"


async def test_password_lifts_a_lock(console: Console, capsys: Capture) -> None:
    for _ in range(5):
        await console.api.call("POST", "/login", {"username": "admin", "password": "wrong-123"})
    reply = await console.api.call("POST", "/login", {"username": "admin", "password": "Secret-123"})
    assert reply.json()["code"] == "LOGIN_LOCKED"
    await shown(console, capsys, "admins", "passwd", "admin", "Another-456")
    await console.api.log_in("admin", "Another-456")


async def test_key_is_printed_with_its_generated_secret_once(console: Console, capsys: Capture) -> None:
    assert await console.type("api_keys", "add", "--name", "k", "--role", "viewer", "--valid-days", "1") == ExitCode.OK
    made = json.loads(capsys.readouterr().out)
    assert len(made["api_secret"]) == 43
    assert made["expired_at"] != "infinity"
    assert "api_secret" not in await shown(console, capsys, "api_keys", "show", "--name", "k")
    (listed,) = await shown(console, capsys, "api_keys")
    assert (listed["name"], listed["role"]) == ("k", "viewer")


async def test_own_secret_of_a_key_is_not_printed(console: Console, capsys: Capture) -> None:
    secret = "s" * 32
    made = await shown(console, capsys, "api_keys", "add", "--name", "k", "--api-secret", secret, "--scopes", "audit,")
    assert "api_secret" not in made
    assert made["scopes"] == ["audit"]
    caller = console.api.control.api_keys.authenticate(made["api_key"], secret, "x")
    assert caller.role == "administrator"


async def test_switching_a_key_changes_nothing_else_of_it(console: Console, capsys: Capture) -> None:
    await console.api.control.namespaces.add("a")
    words = ("--role", "ns:a::viewer", "--valid-days", "2", "--desc", "d")
    made = await shown(console, capsys, "api_keys", "add", "--name", "k", *words)
    off = await shown(console, capsys, "api_keys", "disable", "--name", "k")
    assert off["enable"] is False
    on = await shown(console, capsys, "api_keys", "enable", "--name", "k")
    assert on == {name: value for name, value in made.items() if name != "api_secret"}


@pytest.mark.parametrize(
    "words",
    [
        ("add", "--name", "k", "--api-secret", "short"),
        ("add", "--name", "k", "--valid-days", "0"),
        ("add", "--name", "k", "--valid-days", "soon"),
        ("add", "--name", "k", "--scopes", "nope"),
        ("del", "--name", "nobody"),
    ],
)
async def test_refused_keys_print_the_error_as_json(console: Console, capsys: Capture, words: tuple[str, ...]) -> None:
    assert await console.type("api_keys", *words) == ExitCode.REFUSED
    captured = capsys.readouterr()
    assert set(json.loads(captured.out)) == {"error", "code"}
    assert captured.err.startswith("error: the command was refused\n")


async def test_keys_are_deleted(console: Console, capsys: Capture) -> None:
    await shown(console, capsys, "api_keys", "add", "--name", "k")
    await shown(console, capsys, "api_keys", "del", "--name", "k")
    assert await shown(console, capsys, "api_keys") == []


async def test_kept_decisions_are_forgotten(console: Console, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten: list[str] = []
    authorization = console.api.control.authorization
    monkeypatch.setattr(authorization.kept, "forget", forgotten.append)
    monkeypatch.setattr(authorization.sources, "refresh", lambda: forgotten.append("all of them"))
    await shown(console, capsys, "authz", "cache-clean", "c")
    await shown(console, capsys, "authz", "cache-clean")
    assert forgotten == ["c", "all of them"]


async def test_rules_of_a_file_are_read_again(console: Console, capsys: Capture) -> None:
    assert await shown(console, capsys, "authz", "reload") == {"files": 0}


async def test_bans_are_made_and_lifted(console: Console, capsys: Capture) -> None:
    made = await shown(console, capsys, "banned", "add", "peerhost_net", "10.0.0.0/8", "--reason", "why")
    assert (made["as"], made["by"], made["until"]) == ("peerhost_net", "cli", "infinity")
    assert console.api.control.plane.bans.covers("c", None, "10.1.2.3")
    assert await shown(console, capsys, "banned") == [made]
    await shown(console, capsys, "banned", "del", "peerhost_net", "10.0.0.0/8")
    assert not console.api.control.plane.bans.covers("c", None, "10.1.2.3")
    await shown(console, capsys, "banned", "add", "clientid", "x")
    await shown(console, capsys, "banned", "clear")
    assert await shown(console, capsys, "banned", "list") == []
    assert await console.type("banned", "add", "clientid", "x", "--until", "2001-01-01T00:00:00Z") == ExitCode.REFUSED


async def test_retained_messages_are_listed_and_cleaned(console: Console, capsys: Capture) -> None:
    messages = [Outgoing(topic=topic, payload=b"x", is_retain=True) for topic in ("a/1", "a/2", "b")]
    await console.api.control.publisher.publish(messages)
    assert await shown(console, capsys, "retained", "info") == {"retained": 3}
    listed = await shown(console, capsys, "retainer", "topics", "--topic", "a/#")
    assert sorted(row["topic"] for row in listed["data"]) == ["a/1", "a/2"]
    assert (await shown(console, capsys, "retained", "topics", "--limit", "2"))["meta"]["count"] == 3
    assert (await shown(console, capsys, "retained", "show", "b"))["payload"] == "eA=="
    await shown(console, capsys, "retained", "clean", "a/#")
    assert await shown(console, capsys, "retained", "info") == {"retained": 1}
    await shown(console, capsys, "retained", "clean")
    assert await shown(console, capsys, "retained", "info") == {"retained": 0}


async def test_client_is_traced(console: Console, capsys: Capture) -> None:
    made = await shown(console, capsys, "traces", "start", "t1", "clientid", "c\x1b", "60", "--payload", "hidden")
    assert (made["clientid"], made["status"], made["payload_encode"]) == ("c\x1b", "running", "hidden")
    assert [row["name"] for row in await shown(console, capsys, "trace")] == ["t1"]
    assert await console.type("traces", "log", "t1") == ExitCode.OK
    await shown(console, capsys, "traces", "stop", "t1")
    assert [row["status"] for row in await shown(console, capsys, "traces", "list")] == ["stopped"]
    await shown(console, capsys, "traces", "delete", "t1")
    assert await shown(console, capsys, "traces") == []
    assert await console.type("traces", "start", "t1", "topic", "a/#/b") == ExitCode.REFUSED
    assert await console.type("traces", "start", "t1", "topic", "a", "0") == ExitCode.REFUSED


async def test_lines_of_a_trace_are_printed_as_lines(console: Console, capsys: Capture) -> None:
    print_result("one\ntwo\x1b", ())
    assert capsys.readouterr().out == "one\ntwo\\x1b\n"


async def test_log_level_takes_effect(console: Console, capsys: Capture) -> None:
    await shown(console, capsys, "log", "level", "warning", "--target", "console")
    assert console.api.levels == [("console", "warning")]
    levels = {row["id"]: row["level"] for row in await shown(console, capsys, "log")}
    assert levels == {"console": "warning", "file": "info"}


async def test_licence_is_none(console: Console, capsys: Capture) -> None:
    assert (await shown(console, capsys, "license", "info"))["type"] == "community"
    assert (await shown(console, capsys, "license", "update", "default"))["max_sessions"] == 0
    assert await console.type("license", "update", "other") == ExitCode.REFUSED
    await console.api.control.licence.check()
    (peak,) = await shown(console, capsys, "license", "history", "--period", "daily")
    assert peak["high_watermark"] == 0


async def test_configuration_is_shown_and_loaded(console: Console, capsys: Capture, tmp_path: Path) -> None:
    assert "mqtt" in await shown(console, capsys, "conf", "show_keys")
    file = tmp_path / "more.hocon"
    file.write_text("mqtt { max_inflight = 7 }")
    assert (await shown(console, capsys, "conf", "load", str(file)))["changed"] == ["mqtt.max_inflight"]
    assert await shown(console, capsys, "conf", "show", "mqtt.max_inflight") == 7
    file.write_text("mqtt { max_mqueue_len = 8 }")
    await shown(console, capsys, "conf", "load", "--replace", str(file))
    assert await shown(console, capsys, "conf", "show", "mqtt.max_inflight") == 32
    assert (await shown(console, capsys, "conf", "show"))["mqtt"]["max_mqueue_len"] == 8
    assert await console.type("conf", "show", "mqtt.nope") == ExitCode.REFUSED
    assert await console.type("conf", "load", "--replace", "--merge", str(file)) == ExitCode.REFUSED
    file.write_text("mqtt { max_inflight = 0 }")
    assert await console.type("conf", "load", str(file)) == ExitCode.REFUSED
    assert "max_inflight" in capsys.readouterr().err


async def test_reload_says_what_has_changed(console: Console, capsys: Capture) -> None:
    assert await shown(console, capsys, "conf", "reload") == {"changed": [], "needs_restart": []}


async def test_file_that_cannot_be_read_is_named(console: Console, capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff")
    assert await console.type("conf", "load", str(tmp_path / "binary")) == ExitCode.USAGE
    assert "binary" in capsys.readouterr().err


async def test_secrets_of_the_configuration_are_masked(console: Console, capsys: Capture) -> None:
    assert (await shown(console, capsys, "conf", "show", "dashboard"))["default_password"] == "******"


async def test_altered_audit_log_is_found(console: Console, capsys: Capture) -> None:
    await console.type("status")
    await console.type("status")
    capsys.readouterr()
    assert (await shown(console, capsys, "audit", "verify"))["is_intact"] is True
    _alter(console.folder)
    assert await console.type("audit", "verify") == ExitCode.REFUSED
    assert "record 1 was altered" in capsys.readouterr().err


def _alter(folder: Path) -> None:
    connection = sqlite3.connect(folder / "pybroker.db")
    with connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("UPDATE audit SET source = 'somebody else' WHERE seq = 1")
    connection.close()


async def test_audit_log_of_a_stopped_broker_is_verified(console: Console, capsys: Capture) -> None:
    await console.type("status")
    await console.server.stop()
    console.api.control.database.close()
    capsys.readouterr()
    assert (await shown(console, capsys, "audit", "verify"))["records"] == 1
    _alter(console.folder)
    assert await console.type("audit", "verify", "--json") == ExitCode.REFUSED
    assert json.loads(capsys.readouterr().out)["bad_seq"] == 1


@pytest.mark.parametrize("content", [None, b"no database"])
def test_audit_log_that_is_not_there_is_explained(tmp_path: Path, capsys: Capture, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "pybroker.db").write_bytes(content * 200)
    assert run(["ctl", "--data", str(tmp_path), "audit", "verify"]) == ExitCode.BROKER
    assert "pybroker.db" in capsys.readouterr().err


def test_without_a_broker_the_next_step_is_told(tmp_path: Path, capsys: Capture) -> None:
    assert run(["ctl", "--data", str(tmp_path), "status"]) == ExitCode.BROKER
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error: the command was not carried out"
    assert lines[1].startswith("  no broker runs in the data folder: '/")
    assert lines[2].startswith("next: start the broker with: pybroker serve")


@pytest.mark.parametrize("words", [("status", "--json"), ("api_keys", "list")])
def test_without_a_broker_scripts_get_an_error_as_json(tmp_path: Path, capsys: Capture, words: tuple[str, ...]) -> None:
    assert run(["ctl", "--data", str(tmp_path), *words]) == ExitCode.BROKER
    error = json.loads(capsys.readouterr().out)
    assert (error["code"], error["error"][:14]) == ("SERVICE_UNAVAILABLE", "no broker runs")


@pytest.mark.parametrize(
    "words", [["nope"], ["clients", "show"], ["clients", "list", "--limit", "x"], ["log", "level", "loud"]]
)
def test_wrong_words_are_explained(tmp_path: Path, capsys: Capture, words: list[str]) -> None:
    assert run(["ctl", "--data", str(tmp_path), *words]) == ExitCode.USAGE
    assert "Error: " in capsys.readouterr().err


async def test_page_out_of_range_is_refused(console: Console, capsys: Capture) -> None:
    for words in (("--limit", "0"), ("--limit", "1001"), ("--page", "0")):
        assert await console.type("clients", "list", *words) == ExitCode.REFUSED


async def test_names_cannot_move_the_cursor_of_a_terminal(console: Console, capsys: Capture) -> None:
    add_client(console.api.control, "a\x1b[2Jb\u202e[bold]c")
    assert await console.type("clients", "list") == ExitCode.OK
    out = capsys.readouterr().out
    assert "a\\x1b[2Jb\\u202e[bold]c" in out
    assert await console.type("clients", "list", "--json") == ExitCode.OK
    assert capsys.readouterr().out.isascii()


def test_help_of_every_group_names_its_commands(capsys: Capture) -> None:
    assert run(["ctl", "clients", "--help"]) == ExitCode.OK
    assert {"list", "show", "kick"} <= set(capsys.readouterr().out.split())
