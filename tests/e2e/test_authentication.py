"""Logins with real clients against a real broker: every authenticator, its codes by version, and changes by REST."""

import asyncio
import hashlib
import json
import threading
import time
import warnings
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from joserfc import jws
from joserfc.errors import SecurityWarning
from joserfc.jwk import OctKey, RSAKey
from paho.mqtt.client import Client as Paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from scramp import ScramClient

from tests.e2e.test_admin_identity import call, free_port, log_in, settings
from tests.support import packets
from tests.support.broker import Broker, Setting
from tests.support.dialer import Dialer
from tests.support.packets import Property, Type, Version, Will
from tests.support.wire import WireClient, eventually

SECRET = "0123456789abcdef0123456789abcdef"
BUILT_IN = "password_based:built_in_database"
PASSWORDS = {"mechanism": "password_based", "backend": "built_in_database"}
JWT = {"mechanism": "jwt", "secret": SECRET}
SCRAM = {"mechanism": "scram", "backend": "built_in_database"}
BAD_CREDENTIALS = 0x86
NOT_AUTHORIZED = 0x87
BANNED = 0x8A
_KEYS: dict[str, Setting] = {"dashboard.default_password": "Secret-123"}


class Guarded:
    """A broker, and an operator who changes its authenticators."""

    def __init__(self, broker: Broker, port: int) -> None:
        self.broker = broker
        self._port = port
        self._token = log_in(port, "Secret-123")

    def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Call the API."""
        return call(self._port, method, path, body, self._token)

    def use(self, *authenticators: dict[str, Any]) -> None:
        """Let these be the authenticators, without users."""
        for one in self.call("GET", "/authentication")[1]:
            assert self.call("DELETE", f"/authentication/{one['id']}")[0] == 204
        for one in authenticators:
            status, body = self.call("POST", "/authentication", one)
            assert status == 200, body

    def add_user(self, user_id: str, password: str = "pw", authenticator: str = BUILT_IN, **fields: object) -> None:
        body = {"user_id": user_id, "password": password, **fields}
        status, answer = self.call("POST", f"/authentication/{authenticator}/users", body)
        assert status == 201, answer

    def has_no_subscription(self, client_id: str) -> bool:
        return self.call("GET", f"/clients/{client_id}/subscriptions") == (200, [])

    def metrics(self, authenticator: str) -> dict[str, float]:
        found: dict[str, float] = self.call("GET", f"/authentication/{authenticator}/status")[1]["metrics"]
        return found


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    port = free_port()
    broker = Broker.start(tmp_path_factory.mktemp("guarded"), settings(port, **_KEYS))
    yield Guarded(broker, port)
    broker.stop()


class Service:
    """A login service and key server on loopback; answers what a test wants."""

    def __init__(self) -> None:
        self.answer: tuple[int, object] = (204, None)
        self.asked: list[dict[str, Any]] = []
        self.pause = threading.Event()
        self.pause.set()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._reply()

            def do_POST(self) -> None:
                size = int(self.headers.get("content-length", "0"))
                service.asked.append(json.loads(self.rfile.read(size) or b"{}"))
                service.pause.wait(10)
                self._reply()

            def _reply(self) -> None:
                status, body = service.answer
                data = b"" if body is None else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments: object) -> None:
                """Stay silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"

    def close(self) -> None:
        self.pause.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def service() -> Iterator[Service]:
    opened = Service()
    yield opened
    opened.close()


def token(claims: object, key: Any = None, algorithm: str = "HS256") -> bytes:
    key = OctKey.import_key(SECRET) if key is None else key
    return jws.serialize_compact({"alg": algorithm}, json.dumps(claims), key, [algorithm]).encode()


async def knock(guarded: Guarded, dial: Dialer, version: Version = Version.V5, **options: Any) -> int:
    """Send CONNECT and return the code of the answer."""
    client = await dial(guarded.broker.address(), version=version)
    await client.send(packets.connect(version, options.pop("client_id", client.client_id), **options))
    connack = await client.expect(Type.CONNACK)
    assert connack.reason is not None
    return connack.reason


