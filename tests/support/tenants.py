"""A whole broker on one thread for a program of several tenants: each step runs until nothing moves any more.

The real core, driven, and the real plane, with clients on Unix sockets of the same thread; no loop turns and no clock
moves, so a program does the same every time. `Step` is one act of one tenant's client and does not depend on what came
of the steps before it.
"""

import contextlib
import random
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from pybroker.app import build_plane
from pybroker.config import patch
from pybroker.config.schema import Config
from pybroker.control.configuration import Configuration
from pybroker.plane.pump import Pump
from pybroker.tasks import TaskSupervisor
from pybroker.types import Namespace
from tests.support import packets
from tests.support.clock import FakeClock
from tests.support.packets import Property, Type, Version, Will

CLIENTS = 3
"""Clients of each tenant; their client ids are the same for all."""

Output = list[tuple[str, bytes]]
"""What the clients of one tenant got: which connection, and the bytes; `CLOSED` for its end."""

CLOSED = b"<closed>"

_QUIET_TURNS = 4

TOPICS = (
    "a",
    "a/b",
    "b/c",
    "\N{CYRILLIC SMALL LETTER A}",
    "e\N{COMBINING ACUTE ACCENT}",
    "\N{LATIN SMALL LETTER E WITH ACUTE}",
    "/",
    "a/",
    "$SYS/brokers",
    "$x/y",
    "$delayed/4000000/a",
    "$delayed/x/a",
    "$exclusive/a",
    "$share/g/a",
    "$queue/a",
)
BAD_TOPICS = ("+", "a/#", "#")
"""Each ends the connection that publishes to it."""
FILTERS = (
    "#",
    "+",
    "+/+",
    "+/b",
    "a/#",
    "a",
    "a/b",
    "/#",
    "\N{CYRILLIC SMALL LETTER A}",
    "e\N{COMBINING ACUTE ACCENT}",
    "\N{LATIN SMALL LETTER E WITH ACUTE}/#",
    "$SYS/#",
    "$SYS/brokers/+/clients/#",
    "$x/+",
    "$delayed/#",
    "$delayed/4000000/a",
    "$exclusive/a",
    "$exclusive/a/b",
    "$exclusive/#",
    "$share/g/#",
    "$share/g/a",
    "$share/h/+/b",
    "$share//a",
    "$queue/a",
    "$queue/#",
    "a#",
)


class Step(NamedTuple):
    """One act.

    Args:
        tenant: index of the tenant.
        client: index of its client.
        kind: `connect`, `abort`, or `send` of what `frame` gives for the client's version.
        frame: builds the packet.
    """

    tenant: int
    client: int
    kind: str
    frame: Callable[[Version], bytes]


