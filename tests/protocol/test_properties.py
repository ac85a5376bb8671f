"""Property sections of MQTT 5: repetition, place and range."""

import pytest

from tests.support import packets
from tests.support.packets import Pairs, Property, PropertyValue, Type, Version, Will
from tests.support.spec import spec
from tests.support.wire import Clients

CONNECT_PROPERTIES: list[tuple[Property, PropertyValue]] = [
    (Property.SESSION_EXPIRY, 10),
    (Property.RECEIVE_MAXIMUM, 10),
    (Property.MAXIMUM_PACKET, 1000),
    (Property.ALIAS_MAXIMUM, 10),
    (Property.REQUEST_RESPONSE, 1),
    (Property.REQUEST_PROBLEM, 1),
    (Property.AUTH_METHOD, "m"),
    (Property.AUTH_DATA, b"d"),
]
PUBLISH_PROPERTIES: list[tuple[Property, PropertyValue]] = [
    (Property.PAYLOAD_FORMAT, 1),
    (Property.MESSAGE_EXPIRY, 10),
    (Property.TOPIC_ALIAS, 1),
    (Property.RESPONSE_TOPIC, "r"),
    (Property.CORRELATION_DATA, b"c"),
    (Property.CONTENT_TYPE, "t"),
]
WILL_PROPERTIES: list[tuple[Property, PropertyValue]] = [
    (Property.WILL_DELAY, 1),
    *((identifier, value) for identifier, value in PUBLISH_PROPERTIES if identifier is not Property.TOPIC_ALIAS),
]
ACKS = [Type.PUBACK, Type.PUBREC, Type.PUBREL, Type.PUBCOMP]


def _names(value: object) -> str:
    return value.name if isinstance(value, Property | Type) else "value"


async def _expect_connect_refused(
    clients: Clients, reasons: tuple[int, ...], properties: Pairs = (), will: Will | None = None
) -> None:
    client = await clients.open()
    await client.send(packets.connect(Version.V5, client.client_id, properties=properties, will=will))
    await client.expect_refusal(*reasons)


async def _expect_fault(clients: Clients, reasons: tuple[int, ...], packet: bytes) -> None:
    client = await clients.connected()
    await client.send(packet)
    await client.expect_fault(*reasons)


def _with(kind: str, properties: Pairs) -> bytes:
    """Return an otherwise valid packet of `kind` with these properties."""
    return {
        "publish": lambda: packets.publish(5, "a", properties=properties),
        "subscribe": lambda: packets.subscribe(5, 1, [("a", 0)], properties),
        "unsubscribe": lambda: packets.unsubscribe(5, 1, ["a"], properties),
        "puback": lambda: packets.ack(Type.PUBACK, 1, 0, properties),
        "pubrel": lambda: packets.ack(Type.PUBREL, 1, 0, properties),
        "disconnect": lambda: packets.disconnect(0, properties),
    }[kind]()


@spec("MQTT5-§2.2.2.2", row=12)
@pytest.mark.parametrize(("identifier", "value"), CONNECT_PROPERTIES, ids=_names)
async def test_repeated_property_in_connect(clients: Clients, identifier: Property, value: PropertyValue) -> None:
    method = [(Property.AUTH_METHOD, "m")] if identifier is Property.AUTH_DATA else []
    await _expect_connect_refused(clients, (0x82,), [*method, (identifier, value), (identifier, value)])


@spec("MQTT5-§2.2.2.2", row=12)
@pytest.mark.parametrize(("identifier", "value"), WILL_PROPERTIES, ids=_names)
async def test_repeated_property_in_the_will(clients: Clients, identifier: Property, value: PropertyValue) -> None:
    will = Will(clients.topic("will"), properties=[(identifier, value), (identifier, value)])
    await _expect_connect_refused(clients, (0x82,), will=will)


