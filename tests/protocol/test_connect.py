"""CONNECT and CONNACK: who gets in, what a refusal looks like, which limits are told."""

from collections.abc import Callable

import pytest

from tests.protocol.settings import EXTRAS, LIMITED
from tests.protocol.versions import every_version, v3_only, v311_and_v5
from tests.support import packets
from tests.support.broker import Settings
from tests.support.packets import Property, Type, Version, Will
from tests.support.spec import spec
from tests.support.wire import Clients, WireClient

FIRST_PACKETS = ["publish", "subscribe", "unsubscribe", "pingreq", "disconnect", "puback", "auth"]


async def _expect_malformed(client: WireClient) -> None:
    """Expect the answer to a CONNECT that breaks its grammar."""
    if client.version is Version.V5:
        await client.expect_refusal(0x81)
    else:
        await client.expect_closed()


@spec("MQTT3-3.1.0-1", "MQTT5-3.1.0-1", row=15)
@every_version
@pytest.mark.parametrize("kind", FIRST_PACKETS)
async def test_first_packet_other_than_connect_closes_without_an_answer(
    clients: Clients, version: Version, kind: str
) -> None:
    packet = {
        "publish": packets.publish(version, "a"),
        "subscribe": packets.subscribe(version, 1, [("a", 0)]),
        "unsubscribe": packets.unsubscribe(version, 1, ["a"]),
        "pingreq": packets.PINGREQ,
        "disconnect": packets.disconnect(),
        "puback": packets.ack(Type.PUBACK, 1),
        "auth": packets.auth(0x18, [(Property.AUTH_METHOD, "m")]),
    }[kind]
    client = await clients.open(version)
    await client.send(packet)
    await client.expect_closed()


@spec("MQTT5-3.1.0-1", row=15)
async def test_packet_before_connect_has_no_effect(clients: Clients) -> None:
    subscriber = await clients.subscriber(Version.V5, (clients.topic("#"), 0))
    client = await clients.open()
    await client.send(packets.publish(5, clients.topic("early")) + packets.connect(5, client.client_id))
    await client.expect_closed()
    publisher = await clients.connected()
    await publisher.publish(clients.topic("late"))
    await subscriber.expect_publish(clients.topic("late"))


@spec("MQTT3-3.1.0-2", "MQTT5-3.1.0-2", row=16)
@every_version
async def test_second_connect_ends_the_connection_and_sends_the_will(clients: Clients, version: Version) -> None:
    subscriber = await clients.subscriber(version, (clients.topic("will"), 0))
    client = await clients.connected(version, will=Will(clients.topic("will"), b"gone"))
    await client.send(packets.connect(version, client.client_id))
    await client.expect_fault(0x82)
    await subscriber.expect_publish(clients.topic("will"), b"gone")


@spec("MQTT5-§3.1.4", row=17)
@pytest.mark.parametrize(
    "sent", [b"", b"\x10", packets.connect(5, "id")[:-1]], ids=["nothing", "a byte", "all but one"]
)
async def test_connection_without_connect_is_closed_in_time(
    clients_with: Callable[[Settings], Clients], sent: bytes
) -> None:
    clients = clients_with(EXTRAS)
    client = await clients.open()
    await client.send(sent)
    await client.expect_closed()


@spec("MQTT3-§3.1.4", row=17)
async def test_idle_timeout_ends_with_connect(clients_with: Callable[[Settings], Clients]) -> None:
    clients = clients_with(EXTRAS)
    silent = await clients.open()
    accepted = await clients.connected(Version.V311)
    await silent.expect_closed()
    await accepted.expect_quiet()


@spec("MQTT3-3.1.2-1", "MQTT5-3.1.2-1", row=18)
@every_version
@pytest.mark.parametrize("name", ["", "MQTX", "mqtt", "MQTT\ufeff", "MQIsdq", "HTTP"])
async def test_wrong_protocol_name_is_not_spoken_to(clients: Clients, version: Version, name: str) -> None:
    client = await clients.open(version)
    await client.send(packets.connect(version, client.client_id, name=name))
    if version is Version.V5:
        # Either form will do here, so both are read.
        packet = await client.receive_or_end()
        if packet is not None:
            assert packet.type is Type.CONNACK
            assert packet.reason == 0x84
            await client.expect_closed()
    else:
        await client.expect_closed()


