"""A zone has its own keys of `mqtt`: its clients are told of them and held to them, those of other zones are not."""

from collections.abc import Callable

import pytest

from tests.support.broker import Broker, Settings
from tests.support.dialer import Dialer
from tests.support.packets import Property, Type, Version

BrokerWith = Callable[[Settings], Broker]

_TOLD = {
    Property.MAXIMUM_QOS: 1,
    Property.RETAIN_AVAILABLE: 0,
    Property.WILDCARD_AVAILABLE: 0,
    Property.SHARED_AVAILABLE: 0,
    Property.ALIAS_MAXIMUM: 10,
    Property.MAXIMUM_PACKET: 1024,
    Property.RECEIVE_MAXIMUM: 5,
}
"""What CONNACK says in the zone."""


@pytest.fixture
def zoned(broker_with: BrokerWith) -> Broker:
    """Give a broker whose listener `small` is of a zone with limits of its own."""
    return broker_with(
        {
            "listeners.tcp.small.bind": "127.0.0.1:0",
            "listeners.tcp.small.zone": "small",
            "zones.small.mqtt.max_qos_allowed": 1,
            "zones.small.mqtt.retain_available": False,
            "zones.small.mqtt.wildcard_subscription": False,
            "zones.small.mqtt.shared_subscription": False,
            "zones.small.mqtt.max_topic_alias": 10,
            "zones.small.mqtt.max_packet_size": "1KB",
            "zones.small.mqtt.receive_maximum": 5,
            "zones.small.mqtt.keepalive_multiplier": 1,
            "zones.small.mqtt.idle_timeout": "200ms",
            "zones.small.mqtt.strict_mode": True,
            "zones.small.mqtt.ignore_loop_deliver": True,
        }
    )


async def test_connack_tells_the_limits_of_the_zone(zoned: Broker, dial: Dialer) -> None:
    for listener, is_told in (("small", True), ("default", False)):
        client = await dial(zoned.address("tcp", listener))
        told = (await client.connect()).properties
        assert {name: told.get(name) for name in _TOLD if told.get(name) == _TOLD[name]} == (_TOLD if is_told else {})


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"qos": 2}, 0x9B),
        ({"retain": True}, 0x9A),
        ({"payload": b"x" * 1_100}, 0x95),
        ({"properties": [(Property.TOPIC_ALIAS, 11)]}, 0x94),
        ({"payload": b"\xff", "properties": [(Property.PAYLOAD_FORMAT, 1)]}, 0x99),
    ],
)
async def test_publications_are_held_to_the_limits_of_the_zone(
    zoned: Broker, dial: Dialer, unique: str, options: dict[str, object], reason: int
) -> None:
    inside = await dial.connected(zoned.address("tcp", "small"))
    await inside.publish(unique, **options)  # type: ignore[arg-type]  # each case names arguments that exist
    await inside.expect_fault(reason)


async def test_own_messages_do_not_come_back_in_the_zone(zoned: Broker, dial: Dialer, unique: str) -> None:
    for listener, comes_back in (("small", False), ("default", True)):
        client = await dial.connected(zoned.address("tcp", listener), version=Version.V311)
        await client.subscribe((unique, 0))
        await client.publish(unique, b"own")
        if comes_back:
            await client.expect_publish(unique, b"own")
        else:
            await client.expect_quiet()


async def test_silence_and_patience_are_those_of_the_zone(zoned: Broker, dial: Dialer) -> None:
    late = await dial(zoned.address("tcp", "small"))
    await late.expect_closed(3.0)
    silent = await dial(zoned.address("tcp", "small"))
    await silent.connect(keep_alive=1)
    waiting = await dial(zoned.address())
    await waiting.connect(keep_alive=3)
    await silent.expect_closed(3.0, ignore=(Type.DISCONNECT,))
    await waiting.subscribe(("x", 0))