@spec("MQTT5-§2.2.2.2", row=12)
@pytest.mark.parametrize(("identifier", "value"), PUBLISH_PROPERTIES, ids=_names)
async def test_repeated_property_in_publish(clients: Clients, identifier: Property, value: PropertyValue) -> None:
    await _expect_fault(clients, (0x82,), _with("publish", [(identifier, value), (identifier, value)]))


@spec("MQTT5-§2.2.2.2", row=12)
@pytest.mark.parametrize("kind", ["puback", "pubrel", "disconnect"])
async def test_repeated_reason_string(clients: Clients, kind: str) -> None:
    twice = [(Property.REASON_STRING, "a"), (Property.REASON_STRING, "b")]
    await _expect_fault(clients, (0x82,), _with(kind, twice))


@spec("MQTT5-§2.2.2.2", row=12)
async def test_repeated_subscription_id_in_subscribe(clients: Clients) -> None:
    twice = [(Property.SUBSCRIPTION_ID, 1), (Property.SUBSCRIPTION_ID, 2)]
    await _expect_fault(clients, (0x82,), _with("subscribe", twice))


@spec("MQTT5-§2.2.2.2", row=12)
async def test_repeated_expiry_in_disconnect(clients: Clients) -> None:
    client, _ = await clients.persistent(Version.V5, clients.id())
    await client.send(packets.disconnect(0, [(Property.SESSION_EXPIRY, 5), (Property.SESSION_EXPIRY, 5)]))
    await client.expect_fault(0x82)


@spec("MQTT5-§2.2.2.2", row=12)
async def test_user_properties_may_repeat_everywhere(clients: Clients) -> None:
    user: Pairs = [(Property.USER, ("k", "1")), (Property.USER, ("k", "1"))]
    client = await clients.connected(properties=user, will=Will(clients.topic("will"), properties=user))
    await client.subscribe((clients.topic("t"), 0), properties=user)
    await client.publish(clients.topic("t"), b"x", properties=user)
    received = await client.expect_publish(clients.topic("t"), b"x")
    assert received.properties.all(Property.USER) == [("k", "1"), ("k", "1")]
    await client.disconnect(0, user)


@spec("MQTT5-§2.2.2.2", row=13)
@pytest.mark.parametrize("identifier", [0x00, 0x04, 0x7E, 0x80, 0x3FFF])
async def test_unknown_property(clients: Clients, identifier: int) -> None:
    unknown: Pairs = [(identifier, b"\x00")]
    for kind in ("publish", "subscribe", "unsubscribe", "puback", "pubrel", "disconnect"):
        await _expect_fault(clients, (0x81, 0x82), _with(kind, unknown))
    await _expect_connect_refused(clients, (0x81, 0x82), unknown)
    await _expect_connect_refused(clients, (0x81, 0x82), will=Will("w", properties=unknown))


@spec("MQTT5-§2.2.2.2", row=13)
@pytest.mark.parametrize(
    ("kind", "identifier", "value"),
    [
        ("publish", Property.SESSION_EXPIRY, 1),
        ("publish", Property.REASON_STRING, "r"),
        ("publish", Property.WILL_DELAY, 1),
        ("subscribe", Property.TOPIC_ALIAS, 1),
        ("subscribe", Property.REASON_STRING, "r"),
        ("unsubscribe", Property.SUBSCRIPTION_ID, 1),
        ("puback", Property.PAYLOAD_FORMAT, 0),
        ("pubrel", Property.MESSAGE_EXPIRY, 1),
        ("disconnect", Property.RECEIVE_MAXIMUM, 1),
        ("disconnect", Property.TOPIC_ALIAS, 1),
    ],
    ids=_names,
)
async def test_property_of_another_packet(
    clients: Clients, kind: str, identifier: Property, value: PropertyValue
) -> None:
    await _expect_fault(clients, (0x81, 0x82), _with(kind, [(identifier, value)]))