@spec("MQTT3-3.1.2-2", row=19)
@pytest.mark.parametrize("level", [0, 1, 2, 3])
async def test_level_below_311_under_the_new_name_gets_the_old_refusal(clients: Clients, level: int) -> None:
    client = await clients.open(Version.V311)
    await client.send(packets.connect(level, client.client_id, name="MQTT"))
    await client.expect_refusal(0x01)


@spec("MQTT5-3.1.2-2", row=19)
@pytest.mark.parametrize("level", [6, 7, 100])
async def test_level_above_5_gets_the_new_refusal(clients: Clients, level: int) -> None:
    client = await clients.open(Version.V5)
    await client.send(packets.connect(level, client.client_id, name="MQTT"))
    await client.expect_refusal(0x84)


@spec("MQTT3-3.1.2-3", "MQTT5-3.1.2-3", row=20)
@every_version
async def test_reserved_connect_flag_is_refused(clients: Clients, version: Version) -> None:
    client = await clients.open(version)
    await client.send(packets.connect(version, client.client_id, flags=0x03))
    await _expect_malformed(client)


@spec(
    "MQTT3-3.1.2-13", "MQTT3-3.1.2-14", "MQTT3-3.1.2-15", "MQTT5-3.1.2-11", "MQTT5-3.1.2-12", "MQTT5-3.1.2-13", row=21
)
@every_version
@pytest.mark.parametrize("flags", [0x0A, 0x12, 0x1A, 0x22], ids=["QoS 1", "QoS 2", "QoS 3", "retain"])
async def test_will_flags_without_a_will_are_refused(clients: Clients, version: Version, flags: int) -> None:
    client = await clients.open(version)
    await client.send(packets.connect(version, client.client_id, flags=flags))
    await _expect_malformed(client)


@spec(
    "MQTT3-3.1.2-13", "MQTT3-3.1.2-14", "MQTT3-3.1.2-15", "MQTT5-3.1.2-11", "MQTT5-3.1.2-12", "MQTT5-3.1.2-13", row=21
)
@every_version
async def test_will_of_qos_3_is_refused(clients: Clients, version: Version) -> None:
    client = await clients.open(version)
    await client.send(packets.connect(version, client.client_id, will=Will("w", qos=3)))
    await _expect_malformed(client)


@spec(
    "MQTT3-3.1.2-18",
    "MQTT3-3.1.2-19",
    "MQTT3-3.1.2-20",
    "MQTT3-3.1.2-21",
    "MQTT5-3.1.2-16",
    "MQTT5-3.1.2-17",
    "MQTT5-3.1.2-18",
    "MQTT5-3.1.2-19",
    row=22,
)
@every_version
@pytest.mark.parametrize("case", ["user flag", "password flag", "user field", "both fields", "password field"])
async def test_credential_flags_and_fields_must_agree(clients: Clients, version: Version, case: str) -> None:
    username, password, flags = {
        "user flag": (None, None, 0x82),
        "password flag": ("u", None, 0xC2),
        "user field": ("u", None, 0x02),
        "both fields": ("u", b"p", 0x02),
        "password field": ("u", b"p", 0x82),
    }[case]
    client = await clients.open(version)
    await client.send(packets.connect(version, client.client_id, username=username, password=password, flags=flags))
    await _expect_malformed(client)


@spec("MQTT3-3.1.2-22", row=23)
@v3_only
async def test_password_without_user_name_is_refused_under_3x(clients: Clients, version: Version) -> None:
    client = await clients.open(version)
    await client.send(packets.connect(version, client.client_id, password=b"secret"))
    await client.expect_closed()


@spec("MQTT5-§3.1.2.9", row=23)
async def test_password_without_user_name_is_allowed_in_5(clients: Clients) -> None:
    client = await clients.connected(password=b"secret")
    await client.expect_quiet()


@spec("MQTT3-3.1.3-6", "MQTT5-3.1.3-6", "MQTT5-3.1.3-7", "MQTT5-3.2.2-16", row=24)
@v311_and_v5
async def test_empty_client_id_gets_a_unique_one(clients: Clients, version: Version) -> None:
    first = await clients.connected(version, "", clean=True)
    second = await clients.connected(version, "", clean=True)
    await first.expect_quiet()
    await second.expect_quiet()


