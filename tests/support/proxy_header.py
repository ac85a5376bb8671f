"""PROXY protocol headers as a load balancer writes them, versions 1 and 2."""

import ipaddress
import struct

__all__ = ["AUTHORITY", "SSL", "local", "ssl_value", "tlv", "v1", "v2"]

AUTHORITY, SSL = 0x02, 0x20

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_COMMON_NAME = 0x22
_IS_TLS, _HAS_CERTIFICATE = 0x01, 0x02


def v1(source: str, destination: str = "192.0.2.1") -> bytes:
    """Build the text form; the family follows from the source."""
    family = "TCP6" if ":" in source else "TCP4"
    return f"PROXY {family} {source} {destination} 40000 1883\r\n".encode()


def v2(source: str, destination: str = "192.0.2.1", values: bytes = b"") -> bytes:
    """Build the binary form with `values` behind the addresses."""
    addresses = ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
    body = addresses + struct.pack("!HH", 40_000, 1883) + values
    return _SIGNATURE + bytes([0x21, 0x21 if ":" in source else 0x11]) + struct.pack("!H", len(body)) + body


def local() -> bytes:
    """Build the binary form that a health check of the proxy itself sends."""
    return _SIGNATURE + b"\x20\x00\x00\x00"


def tlv(kind: int, value: bytes) -> bytes:
    """Build one type-length-value."""
    return struct.pack("!BH", kind, len(value)) + value


def ssl_value(common_name: str, *, is_verified: bool = True) -> bytes:
    """Build the value that tells of TLS and a client certificate in front of the proxy."""
    head = struct.pack("!BI", _IS_TLS | _HAS_CERTIFICATE, 0 if is_verified else 1)
    return tlv(SSL, head + tlv(_COMMON_NAME, common_name.encode()))
