"""A program that publishes as fast as it may: `python -m tests.support.flood HOST PORT COUNT SIZE QOS TOPIC [retain]`.

`{}` in the topic is the number of the message. At QoS 1 a hundred publications are open at a time. Prints how many
were acknowledged by reason code. Runs at the lowest priority.
"""

import asyncio
import json
import os
import sys
from collections import Counter

from tests.support import packets
from tests.support.packets import Type, Version
from tests.support.wire import Address, SocketStream, WireClient

__all__: list[str] = []

_BATCH = 100
_PATIENCE_S = 60.0


async def flood(address: Address, count: int, size: int, qos: int, topic: str, retain: bool) -> Counter[int]:
    """Publish and return the reason codes that came back."""
    client = WireClient(await SocketStream.open(address), Version.V5, f"flood{os.getpid()}")
    await client.connect()
    reasons: Counter[int] = Counter()
    for start in range(0, count, _BATCH):
        numbers = range(start, min(start + _BATCH, count))
        batch = [
            packets.publish(
                Version.V5,
                topic.format(number),
                b"%08d" % number + b"x" * size,
                qos=qos,
                packet_id=number % _BATCH + 1,
                retain=retain,
            )
            for number in numbers
        ]
        await client.send(b"".join(batch))
        for _ in numbers if qos else ():
            reasons[(await client.expect(Type.PUBACK, _PATIENCE_S)).reason] += 1
    await client.send(packets.PINGREQ)
    await client.expect(Type.PINGRESP, _PATIENCE_S)
    client.abort()
    await client.stream.wait_closed()
    return reasons


def main(host: str, port: str, count: str, size: str, qos: str, topic: str, retain: str = "") -> None:
    """Flood and print the outcome."""
    os.nice(19)
    reasons = asyncio.run(flood(Address(host, int(port)), int(count), int(size), int(qos), topic, bool(retain)))
    print(json.dumps({"reasons": reasons}))


if __name__ == "__main__":
    main(*sys.argv[1:])