class Client:
    """One client: its version and its connection, if it has one."""

    def __init__(self, label: str, version: Version) -> None:
        self.label = label
        self.version = version
        self.socket: socket.socket | None = None
        self.buffer = bytearray()
        self.connections = 0

    def drop(self) -> None:
        """Close the socket without a word."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None


class Tenants:
    """A broker with some tenants. To be built on a running loop, which then has no turn.

    Args:
        folder: holds the socket of its listener.
        names: of the tenants, by their index; `None`: not there.
    """

    def __init__(self, folder: Path, names: Sequence[str | None]) -> None:
        self.names = names
        self._path = str(folder / "mqtt.sock")
        config = patch.apply(Config(), {**_KEYS, "listeners.unix.default": {"bind": self._path}}).config
        self._supervisor = TaskSupervisor()
        self.plane = build_plane(Configuration(config), FakeClock(), self._supervisor, lambda target, level: None)
        plane = self.plane
        self._pump = Pump(
            plane.engine,
            plane.registry,
            plane.connector,
            plane.subscriber,
            plane.publisher,
            plane.sessions,
            plane.events,
            self._fail,
        )
        plane.engine.start()
        plane.listeners.open_all(config.listeners)
        for name in names:
            if name is not None:
                plane.namespaces.tenants.manage(Namespace(name), 1)
                plane.engine.set_namespace(name, {"has_counters": True})
        self._clients = [
            [Client(f"{index}", Version.V5 if index else Version.V311) for index in range(CLIENTS)] for _ in names
        ]
        self._leaving: list[tuple[int, str, socket.socket]] = []
        self._settle([[] for _ in names])

    def run(self, step: Step) -> list[Output]:
        """Take one step; return what each tenant's clients got because of it."""
        client = self._clients[step.tenant][step.client]
        if step.kind == "connect":
            self._connect(step.tenant, client)
        if step.kind == "abort":
            client.drop()
        elif client.socket is not None:
            self._send(client, step.frame(client.version))
        outputs: list[Output] = [[] for _ in self.names]
        while self._settle(outputs):
            pass
        return outputs

    def figures(self, tenant: int) -> dict[str, object]:
        """Return what is counted of a tenant, and who is in it."""
        name = self.names[tenant]
        assert name is not None
        found = self.plane.namespaces.tenants.known(name)
        assert found is not None
        return {
            **self.plane.engine.namespace_stats(name),
            "client_ids": sorted(found.places),
            "session_count": found.session_count,
        }

    def close(self) -> None:
        """Close every socket and the broker."""
        for client in (client for clients in self._clients for client in clients):
            client.drop()
        for _, _, sock in self._leaving:
            sock.close()
        self.plane.listeners.close_all()
        self.plane.sessions.stop()

    def _connect(self, tenant: int, client: Client) -> None:
        if client.socket is not None:
            # The connection before this one is to hear that it was taken over.
            self._leaving.append((tenant, f"{client.label}.{client.connections}", client.socket))
        client.connections += 1
        client.buffer.clear()
        client.socket = socket.socket(socket.AF_UNIX)
        client.socket.connect(self._path)
        client.socket.setblocking(False)

    def _send(self, client: Client, data: bytes) -> None:
        assert client.socket is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.socket.send(data)

    def _settle(self, outputs: list[Output]) -> bool:
        """Let the broker do what it can, take what it sent, acknowledge it; return whether something was sent back."""
        engine, pump = self.plane.engine, self._pump
        idle = 0
        # A connection takes a turn to be accepted and one to be read; the third finds nothing any more.
        while idle < _QUIET_TURNS:
            engine.turn()
            idle = 0 if pump.drain() else idle + 1
        has_answered = False
        for tenant, clients in enumerate(self._clients):
            for client in clients:
                if client.socket is not None:
                    has_answered |= self._take(tenant, client, outputs[tenant])
        for one in list(self._leaving):
            tenant, label, sock = one
            data, has_ended = _receive(sock)
            if data:
                outputs[tenant].append((label, data))
            if has_ended:
                outputs[tenant].append((label, CLOSED))
                sock.close()
                self._leaving.remove(one)
        return has_answered

    def _take(self, tenant: int, client: Client, output: Output) -> bool:
        assert client.socket is not None
        data, has_ended = _receive(client.socket)
        label = f"{client.label}.{client.connections}"
        if data:
            output.append((label, data))
            client.buffer += data
        if has_ended:
            output.append((label, CLOSED))
            client.drop()
            return False
        acks = b""
        while (decoded := packets.decode(client.buffer, client.version)) is not None:
            packet, taken = decoded
            del client.buffer[:taken]
            if packet.type is Type.PUBLISH and packet.qos:
                acks += packets.ack(Type.PUBACK if packet.qos == 1 else Type.PUBREC, packet.packet_id)
            elif packet.type is Type.PUBREC and packet.reason < 0x80:
                acks += packets.ack(Type.PUBREL, packet.packet_id)
            elif packet.type is Type.PUBREL:
                acks += packets.ack(Type.PUBCOMP, packet.packet_id)
        if acks:
            self._send(client, acks)
        return bool(acks)

    def _fail(self, text: str) -> None:
        raise AssertionError(text)


_KEYS = {
    "node.io_threads": 0,
    "listeners.tcp.default": None,
    "listeners.ws.default": None,
    "mqtt.client_attrs_init": [{"expression": "username", "set_as_attr": "tns"}],
    "mqtt.clientid_override": "concat([client_attrs.tns, '/', clientid])",
    "mqtt.namespace_as_mountpoint": True,
    "mqtt.exclusive_subscription": True,
    # The others begin at a random member.
    "mqtt.shared_subscription_strategy": "round_robin_per_group",
}


