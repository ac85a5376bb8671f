"""The administration after `kill -9` at any moment: what was answered is there, and nothing is there by half."""

import base64
import contextlib
import http.client
import json
import random
import subprocess
import sys
import threading
import urllib.error
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.test_admin_identity import BrokerFactory, call, free_port, log_in, settings
from tests.support.broker import Broker, Setting
from tests.support.ledger import Changes, Ledger, Thing

_PASSWORD = "Secret-123"
_RULES = "/authorization/sources/built_in_database/rules/clients"
_LOST = (urllib.error.URLError, ConnectionError, http.client.HTTPException, TimeoutError)


class Operator:
    """Changes things at random and remembers what was answered.

    Args:
        port: of the API.
        token: of the default administrator; it must outlive every crash.
        seed: makes the same choices again, though not the same moments.
    """

    def __init__(self, port: int, token: str, seed: int) -> None:
        self.ledger = Ledger()
        self._port = port
        self._token = token
        self._random = random.Random(seed)
        self._next = 0
        self._tokens: dict[str, str] = {}
        self._secrets: dict[str, str] = {}

    def work_until_it_dies(self) -> None:
        """Change things until the broker is gone."""
        with contextlib.suppress(*_LOST):
            while True:
                self._random.choice(
                    [
                        self._add_user,
                        self._describe_user,
                        self._remove_user,
                        self._log_in,
                        self._log_out,
                        self._change_password,
                        self._add_key,
                        self._switch_key,
                        self._remove_key,
                        self._ban,
                        self._lift,
                        self._configure,
                        self._write_rules,
                        self._remove_rules,
                        self._add_namespace,
                        self._remove_namespace,
                    ]
                )()

    def look(self) -> dict[Thing, object]:
        """Return the value of everything in the ledger as the broker has it now."""
        users = {user["username"]: user["description"] for user in self._read("/users")}
        keys = {key["name"]: key["enable"] for key in self._read("/api_key")}
        bans = {ban["who"]: ban["reason"] for ban in self._read("/banned?limit=10000")["data"]}
        rules = {row["clientid"]: row["rules"][0]["topic"] for row in self._read(f"{_RULES}?limit=1000")["data"]}
        namespaces = dict.fromkeys(self._read("/mt/managed_ns_list?limit=1000"), True)
        values: dict[str, dict[str, Any]] = {"user": users, "member": users, "key": keys, "ban": bans}
        values |= {"rules": rules, "namespace": namespaces}
        found: dict[Thing, object] = {}
        for kind, name in self.ledger.things:
            if kind == "password":
                found[kind, name] = self._password_of(name) if name in users else None
            elif kind == "token":
                status, _ = call(self._port, "GET", "/user_scopes", auth=self._tokens[name])
                found[kind, name] = True if status == 200 else None
            elif kind == "configuration":
                found[kind, name] = self._read("/configs/mqtt")[name]
            else:
                found[kind, name] = values[kind].get(name)
        return found

    def check_secrets(self) -> None:
        """Check that every key opens with the secret that was shown once."""
        for name in self.ledger.names("key"):
            status, body = call(self._port, "GET", "/user_scopes", auth=self._secrets[name])
            is_enabled = self.ledger.promised["key", name]
            assert status == (200 if is_enabled else 401), (name, body)

    def _read(self, path: str) -> Any:
        status, body = call(self._port, "GET", path, auth=self._token)
        assert status == 200, body
        return body

    def _password_of(self, username: str) -> object:
        """Return which of the two passwords that a user may have lets him in."""
        for password in (_PASSWORD, "Another-456"):
            status, _ = call(self._port, "POST", "/login", {"username": username, "password": password})
            if status == 200:
                return password
        return "neither"

    def _ask(self, method: str, path: str, body: object, changes: Changes, auth: str = "") -> Any:
        self.ledger.begin(changes)
        status, answer = call(self._port, method, path, body, auth or self._token)
        assert status in (200, 204), (method, path, status, answer)
        self.ledger.confirm()
        return answer

    def _name(self) -> str:
        self._next += 1
        return f"n{self._next}"

    def _some(self, kind: str) -> str | None:
        names = self.ledger.names(kind)
        return self._random.choice(names) if names else None

    def _tokens_of(self, username: str) -> dict[Thing, object]:
        return {("token", name): None for name in self.ledger.names("token") if name.partition(" ")[0] == username}

    def _add_user(self) -> None:
        if len(self.ledger.names("user")) < 6:
            name = self._name()
            body = {"username": name, "password": _PASSWORD, "description": "new", "role": "viewer"}
            self._ask("POST", "/users", body, {("user", name): "new", ("password", name): _PASSWORD})

    def _describe_user(self) -> None:
        if name := self._some("user"):
            text = self._name()
            body = {"description": text, "role": "viewer"}
            self._ask("PUT", f"/users/{name}", body, {("user", name): text})

    def _remove_user(self) -> None:
        if (name := self._some("user")) and len(self.ledger.names("user")) > 2:
            gone = {("user", name): None, ("password", name): None, **self._tokens_of(name)}
            self._ask("DELETE", f"/users/{name}", None, gone)

    def _log_in(self) -> None:
        if name := self._some("user"):
            token = f"{name} {self._name()}"
            self.ledger.begin({})
            body = {"username": name, "password": self.ledger.promised["password", name]}
            status, answer = call(self._port, "POST", "/login", body)
            assert status == 200, answer
            self._tokens[token] = f"Bearer {answer['token']}"
            self.ledger.confirm({("token", token): True})

    def _log_out(self) -> None:
        if token := self._some("token"):
            body = {"username": token.partition(" ")[0]}
            self._ask("POST", "/logout", body, {("token", token): None}, self._tokens[token])

    def _change_password(self) -> None:
        if name := self._some("user"):
            old = self.ledger.promised["password", name]
            new = "Another-456" if old == _PASSWORD else _PASSWORD
            changes = {("password", name): new, **self._tokens_of(name)}
            self._ask("POST", f"/users/{name}/change_pwd", {"old_pwd": old, "new_pwd": new}, changes)

    def _add_key(self) -> None:
        if len(self.ledger.names("key")) < 20:
            name = self._name()
            # Its secret is lost with the reply, hence a key that nobody was told of is nobody's loss.
            self.ledger.begin({})
            status, made = call(self._port, "POST", "/api_key", {"name": name}, self._token)
            assert status == 200, made
            pair = base64.b64encode(f"{made['api_key']}:{made['api_secret']}".encode()).decode()
            self._secrets[name] = f"Basic {pair}"
            self.ledger.confirm({("key", name): True})

    def _switch_key(self) -> None:
        if name := self._some("key"):
            is_enabled = self._random.random() < 0.5
            self._ask("PUT", f"/api_key/{name}", {"enable": is_enabled}, {("key", name): is_enabled})

    def _remove_key(self) -> None:
        if name := self._some("key"):
            self._ask("DELETE", f"/api_key/{name}", None, {("key", name): None})

    def _ban(self) -> None:
        name, reason = self._name(), self._name()
        self._ask("POST", "/banned", {"as": "clientid", "who": name, "reason": reason}, {("ban", name): reason})

    def _lift(self) -> None:
        if name := self._some("ban"):
            self._ask("DELETE", f"/banned/clientid/{name}", None, {("ban", name): None})

    def _write_rules(self) -> None:
        name, topic = self._some("rules") or self._name(), self._name()
        rules = [{"topic": topic, "permission": "allow", "action": "all"}]
        self._ask("PUT", f"{_RULES}/{name}", {"clientid": name, "rules": rules}, {("rules", name): topic})

    def _remove_rules(self) -> None:
        if name := self._some("rules"):
            self._ask("DELETE", f"{_RULES}/{name}", None, {("rules", name): None})

    def _add_namespace(self) -> None:
        """Make a namespace, then a user in it."""
        name, user = self._name(), self._name()
        self._ask("POST", f"/mt/ns/{name}", None, {("namespace", name): True})
        body = {"username": user, "password": _PASSWORD, "description": name, "role": f"ns:{name}::viewer"}
        self._ask("POST", "/users", body, {("member", user): name})

    def _remove_namespace(self) -> None:
        if name := self._some("namespace"):
            members: dict[Thing, object] = {
                thing: None for thing, value in self.ledger.promised.items() if thing[0] == "member" and value == name
            }
            self._ask("DELETE", f"/mt/ns/{name}", None, {("namespace", name): None, **members})

    def _configure(self) -> None:
        number = self._random.randint(1, 1_000)
        self._ask("PUT", "/configs/mqtt", {"max_mqueue_len": number}, {("configuration", "max_mqueue_len"): number})


