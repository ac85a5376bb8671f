"""MQTT packets for tests: build what a client sends, read what a broker sends.

Independent of the product's codec on purpose. Builders take broken values as readily as good ones; the reader is strict
and raises `WireError` for anything that a broker must not send. Sockets and waiting live in `wire.py`.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeAlias

__all__ = [
    "PINGREQ",
    "Packet",
    "Pairs",
    "Properties",
    "Property",
    "PropertyValue",
    "Type",
    "Version",
    "Will",
    "WireError",
    "ack",
    "auth",
    "connect",
    "decode",
    "disconnect",
    "frame",
    "property_section",
    "publish",
    "subscribe",
    "text",
    "unsubscribe",
    "varint",
]


class WireError(AssertionError):
    """The broker sent bytes that the standard forbids."""


class Version(IntEnum):
    """Protocol level as CONNECT carries it."""

    V31 = 3
    V311 = 4
    V5 = 5


class Type(IntEnum):
    """Packet type, the upper four bits of the first byte."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15


class Property(IntEnum):
    """Property identifiers of MQTT 5."""

    PAYLOAD_FORMAT = 0x01
    MESSAGE_EXPIRY = 0x02
    CONTENT_TYPE = 0x03
    RESPONSE_TOPIC = 0x08
    CORRELATION_DATA = 0x09
    SUBSCRIPTION_ID = 0x0B
    SESSION_EXPIRY = 0x11
    ASSIGNED_CLIENT_ID = 0x12
    SERVER_KEEP_ALIVE = 0x13
    AUTH_METHOD = 0x15
    AUTH_DATA = 0x16
    REQUEST_PROBLEM = 0x17
    WILL_DELAY = 0x18
    REQUEST_RESPONSE = 0x19
    RESPONSE_INFORMATION = 0x1A
    SERVER_REFERENCE = 0x1C
    REASON_STRING = 0x1F
    RECEIVE_MAXIMUM = 0x21
    ALIAS_MAXIMUM = 0x22
    TOPIC_ALIAS = 0x23
    MAXIMUM_QOS = 0x24
    RETAIN_AVAILABLE = 0x25
    USER = 0x26
    MAXIMUM_PACKET = 0x27
    WILDCARD_AVAILABLE = 0x28
    SUBSCRIPTION_ID_AVAILABLE = 0x29
    SHARED_AVAILABLE = 0x2A


_KIND: dict[int, str] = {
    **dict.fromkeys(
        (
            Property.PAYLOAD_FORMAT,
            Property.REQUEST_PROBLEM,
            Property.REQUEST_RESPONSE,
            Property.MAXIMUM_QOS,
            Property.RETAIN_AVAILABLE,
            Property.WILDCARD_AVAILABLE,
            Property.SUBSCRIPTION_ID_AVAILABLE,
            Property.SHARED_AVAILABLE,
        ),
        "byte",
    ),
    **dict.fromkeys(
        (
            Property.SERVER_KEEP_ALIVE,
            Property.RECEIVE_MAXIMUM,
            Property.ALIAS_MAXIMUM,
            Property.TOPIC_ALIAS,
        ),
        "u16",
    ),
    **dict.fromkeys(
        (
            Property.MESSAGE_EXPIRY,
            Property.SESSION_EXPIRY,
            Property.WILL_DELAY,
            Property.MAXIMUM_PACKET,
        ),
        "u32",
    ),
    **dict.fromkeys(
        (
            Property.CONTENT_TYPE,
            Property.RESPONSE_TOPIC,
            Property.ASSIGNED_CLIENT_ID,
            Property.AUTH_METHOD,
            Property.RESPONSE_INFORMATION,
            Property.SERVER_REFERENCE,
            Property.REASON_STRING,
        ),
        "text",
    ),
    Property.CORRELATION_DATA: "binary",
    Property.AUTH_DATA: "binary",
    Property.SUBSCRIPTION_ID: "varint",
    Property.USER: "pair",
}

_REASON_AND_USER = frozenset({Property.REASON_STRING, Property.USER})

