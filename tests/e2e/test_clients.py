"""Client libraries as people use them: every one of them, over every transport and version that it speaks."""

import pytest

from tests.e2e.adapters.aiomqtt_client import AiomqttClient
from tests.e2e.adapters.client import Client, Message, Options, Transport
from tests.e2e.adapters.gmqtt_client import GmqttClient
from tests.e2e.adapters.mosquitto_client import MosquittoClient
from tests.e2e.adapters.mqttjs_client import MqttjsClient
from tests.e2e.adapters.paho_client import PahoClient
from tests.e2e.conftest import OpenClient
from tests.support.packets import Version
from tests.support.wire import eventually

KINDS: tuple[type[Client], ...] = (PahoClient, AiomqttClient, GmqttClient, MosquittoClient, MqttjsClient)
SESSION_EXPIRY_S = 300

every_way = pytest.mark.parametrize(
    ("kind", "transport", "version"),
    [
        pytest.param(kind, transport, version, id=f"{kind.name}-{transport.value}-{version.name}")
        for kind in KINDS
        for transport in kind.transports
        for version in kind.versions
    ],
)
every_client = pytest.mark.parametrize(
    ("kind", "version"),
    [pytest.param(kind, version, id=f"{kind.name}-{version.name}") for kind in KINDS for version in kind.versions],
)
every_v5_client = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


@every_way
async def test_each_qos_goes_to_and_fro(
    open_client: OpenClient, unique: str, kind: type[Client], transport: Transport, version: Version
) -> None:
    client = open_client(kind, Options(f"{unique}c", version), transport)
    await client.connect()
    await client.subscribe(f"{unique}/#", 2)
    sent = [Message(f"{unique}/q{qos}", f"payload {qos}".encode(), qos) for qos in (0, 1, 2)]
    for message in sent:
        await client.publish(message)
        assert await client.receive() == message
    assert client.waiting == 0


@every_client
async def test_delivery_has_the_lower_qos(
    open_client: OpenClient, unique: str, kind: type[Client], version: Version
) -> None:
    client = open_client(kind, Options(f"{unique}c", version))
    await client.connect()
    await client.subscribe(f"{unique}/t", 1)
    for qos in (0, 1, 2):
        await client.publish(Message(f"{unique}/t", b"x", qos))
    assert [message.qos for message in await client.receive_many(3)] == [0, 1, 1]


@every_client
async def test_retained_message_waits_for_subscribers_until_it_is_cleared(
    open_client: OpenClient, unique: str, kind: type[Client], version: Version
) -> None:
    publisher = open_client(kind, Options(f"{unique}p", version))
    await publisher.connect()
    kept = Message(f"{unique}/state", b"on", 1, retain=True)
    await publisher.publish(kept)
    subscriber = open_client(kind, Options(f"{unique}s", version))
    await subscriber.connect()
    await subscriber.subscribe(f"{unique}/+", 1)
    assert await subscriber.receive() == kept
    await publisher.publish(Message(f"{unique}/state", b"", 1, retain=True))
    assert await subscriber.receive() == Message(f"{unique}/state", b"", 1)
    late = open_client(kind, Options(f"{unique}l", version))
    await late.connect()
    await late.subscribe(f"{unique}/+", 1)
    await publisher.publish(Message(f"{unique}/state", b"live", 1))
    assert await late.receive() == Message(f"{unique}/state", b"live", 1)


@every_client
async def test_will_is_sent_when_the_socket_ends(
    open_client: OpenClient, unique: str, kind: type[Client], version: Version
) -> None:
    observer = open_client(kind, Options(f"{unique}o", version))
    await observer.connect()
    await observer.subscribe(f"{unique}/gone", 1)
    will = Message(f"{unique}/gone", b"farewell", 1)
    mortal = open_client(kind, Options(f"{unique}m", version, will=will))
    await mortal.connect()
    await mortal.subscribe(f"{unique}/nothing", 0)
    await mortal.cut()
    assert await observer.receive() == will


