"""A pair of well-behaved clients that notices when anybody else gets in their way.

One client publishes at QoS 1 every 20 ms, the other one receives. Both live in one thread with blocking sockets, so
that the loop of a busy test does not add to what they measure; the test should burn its time in other processes.
"""

import math
import selectors
import socket
import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from tests.support import packets
from tests.support.packets import Packet, Type, Version
from tests.support.wire import Address

__all__ = ["Canary", "Latencies"]

INTERVAL_S = 0.020
_PATIENCE_S = 10.0


@dataclass(frozen=True)
class Latencies:
    """Delivery times of some messages, in ms, ascending."""

    values: Sequence[float]

    def percentile(self, share: float) -> float:
        """Return the value below which `share` of all lie."""
        return self.values[min(len(self.values) - 1, math.ceil(share * len(self.values)) - 1)]

    @property
    def p99(self) -> float:
        """99th percentile in ms."""
        return self.percentile(0.99)

    def __str__(self) -> str:
        return (
            f"p50 {self.percentile(0.5):.2f} ms, p99 {self.p99:.2f} ms, "
            f"max {self.values[-1]:.2f} ms of {len(self.values)}"
        )


class Canary:
    """Runs as a context; `at` ends there, after everything sent has come or the patience is over."""

    def __init__(self, address: Address, name: str) -> None:
        self._topic = f"{name}/canary"
        self._publisher = _Peer(address, f"{name}-canary-p")
        self._subscriber = _Peer(address, f"{name}-canary-s")
        self._sent: list[float] = []
        self._received: dict[int, float] = {}
        self._failure: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="canary", daemon=True)

    def __enter__(self) -> Self:
        self._subscriber.send(packets.subscribe(Version.V5, 1, [(self._topic, 1)]))
        self._subscriber.expect(Type.SUBACK)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(2 * _PATIENCE_S)
        self._publisher.close()
        self._subscriber.close()

    def now(self) -> float:
        """Return the time on the clock of this canary, for `between`."""
        return time.monotonic()

    def watch(self, duration_s: float) -> Latencies:
        """Let time pass and return what was measured in it."""
        started = self.now()
        self._stop.wait(duration_s)
        return self.between(started, self.now())

    def between(self, started: float, ended: float) -> Latencies:
        """Return the delivery times of what was sent in a span of time; waits for stragglers.

        Raises:
            AssertionError: a message was lost, or the pair itself failed.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline and self._thread.is_alive() and self._sent[-1:] < [started]:
            self._stop.wait(INTERVAL_S)
        # A span shorter than the interval is judged by the first message behind it.
        ended = max(ended, next((sent for sent in self._sent if sent >= started), ended) + 1e-6)
        wanted = [number for number, sent in enumerate(self._sent) if started <= sent < ended]
        while time.monotonic() < deadline and self._thread.is_alive():
            if all(number in self._received for number in wanted):
                break
            self._stop.wait(INTERVAL_S)
        assert self._failure is None, f"the canary died: {self._failure!r}"
        lost = [number for number in wanted if number not in self._received]
        assert not lost, f"{len(lost)} of {len(wanted)} messages lost, the first is {lost[0]}"
        assert wanted, "nothing was sent in this span"
        return Latencies(sorted((self._received[number] - self._sent[number]) * 1000 for number in wanted))

    def _run(self) -> None:
        try:
            self._loop()
        except (OSError, AssertionError) as error:
            self._failure = error

    def _loop(self) -> None:
        selector = selectors.DefaultSelector()
        for peer in (self._publisher, self._subscriber):
            selector.register(peer.socket, selectors.EVENT_READ, peer)
        due = time.monotonic()
        while not self._stop.is_set():
            now = time.monotonic()
            if now >= due:
                self._publish(now)
                due = max(due + INTERVAL_S, now)
            for key, _ in selector.select(max(0.0, due - time.monotonic())):
                for packet in key.data.receive():
                    self._take(packet)
        selector.close()

    def _publish(self, now: float) -> None:
        number = len(self._sent)
        self._sent.append(now)
        payload = struct.pack("!Q", number)
        self._publisher.send(packets.publish(Version.V5, self._topic, payload, qos=1, packet_id=number % 65_535 + 1))

    def _take(self, packet: Packet) -> None:
        if packet.type is Type.PUBLISH:
            (number,) = struct.unpack("!Q", packet.payload)
            assert number not in self._received, f"message {number} came twice"
            self._received[number] = time.monotonic()
            self._subscriber.send(packets.ack(Type.PUBACK, packet.packet_id))
        else:
            assert packet.type is Type.PUBACK, packet
            assert packet.reason == 0, packet


class _Peer:
    """One connected client with a blocking socket."""

    def __init__(self, address: Address, client_id: str) -> None:
        self.socket = socket.create_connection((address.host, address.port), _PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        self.send(packets.connect(Version.V5, client_id))
        self.expect(Type.CONNACK)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> list[Packet]:
        data = self.socket.recv(65_536)
        assert data, "the broker closed the connection"
        self._buffer += data
        found: list[Packet] = []
        while (decoded := packets.decode(self._buffer, Version.V5)) is not None:
            found.append(decoded[0])
            del self._buffer[: decoded[1]]
        return found

    def expect(self, kind: Type) -> None:
        found: list[Packet] = []
        while not found:
            found = self.receive()
        assert [packet.type for packet in found] == [kind]
        assert max(found[0].reason, *found[0].reasons, 0) < 0x80

    def close(self) -> None:
        self.socket.close()