@pytest.mark.parametrize(
    ("version", "wrong", "unknown"), [(Version.V5, 0x86, 0x87), (Version.V311, 4, 5), (Version.V31, 4, 5)]
)
async def test_codes_of_passwords_by_version(
    guarded: Guarded, dial: Dialer, version: Version, wrong: int, unknown: int
) -> None:
    guarded.use(PASSWORDS)
    guarded.add_user("ann")
    assert await knock(guarded, dial, version, username="ann", password=b"pw") == 0
    assert await knock(guarded, dial, version, username="ann", password=b"no") == wrong
    assert await knock(guarded, dial, version, username="bob", password=b"pw") == unknown
    assert await knock(guarded, dial, version) == unknown
    counted = guarded.metrics(BUILT_IN)
    assert (counted["total"], counted["success"], counted["failed"], counted["nomatch"]) == (4, 1, 1, 2)


async def test_wrong_password_stops_the_chain_and_unknown_user_does_not(guarded: Guarded, dial: Dialer) -> None:
    guarded.use(PASSWORDS, {"mechanism": "cinfo", "checks": [{"is_match": ["'true'"], "result": "allow"}]})
    guarded.add_user("ann")
    assert await knock(guarded, dial, username="ann", password=b"no") == BAD_CREDENTIALS
    assert await knock(guarded, dial, username="bob", password=b"no") == 0


async def test_changed_user_is_known_at_the_next_connect(guarded: Guarded, dial: Dialer) -> None:
    guarded.use(PASSWORDS)
    guarded.add_user("ann")
    users = f"/authentication/{BUILT_IN}/users"
    assert await knock(guarded, dial, username="ann", password=b"pw") == 0
    assert guarded.call("PUT", f"{users}/ann", {"password": "new"})[0] == 200
    assert await knock(guarded, dial, username="ann", password=b"pw") == BAD_CREDENTIALS
    assert await knock(guarded, dial, username="ann", password=b"new") == 0
    assert guarded.call("DELETE", f"{users}/ann")[0] == 204
    assert await knock(guarded, dial, username="ann", password=b"new") == NOT_AUTHORIZED


async def test_demoted_superuser_loses_his_rights_at_once(guarded: Guarded, dial: Dialer) -> None:
    guarded.use(PASSWORDS)
    users = f"/authentication/{BUILT_IN}/users"
    for change in ("PUT", "DELETE"):
        guarded.call("DELETE", f"{users}/ann")
        guarded.add_user("ann", is_superuser=True)
        assert guarded.call("PUT", "/authorization/mode", {"mode": "whitelist"})[0] == 200
        try:
            client = await dial(guarded.broker.address())
            await client.connect(username="ann", password=b"pw")
            assert await client.subscribe(("own", 0)) == (0,)
            body = {"is_superuser": False} if change == "PUT" else None
            assert guarded.call(change, f"{users}/ann", body)[0] in (200, 204)
            await eventually(partial(guarded.has_no_subscription, client.client_id))
            await client.publish("own", qos=1, packet_id=1)
            assert (await client.expect(Type.PUBACK)).reason == NOT_AUTHORIZED
        finally:
            guarded.call("PUT", "/authorization/mode", {"mode": "blacklist"})


async def test_imported_hashes_log_in(guarded: Guarded, dial: Dialer) -> None:
    guarded.use(PASSWORDS)
    # sha256 of "saltpw", as EMQX exports it.
    rows = [{"user_id": "ann", "password_hash": "e1f4b7f0f2f1", "salt": "salt"}]
    assert guarded.call("POST", f"/authentication/{BUILT_IN}/import_users", rows)[0] == 400
    rows[0]["password_hash"] = hashlib.sha256(b"saltpw").hexdigest().upper()
    assert guarded.call("POST", f"/authentication/{BUILT_IN}/import_users", rows)[1]["success"] == 1
    assert await knock(guarded, dial, username="ann", password=b"pw") == 0


@pytest.mark.parametrize("version", [MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5])
def test_paho_logs_in_and_is_refused(guarded: Guarded, version: MQTTProtocolVersion) -> None:
    guarded.use(PASSWORDS)
    guarded.add_user("ann")
    for password, is_wanted in (("pw", True), ("no", False)):
        codes: list[bool] = []
        client = Paho(CallbackAPIVersion.VERSION2, protocol=version, reconnect_on_failure=False)
        client.username_pw_set("ann", password)
        client.on_connect = lambda _c, _u, _f, code, _p, codes=codes: codes.append(not code.is_failure)
        client.connect("127.0.0.1", guarded.broker.port())
        deadline = time.monotonic() + 10
        while not codes and time.monotonic() < deadline:
            client.loop(0.1)
        client.disconnect()
        client.loop(0.1)
        assert codes == [is_wanted]