@spec("MQTT5-§2.2.2.2", row=13)
@pytest.mark.parametrize(
    ("identifier", "value"),
    [
        (Property.PAYLOAD_FORMAT, 0),
        (Property.SUBSCRIPTION_ID, 1),
        (Property.REASON_STRING, "r"),
        (Property.WILL_DELAY, 1),
        (Property.ASSIGNED_CLIENT_ID, "id"),
        (Property.MAXIMUM_QOS, 1),
    ],
    ids=_names,
)
async def test_property_that_connect_does_not_know(
    clients: Clients, identifier: Property, value: PropertyValue
) -> None:
    await _expect_connect_refused(clients, (0x81, 0x82), [(identifier, value)])


@spec("MQTT5-§2.2.2.2", row=13)
@pytest.mark.parametrize(
    ("identifier", "value"),
    [(Property.TOPIC_ALIAS, 1), (Property.SESSION_EXPIRY, 1), (Property.SUBSCRIPTION_ID, 1)],
    ids=_names,
)
async def test_property_that_a_will_does_not_know(clients: Clients, identifier: Property, value: PropertyValue) -> None:
    will = Will(clients.topic("will"), properties=[(identifier, value)])
    await _expect_connect_refused(clients, (0x81, 0x82), will=will)


@spec("MQTT5-§3.1.2.11", "MQTT5-§3.3.2.3.4", "MQTT5-§3.8.2.1.2", row=14)
@pytest.mark.parametrize(
    ("identifier", "value"),
    [
        (Property.RECEIVE_MAXIMUM, 0),
        (Property.MAXIMUM_PACKET, 0),
        (Property.REQUEST_PROBLEM, 2),
        (Property.REQUEST_RESPONSE, 2),
        (Property.REQUEST_RESPONSE, 255),
    ],
    ids=_names,
)
async def test_connect_property_out_of_range(clients: Clients, identifier: Property, value: PropertyValue) -> None:
    await _expect_connect_refused(clients, (0x82,), [(identifier, value)])


@spec("MQTT5-§3.1.2.11", "MQTT5-§3.3.2.3.4", "MQTT5-§3.8.2.1.2", row=14)
async def test_will_payload_format_out_of_range(clients: Clients) -> None:
    will = Will(clients.topic("will"), properties=[(Property.PAYLOAD_FORMAT, 2)])
    await _expect_connect_refused(clients, (0x82,), will=will)


@spec("MQTT5-§3.1.2.11", "MQTT5-§3.3.2.3.4", "MQTT5-§3.8.2.1.2", row=14)
@pytest.mark.parametrize(
    ("kind", "identifier", "value", "reason"),
    [
        ("publish", Property.PAYLOAD_FORMAT, 2, 0x82),
        ("publish", Property.TOPIC_ALIAS, 0, 0x94),
        ("subscribe", Property.SUBSCRIPTION_ID, 0, 0x82),
    ],
    ids=_names,
)
async def test_property_out_of_range(
    clients: Clients, kind: str, identifier: Property, value: PropertyValue, reason: int
) -> None:
    await _expect_fault(clients, (reason,), _with(kind, [(identifier, value)]))


@spec("MQTT5-§3.8.2.1.2", row=14)
async def test_subscription_id_takes_its_whole_range(clients: Clients) -> None:
    client = await clients.connected()
    await client.subscribe((clients.topic("t"), 0), properties=[(Property.SUBSCRIPTION_ID, 268_435_455)])
    await client.publish(clients.topic("t"))
    received = await client.expect_publish(clients.topic("t"))
    assert received.properties.all(Property.SUBSCRIPTION_ID) == [268_435_455]


@spec("MQTT5-§2.2.2.2", row=13)
async def test_property_length_needs_at_most_four_bytes(clients: Clients) -> None:
    await _expect_fault(clients, (0x81,), packets.frame(0x30, packets.text("a") + b"\xff\xff\xff\xff\x01"))
