"""Signed tokens: signatures, times, claims, key sets, and what the claims say about the client."""

import base64
import json
import warnings
from typing import Any

import httpx
import pytest
from joserfc import jws
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from pybroker._core import AccessClient
from pybroker.auth.authentication import Authentication
from pybroker.auth.authenticators.token import Token
from pybroker.auth.authenticators.token_keys import FetchedKeys
from pybroker.ports import Verdict
from tests.support.applicant import applicant, judge
from tests.support.clock import FakeClock
from tests.unit.auth.conftest import Build

SECRET = "0123456789abcdef0123456789abcdef"
HMAC: dict[str, object] = {"mechanism": "jwt", "secret": SECRET}
RSA = RSAKey.generate_key(2048, parameters={"kid": "one"}, auto_kid=False)
EC = ECKey.generate_key("P-256", parameters={"kid": "two"})
ED = OKPKey.generate_key("Ed25519", parameters={"kid": "three"})


def hmac_key(secret: str = SECRET) -> OctKey:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)
        return OctKey.import_key(secret)


def sign(claims: object, key: Any = None, algorithm: str = "HS256", **header: str) -> bytes:
    key = hmac_key() if key is None else key
    return jws.serialize_compact({"alg": algorithm, **header}, json.dumps(claims), key, [algorithm]).encode()


async def reason(authentication: Authentication, token: bytes | None, **connect: Any) -> int:
    return (await judge(authentication.chain, applicant(password=token, **connect))).reason


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({}, 0),
        ({"exp": 1_767_225_601}, 0),
        ({"exp": "1767225601"}, 0),
        ({"exp": 1_767_225_601.5}, 0),
        ({"exp": 1_767_225_600}, 0x86),
        ({"exp": "soon"}, 0x86),
        ({"exp": True}, 0x86),
        ({"exp": None}, 0x86),
        ({"exp": 1e300}, 0),
        ({"nbf": 1_767_225_600}, 0),
        ({"nbf": 1_767_225_601}, 0x86),
        ({"nbf": []}, 0x86),
        ({"iat": 9_999_999_999}, 0),
    ],
    ids=str,
)
async def test_times_of_a_token(build: Build, claims: dict[str, object], expected: int) -> None:
    assert await reason(build(HMAC), sign(claims)) == expected


async def test_token_that_is_none_is_ignored_or_refused(build: Build) -> None:
    legacy, hardened = build(HMAC), build(HMAC, security_profile="hardened")
    bad = (b"", b"password", b"a.b.c", b"\xff.\xff.\xff", sign({}, hmac_key("x" * 32)), sign([1]), sign("text"))
    for token in bad:
        assert await reason(legacy, token) == 0x87, token
        assert await reason(hardened, token) == 0x86, token


async def test_missing_token_follows_its_setting(build: Build) -> None:
    assert await reason(build(HMAC), None) == 0x87
    assert await reason(build({**HMAC, "on_missing_jwt": "deny"}), None) == 0x86
    assert await reason(build(HMAC, security_profile="hardened"), None) == 0x86


async def test_token_may_come_as_user_name(build: Build) -> None:
    authentication = build({**HMAC, "from": "username"})
    assert await reason(authentication, None, username=sign({}).decode()) == 0
    assert await reason(authentication, sign({}), username="ann") == 0x87


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
async def test_every_hmac_is_accepted(build: Build, algorithm: str) -> None:
    authentication = build(
        {**HMAC, "secret": base64.b64encode(SECRET.encode()).decode(), "secret_base64_encoded": True}
    )
    assert await reason(authentication, sign({}, algorithm=algorithm)) == 0


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(RSA, "RS256"), (RSA, "RS512"), (RSA, "PS384"), (EC, "ES256"), (ED, "EdDSA")],
    ids=["RS256", "RS512", "PS384", "ES256", "EdDSA"],
)
async def test_every_public_key_is_accepted(build: Build, key: Any, algorithm: str) -> None:
    pem = key.as_pem(private=False).decode()
    authentication = build({"mechanism": "jwt", "algorithm": "public-key", "public_key": pem})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)
        assert await reason(authentication, sign({}, key, algorithm)) == 0
    assert await reason(authentication, sign({}, RSAKey.generate_key(2048), "RS256")) == 0x87