async def test_token_logs_in_and_its_rules_hold(guarded: Guarded, dial: Dialer) -> None:
    guarded.use(JWT)
    rules = {"pub": ["up/${clientid}"], "sub": ["down/#"]}
    client = await dial(guarded.broker.address())
    await client.connect("dev", password=token({"acl": rules}), username="ann")
    assert await client.subscribe(("down/x", 0), ("other", 0)) == (0, NOT_AUTHORIZED)
    await client.publish("up/dev", qos=1, packet_id=1)
    assert (await client.expect(Type.PUBACK)).reason in (0, 0x10)
    await client.publish("up/other", qos=1, packet_id=2)
    assert (await client.expect(Type.PUBACK)).reason == NOT_AUTHORIZED
    assert await knock(guarded, dial, password=b"nonsense", username="ann") == NOT_AUTHORIZED
    assert await knock(guarded, dial, password=token({"exp": 1}), username="ann") == BAD_CREDENTIALS


async def test_empty_rules_of_a_token_deny_everything_and_none_deny_nothing(guarded: Guarded, dial: Dialer) -> None:
    guarded.use(JWT)
    cases: tuple[tuple[dict[str, Any], int], ...] = (({"acl": {}}, NOT_AUTHORIZED), ({}, 0))
    for claims, code in cases:
        client = await dial(guarded.broker.address())
        await client.connect(password=token(claims), username="ann")
        assert await client.subscribe(("t", 0)) == (code,)


async def test_map_of_a_token_is_final_and_its_list_goes_on(guarded: Guarded, dial: Dialer) -> None:
    guarded.use(JWT)
    allow_all = [{"username": "ann", "rules": [{"topic": "#", "permission": "allow", "action": "all"}]}]
    rules = "/authorization/sources/built_in_database/rules/users"
    assert guarded.call("POST", rules, allow_all)[0] == 204
    rows: tuple[tuple[object, int], ...] = (
        ({"sub": ["named"]}, NOT_AUTHORIZED),
        ([{"permission": "allow", "action": "sub", "topic": "named"}], 0),
        ([{"permission": "deny", "action": "sub", "topic": "other"}], NOT_AUTHORIZED),
    )
    try:
        for acl, other in rows:
            client = await dial(guarded.broker.address())
            await client.connect(password=token({"acl": acl}), username="ann")
            assert await client.subscribe(("named", 0), ("other", 0)) == (0, other)
    finally:
        guarded.call("DELETE", f"{rules}/ann")


@pytest.mark.parametrize("version", [Version.V5, Version.V311])
async def test_connection_ends_when_its_token_does(guarded: Guarded, dial: Dialer, version: Version) -> None:
    guarded.use(JWT)
    client = await dial(guarded.broker.address(), version=version)
    await client.connect(password=token({"exp": int(time.time()) + 2}), username="ann")
    if version is Version.V5:
        await client.expect_disconnect(NOT_AUTHORIZED)
    await client.expect_closed()


async def test_connection_may_outlive_its_token_without_rights(guarded: Guarded, dial: Dialer) -> None:
    guarded.use({**JWT, "disconnect_after_expire": False})
    client = await dial(guarded.broker.address())
    ends_s = int(time.time()) + 1
    await client.connect(password=token({"exp": ends_s}), username="ann")
    await client.subscribe(("t", 0))
    await eventually(lambda: time.time() > ends_s + 0.1)
    assert await client.subscribe(("u", 0)) == (NOT_AUTHORIZED,)
    await eventually(partial(guarded.has_no_subscription, client.client_id))


async def test_keys_are_fetched(guarded: Guarded, dial: Dialer, service: Service) -> None:
    key = RSAKey.generate_key(2048)
    service.answer = (200, {"keys": [key.as_dict(private=False)]})
    guarded.use({"mechanism": "jwt", "algorithm": "public-key", "use_jwks": True, "endpoint": service.url})
    await eventually(lambda: guarded.call("GET", "/authentication/jwt/status")[1]["status"] == "connected")
    assert await knock(guarded, dial, password=token({}, key, "RS256"), username="ann") == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)
        assert await knock(guarded, dial, password=token({}), username="ann") == NOT_AUTHORIZED


def http(service: Service, **more: object) -> dict[str, Any]:
    body = {"user": "${username}", "password": "${password}", "id": "${clientid}"}
    return {"mechanism": "password_based", "backend": "http", "url": service.url, "body": body, **more}