@spec("MQTT5-3.1.3-6", "MQTT5-3.1.3-7", "MQTT5-3.2.2-16", row=24)
@pytest.mark.parametrize("clean", [True, False])
async def test_assigned_client_id_is_told_and_usable(clients: Clients, clean: bool) -> None:
    first = await clients.open()
    connack = await first.connect("", clean=clean, properties=[(Property.SESSION_EXPIRY, 100)])
    assigned = connack.properties.get(Property.ASSIGNED_CLIENT_ID)
    assert isinstance(assigned, str)
    assert assigned
    assert not connack.is_session_present
    other = await (await clients.open()).connect("", clean=clean)
    assert other.properties.get(Property.ASSIGNED_CLIENT_ID) not in (None, "", assigned)
    await first.disconnect()
    again = await (await clients.open()).connect(assigned, clean=False)
    assert again.is_session_present
    assert Property.ASSIGNED_CLIENT_ID not in again.properties


@spec("MQTT5-3.2.2-16", row=24)
async def test_client_id_of_the_client_is_not_told_back(clients: Clients) -> None:
    connack = await (await clients.open()).connect(clients.id())
    assert Property.ASSIGNED_CLIENT_ID not in connack.properties


@spec("MQTT3-3.1.3-8", row=25)
@pytest.mark.parametrize(
    ("version", "clean"),
    [(Version.V311, False), (Version.V31, False), (Version.V31, True)],
    ids=["V311 kept", "V31 kept", "V31 clean"],
)
async def test_empty_client_id_is_refused(clients: Clients, version: Version, clean: bool) -> None:
    client = await clients.open(version)
    await client.send(packets.connect(version, "", clean=clean))
    await client.expect_refusal(0x02)


@spec("MQTT3-3.1.3-9", "MQTT5-3.1.3-8", row=26)
@every_version
async def test_client_id_beyond_the_limit_is_refused(
    clients_with: Callable[[Settings], Clients], version: Version
) -> None:
    clients = clients_with(EXTRAS)
    accepted = await clients.connected(version, clients.id().ljust(32, "x"))
    await accepted.expect_quiet()
    client = await clients.open(version)
    await client.send(packets.connect(version, clients.id().ljust(33, "x")))
    await client.expect_refusal(0x85 if version is Version.V5 else 0x02)


@spec("MQTT3-3.1.3-5", "MQTT5-3.1.3-5", row=27)
@every_version
async def test_alphanumeric_ids_up_to_23_bytes_are_taken(clients: Clients, version: Version) -> None:
    alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    pieces = [alphabet[at : at + 23] for at in (0, 23, 46)]
    for client_id in ("7", clients.id().ljust(23, "Z"), *pieces):
        client = await clients.connected(version, client_id)
        await client.expect_quiet()


@spec("MQTT3-3.1.3-5", "MQTT5-3.1.3-5", row=27)
@every_version
async def test_client_ids_of_65535_bytes_are_taken(clients: Clients, version: Version) -> None:
    longest = clients.id().ljust(65_535, "x")
    client = await clients.connected(version, longest)
    await client.expect_quiet()


@every_version
async def test_connect_with_every_field_at_its_longest_is_taken(clients: Clients, version: Version) -> None:
    longest = "x" * 65_535
    client = await clients.open(version)
    await client.send(
        packets.connect(
            version,
            clients.id().ljust(65_535, "x"),
            username=longest,
            password=longest.encode(),
            will=Will(longest, longest.encode()),
        )
    )
    await client.expect_connack(0)


@spec("MQTT3-§3.2.2.3", "MQTT5-§3.2.2.2", row=28)
@every_version
@pytest.mark.parametrize("has_user", [False, True])
async def test_client_without_rights_is_refused(
    clients_with: Callable[[Settings], Clients], version: Version, has_user: bool
) -> None:
    clients = clients_with({"allow_anonymous": False})
    client = await clients.open(version)
    user, password = ("nobody", b"wrong") if has_user else (None, None)
    await client.send(packets.connect(version, client.client_id, username=user, password=password))
    await client.expect_refusal(*((0x86, 0x87) if version is Version.V5 else (0x04, 0x05)))