# What a broker may put into each packet; anything else is an error of the broker.
_ALLOWED_FROM_BROKER: dict[Type, frozenset[Property]] = {
    Type.CONNACK: frozenset(Property)
    - {
        Property.PAYLOAD_FORMAT,
        Property.MESSAGE_EXPIRY,
        Property.CONTENT_TYPE,
        Property.RESPONSE_TOPIC,
        Property.CORRELATION_DATA,
        Property.SUBSCRIPTION_ID,
        Property.REQUEST_PROBLEM,
        Property.REQUEST_RESPONSE,
        Property.WILL_DELAY,
        Property.TOPIC_ALIAS,
    },
    Type.PUBLISH: frozenset(
        {
            Property.PAYLOAD_FORMAT,
            Property.MESSAGE_EXPIRY,
            Property.TOPIC_ALIAS,
            Property.RESPONSE_TOPIC,
            Property.CORRELATION_DATA,
            Property.USER,
            Property.SUBSCRIPTION_ID,
            Property.CONTENT_TYPE,
        }
    ),
    **dict.fromkeys(
        (Type.PUBACK, Type.PUBREC, Type.PUBREL, Type.PUBCOMP, Type.SUBACK, Type.UNSUBACK),
        _REASON_AND_USER,
    ),
    # The broker never sends a session expiry here [MQTT5-3.14.2-2].
    Type.DISCONNECT: _REASON_AND_USER | {Property.SERVER_REFERENCE},
    Type.AUTH: _REASON_AND_USER | {Property.AUTH_METHOD, Property.AUTH_DATA},
}

PropertyValue: TypeAlias = int | str | bytes | tuple[str | bytes, str | bytes]
Pairs: TypeAlias = Sequence[tuple[int, PropertyValue]] | bytes
"""Properties in wire order; `bytes` stand for a whole property section without its length, however broken."""

PINGREQ = b"\xc0\x00"


# Building


def varint(value: int) -> bytes:
    """Encode a variable byte integer in its shortest form."""
    out = bytearray()
    while True:
        value, low = divmod(value, 128)
        out.append(low | 0x80 if value else low)
        if not value:
            return bytes(out)


def binary(value: bytes) -> bytes:
    """Encode binary data with its two length bytes."""
    return struct.pack("!H", len(value)) + value


def text(value: str | bytes) -> bytes:
    """Encode a string; bytes pass unchecked, for ill-formed ones."""
    return binary(value.encode() if isinstance(value, str) else value)


def frame(first_byte: int, body: bytes = b"") -> bytes:
    """Put a fixed header in front of `body`."""
    return bytes([first_byte]) + varint(len(body)) + body


def property_section(pairs: Pairs) -> bytes:
    """Encode properties with their length; the value of an unknown identifier must be bytes and is copied."""
    if isinstance(pairs, bytes):
        return varint(len(pairs)) + pairs
    out = bytearray()
    for identifier, value in pairs:
        out += varint(identifier) + _property_value(identifier, value)
    return varint(len(out)) + bytes(out)


def _property_value(identifier: int, value: PropertyValue) -> bytes:
    kind = _KIND.get(identifier, "raw")
    if isinstance(value, tuple):
        return text(value[0]) + text(value[1])
    if isinstance(value, int):
        if kind == "varint":
            return varint(value)
        return value.to_bytes({"byte": 1, "u16": 2, "u32": 4}[kind], "big")
    if isinstance(value, bytes) and kind == "raw":
        return value
    return text(value)


@dataclass(frozen=True)
class Will:
    """The will that CONNECT carries."""

    topic: str | bytes
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    properties: Pairs = ()


def connect(
    version: int,
    client_id: str | bytes,
    *,
    clean: bool = True,
    keep_alive: int = 0,
    username: str | bytes | None = None,
    password: bytes | None = None,
    will: Will | None = None,
    properties: Pairs = (),
    flags: int | None = None,
    name: str | bytes | None = None,
) -> bytes:
    """Build CONNECT; `flags` and `name` replace what the other arguments would give."""
    computed = 0x02 if clean else 0
    fields = text(client_id)
    if will is not None:
        computed |= 0x04 | will.qos << 3 | (0x20 if will.retain else 0)
        section = property_section(will.properties) if version >= Version.V5 else b""
        fields += section + text(will.topic) + binary(will.payload)
    if username is not None:
        computed |= 0x80
        fields += text(username)
    if password is not None:
        computed |= 0x40
        fields += binary(password)
    if name is None:
        name = "MQIsdp" if version == Version.V31 else "MQTT"
    head = text(name) + struct.pack("!BBH", version, computed if flags is None else flags, keep_alive)
    section = property_section(properties) if version >= Version.V5 else b""
    return frame(0x10, head + section + fields)


def publish(
    version: int,
    topic: str | bytes,
    payload: bytes = b"",
    *,
    qos: int = 0,
    packet_id: int | None = None,
    retain: bool = False,
    dup: bool = False,
    properties: Pairs = (),
) -> bytes:
    """Build PUBLISH; without `packet_id` a QoS above 0 gets id 1."""
    first = 0x30 | (8 if dup else 0) | qos << 1 | (1 if retain else 0)
    body = text(topic)
    if qos:
        body += struct.pack("!H", 1 if packet_id is None else packet_id)
    if version >= Version.V5:
        body += property_section(properties)
    return frame(first, body + payload)