async def test_service_is_asked_once_for_the_same_login(guarded: Guarded, dial: Dialer, service: Service) -> None:
    guarded.use(http(service))
    for _ in range(3):
        assert await knock(guarded, dial, client_id="dev", username="ann", password=b"pw") == 0
    assert service.asked == [{"user": "ann", "password": "pw", "id": "dev"}]
    assert guarded.call("POST", "/authentication/node_cache/reset")[0] == 204
    service.answer = (200, {"result": "deny"})
    assert await knock(guarded, dial, client_id="dev", username="ann", password=b"pw") == NOT_AUTHORIZED


async def test_service_may_rename_a_client(guarded: Guarded, dial: Dialer, service: Service) -> None:
    guarded.use(http(service))
    service.answer = (200, {"result": "allow", "clientid_override": "renamed"})
    client = await dial(guarded.broker.address())
    await client.connect(username="ann", password=b"pw")
    assert guarded.call("GET", "/clients/renamed")[0] == 200


async def test_slow_service_holds_up_only_its_own_client(guarded: Guarded, dial: Dialer, service: Service) -> None:
    guarded.use({**http(service), "precondition": "str_eq(username, 'slow')"}, PASSWORDS)
    guarded.add_user("ann")
    service.pause.clear()
    slow = await dial(guarded.broker.address())
    await slow.send(packets.connect(5, "slow", username="slow", password=b"x"))
    await eventually(lambda: len(service.asked) == 1)
    assert await knock(guarded, dial, username="ann", password=b"pw") == 0
    service.pause.set()
    await slow.expect_connack(0)


async def test_service_that_is_gone_is_ignored(guarded: Guarded, dial: Dialer, service: Service) -> None:
    guarded.use(http(service), PASSWORDS)
    guarded.add_user("ann")
    service.close()
    assert await knock(guarded, dial, username="ann", password=b"pw") == 0
    assert guarded.metrics("password_based:http")["nomatch"] == 1
    assert guarded.call("GET", "/authentication/password_based:http/status")[1]["status"] == "disconnected"


class ScramLogin:
    """A raw client that authenticates by SCRAM."""

    def __init__(self, client: WireClient, user: str, password: str) -> None:
        self.client = client
        self.scram: Any = ScramClient(["SCRAM-SHA-256"], user, password)

    def properties(self, message: str) -> list[tuple[Property, Any]]:
        return [
            (Property.AUTH_METHOD, "SCRAM-SHA-256"),
            (Property.AUTH_DATA, message.encode()),
        ]

    async def begin(self, username: str | None = None) -> None:
        first = self.properties(self.scram.get_client_first())
        await self.client.send(packets.connect(5, self.client.client_id, properties=first, username=username))

    async def answer(self) -> None:
        """Answer the challenge."""
        challenge = await self.client.expect(Type.AUTH)
        assert challenge.reason == 0x18
        data = challenge.properties.get(Property.AUTH_DATA)
        assert isinstance(data, bytes)
        self.scram.set_server_first(data.decode())
        await self.client.send(packets.auth(0x18, self.properties(self.scram.get_client_final())))

    def check(self, packet: packets.Packet) -> None:
        """Check the proof of the broker."""
        data = packet.properties.get(Property.AUTH_DATA)
        assert isinstance(data, bytes)
        self.scram.set_server_final(data.decode())


async def test_scram_logs_in_and_authenticates_again(guarded: Guarded, dial: Dialer) -> None:
    guarded.use(SCRAM)
    guarded.add_user("ann", authenticator="scram:built_in_database")
    client = await dial(guarded.broker.address())
    login = ScramLogin(client, "ann", "pw")
    await login.begin()
    await login.answer()
    connack = await client.expect_connack(0)
    login.check(connack)
    assert connack.properties.get(Property.AUTH_METHOD) == "SCRAM-SHA-256"
    again = ScramLogin(client, "ann", "pw")
    await client.send(packets.auth(0x19, again.properties(again.scram.get_client_first())))
    await again.answer()
    done = await client.expect(Type.AUTH)
    assert done.reason == 0
    again.check(done)
    assert await client.subscribe(("t", 0)) == (0,)


async def test_scram_refuses_to_go_on_as_another_user(guarded: Guarded, dial: Dialer) -> None:
    guarded.use(SCRAM)
    for name in ("ann", "bob"):
        guarded.add_user(name, authenticator="scram:built_in_database")
    client = await dial(guarded.broker.address())
    login = ScramLogin(client, "ann", "pw")
    await login.begin()
    await login.answer()
    await client.expect_connack(0)
    again = ScramLogin(client, "bob", "pw")
    await client.send(packets.auth(0x19, again.properties(again.scram.get_client_first())))
    await again.answer()
    await client.expect_disconnect(0x87)


