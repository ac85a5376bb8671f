"""Everything that can be wrong with what a client sends, as an endless stream that a seed decides.

A `Broken` is one connection: its bytes and whether the broker must end it by itself. The classes follow the traps
table; `MUTATIONS` damage whole conversations blindly, so their outcome is open.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random

from tests.support import packets
from tests.support.packets import Property, Type, Version, Will

__all__ = ["AFTER_CONNECT", "BEFORE_CONNECT", "MUTATIONS", "Broken", "broken_inputs"]

_Builder = Callable[[Random], bytes]

_HELLO = bytes.fromhex("16030100c8010000c403037f") + bytes(range(190))


@dataclass(frozen=True)
class Broken:
    """One hostile connection.

    Attributes:
        is_fatal: the broker has to close the connection, whatever else it does.
    """

    name: str
    data: bytes
    is_fatal: bool


def _id(random: Random) -> str:
    return f"broken{random.getrandbits(48):x}"


def _version(random: Random) -> Version:
    return random.choice(list(Version))


def _noise(random: Random) -> bytes:
    return random.randbytes(random.randrange(1, 400))


def _connect(random: Random, **broken: object) -> bytes:
    return packets.connect(_version(random), _id(random), **broken)  # type: ignore[arg-type]  # wrong on purpose


def _connect5(random: Random, properties: packets.Pairs) -> bytes:
    return packets.connect(Version.V5, _id(random), properties=properties)


def _with_tail(packet: bytes, tail: bytes) -> bytes:
    """Append bytes inside a packet of less than 120 bytes."""
    return packet[:1] + bytes([packet[1] + len(tail)]) + packet[2:] + tail


BEFORE_CONNECT: Mapping[str, _Builder] = {
    "no connect first": lambda random: packets.frame(random.choice([0x30, 0x82, 0xC0, 0xE0, 0xF0]), _noise(random)),
    "reserved type": lambda random: packets.frame(random.randrange(16), _noise(random)),
    "tls hello": lambda _: _HELLO,
    "http": lambda _: b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n",
    "wrong name": lambda random: _connect(random, name=random.choice(["MQTS", "mqtt", "", "MQTTT", b"\xff\xff"])),
    "wrong level": lambda random: packets.connect(random.choice([0, 1, 2, 6, 7, 255]), _id(random), name="MQTT"),
    "reserved flag": lambda random: _connect(random, flags=0x03),
    "will qos 3": lambda random: _connect(random, flags=0x1E),
    "will bits without will": lambda random: _connect(random, flags=random.choice([0x0A, 0x22, 0x32])),
    "user name missing": lambda random: _connect(random, flags=0x82),
    "password missing": lambda random: _connect(random, flags=0xC2, username="u"),
    "client id not utf-8": lambda random: packets.connect(5, random.choice([b"\xc0\x80", b"\xed\xa0\x80", b"a\0b"])),
    "client id beyond the packet": lambda random: packets.frame(0x10, b"\0\4MQTT\4\2\0\0\xff\xff" + _noise(random)),
    "long remaining length": lambda random: b"\x10\xff\xff\xff\xff" + _noise(random),
    "huge packet": lambda random: b"\x10\xff\xff\xff\x7f" + _noise(random),
    "bytes behind the last field": lambda random: _with_tail(packets.connect(4, _id(random)), b"tail"),
    "property twice": lambda random: _connect5(random, [(Property.RECEIVE_MAXIMUM, 1)] * 2),
    "property unknown": lambda random: _connect5(random, bytes([random.choice([0, 4, 99, 127]), 0, 0])),
    "property of another packet": lambda random: _connect5(random, [(Property.TOPIC_ALIAS, 1)]),
    "property value": lambda random: _connect5(random, [(Property.RECEIVE_MAXIMUM, 0)]),
    "property cut": lambda random: _connect5(random, b"\x26\0\5ab"),
    "method unknown": lambda random: _connect5(random, [(Property.AUTH_METHOD, "none"), (Property.AUTH_DATA, b"x")]),
    "will topic": lambda random: _connect(random, will=Will(random.choice(["a/#", "+", "a\0b"]))),
}


def _publish(random: Random, topic: str | bytes = "a/b", **broken: object) -> bytes:
    return packets.publish(Version.V5, topic, _noise(random), **broken)  # type: ignore[arg-type]  # wrong on purpose


AFTER_CONNECT: Mapping[str, _Builder] = {
    "second connect": lambda random: packets.connect(5, _id(random)),
    "server's packet": lambda random: packets.frame(random.choice([0x20, 0x90, 0xB0, 0xD0]), b"\0\0\0"),
    "type 0": lambda random: packets.frame(0x00, _noise(random)),
    "reserved bits": lambda random: packets.frame(random.choice([0x41, 0x6F, 0x80, 0xA1, 0xC7, 0xE8]), b"\0\1\0"),
    "long remaining length": lambda random: b"\x30\x80\x80\x80\x80" + _noise(random),
    "huge packet": lambda random: b"\x30\xff\xff\xff\x7f" + _noise(random),
    "qos 3": lambda random: packets.frame(0x36, packets.text("a") + b"\0\1\0"),
    "dup at qos 0": lambda random: _publish(random, dup=True),
    "packet id 0": lambda random: _publish(random, qos=random.choice([1, 2]), packet_id=0),
    "topic with wildcard": lambda random: _publish(random, random.choice(["a/#", "+/b", "#", "a+b/c#"])),
    "topic empty": lambda random: _publish(random, ""),
    "topic not utf-8": lambda random: _publish(random, random.choice([b"\xff", b"a\0", b"\xf8\x88\x80\x80\x80"])),
    "topic beyond the packet": lambda random: packets.frame(0x30, b"\xff\xff" + _noise(random)),
    "alias 0": lambda random: _publish(random, properties=[(Property.TOPIC_ALIAS, 0)]),
    "alias never set": lambda random: _publish(random, "", properties=[(Property.TOPIC_ALIAS, 9)]),
    "subscription id": lambda random: _publish(random, properties=[(Property.SUBSCRIPTION_ID, 1)]),
    "response topic": lambda random: _publish(random, properties=[(Property.RESPONSE_TOPIC, "a/+")]),
    "property length": lambda random: packets.frame(0x30, packets.text("a") + b"\xff\xff\xff\x7f" + _noise(random)),
    "subscribe to nothing": lambda _: packets.subscribe(5, 1, []),
    "subscribe at qos 3": lambda _: packets.subscribe(5, 1, [("a", 3)]),
    "subscribe with reserved bits": lambda random: packets.subscribe(5, 1, [("a", random.choice([0x40, 0x80, 0x30]))]),
    "subscribe with id 0": lambda _: packets.subscribe(5, 0, [("a", 0)]),
    "subscription id 0": lambda _: packets.subscribe(5, 1, [("a", 0)], [(Property.SUBSCRIPTION_ID, 0)]),
    "filter not utf-8": lambda _: packets.subscribe(5, 1, [(b"\xfe", 0)]),
    "no local and shared": lambda _: packets.subscribe(5, 1, [("$share/g/a", 4)]),
    "unsubscribe from nothing": lambda _: packets.unsubscribe(5, 1, []),
    "acknowledgement too short": lambda random: packets.frame(random.choice([0x40, 0x50, 0x62, 0x70]), b"\0"),
    "disconnect with a wrong property": lambda _: packets.disconnect(0, [(Property.TOPIC_ALIAS, 1)]),
    "auth without method": lambda random: packets.auth(0x18, [(Property.AUTH_DATA, _noise(random))]),
}


def _flip(random: Random, data: bytes) -> bytes:
    damaged = bytearray(data)
    for _ in range(random.randrange(1, 6)):
        damaged[random.randrange(len(damaged))] ^= 1 << random.randrange(8)
    return bytes(damaged)


def _cut(random: Random, data: bytes) -> bytes:
    return data[: random.randrange(len(data))]


def _insert(random: Random, data: bytes) -> bytes:
    at = random.randrange(len(data))
    return data[:at] + _noise(random) + data[at:]


def _repeat(random: Random, data: bytes) -> bytes:
    start = random.randrange(len(data))
    return data[: start + random.randrange(len(data) - start)] + data[start:]


MUTATIONS: Mapping[str, Callable[[Random, bytes], bytes]] = {
    "flipped bits": _flip,
    "cut": _cut,
    "inserted noise": _insert,
    "repeated piece": _repeat,
    "noise at the end": lambda random, data: data + _noise(random),
}


def _conversation(random: Random) -> bytes:
    """Return a correct connection from CONNECT to DISCONNECT, all in one write."""
    version = _version(random)
    name = _id(random)
    v5 = version is Version.V5
    will = Will(f"{name}/will", b"gone", random.randrange(3), properties=[(Property.WILL_DELAY, 1)] if v5 else ())
    options: packets.Pairs = [(Property.USER, ("k", "v")), (Property.ALIAS_MAXIMUM, 5)] if v5 else ()
    parts = [
        packets.connect(version, name, username="u", password=b"p", will=will, properties=options),
        packets.subscribe(version, 1, [(f"{name}/+", 2), (f"$share/g/{name}/#", 1)]),
        packets.publish(version, f"{name}/a", _noise(random), properties=[(Property.TOPIC_ALIAS, 1)] if v5 else ()),
        packets.publish(version, f"{name}/b", _noise(random), qos=1, packet_id=2),
        packets.publish(version, f"{name}/c", _noise(random), qos=2, packet_id=3),
        packets.ack(Type.PUBREL, 3),
        packets.unsubscribe(version, 4, [f"{name}/+"]),
        packets.PINGREQ,
    ]
    return b"".join(parts)


def broken_inputs(seed: int) -> Iterator[Broken]:
    """Yield hostile connections for ever, the classes in turn; equal seeds give equal bytes."""
    random = Random(seed)
    while True:
        for name, build in BEFORE_CONNECT.items():
            yield Broken(name, build(random), is_fatal=True)
        for name, build in AFTER_CONNECT.items():
            yield Broken(f"{name}, connected", packets.connect(5, _id(random)) + build(random), is_fatal=True)
        for name, mutate in MUTATIONS.items():
            yield Broken(name, mutate(random, _conversation(random)), is_fatal=False)
        yield Broken("noise", _noise(random), is_fatal=False)
        yield Broken("nothing", b"", is_fatal=False)
