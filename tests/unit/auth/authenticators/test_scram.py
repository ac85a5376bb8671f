"""SCRAM as an exchange of messages, against the client of the package."""

from typing import Any

import msgspec
import pytest
from scramp import ScramClient, ScramException

from pybroker.auth.authentication import Authentication
from pybroker.auth.users import ScramLogin, make_keys
from pybroker.config.sections.access import ScramAuthenticator
from pybroker.ports import Renewal, Verdict
from pybroker.types import ClientId, Username
from tests.support.applicant import applicant
from tests.unit.auth.conftest import Build

SCRAM: dict[str, object] = {"mechanism": "scram", "backend": "built_in_database"}


def client_of(user: str, password: str, method: str = "SCRAM-SHA-256") -> Any:
    return ScramClient([method], user, password)


def with_user(authentication: Authentication, algorithm: str = "sha256", *, is_superuser: bool = False) -> None:
    settings = ScramAuthenticator(mechanism="scram", algorithm=algorithm)  # type: ignore[arg-type]  # one of the two
    authentication.scram_users.put(None, "ann", ScramLogin(make_keys(settings, "pw"), is_superuser))


def exchange(
    authentication: Authentication, client: Any, method: str = "SCRAM-SHA-256", username: str | None = None
) -> Verdict:
    """Run a whole exchange and return the last verdict."""
    chain = authentication.chain
    first = client.get_client_first().encode()
    one = applicant(authentication_method=method, authentication_data=first, username=username)
    verdict = chain.authenticate(one)
    assert isinstance(verdict, Verdict)
    if verdict.reason != 0x18:
        return verdict
    assert verdict.data is not None
    client.set_server_first(verdict.data.decode())
    return chain.proceed(one, client.get_client_final().encode())


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_right_password_is_admitted_and_the_broker_proves_itself(build: Build, algorithm: str) -> None:
    authentication = build({**SCRAM, "algorithm": algorithm})
    with_user(authentication, algorithm, is_superuser=True)
    method = f"SCRAM-{algorithm[:3].upper()}-{algorithm[3:]}"
    client = client_of("ann", "pw", method)
    verdict = exchange(authentication, client, method)
    assert (verdict.reason, verdict.is_superuser) == (0, True)
    assert verdict.data is not None
    client.set_server_final(verdict.data.decode())
    read = authentication.chain.links[0].meter.read()
    assert (read["total"], read["success"]) == (1, 1)


def test_wrong_password_and_unknown_user_look_the_same(build: Build) -> None:
    authentication = build(SCRAM)
    with_user(authentication)
    assert exchange(authentication, client_of("ann", "no")).reason == 0x86
    assert exchange(authentication, client_of("bob", "no")).reason == 0x86
    salts = []
    for _ in range(2):
        one = applicant(
            authentication_method="SCRAM-SHA-256",
            authentication_data=client_of("bob", "no").get_client_first().encode(),
        )
        verdict = authentication.chain.authenticate(one)
        assert isinstance(verdict, Verdict)
        assert verdict.data is not None
        salts.append([part for part in verdict.data.split(b",") if part.startswith((b"s=", b"i="))])
    assert salts[0] == salts[1]


@pytest.mark.parametrize("data", [b"", b"nonsense", b"\xff\xfe", b"n,,n=ann", b"p=tls-unique,,n=ann,r=abc", None])
def test_messages_that_are_none_are_refused(build: Build, data: bytes | None) -> None:
    authentication = build(SCRAM)
    with_user(authentication)
    one = applicant(authentication_method="SCRAM-SHA-256", authentication_data=data)
    assert authentication.chain.authenticate(one) == Verdict(0x86)


def test_proof_of_another_exchange_is_refused(build: Build) -> None:
    authentication = build(SCRAM)
    with_user(authentication)
    one = applicant(
        authentication_method="SCRAM-SHA-256", authentication_data=client_of("ann", "pw").get_client_first().encode()
    )
    authentication.chain.authenticate(one)
    assert authentication.chain.proceed(one, b"c=biws,r=stolen,p=AAAA") == Verdict(0x86)


def test_connected_client_authenticates_again_as_the_same_user_only(build: Build) -> None:
    authentication = build(SCRAM)
    with_user(authentication)
    for password, username, reason in (("pw", "ann", 0), ("no", "ann", 0x86), ("pw", "bob", 0x87), ("pw", None, 0x87)):
        name = None if username is None else Username(username)
        client, renewal = client_of("ann", password), Renewal(ClientId("c"), name, None, "SCRAM-SHA-256")
        verdict = authentication.chain.authenticate_again(renewal, client.get_client_first().encode())
        assert verdict.reason == 0x18
        assert verdict.data is not None
        client.set_server_first(verdict.data.decode())
        last = authentication.chain.authenticate_again(renewal, client.get_client_final().encode())
        assert last.reason == reason
    read = authentication.chain.links[0].meter.read()
    assert (read["total"], read["success"]) == (4, 1)


@pytest.mark.parametrize(
    ("change", "reason"), [("demoted", 0), ("deleted", 0x86), ("other password", 0x86), ("same again", 0)]
)
def test_user_who_changes_between_two_messages_is_what_he_is_now(build: Build, change: str, reason: int) -> None:
    authentication = build(SCRAM)
    with_user(authentication, is_superuser=True)
    users, client = authentication.scram_users, client_of("ann", "pw")
    one = applicant(authentication_method="SCRAM-SHA-256", authentication_data=client.get_client_first().encode())
    verdict = authentication.chain.authenticate(one)
    assert isinstance(verdict, Verdict)
    assert verdict.data is not None
    client.set_server_first(verdict.data.decode())
    found = users.find(None, "ann")
    assert found is not None
    if change == "demoted":
        users.put(None, "ann", msgspec.structs.replace(found[1], is_superuser=False))
    elif change == "deleted":
        users.remove(None, "ann")
    elif change == "other password":
        with_user(authentication)
    verdict = authentication.chain.proceed(one, client.get_client_final().encode())
    assert (verdict.reason, verdict.is_superuser) == (reason, change == "same again")


@pytest.mark.parametrize(("username", "reason"), [(None, 0), ("", 0), ("ann", 0), ("boss", 0x86)])
def test_client_proves_to_be_whom_connect_names(build: Build, username: str | None, reason: int) -> None:
    authentication = build(SCRAM)
    with_user(authentication)
    verdict = exchange(authentication, client_of("ann", "pw"), username=username)
    assert (verdict.reason, verdict.username) == (reason, None if reason else "ann")


def test_keys_of_another_digest_are_of_no_use(build: Build) -> None:
    authentication = build({**SCRAM, "algorithm": "sha512"})
    with_user(authentication, "sha256")
    assert exchange(authentication, client_of("ann", "pw", "SCRAM-SHA-512"), "SCRAM-SHA-512").reason == 0x86


def test_client_that_checks_the_broker_notices_a_stranger(build: Build) -> None:
    authentication = build(SCRAM)
    with_user(authentication)
    client = client_of("ann", "pw")
    exchange(authentication, client)
    with pytest.raises(ScramException):
        client.set_server_final("v=" + "A" * 43 + "=")