async def test_algorithm_is_never_the_choice_of_the_token(build: Build) -> None:
    pem = RSA.as_pem(private=False).decode()
    authentication = build({"mechanism": "jwt", "algorithm": "public-key", "public_key": pem})
    # An HMAC that was made with the text of the public key, and no signature at all.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)
        forged = sign({}, OctKey.import_key(base64.urlsafe_b64encode(pem.encode())), "HS256")
    unsigned = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (b'{"alg":"none"}', b"{}")) + b"."
    for token in (forged, unsigned):
        assert await reason(authentication, token) == 0x87
        assert await reason(build(HMAC), token) == 0x87


async def test_wanted_claims_must_be_there_and_equal(build: Build) -> None:
    wanted = {"sub": "${clientid}", "user": "u-${username}", "aud": "mqtt", "level": "3"}
    authentication = build({**HMAC, "verify_claims": wanted})
    right = {"sub": "c", "user": "u-ann", "aud": ["x", "mqtt"], "level": 3}
    assert await reason(authentication, sign(right), username="ann") == 0
    assert await reason(authentication, sign({**right, "aud": "mqtt"}), username="ann") == 0
    for wrong in ({**right, "aud": ["x"]}, {**right, "sub": "C"}, {k: v for k, v in right.items() if k != "level"}):
        assert await reason(authentication, sign(wrong), username="ann") == 0x86


async def test_claims_say_who_the_client_is(build: Build) -> None:
    claims = {
        "is_superuser": True,
        "client_attrs": {"tns": "t", "n": 5, "bad": [1]},
        "clientid_override": "other",
        "exp": 1_767_225_700,
    }
    verdict = await judge(build(HMAC).chain, applicant(password=sign(claims)))
    assert verdict.is_superuser
    assert verdict.attributes == {"tns": "t", "n": "5"}
    assert (verdict.client_id, verdict.expire_at_s, verdict.disconnects_at_expiry) == ("other", 1_767_225_700, True)
    staying = await judge(build({**HMAC, "disconnect_after_expire": False}).chain, applicant(password=sign(claims)))
    assert not staying.disconnects_at_expiry


def check(verdict: Verdict, action: Any, topic: str) -> str:
    assert verdict.acl is not None
    return verdict.acl.rules.check(AccessClient("c", "ann"), action, topic)[0]


async def test_map_of_rules_denies_what_it_does_not_name(build: Build) -> None:
    rules = {"pub": ["p/${clientid}"], "sub": ["eq s/#", "t/+"], "all": ["a/#"]}
    verdict = await judge(build(HMAC).chain, applicant(password=sign({"acl": rules})))
    assert verdict.acl is not None
    assert verdict.acl.is_final
    assert check(verdict, "publish", "p/c") == "allow"
    assert check(verdict, "publish", "p/d") == "nomatch"
    assert check(verdict, "subscribe", "s/#") == "allow"
    assert check(verdict, "subscribe", "a/b") == check(verdict, "publish", "a/b") == "allow"
    nothing = await judge(build(HMAC).chain, applicant(password=sign({"acl": {}})))
    assert nothing.acl is not None
    assert (nothing.acl.is_final, len(nothing.acl.rules)) == (True, 0)
    assert (await judge(build(HMAC).chain, applicant(password=sign({})))).acl is None


async def test_list_of_rules_is_read_laxly_and_goes_on(build: Build) -> None:
    rules = [
        {"permission": "deny", "action": "pub", "topic": "x", "qos": 1, "retain": 0},
        {"permission": "allow", "action": "sub", "topics": ["a", "b"], "qos": "0,2", "retain": None, "other": 1},
        {"permission": "allow", "action": "all", "topics": []},
    ]
    verdict = await judge(build(HMAC).chain, applicant(password=sign({"acl": rules})))
    assert verdict.acl is not None
    assert not verdict.acl.is_final
    assert check(verdict, "subscribe", "b") == "allow"
    assert check(verdict, "publish", "b") == "nomatch"