def subscribe(
    version: int, packet_id: int, filters: Sequence[tuple[str | bytes, int]], properties: Pairs = ()
) -> bytes:
    """Build SUBSCRIBE; each filter comes with its option byte (the QoS alone under 3.x)."""
    body = struct.pack("!H", packet_id)
    if version >= Version.V5:
        body += property_section(properties)
    return frame(0x82, body + b"".join(text(f) + bytes([options]) for f, options in filters))


def unsubscribe(version: int, packet_id: int, filters: Sequence[str | bytes], properties: Pairs = ()) -> bytes:
    """Build UNSUBSCRIBE."""
    body = struct.pack("!H", packet_id)
    if version >= Version.V5:
        body += property_section(properties)
    return frame(0xA2, body + b"".join(map(text, filters)))


def ack(kind: Type, packet_id: int, reason: int | None = None, properties: Pairs | None = None) -> bytes:
    """Build PUBACK, PUBREC, PUBREL or PUBCOMP in the shortest form that holds what is given."""
    body = struct.pack("!H", packet_id)
    if reason is not None:
        body += bytes([reason])
    if properties is not None:
        body += property_section(properties)
    return frame(kind << 4 | (2 if kind is Type.PUBREL else 0), body)


def disconnect(reason: int | None = None, properties: Pairs | None = None) -> bytes:
    """Build DISCONNECT; without arguments the two-byte form that all versions know."""
    body = b"" if reason is None else bytes([reason])
    if properties is not None:
        body += property_section(properties)
    return frame(0xE0, body)


def auth(reason: int, properties: Pairs = ()) -> bytes:
    """Build AUTH."""
    return frame(0xF0, bytes([reason]) + property_section(properties))


# Reading


@dataclass(frozen=True)
class Properties:
    """Properties of a received packet, in wire order."""

    pairs: tuple[tuple[Property, PropertyValue], ...] = ()

    def get(self, wanted: Property) -> PropertyValue | None:
        """Return the first value of `wanted`, or `None`."""
        return next((value for identifier, value in self.pairs if identifier == wanted), None)

    def number(self, wanted: Property) -> int | None:
        """Return the value of a numeric property, or `None`."""
        value = self.get(wanted)
        assert value is None or isinstance(value, int)
        return value

    def all(self, wanted: Property) -> list[PropertyValue]:
        """Return every value of `wanted` in order."""
        return [value for identifier, value in self.pairs if identifier == wanted]

    def __contains__(self, wanted: Property) -> bool:
        return any(identifier == wanted for identifier, _ in self.pairs)


@dataclass(frozen=True)
class Packet:
    """One packet from the broker; fields that its type does not have keep their defaults."""

    type: Type
    raw: bytes = field(repr=False)
    packet_id: int = 0
    reason: int = 0
    reasons: tuple[int, ...] = ()
    is_session_present: bool = False
    topic: str = ""
    payload: bytes = b""
    qos: int = 0
    is_retained: bool = False
    is_dup: bool = False
    properties: Properties = Properties()


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.data):
            raise WireError(f"packet ends inside a field: {self.data.hex()}")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def varint(self) -> int:
        start = self.at
        value = 0
        for shift in (0, 7, 14, 21):
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if self.data[start : self.at] != varint(value):
                    raise WireError(f"variable byte integer is longer than needed: {self.data[start : self.at].hex()}")
                return value
        raise WireError("variable byte integer has a fifth byte")

    def binary(self) -> bytes:
        return self.take(self.number(2))

    def text(self) -> str:
        return self.binary().decode("utf-8")

    def rest(self) -> bytes:
        return self.take(len(self.data) - self.at)

    def properties(self, packet: Type) -> Properties:
        inner = _Cursor(self.take(self.varint()))
        pairs: list[tuple[Property, PropertyValue]] = []
        while inner.at < len(inner.data):
            identifier = Property(inner.varint())
            if identifier not in _ALLOWED_FROM_BROKER[packet]:
                raise WireError(f"{identifier.name} is not allowed in {packet.name} from a broker")
            may_repeat = identifier in (Property.USER, Property.SUBSCRIPTION_ID)
            if not may_repeat and any(identifier == seen for seen, _ in pairs):
                raise WireError(f"{identifier.name} comes twice in {packet.name}")
            pairs.append((identifier, inner.property_value(_KIND[identifier])))
        return Properties(tuple(pairs))

    def property_value(self, kind: str) -> PropertyValue:
        if kind == "varint":
            return self.varint()
        if kind == "text":
            return self.text()
        if kind == "binary":
            return self.binary()
        if kind == "pair":
            return (self.text(), self.text())
        return self.number({"byte": 1, "u16": 2, "u32": 4}[kind])