@every_client
async def test_will_is_sent_after_a_goodbye_only_if_that_asks_for_it(
    open_client: OpenClient, unique: str, kind: type[Client], version: Version
) -> None:
    observer = open_client(kind, Options(f"{unique}o", version))
    await observer.connect()
    await observer.subscribe(f"{unique}/gone", 1)
    will = Message(f"{unique}/gone", b"farewell", 1)
    polite = open_client(kind, Options(f"{unique}m", version, will=will))
    await polite.connect()
    await polite.subscribe(f"{unique}/nothing", 0)
    await polite.disconnect()
    marker = Message(f"{unique}/gone", b"marker", 1)
    await observer.publish(marker)
    # mosquitto_sub, when told to end, says goodbye to a 5.0 broker with reason 0x04: disconnect with will.
    asks_for_it = kind is MosquittoClient and version is Version.V5
    assert await observer.receive() == (will if asks_for_it else marker)


@every_client
async def test_shared_subscription_gives_each_message_to_one_member(
    open_client: OpenClient, unique: str, kind: type[Client], version: Version
) -> None:
    members = [open_client(kind, Options(f"{unique}m{number}", version)) for number in range(2)]
    for member in members:
        await member.connect()
        await member.subscribe(f"$share/group/{unique}/t", 1)
    publisher = open_client(kind, Options(f"{unique}p", version))
    await publisher.connect()
    for number in range(10):
        await publisher.publish(Message(f"{unique}/t", str(number).encode(), 1))
    await eventually(lambda: sum(member.waiting for member in members) == 10)
    shares = [await member.receive_many(member.waiting) for member in members]
    assert all(shares), "a member got nothing"
    assert sorted(int(message.payload) for share in shares for message in share) == list(range(10))


@every_client
@pytest.mark.parametrize("is_cut", [False, True], ids=["left", "cut"])
async def test_resumed_session_gets_what_was_queued_in_order(
    open_client: OpenClient, unique: str, kind: type[Client], version: Version, is_cut: bool
) -> None:
    options = Options(f"{unique}c", version, clean=False, session_expiry_s=SESSION_EXPIRY_S)
    first = open_client(kind, options)
    assert await first.connect() in (False, None)
    await first.subscribe(f"{unique}/t", 1)
    await (first.cut() if is_cut else first.disconnect())
    publisher = open_client(kind, Options(f"{unique}p", version))
    await publisher.connect()
    sent = [Message(f"{unique}/t", str(number).encode(), 1) for number in range(5)]
    for message in sent:
        await publisher.publish(message)
    second = open_client(kind, options)
    # MQTT 3.1 has no flag for it.
    assert await second.connect() in (version is not Version.V31, None)
    await second.resume(f"{unique}/t", 1)
    assert await second.receive_many(5) == sent


@pytest.mark.parametrize(
    ("kind", "transport"),
    [
        pytest.param(kind, transport, id=f"{kind.name}-{transport.value}")
        for kind in KINDS
        for transport in kind.transports
    ],
)
async def test_one_mebibyte_arrives_whole(
    open_client: OpenClient, unique: str, kind: type[Client], transport: Transport
) -> None:
    payload = bytes(range(256)) * 4096
    client = open_client(kind, Options(f"{unique}c"), transport)
    await client.connect()
    await client.subscribe(f"{unique}/t", 1)
    await client.publish(Message(f"{unique}/t", payload, 1))
    received = await client.receive()
    assert len(received.payload) == 1 << 20
    assert received.payload == payload


@every_client
@pytest.mark.parametrize(
    "level",
    ["Grüße", "温度/室内", "😀 emoji", "e\N{COMBINING ACUTE ACCENT}"],
    ids=["latin", "han", "astral", "combining"],
)
async def test_topic_is_any_text(
    open_client: OpenClient, unique: str, kind: type[Client], version: Version, level: str
) -> None:
    client = open_client(kind, Options(f"{unique}c", version))
    await client.connect()
    await client.subscribe(f"{unique}/{level}/+", 1)
    sent = Message(f"{unique}/{level}/t", level.encode(), 1)
    await client.publish(sent)
    assert await client.receive() == sent


@every_v5_client
async def test_request_finds_its_response(open_client: OpenClient, unique: str, kind: type[Client]) -> None:
    requester, responder = (open_client(kind, Options(f"{unique}{role}")) for role in "qr")
    await requester.connect()
    await requester.subscribe(f"{unique}/replies", 1)
    await responder.connect()
    await responder.subscribe(f"{unique}/service", 1)
    for number in ("one", "two"):
        question = Message(
            f"{unique}/service",
            number.encode(),
            1,
            response_topic=f"{unique}/replies",
            correlation_data=f"id-{number}".encode(),
        )
        await requester.publish(question)
        asked = await responder.receive()
        assert asked == question
        assert asked.response_topic is not None
        answer = Message(asked.response_topic, asked.payload.upper(), 1, correlation_data=asked.correlation_data)
        await responder.publish(answer)
        assert await requester.receive() == answer