@spec("MQTT3-3.2.2-4", "MQTT3-3.2.2-5", "MQTT5-3.2.2-6", "MQTT5-3.2.2-7", row=34)
@v311_and_v5
async def test_refusal_says_no_session_though_there_is_one(clients: Clients, version: Version) -> None:
    kept, _ = await clients.persistent(version, clients.id())
    await kept.disconnect()
    client = await clients.open(version)
    if version is Version.V5:
        method = [(Property.AUTH_METHOD, "none such")]
        await client.send(packets.connect(version, clients.id(), clean=False, properties=method))
        await client.expect_refusal(0x8C)
    else:
        await client.send(packets.connect(2, clients.id(), clean=False, name="MQTT"))
        await client.expect_refusal(0x01)
    _, connack = await clients.persistent(version, clients.id())
    assert connack.is_session_present


@spec("MQTT3-3.1.4-5", "MQTT5-3.1.4-6", row=36)
@every_version
async def test_packets_behind_a_refused_connect_are_not_processed(clients: Clients, version: Version) -> None:
    subscriber = await clients.subscriber(version, (clients.topic("#"), 0))
    refused = {
        Version.V31: packets.connect(3, ""),
        Version.V311: packets.connect(4, "", clean=False),
        Version.V5: packets.connect(5, clients.id(), properties=[(Property.AUTH_METHOD, "none such")]),
    }[version]
    client = await clients.open(version)
    await client.send(refused + packets.publish(version, clients.topic("early")))
    await client.expect_refusal(0x8C if version is Version.V5 else 0x02)
    publisher = await clients.connected(version)
    await publisher.publish(clients.topic("late"))
    await subscriber.expect_publish(clients.topic("late"))


@spec("MQTT3-3.1.4-5", "MQTT5-3.1.4-6", row=36)
@every_version
async def test_packets_sent_before_connack_are_processed_in_order(clients: Clients, version: Version) -> None:
    client = await clients.open(version)
    topic = clients.topic("t")
    await client.send(
        packets.connect(version, client.client_id)
        + packets.subscribe(version, 1, [(topic, 1)])
        + packets.publish(version, topic, b"1")
        + packets.publish(version, topic, b"2", qos=1, packet_id=7)
        + packets.unsubscribe(version, 2, [topic])
        + packets.publish(version, topic, b"3")
        + packets.PINGREQ
    )
    await client.expect_connack(0)
    got = [await client.receive() for _ in range(6)]
    assert [p.payload for p in got if p.type is Type.PUBLISH] == [b"1", b"2"]
    assert [p.type for p in got if p.type is not Type.PUBLISH] == [
        Type.SUBACK,
        Type.PUBACK,
        Type.UNSUBACK,
        Type.PINGRESP,
    ]


@spec("MQTT3-3.1.4-5", "MQTT5-3.1.4-6", row=36)
@every_version
async def test_connect_may_arrive_byte_by_byte(clients: Clients, version: Version) -> None:
    client = await clients.open(version)
    for byte in packets.connect(version, client.client_id, will=Will("w", b"x"), username="u", password=b"p"):
        await client.send(bytes([byte]))
    await client.expect_connack(0)


@spec("MQTT5-3.2.2-9", "MQTT5-§3.2.2.3", row=37)
async def test_default_limits_are_told(clients: Clients) -> None:
    told = (await (await clients.open()).connect()).properties
    assert told.get(Property.RECEIVE_MAXIMUM) == 100
    assert told.get(Property.MAXIMUM_PACKET) == 1_048_576
    assert told.get(Property.ALIAS_MAXIMUM) == 65_535
    # Absence says that these are available, and that the maximum QoS is 2 (a value of 2 would be an error).
    assert told.get(Property.MAXIMUM_QOS) is None
    for available in (
        Property.RETAIN_AVAILABLE,
        Property.WILDCARD_AVAILABLE,
        Property.SUBSCRIPTION_ID_AVAILABLE,
        Property.SHARED_AVAILABLE,
    ):
        assert told.get(available) in (None, 1)


