"""Reading the header `Authorization`."""

import base64
import binascii
from typing import NamedTuple

from starlette.datastructures import Headers

from pybroker.errors import Refused


class Bearer(NamedTuple):
    """The token of a user."""

    token: str


class Basic(NamedTuple):
    """An API key and its secret."""

    api_key: str
    secret: str


def read_credential(headers: Headers) -> Bearer | Basic:
    """Return what the caller shows.

    Raises:
        Refused: `AUTHORIZATION_HEADER_ERROR`: nothing, or nothing that can be read.
    """
    scheme, _, value = headers.get("authorization", "").strip().partition(" ")
    value = value.strip()
    if len(headers.getlist("authorization")) == 1 and value:
        if scheme.lower() == "bearer":
            return Bearer(value)
        if scheme.lower() == "basic":
            basic = _decode(value)
            if basic is not None:
                return basic
    raise Refused("AUTHORIZATION_HEADER_ERROR", "Support authorization: basic/bearer")


def claimed_name(headers: Headers) -> str:
    """Return the key that a request claims; empty if it claims none. Nothing is verified."""
    try:
        credential = read_credential(headers)
    except Refused:
        return ""
    return credential.api_key if isinstance(credential, Basic) else ""


def _decode(value: str) -> Basic | None:
    try:
        text = base64.b64decode(value, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    api_key, colon, secret = text.partition(":")
    return Basic(api_key, secret) if colon else None
