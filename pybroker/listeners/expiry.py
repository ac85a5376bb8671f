"""When a certificate file ends: the one date that is read of it, without a library for the rest."""

import binascii
from datetime import UTC, datetime
from pathlib import Path

_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
_SEQUENCE = 0x30
_VERSION = 0xA0
_UTC_TIME = 0x17
_GENERALIZED_TIME = 0x18


def ends_at_s(file: Path) -> int:
    """Return the wall second at which the first certificate of a PEM file ends; 0 if it cannot be read.

    Spec: RFC 5280, 4.1.2.5: two digits of a year below 50 are of this century.
    """
    try:
        _, _, rest = file.read_bytes().partition(_BEGIN)
        der = binascii.a2b_base64(rest.partition(_END)[0])
        return _not_after_s(der)
    except (OSError, ValueError, IndexError):
        return 0


def _not_after_s(der: bytes) -> int:
    certificate, _ = _value(der, 0, _SEQUENCE)
    body, _ = _value(certificate, 0, _SEQUENCE)
    at = _skip(body, 0) if body[0] == _VERSION else 0
    for _ in ("serial number", "signature", "issuer"):
        at = _skip(body, at)
    validity, _ = _value(body, at, _SEQUENCE)
    at = _skip(validity, 0)
    kind = validity[at]
    text = _value(validity, at, kind)[0].decode("ascii")
    if kind == _UTC_TIME:
        text = ("20" if int(text[:2]) < 50 else "19") + text
    elif kind != _GENERALIZED_TIME:
        raise ValueError(f"no time: {kind:#x}")
    return int(datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp())


def _value(der: bytes, at: int, kind: int) -> tuple[bytes, int]:
    """Return the contents of the element at a place, and where the next one begins."""
    if der[at] != kind:
        raise ValueError(f"unexpected element: {der[at]:#x}")
    length, start = der[at + 1], at + 2
    if length & 0x80:
        width = length & 0x7F
        length, start = int.from_bytes(der[start : start + width], "big"), start + width
    if start + length > len(der):
        raise ValueError("element is cut off")
    return der[start : start + length], start + length


def _skip(der: bytes, at: int) -> int:
    return _value(der, at, der[at])[1]