async def test_scram_refuses_wrong_passwords_also_later(guarded: Guarded, dial: Dialer) -> None:
    guarded.use(SCRAM)
    guarded.add_user("ann", authenticator="scram:built_in_database")
    for user, password in (("ann", "no"), ("bob", "pw")):
        login = ScramLogin(await dial(guarded.broker.address()), user, password)
        await login.begin()
        await login.answer()
        await login.client.expect_connack(BAD_CREDENTIALS)
    client = await dial(guarded.broker.address())
    login = ScramLogin(client, "ann", "pw")
    await login.begin()
    await login.answer()
    await client.expect_connack(0)
    wrong = ScramLogin(client, "ann", "no")
    await client.send(packets.auth(0x19, wrong.properties(wrong.scram.get_client_first())))
    await wrong.answer()
    await client.expect_fault(BAD_CREDENTIALS)


async def test_scram_makes_a_client_that_user_and_no_other(guarded: Guarded, dial: Dialer) -> None:
    guarded.use(SCRAM)
    guarded.add_user("ann", authenticator="scram:built_in_database")
    for username, code in ((None, 0), ("boss", BAD_CREDENTIALS)):
        login = ScramLogin(await dial(guarded.broker.address()), "ann", "pw")
        await login.begin(username)
        await login.answer()
        await login.client.expect_connack(code)
        if code == 0:
            shown = guarded.call("GET", f"/clients/{login.client.client_id}")[1]
            assert shown["username"] == "ann"
    assert guarded.call("POST", "/banned", {"as": "username", "who": "ann"})[0] == 200
    try:
        login = ScramLogin(await dial(guarded.broker.address()), "ann", "pw")
        await login.begin()
        await login.answer()
        await login.client.expect_connack(BANNED)
    finally:
        guarded.call("DELETE", "/banned")


async def test_unknown_method_is_a_bad_method(guarded: Guarded, dial: Dialer) -> None:
    guarded.use(SCRAM)
    properties = [(Property.AUTH_METHOD, "GS2-KRB5")]
    assert await knock(guarded, dial, properties=properties) == 0x8C


async def test_hundred_wrong_logins_do_not_hold_up_a_client(guarded: Guarded, dial: Dialer) -> None:
    guarded.use(PASSWORDS)
    guarded.add_user("ann")
    client = await dial(guarded.broker.address())
    await client.connect(username="ann", password=b"pw")

    async def wrong(index: int) -> int | None:
        one = await dial(guarded.broker.address())
        await one.send(packets.connect(5, f"wrong{index}", username="ann", password=f"wrong{index}".encode()))
        return (await one.expect(Type.CONNACK, 50)).reason

    storm = asyncio.gather(*(wrong(index) for index in range(100)))
    answers = 0
    while not storm.done():
        assert await client.subscribe(("other", 0)) == (0,)
        answers += 1
    assert set(await storm) == {BAD_CREDENTIALS}
    assert answers > 10


@pytest.mark.parametrize(("version", "code"), [(Version.V5, BANNED), (Version.V311, 5)])
async def test_refused_logins_count_as_flapping(guarded: Guarded, dial: Dialer, version: Version, code: int) -> None:
    guarded.use(PASSWORDS)
    name = f"flapper{version}"
    body = {"enable": True, "max_count": 3, "window_time": "1m", "ban_time": "10s"}
    assert guarded.call("PUT", "/configs/flapping_detect", body)[0] == 200
    try:
        codes = [await knock(guarded, dial, version, client_id=name) for _ in range(4)]
    finally:
        guarded.call("PUT", "/configs/flapping_detect", {"enable": False})
    refused = NOT_AUTHORIZED if version is Version.V5 else 5
    assert codes == [refused, refused, code, code]
    assert guarded.call("GET", f"/banned?clientid={name}")[1]["data"][0]["by"] == "flapping detector"
    assert guarded.call("DELETE", f"/banned/clientid/{name}")[0] == 204


