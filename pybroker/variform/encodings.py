"""Functions that decode and encode: hexadecimal, base64, JSON, JSON web tokens."""

import binascii
from base64 import b64encode

import msgspec

from pybroker.variform.errors import Mistake
from pybroker.variform.values import Value, from_bytes, need_integer, need_text, to_bytes

_TO_URLSAFE = bytes.maketrans(b"+/", b"-_")
# The two characters of the other alphabet become one that no alphabet has.
_FROM_URLSAFE = bytes.maketrans(b"-_+/", b"+/!!")


def int2hexstr(value: Value) -> str:
    """Return an integer in upper-case hexadecimal digits, as few as possible."""
    return f"{need_integer(value):X}"


def bin2hexstr(value: Value) -> str:
    """Return the bytes of a text in upper-case hexadecimal digits."""
    return to_bytes(need_text(value)).hex().upper()


def hexstr2bin(value: Value) -> str:
    """Return the text whose bytes are written in hexadecimal digits."""
    try:
        return from_bytes(binascii.unhexlify(need_text(value)))
    except ValueError:
        raise Mistake("exception", "not hexadecimal") from None


def base64_encode(value: Value, *options: Value) -> str:
    """Return a text in base64; options `urlsafe` and `no_padding`."""
    data = b64encode(to_bytes(need_text(value)))
    if "urlsafe" in options:
        data = data.translate(_TO_URLSAFE)
    return (data.rstrip(b"=") if "no_padding" in options else data).decode("ascii")


def base64_decode(value: Value, *options: Value) -> str:
    """Return the text of a base64; padding must be right, or with `no_padding` may be missing."""
    try:
        return from_bytes(_from_base64(need_text(value), "urlsafe" in options, "no_padding" in options))
    except ValueError:
        raise Mistake("exception", "not base64") from None


def _from_base64(text: str, is_urlsafe: bool, may_lack_padding: bool) -> bytes:
    """Decode; raises `ValueError` for anything else than base64, white space included."""
    data = text.encode("ascii")
    if is_urlsafe:
        data = data.translate(_FROM_URLSAFE)
    if may_lack_padding and not data.endswith(b"="):
        data += b"=" * (-len(data) % 4)
    return binascii.a2b_base64(data, strict_mode=True)


def json_value(value: Value, path: Value) -> Value:
    """Return what stands in a JSON text at a path of names with dots; null if there is nothing."""
    return _walk(need_text(value), need_text(path))


def jwt_value(value: Value, path: Value) -> Value:
    """Return a claim of a JSON web token by its path; nobody checks the signature."""
    parts = need_text(value).split(".")
    if len(parts) != 3:
        raise Mistake("invalid_jwt_token")
    try:
        claims = from_bytes(_from_base64(parts[1], is_urlsafe=True, may_lack_padding=True))
    except ValueError:
        raise Mistake("jwt_decode_error") from None
    return _walk(claims, need_text(path))


def _walk(text: str, path: str) -> Value:
    names = [name for name in path.split(".") if name]
    if not names:
        raise Mistake("badarg", "empty path")
    try:
        node: Value = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return None
    for name in names:
        if not isinstance(node, dict):
            return None
        node = node.get(name)
    return node