@every_v5_client
async def test_user_properties_keep_order_and_duplicates(
    open_client: OpenClient, unique: str, kind: type[Client]
) -> None:
    interleaved = (("b", "1"), ("a", "2"), ("b", "3"), ("a", "2"))
    grouped = (("b", "1"), ("b", "3"), ("a", "2"), ("a", "2"))
    sent = Message(
        f"{unique}/t",
        b"x",
        1,
        user_properties=interleaved if kind.keeps_property_order else grouped,
        content_type="text/plain",
    )
    client = open_client(kind, Options(f"{unique}c"))
    await client.connect()
    await client.subscribe(f"{unique}/t", 1)
    await client.publish(sent)
    assert await client.receive() == sent


@pytest.mark.parametrize("kind", [PahoClient, AiomqttClient, GmqttClient, MqttjsClient], ids=lambda kind: kind.name)
async def test_publisher_uses_an_alias_in_place_of_the_topic(
    open_client: OpenClient, unique: str, kind: type[Client]
) -> None:
    subscriber = open_client(PahoClient, Options(f"{unique}s"))
    await subscriber.connect()
    await subscriber.subscribe(f"{unique}/#", 1)
    publisher = open_client(kind, Options(f"{unique}p"))
    await publisher.connect()
    for topic, alias, payload in (("a", 1, b"0"), ("", 1, b"1"), ("b", 1, b"2"), ("", 1, b"3"), ("c", 2, b"4")):
        await publisher.publish(Message(f"{unique}/{topic}" if topic else "", payload, 1, topic_alias=alias))
    received = await subscriber.receive_many(5)
    assert [(message.topic[-1], message.payload) for message in received] == [
        ("a", b"0"),
        ("a", b"1"),
        ("b", b"2"),
        ("b", b"3"),
        ("c", b"4"),
    ]


async def test_mosquitto_pub_repeats_by_alias(open_client: OpenClient, unique: str) -> None:
    subscriber = open_client(PahoClient, Options(f"{unique}s"))
    await subscriber.connect()
    await subscriber.subscribe(f"{unique}/t", 1)
    publisher = open_client(MosquittoClient, Options(f"{unique}p"))
    assert isinstance(publisher, MosquittoClient)
    # From its second message on the program sends the alias alone.
    await publisher.publish(Message(f"{unique}/t", b"x", 1, topic_alias=7), "--repeat", "3")
    assert await subscriber.receive_many(3) == [Message(f"{unique}/t", b"x", 1)] * 3


@pytest.mark.parametrize("kind", [GmqttClient, MqttjsClient], ids=lambda kind: kind.name)
async def test_subscriber_that_takes_aliases_sees_whole_topics(
    open_client: OpenClient, unique: str, kind: type[Client]
) -> None:
    subscriber = open_client(kind, Options(f"{unique}s", topic_alias_maximum=2))
    await subscriber.connect()
    await subscriber.subscribe(f"{unique}/#", 1)
    publisher = open_client(PahoClient, Options(f"{unique}p"))
    await publisher.connect()
    sent = [Message(f"{unique}/topic{number % 4}", str(number).encode(), 1) for number in range(12)]
    for message in sent:
        await publisher.publish(message)
    assert await subscriber.receive_many(12) == sent


@pytest.mark.parametrize("sender", KINDS, ids=lambda kind: f"from_{kind.name}")
@pytest.mark.parametrize("receiver", KINDS, ids=lambda kind: f"to_{kind.name}")
async def test_libraries_and_versions_understand_each_other(
    open_client: OpenClient, unique: str, sender: type[Client], receiver: type[Client]
) -> None:
    old = open_client(receiver, Options(f"{unique}r", Version.V311))
    await old.connect()
    await old.subscribe(f"{unique}/up", 2)
    new = open_client(sender, Options(f"{unique}s", Version.V5))
    await new.connect()
    await new.subscribe(f"{unique}/down", 2)
    await new.publish(Message(f"{unique}/up", b"up", 2, user_properties=(("lost", "below 5.0"),)))
    assert await old.receive() == Message(f"{unique}/up", b"up", 2)
    await old.publish(Message(f"{unique}/down", b"down", 2))
    assert await new.receive() == Message(f"{unique}/down", b"down", 2)
