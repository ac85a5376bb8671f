"""The chain: order, yes and no and nothing, preconditions, what holds when nobody decides."""

from typing import Any

import pytest

from pybroker.auth.authentication import Authentication
from pybroker.auth.chain import AuthenticationChain, Link
from pybroker.auth.judgement import REFUSED, Judge, Judgement, Pass
from pybroker.auth.meter import Meter
from pybroker.auth.passwords import StoredPassword
from pybroker.auth.users import Login
from pybroker.config import patch
from pybroker.config.schema import Config
from pybroker.errors import ConfigError
from pybroker.ports import Applicant, Renewal, Verdict
from pybroker.types import ClientId
from tests.support.applicant import applicant, judge
from tests.support.clock import FakeClock
from tests.unit.auth.conftest import Build

PLAIN = {"mechanism": "password_based", "backend": "built_in_database", "password_hash_algorithm": {"name": "plain"}}
DENY_ALL = {"mechanism": "cinfo", "checks": [{"is_match": ["str_eq(clientid, clientid)"], "result": "deny"}]}


class Says(Judge):
    """An authenticator that always says the same, at once or later."""

    def __init__(self, judgement: Judgement, *, takes_time: bool = False) -> None:
        self._judgement = judgement
        self._takes_time = takes_time
        self.asked = 0

    def judge(self, applicant: Applicant) -> object:  # type: ignore[override]  # both halves of the union
        self.asked += 1
        return self._later() if self._takes_time else self._judgement

    async def _later(self) -> Judgement:
        return self._judgement


def chain_of(*judges: Judge, refuses_on_failure: bool = False) -> AuthenticationChain:
    clock = FakeClock()
    links = [Link(str(index), one, Meter(clock)) for index, one in enumerate(judges)]
    return AuthenticationChain(False, links, refuses_on_failure=refuses_on_failure)


def counts(chain: AuthenticationChain, index: int) -> tuple[float, float, float, float]:
    read = chain.links[index].meter.read()
    return read["total"], read["success"], read["failed"], read["nomatch"]


def add_user(authentication: Authentication, name: str, password: str, *, is_superuser: bool = False) -> None:
    login = Login(StoredPassword("plain", password), is_superuser)
    authentication.users.put(None, name, login)


@pytest.mark.parametrize("takes_time", [False, True])
async def test_first_decision_ends_the_chain(takes_time: bool) -> None:
    last = Says(REFUSED)
    chain = chain_of(Says(Pass.IGNORED), Says(Verdict(0, is_superuser=True), takes_time=takes_time), last)
    assert (await judge(chain, applicant())).is_superuser
    assert last.asked == 0
    assert [counts(chain, index) for index in range(3)] == [(1, 0, 0, 1), (1, 1, 0, 0), (0, 0, 0, 0)]


async def test_refusal_ends_the_chain_and_the_unknown_goes_on() -> None:
    refusing = chain_of(Says(REFUSED), Says(Verdict(0)))
    assert (await judge(refusing, applicant())).reason == 0x86
    assert counts(refusing, 0) == (1, 0, 1, 0)
    exhausted = chain_of(Says(Pass.IGNORED), Says(Pass.IGNORED, takes_time=True))
    assert (await judge(exhausted, applicant())).reason == 0x87


async def test_failure_of_a_service_follows_the_profile() -> None:
    legacy = chain_of(Says(Pass.FAILED, takes_time=True), Says(Verdict(0)))
    assert (await judge(legacy, applicant())).reason == 0
    assert counts(legacy, 0) == (1, 0, 0, 1)
    hardened = chain_of(Says(Pass.FAILED), Says(Verdict(0)), refuses_on_failure=True)
    assert (await judge(hardened, applicant())).reason == 0x87
    assert counts(hardened, 0) == (1, 0, 1, 0)


def test_without_authenticators_the_setting_decides() -> None:
    assert AuthenticationChain(True).authenticate(applicant(username="ann", password=b"x")) == Verdict(0)
    assert AuthenticationChain(False).authenticate(applicant()) == Verdict(0x87)


async def test_disabled_authenticators_are_none(build: Build) -> None:
    assert (await judge(build({**PLAIN, "enable": False}).chain, applicant(username="ann", password=b"x"))).reason == 0
    hardened = build({**PLAIN, "enable": False}, security_profile="hardened").chain
    assert (await judge(hardened, applicant())).reason == 0x87


async def test_anonymous_clients_enter_beside_authenticators_only_if_allowed(build: Build) -> None:
    assert (await judge(build(PLAIN).chain, applicant())).reason == 0x87
    allowing = build(PLAIN, allow_anonymous=True).chain
    assert (await judge(allowing, applicant())).reason == 0
    assert (await judge(allowing, applicant(username="nobody", password=b"x"))).reason == 0x87
    hardened = build(PLAIN, allow_anonymous=True, security_profile="hardened").chain
    assert (await judge(hardened, applicant())).reason == 0x87


