"""Hashes of passwords: every algorithm makes what it can check, and checks what others have made."""

import hashlib

import pytest

from pybroker.auth import passwords
from pybroker.auth.passwords import (
    StoredPassword,
    check_hash,
    hash_of_nobody,
    hash_password,
    recognize,
    verify_password,
)
from pybroker.config.sections.access import PasswordHash

ALGORITHMS = [
    PasswordHash(name="argon2id"),
    PasswordHash(name="plain"),
    PasswordHash(name="md5", salt_position="disable"),
    PasswordHash(name="sha", salt_position="suffix"),
    PasswordHash(name="sha256"),
    PasswordHash(name="sha512", salt_position="suffix"),
    PasswordHash(name="bcrypt", salt_rounds=5),
    PasswordHash(name="pbkdf2", mac_fun="sha256", iterations=3),
    PasswordHash(name="pbkdf2", mac_fun="md4", iterations=3, dk_length=20),
    PasswordHash(name="pbkdf2", mac_fun="ripemd160", iterations=2),
]


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=passwords.render_algorithm)
def test_only_the_right_password_fits(algorithm: PasswordHash) -> None:
    stored = hash_password(algorithm, b"secret")
    assert verify_password(stored, b"secret")
    assert not verify_password(stored, b"Secret")
    assert not verify_password(stored, b"")
    assert check_hash(stored) is None


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=passwords.render_algorithm)
def test_nobody_has_a_password(algorithm: PasswordHash) -> None:
    nobody = hash_of_nobody(algorithm)
    assert not verify_password(nobody, b"secret")
    assert check_hash(nobody) is None
    assert passwords.is_slow(nobody.algorithm) is (algorithm.name in ("argon2id", "bcrypt", "pbkdf2"))


def test_the_text_of_the_salt_is_hashed() -> None:
    stored = hash_password(PasswordHash(name="sha256"), b"pw")
    assert len(stored.salt) == 32
    assert stored.hash == hashlib.sha256(stored.salt.encode() + b"pw").hexdigest()


@pytest.mark.parametrize(
    "stored",
    [
        StoredPassword("sha256:disable", hashlib.sha256(b"pw").hexdigest().upper()),
        StoredPassword("sha512:suffix", hashlib.sha512(b"pwsalt").hexdigest(), "salt"),
        StoredPassword("pbkdf2:sha:2:", hashlib.pbkdf2_hmac("sha1", b"pw", b"salt", 2).hex(), "salt"),
        # One round of HMAC-MD4 over the salt and a block number, computed with the standard library.
        StoredPassword("pbkdf2:md4:1:", "749f95747c74c29b8d2e835ef03f30aa", "salt"),
    ],
    ids=["upper-case", "suffix", "sha1", "md4"],
)
def test_hashes_of_others_are_checked(stored: StoredPassword) -> None:
    assert verify_password(stored, b"pw")


def test_bcrypt_looks_at_72_bytes() -> None:
    stored = hash_password(PasswordHash(name="bcrypt", salt_rounds=5), b"x" * 80)
    assert verify_password(stored, b"x" * 72)
    assert not verify_password(stored, b"x" * 71)


@pytest.mark.parametrize(
    ("algorithm", "text"),
    [
        ("sha256:prefix", "abcd"),
        ("sha256:prefix", "g" * 64),
        ("bcrypt", "$2b$10$short"),
        ("argon2id", "plain text"),
        ("pbkdf2:sha256:10:20", "00" * 32),
        ("plain", ""),
    ],
)
def test_hash_of_another_form_is_refused_without_repeating_it(algorithm: str, text: str) -> None:
    problem = check_hash(StoredPassword(algorithm, text, "s"))
    assert problem is not None
    assert not text or text not in problem


def test_broken_hashes_fit_nothing() -> None:
    assert not verify_password(StoredPassword("bcrypt", "nonsense"), b"pw")
    assert not verify_password(StoredPassword("argon2id", "$argon2id$nonsense"), b"pw")


def test_imported_hash_says_what_it_is() -> None:
    default = PasswordHash()
    assert recognize(default, "$argon2id$v=19$m=1,t=1,p=1$c2FsdHNhbHQ$aGFzaA") == "argon2id"
    assert recognize(default, "$2b$05$" + "a" * 53) == "bcrypt"
    assert recognize(default, "ab" * 32) == "sha256:prefix"
    assert recognize(PasswordHash(name="sha512", salt_position="suffix"), "ab" * 64) == "sha512:suffix"
    assert recognize(PasswordHash(name="pbkdf2", iterations=7, dk_length=8), "ab") == "pbkdf2:sha256:7:8"
