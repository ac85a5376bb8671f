"""UTF-8 strings: what is ill-formed, what is kept as it is."""

import pytest

from tests.protocol.versions import every_version
from tests.support import packets
from tests.support.packets import Property, Version, Will
from tests.support.spec import spec
from tests.support.wire import Clients, WireClient

ILL_FORMED = {
    "surrogate": b"a\xed\xa0\x80",
    "last surrogate": b"a\xed\xbf\xbf",
    "overlong null": b"a\xc0\x80",
    "overlong slash": b"a\xe0\x80\xaf",
    "stray continuation": b"a\x80",
    "cut sequence": b"a\xe2\x82",
    "above U+10FFFF": b"a\xf4\x90\x80\x80",
}
PLACES_AFTER_CONNECT = ["topic", "filter", "unsubscribe filter"]
PLACES_IN_PROPERTIES = ["user property key", "user property value", "response topic", "content type"]


def _packet(version: Version, place: str, value: bytes) -> bytes:
    if place == "topic":
        return packets.publish(version, value)
    if place == "filter":
        return packets.subscribe(version, 1, [(value, 0)])
    if place == "unsubscribe filter":
        return packets.unsubscribe(version, 1, [value])
    properties: dict[str, packets.Pairs] = {
        "user property key": [(Property.USER, (value, "v"))],
        "user property value": [(Property.USER, ("k", value))],
        "response topic": [(Property.RESPONSE_TOPIC, value)],
        "content type": [(Property.CONTENT_TYPE, value)],
    }
    return packets.publish(version, "a", properties=properties[place])


async def _expect_fault_for_each(clients: Clients, version: Version, places: list[str], values: list[bytes]) -> None:
    for place in places:
        for value in values:
            client = await clients.connected(version)
            await client.send(_packet(version, place, value))
            try:
                await client.expect_fault(0x81)
            except (AssertionError, TimeoutError) as error:
                error.add_note(f"{place}: {value!r}")
                raise


async def _expect_connect_refused(client: WireClient) -> None:
    if client.version is Version.V5:
        await client.expect_refusal(0x81)
    else:
        await client.expect_closed()


@spec("MQTT3-1.5.3-1", "MQTT5-1.5.4-1", row=6)
@every_version
async def test_ill_formed_utf8_ends_the_connection(clients: Clients, version: Version) -> None:
    await _expect_fault_for_each(clients, version, PLACES_AFTER_CONNECT, list(ILL_FORMED.values()))


@spec("MQTT5-1.5.4-1", row=6)
async def test_ill_formed_utf8_in_properties_ends_the_connection(clients: Clients) -> None:
    await _expect_fault_for_each(clients, Version.V5, PLACES_IN_PROPERTIES, list(ILL_FORMED.values()))


@spec("MQTT3-1.5.3-2", "MQTT3-4.7.3-2", "MQTT5-1.5.4-2", "MQTT5-4.7.3-2", row=7)
@every_version
async def test_null_character_ends_the_connection(clients: Clients, version: Version) -> None:
    await _expect_fault_for_each(clients, version, PLACES_AFTER_CONNECT, [b"\x00", b"a/\x00/b"])


@spec("MQTT5-1.5.4-2", row=7)
async def test_null_character_in_properties_ends_the_connection(clients: Clients) -> None:
    await _expect_fault_for_each(clients, Version.V5, PLACES_IN_PROPERTIES, [b"\x00", b"a\x00"])


@spec("MQTT3-1.5.3-1", "MQTT3-1.5.3-2", "MQTT5-1.5.4-1", "MQTT5-1.5.4-2", row=(6, 7))
@every_version
@pytest.mark.parametrize("place", ["client id", "user name", "will topic"])
async def test_bad_string_in_connect_is_refused(clients: Clients, version: Version, place: str) -> None:
    for value in (*ILL_FORMED.values(), b"a\x00b"):
        client = await clients.open(version)
        await client.send(
            packets.connect(
                version,
                value if place == "client id" else client.client_id,
                username=value if place == "user name" else None,
                will=Will(value) if place == "will topic" else None,
            )
        )
        try:
            await _expect_connect_refused(client)
        except (AssertionError, TimeoutError) as error:
            error.add_note(f"{value!r}")
            raise


@spec("MQTT3-1.5.3-3", "MQTT5-1.5.4-3", row=8)
@every_version
async def test_byte_order_mark_belongs_to_the_topic(clients: Clients, version: Version) -> None:
    marked, plain = "\ufeff" + clients.topic("t"), clients.topic("t")
    sees_marked = await clients.subscriber(version, (marked, 0))
    sees_plain = await clients.subscriber(version, (plain, 0))
    publisher = await clients.connected(version)
    await publisher.publish(marked, b"marked")
    await publisher.publish(plain, b"plain")
    await sees_marked.expect_publish(marked, b"marked")
    await sees_marked.expect_quiet()
    await sees_plain.expect_publish(plain, b"plain")
    await sees_plain.expect_quiet()


@spec("MQTT3-4.7.3-4", "MQTT5-4.7.3-4", row=9)
@every_version
async def test_topics_are_compared_without_normalisation(clients: Clients, version: Version) -> None:
    composed, decomposed = clients.topic("\u00e9"), clients.topic("e\u0301")
    sees_composed = await clients.subscriber(version, (composed, 0))
    sees_both = await clients.subscriber(version, (clients.topic("+"), 0))
    publisher = await clients.connected(version)
    await publisher.publish(decomposed, b"decomposed")
    await publisher.publish(composed, b"composed")
    await sees_composed.expect_publish(composed, b"composed")
    await sees_both.expect_publish(decomposed, b"decomposed")
    await sees_both.expect_publish(composed, b"composed")


@spec("MQTT3-4.7.3-4", "MQTT5-4.7.3-4", row=9)
@every_version
async def test_case_distinguishes_topics(clients: Clients, version: Version) -> None:
    subscriber = await clients.subscriber(version, (clients.topic("Room"), 0))
    publisher = await clients.connected(version)
    await publisher.publish(clients.topic("room"), b"lower")
    await publisher.publish(clients.topic("Room"), b"upper")
    await subscriber.expect_publish(clients.topic("Room"), b"upper")