async def test_precondition_that_is_not_true_skips_and_counts(build: Build) -> None:
    authentication = build({**PLAIN, "precondition": "str_eq(listener, 'ssl:default')"})
    add_user(authentication, "ann", "pw")
    assert (await judge(authentication.chain, applicant(username="ann", password=b"pw"))).reason == 0x87
    assert counts(authentication.chain, 0) == (1, 0, 0, 1)


async def test_precondition_may_know_of_websocket_cookies(build: Build) -> None:
    authentication = build({**PLAIN, "precondition": "str_eq(ws_cookie.id, '7')"})
    add_user(authentication, "ann", "pw")
    said: dict[str, Any] = {"username": "ann", "password": b"pw", "websocket_path": "/mqtt"}
    assert (await judge(authentication.chain, applicant(**said, websocket_cookie="x=1; id=7"))).reason == 0
    assert (await judge(authentication.chain, applicant(**said, websocket_cookie="id=8"))).reason == 0x87
    assert (await judge(authentication.chain, applicant(username="ann", password=b"pw"))).reason == 0x87


async def test_wrong_password_stops_the_chain_and_unknown_user_does_not(build: Build) -> None:
    authentication = build(PLAIN, {"mechanism": "cinfo", "checks": [{"is_match": ["'true'"], "result": "allow"}]})
    add_user(authentication, "ann", "pw")
    assert (await judge(authentication.chain, applicant(username="ann", password=b"no"))).reason == 0x86
    assert (await judge(authentication.chain, applicant(username="bob", password=b"no"))).reason == 0


async def test_client_info_decides_by_its_first_match(build: Build) -> None:
    checks = [
        {"is_match": ["str_eq(clientid, 'a')", "str_eq(username, 'x')"], "result": "deny"},
        {"is_match": ["str_eq(clientid, 'a')"], "result": "allow"},
        {"is_match": ["str_eq(clientid, 'b')"], "result": "ignore"},
        {"is_match": [], "result": "allow"},
    ]
    chain = build({"mechanism": "cinfo", "checks": checks}).chain
    assert (await judge(chain, applicant(client_id="a", username="x"))).reason == 0x87
    assert (await judge(chain, applicant(client_id="a", username="y"))).reason == 0
    assert (await judge(chain, applicant(client_id="b"))).reason == 0x87
    assert counts(chain, 0) == (3, 1, 1, 1)


async def test_certificate_may_be_enough(build: Build) -> None:
    checks = [{"is_match": ["not(is_empty(cert_common_name))"], "result": "allow"}]
    chain = build({"mechanism": "cinfo", "checks": checks}).chain
    assert (await judge(chain, applicant(certificate_common_name="dev.example"))).reason == 0
    assert (await judge(chain, applicant())).reason == 0x87


async def test_unchanged_authenticator_goes_on_and_a_changed_one_keeps_its_counters(
    build: Build, clock: FakeClock
) -> None:
    authentication = build(DENY_ALL, PLAIN)
    await judge(authentication.chain, applicant())
    before = authentication.chain.links
    config = patch.apply(Config(), {"authentication": [PLAIN, {**DENY_ALL, "enable": False}]}).config
    authentication.apply(config)
    assert [link.id for link in authentication.chain.links] == ["password_based:built_in_database"]
    assert authentication.chain.links[0].judge is before[1].judge
    assert authentication.meter("cinfo").read()["failed"] == 1


def test_settings_that_cannot_be_are_named_and_change_nothing(build: Build) -> None:
    authentication = build(PLAIN)
    before = authentication.chain.links
    for wrong, said in (
        ({"mechanism": "cinfo", "precondition": "nope("}, "line 1"),
        ({"mechanism": "cinfo", "checks": [{"is_match": ["nope()"], "result": "deny"}]}, "nope"),
        ({"mechanism": "jwt", "secret": "no base64!", "secret_base64_encoded": True}, "base64"),
        ({"mechanism": "jwt", "algorithm": "public-key", "public_key": "/nowhere.pem"}, "public_key"),
        ({"mechanism": "jwt", "algorithm": "public-key", "use_jwks": True, "endpoint": "https://h/"}, "ssl.enable"),
        ({"mechanism": "password_based", "backend": "http", "url": "https://h/"}, "ssl.enable"),
        ({"mechanism": "password_based", "backend": "http", "url": "h"}, "url"),
    ):
        config = patch.apply(Config(), {"authentication": [PLAIN, wrong]}).config
        with pytest.raises(ConfigError) as refusal:
            authentication.apply(config)
        assert refusal.value.path == "authentication[1]"
        assert said in str(refusal.value)
    assert authentication.chain.links is before


def test_method_that_no_authenticator_has_is_a_bad_method() -> None:
    chain = chain_of(Says(Verdict(0)))
    assert chain.authenticate(applicant(authentication_method="m")) == Verdict(0x8C)
    assert chain.proceed(applicant(authentication_method="m"), b"") == Verdict(0x8C)
    assert chain.authenticate_again(Renewal(ClientId("c"), None, None, "m"), b"") == Verdict(0x8C)