def _receive(sock: socket.socket) -> tuple[bytes, bool]:
    """Return what has arrived, and whether the other side has ended the connection."""
    received = b""
    while True:
        try:
            data = sock.recv(65_536)
        except BlockingIOError:
            return received, False
        except ConnectionResetError:
            return received, True
        if not data:
            return received, True
        received += data


def make_program(seed: int, names: Sequence[str], length: int) -> list[Step]:
    """Return a program of steps by all tenants; some topics and filters name the others."""
    choose = random.Random(seed)
    program = []
    for number in range(length):
        tenant = choose.randrange(len(names))
        others = [name for name in names if name != names[tenant]]
        program.append(_make_step(choose, tenant, names[tenant], choose.choice(others), number))
    return program


def _make_step(choose: random.Random, tenant: int, name: str, other: str, number: int) -> Step:
    client = choose.randrange(CLIENTS)
    packet_id = number % 60_000 + 1
    roll = choose.random()
    if roll < 0.08:
        return Step(tenant, client, "connect", _connect(choose, client, name, other))
    if roll < 0.10:
        return Step(tenant, client, "abort", lambda version: b"")
    if roll < 0.12:
        reason = choose.choice([None, 0x04])
        return Step(
            tenant, client, "send", lambda version: packets.disconnect(reason if version is Version.V5 else None)
        )
    if roll < 0.32:
        asked = [(_filter(choose, other), choose.choice([0, 1, 2])) for _ in range(choose.choice([1, 1, 2]))]
        return Step(tenant, client, "send", lambda version: packets.subscribe(version, packet_id, asked))
    if roll < 0.40:
        filters = [_filter(choose, other)]
        return Step(tenant, client, "send", lambda version: packets.unsubscribe(version, packet_id, filters))
    return Step(tenant, client, "send", _publish(choose, other, number, packet_id))


def _connect(choose: random.Random, client: int, name: str, other: str) -> Callable[[Version], bytes]:
    clean = choose.random() < 0.5
    will = None
    if choose.random() < 0.4:
        will = Will(_topic(choose, other), f"will of {name}".encode(), choose.choice([0, 1, 2]), choose.random() < 0.3)
    expiry_s, alias_maximum = choose.choice([0, 300]), choose.choice([0, 3])

    def build(version: Version) -> bytes:
        properties = [(Property.SESSION_EXPIRY, expiry_s), (Property.ALIAS_MAXIMUM, alias_maximum)]
        return packets.connect(
            version,
            f"c{client}",
            clean=clean,
            username=name,
            will=will,
            properties=properties if version is Version.V5 else (),
        )

    return build


def _publish(choose: random.Random, other: str, number: int, packet_id: int) -> Callable[[Version], bytes]:
    topic, qos, retain = _topic(choose, other), choose.choice([0, 0, 1, 2]), choose.random() < 0.25
    payload = b"" if retain and choose.random() < 0.2 else f"payload {number}".encode()
    alias = choose.choice([0, 0, 0, 1, 2])
    uses_alias = alias != 0 and choose.random() < 0.5
    response = choose.choice(["", "", "a/b", f"{other}/a"])

    def build(version: Version) -> bytes:
        properties: list[tuple[int, packets.PropertyValue]] = []
        if version is Version.V5 and alias:
            properties.append((Property.TOPIC_ALIAS, alias))
        if version is Version.V5 and response:
            properties.append((Property.RESPONSE_TOPIC, response))
        sent = "" if uses_alias and version is Version.V5 else topic
        return packets.publish(
            version, sent, payload, qos=qos, packet_id=packet_id, retain=retain, properties=properties
        )

    return build


def _topic(choose: random.Random, other: str) -> str:
    roll = choose.random()
    if roll < 0.01:
        return choose.choice(BAD_TOPICS)
    return choose.choice(TOPICS) if roll < 0.85 else f"{other}/a"


def _filter(choose: random.Random, other: str) -> str:
    return choose.choice(FILTERS) if choose.random() < 0.85 else choose.choice([f"{other}/#", f"$share/g/{other}/#"])