@pytest.mark.parametrize(
    ("kind", "who"),
    [
        ("clientid", "victim"),
        ("username", "ann"),
        ("peerhost", "127.0.0.1"),
        ("clientid_re", "^vic"),
        ("username_re", "an+"),
        ("peerhost_net", "127.0.0.0/8"),
    ],
)
async def test_ban_ends_live_connections_without_their_will(
    guarded: Guarded, dial: Dialer, kind: str, who: str
) -> None:
    guarded.use()
    victim = await dial(guarded.broker.address())
    await victim.connect("victim", username="ann", will=Will("will/victim", b"gone", retain=True))
    assert guarded.call("POST", "/banned", {"as": kind, "who": who})[0] == 200
    try:
        await victim.expect_disconnect(0x98)
        await victim.expect_closed()
        assert await knock(guarded, dial, client_id="victim", username="ann") == BANNED
        assert await knock(guarded, dial, Version.V311, client_id="victim", username="ann") == 5
    finally:
        guarded.call("DELETE", "/banned")
    watcher = await dial(guarded.broker.address())
    await watcher.connect("watcher")
    await watcher.subscribe(("will/#", 0))
    await watcher.expect_quiet()


async def test_messages_of_a_banned_client_id_are_not_delivered(guarded: Guarded, dial: Dialer) -> None:
    guarded.use()
    session = [(Property.SESSION_EXPIRY, 3_600)]
    reader = await dial(guarded.broker.address())
    await reader.connect("reader", clean=False, properties=session)
    assert await reader.subscribe(("early/#", 1)) == (1,)
    await reader.disconnect()
    for name in ("victim", "other"):
        client = await dial(guarded.broker.address())
        await client.connect(name)
        for topic, retain in ((f"early/{name}", False), (f"kept/{name}", True), (f"$delayed/2/late/{name}", False)):
            await client.publish(topic, name.encode(), qos=1, packet_id=1, retain=retain)
            await client.expect(Type.PUBACK)
    assert guarded.call("POST", "/banned", {"as": "clientid", "who": "victim"})[0] == 200
    try:
        again = await dial(guarded.broker.address())
        await again.send(packets.connect(5, "reader", clean=False, properties=session))
        await again.expect_connack(0)
        await again.expect_publish("early/other")
        await again.subscribe(("kept/#", 0), ("late/#", 0))
        await again.expect_publish("kept/other")
        await again.expect_publish("late/other")
        await again.expect_quiet()
    finally:
        guarded.call("DELETE", "/banned")
    later = await dial(guarded.broker.address())
    await later.connect("later")
    await later.subscribe(("kept/victim", 0))
    await later.expect_publish("kept/victim")


async def test_no_secret_reaches_the_log(guarded: Guarded, dial: Dialer) -> None:
    guarded.use(PASSWORDS, JWT)
    guarded.add_user("ann", "very-secret-password")
    assert await knock(guarded, dial, username="ann", password=b"very-secret-password") == 0
    assert await knock(guarded, dial, username="ann", password=b"very-wrong-password") == BAD_CREDENTIALS
    assert await knock(guarded, dial, username="bob", password=b"very-wrong-password") == NOT_AUTHORIZED
    for text in ("very-secret-password", "very-wrong-password", SECRET):
        assert text not in guarded.broker.log


@pytest.fixture(scope="module")
def hardened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    port = free_port()
    keys: dict[str, Setting] = {"security_profile": "hardened", "allow_anonymous": True, **_KEYS}
    broker = Broker.start(tmp_path_factory.mktemp("hardened"), settings(port, **keys))
    yield Guarded(broker, port)
    broker.stop()


@pytest.mark.parametrize(("version", "code"), [(Version.V5, NOT_AUTHORIZED), (Version.V311, 5)])
async def test_hardened_broker_lets_nobody_in_anonymously(
    hardened: Guarded, dial: Dialer, version: Version, code: int
) -> None:
    hardened.use()
    assert await knock(hardened, dial, version) == code
    assert await knock(hardened, dial, version, username="ann", password=b"pw") == code
    hardened.use(PASSWORDS)
    hardened.add_user("ann")
    assert await knock(hardened, dial, version) == code
    assert await knock(hardened, dial, version, username="ann", password=b"pw") == 0


async def test_hardened_broker_refuses_where_it_cannot_tell(hardened: Guarded, dial: Dialer, service: Service) -> None:
    hardened.use(http(service), PASSWORDS)
    hardened.add_user("ann")
    service.answer = (500, None)
    assert await knock(hardened, dial, username="ann", password=b"pw") == NOT_AUTHORIZED
    assert hardened.metrics("password_based:http")["failed"] == 1
    hardened.use(JWT)
    assert await knock(hardened, dial, username="ann") == BAD_CREDENTIALS
    assert await knock(hardened, dial, username="ann", password=b"no token") == BAD_CREDENTIALS