@spec("MQTT5-3.2.2-9", "MQTT5-§3.2.2.3", row=37)
async def test_changed_limits_are_told(clients_with: Callable[[Settings], Clients]) -> None:
    clients = clients_with(LIMITED)
    told = (await (await clients.open()).connect()).properties
    assert told.get(Property.MAXIMUM_QOS) == 1
    assert told.get(Property.RETAIN_AVAILABLE) == 0
    assert told.get(Property.WILDCARD_AVAILABLE) == 0
    assert told.get(Property.SHARED_AVAILABLE) == 0
    assert told.get(Property.ALIAS_MAXIMUM) == 10
    assert told.get(Property.MAXIMUM_PACKET) == 1024
    assert told.get(Property.RECEIVE_MAXIMUM) == 5


@spec("MQTT5-§3.2.2.3", row=37)
async def test_features_told_as_missing_are_refused(clients_with: Callable[[Settings], Clients]) -> None:
    clients = clients_with(LIMITED)
    client = await clients.connected()
    assert await client.subscribe((clients.topic("+"), 0), (clients.topic("t"), 0)) == (0xA2, 0)
    assert await client.subscribe((f"$share/g/{clients.topic('t')}", 0)) == (0x9E,)


@spec("MQTT5-3.2.2-12", row=39)
async def test_will_above_the_maximum_qos_is_refused(clients_with: Callable[[Settings], Clients]) -> None:
    client = await clients_with(LIMITED).open()
    await client.send(packets.connect(5, client.client_id, will=Will("w", qos=2)))
    await client.expect_refusal(0x9B)


@spec("MQTT5-3.2.2-13", row=39)
async def test_retained_will_is_refused_where_retain_is_not_available(
    clients_with: Callable[[Settings], Clients],
) -> None:
    client = await clients_with(LIMITED).open()
    await client.send(packets.connect(5, client.client_id, will=Will("w", retain=True)))
    await client.expect_refusal(0x9A)


@spec("MQTT5-4.12.0-1", "MQTT5-§3.1.2.11.10", row=40)
async def test_unknown_authentication_method_is_refused(clients: Clients) -> None:
    client = await clients.open()
    method: packets.Pairs = [(Property.AUTH_METHOD, "none such"), (Property.AUTH_DATA, b"\x00")]
    await client.send(packets.connect(5, client.client_id, properties=method))
    await client.expect_refusal(0x8C)


@spec("MQTT5-§3.1.2.11.10", row=40)
async def test_authentication_data_without_method_is_refused(clients: Clients) -> None:
    client = await clients.open()
    await client.send(packets.connect(5, client.client_id, properties=[(Property.AUTH_DATA, b"x")]))
    await client.expect_refusal(0x82)


@spec("MQTT5-4.12.0-7", row=41)
@pytest.mark.parametrize("reason", [0x00, 0x18, 0x19])
async def test_auth_without_a_method_in_connect_ends_the_connection(clients: Clients, reason: int) -> None:
    client = await clients.connected()
    await client.send(packets.auth(reason))
    await client.expect_fault(0x82)


@spec("MQTT5-4.12.0-5", row=42)
async def test_auth_with_a_method_that_connect_did_not_name_ends_the_connection(clients: Clients) -> None:
    client = await clients.connected()
    await client.send(packets.auth(0x19, [(Property.AUTH_METHOD, "other"), (Property.AUTH_DATA, b"x")]))
    await client.expect_fault(0x82)


@spec("MQTT5-4.12.0-5", row=42)
async def test_auth_behind_a_refused_method_changes_nothing(clients: Clients) -> None:
    client = await clients.open()
    await client.send(
        packets.connect(5, client.client_id, properties=[(Property.AUTH_METHOD, "a")])
        + packets.auth(0x18, [(Property.AUTH_METHOD, "b")])
    )
    await client.expect_refusal(0x8C)


async def test_response_information_is_told_only_on_request(clients_with: Callable[[Settings], Clients]) -> None:
    clients = clients_with(EXTRAS)
    asked = await (await clients.open()).connect(properties=[(Property.REQUEST_RESPONSE, 1)])
    assert asked.properties.get(Property.RESPONSE_INFORMATION) == "replies/here"
    not_asked = await (await clients.open()).connect()
    assert Property.RESPONSE_INFORMATION not in not_asked.properties


async def test_empty_response_information_is_not_told(clients: Clients) -> None:
    connack = await (await clients.open()).connect(properties=[(Property.REQUEST_RESPONSE, 1)])
    assert Property.RESPONSE_INFORMATION not in connack.properties
