"""What is hidden of a request."""

import pytest

from pybroker.control.masking import MASK, mask_body, mask_fields


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "old_pwd",
        "new_pwd",
        "passwd",
        "mfa_token",
        "Authorization",
        "api_key",
        "api_secret",
        "private_key",
        "sp_private_key",
        "client_secret",
        "cookie",
    ],
)
def test_secret_fields_are_masked(name: str) -> None:
    assert mask_fields({name: "x"}) == {name: MASK}


def test_masking_reaches_every_depth_and_leaves_the_rest() -> None:
    value = {"name": "a", "list": [{"password": "x", "n": 1}], "password": None, "keep": {"alive": True}}
    assert mask_fields(value) == {
        "name": "a",
        "list": [{"password": MASK, "n": 1}],
        "password": None,
        "keep": {"alive": True},
    }


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (b"", ""),
        (b'{"password":"x"}', '{"password":"******"}'),
        (b"password=x", MASK),
        (b"\xff", MASK),
        (b"[" * 100_000, MASK),
        (b'"' + b"x" * 65_536 + b'"', MASK),
    ],
)
def test_bodies_are_kept_masked(body: bytes, kept: str) -> None:
    assert mask_body(body) == kept


def test_long_bodies_are_cut() -> None:
    assert len(mask_body(b'"' + b"x" * 5_000 + b'"')) == 1_024
