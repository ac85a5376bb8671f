"""Passwords: which are allowed, and how they are hashed."""

import os
import threading

import pytest

from pybroker.control.password import PasswordHasher, check_password, generate_password
from pybroker.errors import Refused


@pytest.mark.parametrize("password", ["abcdef12", "abcdefg!", "1234567 ", "A" * 63 + "1", '"quoted"'])
def test_allowed_passwords_pass(password: str) -> None:
    check_password(password)


@pytest.mark.parametrize(
    "password", ["abc12", "A" * 64 + "1", "abcdefgh", "12345678", "!!!!!!!!", "abcdefg\n1", "ä1234567"]
)
def test_others_are_refused(password: str) -> None:
    with pytest.raises(Refused) as caught:
        check_password(password)
    assert caught.value.code == "BAD_REQUEST"


def test_generated_passwords_are_allowed_and_differ() -> None:
    passwords = {generate_password() for _ in range(50)}
    assert len(passwords) == 50
    for password in passwords:
        check_password(password)


async def test_hash_is_argon2id_and_fits_its_password_only() -> None:
    hasher = PasswordHasher()
    password_hash = await hasher.hash("Secret-123")
    assert password_hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert await hasher.verify(password_hash, "Secret-123")
    assert not await hasher.verify(password_hash, "Secret-124")
    assert not await hasher.verify("nonsense", "Secret-123")
    assert not await hasher.verify(None, "Secret-123")
    hasher.close()


async def test_hashing_leaves_the_core_to_others_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    hasher = PasswordHasher(time_cost=1, memory_kib=8)
    own, found = os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), []

    def verify(password_hash: str, password: str) -> bool:
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return True

    monkeypatch.setattr(hasher, "_verify", verify)
    assert await hasher.verify("x", "y")
    hasher.close()
    assert found == [min(own + 10, 19)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == own