def _verified_records(broker: Broker) -> int:
    """Return how many audit records a dead broker has left; its chain must be whole."""
    words = [
        sys.executable,
        "-m",
        "pybroker",
        "ctl",
        "--data",
        str(broker.directory / "data"),
        "audit",
        "verify",
        "--json",
    ]
    found = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    return int(json.loads(found.stdout)["records"])


def _check_alarm(broker: Broker, port: int, token: str) -> None:
    """Check that the alarm of the first start is there: the bootstrap file that the configuration names is not."""
    names = [alarm["name"] for alarm in call(port, "GET", "/alarms", auth=token)[1]["data"]]
    assert names == ["api_key_bootstrap"], broker.log


def _crash_and_check(start: Callable[..., Broker], rounds: int, seed: int) -> None:
    port = free_port()
    keys: dict[str, Setting] = {
        "dashboard.default_password": _PASSWORD,
        "log.audit.enable": True,
        "log.audit.cache_size": 30_000,
        "api_key.bootstrap_file": "/nonexistent/keys",
    }
    broker = start(settings(port, **keys))
    token = log_in(port, _PASSWORD)
    _check_alarm(broker, port, token)
    operator, moments = Operator(port, token, seed), random.Random(seed)
    for number in range(rounds):
        killer = threading.Timer(moments.uniform(0.2, 1.5), broker.process.kill)
        killer.start()
        operator.work_until_it_dies()
        killer.join()
        broker.kill()
        # Each answered change was recorded before its answer; logins of the checks and starts are more.
        assert _verified_records(broker) >= operator.ledger.count
        broker = start(settings(port, **keys), directory=broker.directory)
        assert operator.ledger.check(operator.look()) == [], f"seed {seed}, round {number}"
        operator.check_secrets()
        _check_alarm(broker, port, token)
    assert operator.ledger.count > rounds


@pytest.mark.timeout(180)
def test_what_was_answered_survives_a_kill_at_any_moment(broker_factory: BrokerFactory) -> None:
    _crash_and_check(broker_factory, rounds=3, seed=random.randrange(1 << 30))


@pytest.mark.soak
def test_what_was_answered_survives_hundreds_of_kills(broker_factory: BrokerFactory) -> None:
    _crash_and_check(broker_factory, rounds=300, seed=random.randrange(1 << 30))