def decode(buffer: bytes | bytearray, version: int) -> tuple[Packet, int] | None:
    """Read one packet from the start of `buffer`.

    Returns:
        The packet and the number of bytes it took, or `None` while it is not complete.

    Raises:
        WireError: the packet breaks a rule for what brokers send.
    """
    length = 0
    at = 1
    while True:
        if at >= len(buffer):
            return None
        byte = buffer[at]
        length |= (byte & 0x7F) << 7 * (at - 1)
        at += 1
        if byte < 0x80:
            break
        if at > 4:
            raise WireError("remaining length has more than four bytes")
    if bytes(buffer[1:at]) != varint(length):
        raise WireError("remaining length is longer than needed")
    if len(buffer) < at + length:
        return None
    raw = bytes(buffer[: at + length])
    return _packet(raw, _Cursor(raw[at:]), version), at + length


def _packet(raw: bytes, cursor: _Cursor, version: int) -> Packet:
    kind = Type(raw[0] >> 4)
    flags = raw[0] & 0x0F
    if kind is Type.PUBLISH:
        return _publish(raw, cursor, version)
    if flags != (2 if kind is Type.PUBREL else 0):
        raise WireError(f"{kind.name} with flags {flags:#x}")
    if kind is Type.CONNACK:
        packet = _connack(raw, cursor, version)
    elif kind in (Type.PUBACK, Type.PUBREC, Type.PUBREL, Type.PUBCOMP):
        packet = _ack(raw, kind, cursor, version)
    elif kind in (Type.SUBACK, Type.UNSUBACK):
        packet_id = cursor.number(2)
        properties = cursor.properties(kind) if version >= Version.V5 else Properties()
        packet = Packet(kind, raw, packet_id=packet_id, reasons=tuple(cursor.rest()), properties=properties)
    elif kind is Type.PINGRESP:
        packet = Packet(kind, raw)
    elif kind in (Type.DISCONNECT, Type.AUTH) and version >= Version.V5:
        reason = cursor.number(1) if len(cursor.data) else 0
        properties = cursor.properties(kind) if len(cursor.data) > 1 else Properties()
        packet = Packet(kind, raw, reason=reason, properties=properties)
    else:
        raise WireError(f"a broker never sends {kind.name} to version {version}")
    if cursor.at != len(cursor.data):
        raise WireError(f"{kind.name} has bytes after its last field: {raw.hex()}")
    return packet


def _connack(raw: bytes, cursor: _Cursor, version: int) -> Packet:
    flags, reason = cursor.number(1), cursor.number(1)
    if flags > 1:
        raise WireError(f"CONNACK flags {flags:#x}")
    properties = cursor.properties(Type.CONNACK) if version >= Version.V5 else Properties()
    return Packet(Type.CONNACK, raw, reason=reason, is_session_present=flags == 1, properties=properties)


def _ack(raw: bytes, kind: Type, cursor: _Cursor, version: int) -> Packet:
    packet_id = cursor.number(2)
    reason = cursor.number(1) if version >= Version.V5 and len(cursor.data) > 2 else 0
    properties = cursor.properties(kind) if version >= Version.V5 and len(cursor.data) > 3 else Properties()
    return Packet(kind, raw, packet_id=packet_id, reason=reason, properties=properties)


def _publish(raw: bytes, cursor: _Cursor, version: int) -> Packet:
    qos = raw[0] >> 1 & 3
    topic = cursor.text()
    packet_id = cursor.number(2) if qos else 0
    properties = cursor.properties(Type.PUBLISH) if version >= Version.V5 else Properties()
    if qos == 3 or (qos and not packet_id) or (not qos and raw[0] & 8):
        raise WireError(f"PUBLISH with first byte {raw[0]:#x} and packet id {packet_id}")
    if "+" in topic or "#" in topic or "\0" in topic or (not topic and Property.TOPIC_ALIAS not in properties):
        raise WireError(f"PUBLISH with topic {topic!r}")
    return Packet(
        Type.PUBLISH,
        raw,
        packet_id=packet_id,
        topic=topic,
        payload=cursor.rest(),
        qos=qos,
        is_retained=bool(raw[0] & 1),
        is_dup=bool(raw[0] & 8),
        properties=properties,
    )