@pytest.mark.parametrize(
    "rules",
    [
        "text",
        7,
        [1],
        [{"permission": "allow", "action": "pub"}],
        [{"permission": "maybe", "action": "pub", "topic": "t"}],
        [{"permission": "allow", "action": "read", "topic": "t"}],
        [{"permission": "allow", "action": "pub", "topic": "t", "qos": 3}],
        [{"permission": "allow", "action": "pub", "topic": "a/#/b"}],
        [{"permission": "allow", "action": "pub", "topic": "t", "clientid_re": "("}],
        {"pub": "t"},
    ],
    ids=str,
)
async def test_rule_that_cannot_be_read_refuses_the_login(build: Build, rules: object) -> None:
    assert await reason(build(HMAC), sign({"acl": rules})) == 0x86


JWKS: dict[str, object] = {"mechanism": "jwt", "algorithm": "public-key", "use_jwks": True, "endpoint": "http://keys/"}


class KeyServer:
    """A key set that tests change and break."""

    def __init__(self, *keys: Any) -> None:
        self.keys = [key.as_dict(private=False) for key in keys]
        self.is_broken = False
        self.accept: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.accept.append(request.headers["accept"])
        return httpx.Response(500) if self.is_broken else httpx.Response(200, json={"keys": self.keys})


def keys_of(authentication: Authentication) -> FetchedKeys:
    token = authentication.chain.links[0].judge
    assert isinstance(token, Token)
    assert isinstance(token._keys, FetchedKeys)
    return token._keys


async def test_keys_are_fetched_and_chosen_by_name(build: Build) -> None:
    server = KeyServer(RSA, EC)
    server.keys += [{"kty": "oct", "k": "c2VjcmV0"}, {"kty": "RSA", "n": "!", "e": "AQAB"}]
    authentication = build(JWKS, answer=server)
    assert await reason(authentication, sign({}, RSA, "RS256", kid="one")) == 0x87
    assert not authentication.is_connected("jwt")
    await keys_of(authentication).refresh()
    assert authentication.is_connected("jwt")
    assert set(server.accept) == {"application/json"}
    assert await reason(authentication, sign({}, RSA, "RS256", kid="one")) == 0
    assert await reason(authentication, sign({}, RSA, "RS256")) == 0
    assert await reason(authentication, sign({}, EC, "ES256", kid="two")) == 0
    assert await reason(authentication, sign({}, EC, "ES256", kid="one")) == 0x87


async def test_keys_survive_four_failures_and_not_five(build: Build) -> None:
    server = KeyServer(RSA)
    authentication = build(JWKS, answer=server, security_profile="hardened")
    keys = keys_of(authentication)
    token = sign({}, RSA, "RS256", kid="one")
    assert await reason(authentication, token) == 0x87
    await keys.refresh()
    server.is_broken = True
    for _ in range(4):
        await keys.refresh()
    assert await reason(authentication, token) == 0
    await keys.refresh()
    assert await reason(authentication, token) == 0x87
    server.is_broken = False
    await keys.refresh()
    assert await reason(authentication, token) == 0


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"keys": "\xff"}', b"[]"])
async def test_key_set_that_is_none_is_a_failure_and_not_the_end(build: Build, content: bytes) -> None:
    keys = keys_of(build(JWKS, answer=lambda _: httpx.Response(200, content=content)))
    await keys.refresh()
    assert keys.candidates({"kid": "one"}) is None


async def test_expired_token_is_judged_by_the_wall_clock(build: Build, clock: FakeClock) -> None:
    authentication = build(HMAC)
    token = sign({"exp": 1_767_225_610})
    assert await reason(authentication, token) == 0
    clock.set_wall(1_767_225_610_000)
    assert await reason(authentication, token) == 0x86
