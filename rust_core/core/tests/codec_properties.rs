//! Property tests of the codec: what is encoded decodes to the same, and no bytes at all do harm.

use std::num::NonZeroU16;

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use pybroker_core::codec::{
    Ack, Auth, Connack, ConnackProperties, Connect, ConnectProperties, Decoder, Disconnect, Forwardable,
    MAX_PACKET_BYTES, Packet, PacketType, Properties, Property, PropertyId, PropertyValue, PublishOut, QoS, Role,
    Suback, Subscribe, SubscribeFilters, SubscribeOptions, Unsuback, Unsubscribe, UnsubscribeFilters, UserProperties,
    Version, Will, encode, encode_ack, encode_connack, encode_disconnect, encode_publish, encode_publish_head,
    encode_suback, encode_unsuback, publish_len,
};
use pybroker_core::reason::ReasonCode;

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];
const ROLES: [Role; 2] = [Role::Server, Role::Client];

fn versions() -> impl Strategy<Value = Version> {
    proptest::sample::select(&VERSIONS[..])
}

fn qos() -> impl Strategy<Value = QoS> {
    (0_u8..3).prop_map(|bits| QoS::from_bits(bits).expect("it is below 3"))
}

/// Text that a packet may hold: anything but U+0000.
fn text() -> impl Strategy<Value = String> {
    vec(any::<char>().prop_filter("null character", |c| *c != '\0'), 0..12)
        .prop_map(|characters| characters.into_iter().collect())
}

fn topic() -> impl Strategy<Value = String> {
    text().prop_map(|text| format!("t{}", text.replace(['+', '#'], "/")))
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..40)
}

fn encoded(properties: &[Property<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for property in properties {
        property.encode(&mut bytes);
    }
    bytes
}

fn user_properties() -> impl Strategy<Value = Vec<u8>> {
    vec((text(), text()), 0..4)
        .prop_map(|pairs| encoded(&pairs.iter().map(|(name, value)| Property::user(name, value)).collect::<Vec<_>>()))
}

/// The properties that are forwarded unchanged, encoded.
fn forwardable() -> impl Strategy<Value = Vec<u8>> {
    let own = (of(any::<bool>()), of(text()), of(topic()), of(data()), user_properties());
    own.prop_map(|(format, content_type, response_topic, correlation_data, user)| {
        let format = format.map(PropertyValue::Flag);
        let content_type = content_type.as_deref().map(PropertyValue::Text);
        let response_topic = response_topic.as_deref().map(PropertyValue::Text);
        let correlation_data = correlation_data.as_deref().map(PropertyValue::Binary);
        let properties = [
            (PropertyId::PayloadFormat, format),
            (PropertyId::ContentType, content_type),
            (PropertyId::ResponseTopic, response_topic),
            (PropertyId::CorrelationData, correlation_data),
        ];
        let properties = properties.into_iter();
        let set = properties.filter_map(|(id, value)| value.map(|value| Property { id, value }));
        let mut bytes = encoded(&set.collect::<Vec<_>>());
        bytes.extend(user);
        bytes
    })
}

fn reason(packet: PacketType) -> impl Strategy<Value = ReasonCode> {
    let codes: Vec<ReasonCode> =
        ReasonCode::TABLE.iter().filter(|row| row.packets & packet.bit() != 0).map(|row| row.code).collect();
    proptest::sample::select(codes)
}

/// Decodes what was just encoded and hands the packet on; every byte must belong to it.
fn decoded(role: Role, version: Version, bytes: &[u8]) -> Packet<'_> {
    let mut decoder = Decoder::with_version(role, version, MAX_PACKET_BYTES);
    assert_eq!(decoder.packet_len(bytes), Ok(Some(bytes.len())));
    match decoder.decode(bytes) {
        Ok(Some((packet, consumed))) => {
            assert_eq!(consumed, bytes.len());
            packet
        }
        other => panic!("{bytes:02x?} gave {other:?}"),
    }
}

fn roundtrip(role: Role, version: Version, packet: &Packet<'_>) {
    let mut bytes = vec![];
    encode(&mut bytes, version, packet);
    assert_eq!(&decoded(role, version, &bytes), packet);
}

proptest! {
    #[test]
    fn publish_comes_back(
        version in versions(), qos in qos(), (is_dup, is_retain, is_server) in any::<(bool, bool, bool)>(),
        topic in topic(), packet_id in 1_u16.., topic_alias in any::<u16>(),
        message_expiry_s in of(any::<u32>()), ids in vec(1_u32..268_435_456, 0..4),
        forwardable in forwardable(), payload in data(),
    ) {
        let role = if is_server { Role::Server } else { Role::Client };
        let subscription_ids: &[u32] = if is_server { &[] } else { &ids };
        let out = PublishOut {
            is_dup, qos, is_retain, topic: &topic, packet_id, topic_alias, message_expiry_s,
            subscription_ids, forwardable: &forwardable, payload: &payload,
        };
        let mut bytes = Vec::new();
        encode_publish(&mut bytes, version, &out);
        prop_assert_eq!(bytes.len(), publish_len(version, &out));
        let mut head = Vec::new();
        encode_publish_head(&mut head, version, &out);
        prop_assert_eq!(&bytes, &[&head[..], &payload[..]].concat());

        let packet = decoded(role, version, &bytes);
        let Packet::Publish(publish) = &packet else { panic!("{packet:?}") };
        prop_assert_eq!(publish.is_dup, is_dup && qos != QoS::AtMostOnce);
        prop_assert_eq!((publish.qos, publish.is_retain), (qos, is_retain));
        prop_assert_eq!(publish.packet_id, if qos == QoS::AtMostOnce { 0 } else { packet_id });
        prop_assert_eq!((publish.topic, publish.payload), (&*topic, &payload[..]));
        if version.is_v5() {
            let properties = &publish.properties;
            prop_assert_eq!(properties.topic_alias, NonZeroU16::new(topic_alias));
            prop_assert_eq!(properties.message_expiry_s, message_expiry_s);
            prop_assert!(properties.subscription_ids().eq(subscription_ids.iter().copied()));
            prop_assert_eq!(&*properties.forwardable(), &forwardable[..]);
            let is_borrowed = matches!(properties.forwardable(), std::borrow::Cow::Borrowed(_));
            prop_assert!(is_borrowed, "own properties stand in front, so nothing is copied");
        }
        roundtrip(role, version, &packet);
    }

    #[test]
    fn forwarded_properties_keep_their_order_among_others(
        forwardable in forwardable(), alias in 1_u16.., expiry in any::<u32>(), place in any::<prop::sample::Index>(),
    ) {
        let mut ends = vec![0];
        for property in Properties::new(&forwardable) {
            ends.push(ends[ends.len() - 1] + property.encoded_len());
        }
        let alias = Property { id: PropertyId::TopicAlias, value: PropertyValue::U16(alias) };
        let expiry = Property { id: PropertyId::MessageExpiry, value: PropertyValue::U32(expiry) };
        let own = encoded(&[alias, expiry]);
        let (before, behind) = forwardable.split_at(ends[place.index(ends.len())]);
        let block = [before, &own, behind].concat();
        let mut bytes = Vec::new();
        let out = PublishOut { topic: "t", forwardable: &block, ..PublishOut::default() };
        encode_publish(&mut bytes, Version::V5, &out);
        let packet = decoded(Role::Server, Version::V5, &bytes);
        let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
        prop_assert_eq!(&*publish.properties.forwardable(), &forwardable[..]);
        prop_assert_eq!(publish.properties.forwardable, Forwardable::new(&forwardable));
    }

    #[test]
    fn connect_comes_back(
        version in versions(), client_id in text(), keep_alive_s in any::<u16>(),
        (is_clean_start, is_bridge) in any::<(bool, bool)>(), username in of(text()), password in of(data()),
        will in of((topic(), data(), qos(), any::<bool>(), any::<u32>(), of(any::<u32>()), forwardable())),
        properties in connect_properties(), user in user_properties(), method in of((text(), of(data()))),
    ) {
        let will = will.as_ref().map(|(topic, payload, qos, is_retain, delay_s, message_expiry_s, forwardable)| Will {
            topic, payload, qos: *qos, is_retain: *is_retain, delay_s: *delay_s,
            message_expiry_s: *message_expiry_s, forwardable: Forwardable::new(forwardable),
        });
        let mut connect = Connect {
            version, client_id: &client_id, keep_alive_s, is_clean_start, is_bridge: is_bridge && !version.is_v5(),
            will, username: username.as_deref(), password: password.as_deref(),
            properties: ConnectProperties {
                user_properties: UserProperties::new(&user),
                authentication_method: method.as_ref().map(|(name, _)| &**name),
                authentication_data: method.as_ref().and_then(|(_, data)| data.as_deref()),
                ..properties
            },
        };
        if !version.is_v5() {
            connect.properties = ConnectProperties::default();
            connect.password = connect.password.filter(|_| connect.username.is_some());
            if let Some(will) = &mut connect.will {
                (will.delay_s, will.message_expiry_s, will.forwardable) = (0, None, Forwardable::default());
            }
        }
        let packet = Packet::Connect(Box::new(connect));
        let mut bytes = vec![];
        encode(&mut bytes, version, &packet);
        let mut decoder = Decoder::new(Role::Server, MAX_PACKET_BYTES);
        prop_assert_eq!(decoder.decode(&bytes), Ok(Some((packet, bytes.len()))));
        prop_assert_eq!(decoder.version(), Some(version));
    }

    #[test]
    fn connack_comes_back(
        version in versions(), reason in reason(PacketType::Connack), is_session_present in any::<bool>(),
        properties in connack_properties(), texts in proptest::array::uniform6(of(text())), data in of(data()),
        user in user_properties(),
    ) {
        let [assigned, information, reference, method, why, _] = &texts;
        let properties = ConnackProperties {
            assigned_client_id: assigned.as_deref(),
            response_information: information.as_deref(),
            server_reference: reference.as_deref(),
            authentication_method: method.as_deref(),
            authentication_data: data.as_deref(),
            reason_string: why.as_deref(),
            user_properties: UserProperties::new(&user),
            ..properties
        };
        let mut connack = Connack { is_session_present, reason, properties };
        let mut bytes = Vec::new();
        encode_connack(&mut bytes, version, &connack, MAX_PACKET_BYTES);
        connack.is_session_present &= reason == ReasonCode::Success && version != Version::V31;
        if !version.is_v5() {
            connack.properties = ConnackProperties::default();
            let code = ReasonCode::from_return_code(reason.return_code());
            connack.reason = code.expect("return codes are below 6");
        }
        prop_assert_eq!(decoded(Role::Client, version, &bytes), Packet::Connack(Box::new(connack)));
    }

    #[test]
    fn acknowledgements_come_back(
        version in versions(), packet_id in 1_u16.., why in of(text()), user in user_properties(), index in any::<prop::sample::Index>(),
    ) {
        for packet in [PacketType::Puback, PacketType::Pubrec, PacketType::Pubrel, PacketType::Pubcomp] {
            let codes: Vec<_> = ReasonCode::TABLE.iter().filter(|row| row.packets & packet.bit() != 0).collect();
            let mut ack = Ack {
                packet_id, reason: index.get(&codes).code, reason_string: why.as_deref(),
                user_properties: UserProperties::new(&user),
            };
            let mut bytes = Vec::new();
            encode_ack(&mut bytes, version, packet, &ack, MAX_PACKET_BYTES);
            if !version.is_v5() {
                ack = Ack::new(packet_id, ReasonCode::Success);
            }
            let wrapped = match packet {
                PacketType::Puback => Packet::Puback(ack),
                PacketType::Pubrec => Packet::Pubrec(ack),
                PacketType::Pubrel => Packet::Pubrel(ack),
                _ => Packet::Pubcomp(ack),
            };
            for role in ROLES {
                prop_assert_eq!(&decoded(role, version, &bytes), &wrapped);
                roundtrip(role, version, &wrapped);
            }
        }
    }

    #[test]
    fn subscribe_comes_back(
        version in versions(), packet_id in 1_u16.., id in of(1_u32..268_435_456), user in user_properties(),
        entries in vec((text(), qos(), any::<(bool, bool)>(), 0_u8..3), 1..5),
    ) {
        let mut list = Vec::new();
        let mut expected = Vec::new();
        for (filter, qos, (no_local, retain_as_published), retain_handling) in &entries {
            let mut options = SubscribeOptions { qos: *qos, ..SubscribeOptions::default() };
            if version.is_v5() {
                (options.no_local, options.retain_as_published) = (*no_local, *retain_as_published);
                options.retain_handling = *retain_handling;
            }
            SubscribeFilters::encode(&mut list, filter, options);
            expected.push((&**filter, options));
        }
        let subscribe = Subscribe {
            packet_id,
            subscription_id: id.filter(|_| version.is_v5()),
            user_properties: UserProperties::new(if version.is_v5() { &user } else { &[] }),
            filters: SubscribeFilters::new(&list),
        };
        prop_assert_eq!(subscribe.filters.iter().collect::<Vec<_>>(), expected);
        roundtrip(Role::Server, version, &Packet::Subscribe(subscribe));
    }

    #[test]
    fn unsubscribe_comes_back(
        version in versions(), packet_id in 1_u16.., user in user_properties(), entries in vec(text(), 1..5),
    ) {
        let mut list = Vec::new();
        for filter in &entries {
            UnsubscribeFilters::encode(&mut list, filter);
        }
        let filters = UnsubscribeFilters::new(&list);
        prop_assert!(filters.iter().eq(entries.iter().map(String::as_str)));
        let user_properties = UserProperties::new(if version.is_v5() { &user } else { &[] });
        let unsubscribe = Unsubscribe { packet_id, user_properties, filters };
        roundtrip(Role::Server, version, &Packet::Unsubscribe(unsubscribe));
    }

    #[test]
    fn subscribe_answers_come_back(
        version in versions(), packet_id in 1_u16.., why in of(text()), user in user_properties(),
        subscribed in vec(reason(PacketType::Suback), 0..5), unsubscribed in vec(reason(PacketType::Unsuback), 0..5),
    ) {
        let codes: Vec<u8> = subscribed.into_iter().map(u8::from).collect();
        let user_properties = UserProperties::new(&user);
        let suback = Suback { packet_id, reason_string: why.as_deref(), user_properties, codes: &codes };
        let mut bytes = vec![0xEE];
        encode_suback(&mut bytes, version, &suback, MAX_PACKET_BYTES);
        let failure = if version == Version::V31 { 0 } else { 0x80 };
        let plain: Vec<u8> = codes.iter().map(|&code| if code < 0x80 { code } else { failure }).collect();
        let expected = if version.is_v5() { suback } else { Suback { packet_id, codes: &plain, ..Suback::default() } };
        prop_assert_eq!(decoded(Role::Client, version, &bytes[1..]), Packet::Suback(expected));

        let codes: Vec<u8> = unsubscribed.into_iter().map(u8::from).collect();
        let unsuback = Unsuback { packet_id, reason_string: why.as_deref(), user_properties, codes: &codes };
        bytes.clear();
        encode_unsuback(&mut bytes, version, &unsuback, MAX_PACKET_BYTES);
        let expected = if version.is_v5() { unsuback } else { Unsuback { packet_id, ..Unsuback::default() } };
        prop_assert_eq!(decoded(Role::Client, version, &bytes), Packet::Unsuback(expected));
    }

    #[test]
    fn disconnect_and_auth_come_back(
        reason in reason(PacketType::Disconnect), expiry in of(any::<u32>()), why in of(text()), reference in of(text()),
        user in user_properties(), step in reason(PacketType::Auth), method in of(text()), data in of(data()),
    ) {
        let user_properties = UserProperties::new(&user);
        let mut disconnect = Disconnect {
            reason, session_expiry_s: expiry, reason_string: why.as_deref(),
            server_reference: reference.as_deref(), user_properties,
        };
        roundtrip(Role::Server, Version::V5, &Packet::Disconnect(disconnect));
        disconnect.session_expiry_s = None;
        roundtrip(Role::Client, Version::V5, &Packet::Disconnect(disconnect));
        let auth = Auth {
            reason: step, authentication_method: method.as_deref(), authentication_data: data.as_deref(),
            reason_string: why.as_deref(), user_properties,
        };
        for role in ROLES {
            roundtrip(role, Version::V5, &Packet::Auth(auth));
        }
    }

    #[test]
    fn optional_properties_never_pass_the_limit(
        why in text(), user in user_properties(), limit in 0_u32..120, codes in vec(Just(0_u8), 1..4),
    ) {
        let (reason_string, user_properties) = (Some(&*why), UserProperties::new(&user));
        let bare = |len: usize| len.max(limit as usize);
        let mut out = Vec::new();
        let ack = Ack { packet_id: 1, reason: ReasonCode::NotAuthorized, reason_string, user_properties };
        encode_ack(&mut out, Version::V5, PacketType::Puback, &ack, limit);
        prop_assert!(out.len() <= bare(5));
        out.clear();
        let suback = Suback { packet_id: 1, reason_string, user_properties, codes: &codes };
        encode_suback(&mut out, Version::V5, &suback, limit);
        prop_assert!(out.len() <= bare(5 + codes.len()));
        out.clear();
        let disconnect = Disconnect { reason_string, user_properties, ..Disconnect::new(ReasonCode::ServerBusy) };
        encode_disconnect(&mut out, Version::V5, &disconnect, limit);
        prop_assert!(out.len() <= bare(3));
        out.clear();
        let properties = ConnackProperties { reason_string, user_properties, ..ConnackProperties::default() };
        let connack = Connack { properties, ..Connack::default() };
        encode_connack(&mut out, Version::V5, &connack, limit);
        prop_assert!(out.len() <= bare(5));
    }
}

fn connect_properties() -> impl Strategy<Value = ConnectProperties<'static>> {
    let limits = (of(any::<u32>()), 1_u16.., of(1_u32..), any::<u16>(), any::<(bool, bool)>());
    limits.prop_map(|(session_expiry_s, receive_maximum, max_packet_bytes, topic_alias_maximum, wants)| {
        ConnectProperties {
            session_expiry_s,
            receive_maximum,
            max_packet_bytes,
            topic_alias_maximum,
            requests_response_information: wants.0,
            requests_problem_information: wants.1,
            ..ConnectProperties::default()
        }
    })
}

fn connack_properties() -> impl Strategy<Value = ConnackProperties<'static>> {
    let limits = (of(any::<u32>()), 1_u16.., qos(), of(1_u32..), any::<u16>(), of(any::<u16>()));
    (limits, any::<[bool; 4]>()).prop_map(|(limits, allows)| {
        let (session_expiry_s, receive_maximum, max_qos, max_packet_bytes, aliases, keep_alive) = limits;
        ConnackProperties {
            session_expiry_s,
            receive_maximum,
            max_qos,
            max_packet_bytes,
            topic_alias_maximum: aliases,
            server_keep_alive_s: keep_alive,
            allows_retain: allows[0],
            allows_wildcards: allows[1],
            allows_subscription_ids: allows[2],
            allows_shared_subscriptions: allows[3],
            ..ConnackProperties::default()
        }
    })
}

/// Bytes that look like a packet: a plausible first byte and the right length before noise.
fn near_packet() -> impl Strategy<Value = Vec<u8>> {
    let first = proptest::sample::select(&b"\x10\x20\x30\x32\x3d\x40\x50\x62\x70\x82\x90\xa2\xb0\xc0\xd0\xe0\xf0"[..]);
    (first, vec(prop_oneof![0_u8..0x30, any::<u8>()], 0..60), vec(any::<u8>(), 0..4)).prop_map(|(first, body, more)| {
        let length = u8::try_from(body.len()).expect("a body is short");
        [&[first, length][..], &body, &more].concat()
    })
}

/// Every decoder there is, for bytes of any origin.
fn decoders(limit: u32) -> Vec<Decoder> {
    let mut decoders = vec![Decoder::new(Role::Server, limit), Decoder::new(Role::Client, limit)];
    for role in ROLES {
        decoders.extend(VERSIONS.map(|version| Decoder::with_version(role, version, limit)));
    }
    decoders
}

/// Decodes `bytes` and every prefix, and encodes what came out.
fn check_any_bytes(bytes: &[u8], limit: u32) {
    for decoder in decoders(limit) {
        let whole = decoder.clone().decode(bytes);
        for end in 0..bytes.len() {
            match (decoder.clone().decode(&bytes[..end]), &whole) {
                (Ok(None), _) => {}
                (Ok(Some(packet)), Ok(Some(expected))) => assert_eq!(&packet, expected),
                (Err(error), Err(expected)) => assert_eq!(&error, expected),
                other => panic!("{end} bytes: {other:?}"),
            }
        }
        let Ok(Some((packet, consumed))) = whole else {
            continue;
        };
        assert!(consumed <= bytes.len() && consumed <= limit as usize);
        let mut out = Vec::new();
        for version in VERSIONS {
            encode(&mut out, version, &packet);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn noise_never_panics_and_a_prefix_agrees_with_the_whole(bytes in vec(any::<u8>(), 0..40), limit in 2_u32..60) {
        check_any_bytes(&bytes, limit);
    }

    #[test]
    fn near_packets_never_panic_and_a_prefix_agrees_with_the_whole(bytes in near_packet()) {
        check_any_bytes(&bytes, MAX_PACKET_BYTES);
    }
}

#[test]
fn packets_stay_small() {
    assert!(size_of::<Packet<'_>>() <= 128, "{}", size_of::<Packet<'_>>());
    assert!(size_of::<Decoder>() <= 8);
}

#[test]
fn a_message_that_no_packet_can_hold_is_not_written() {
    let payload = vec![0; MAX_PACKET_BYTES as usize - 5 - 3];
    let mut out = PublishOut { topic: "t", payload: &payload, ..PublishOut::default() };
    assert_eq!(publish_len(Version::V311, &out), MAX_PACKET_BYTES as usize);
    let mut head = Vec::new();
    encode_publish_head(&mut head, Version::V311, &out);
    assert_eq!(head, b"\x30\xFF\xFF\xFF\x7F\x00\x01t");
    out.topic = "tt";
    head.clear();
    encode_publish_head(&mut head, Version::V311, &out);
    encode_publish(&mut head, Version::V311, &out);
    assert!(head.is_empty());
}

#[test]
fn a_promise_of_utf8_is_checked_on_request() {
    let id = PropertyId::PayloadFormat;
    let promise = encoded(&[Property { id, value: PropertyValue::Flag(true) }]);
    for (payload, is_kept) in [(&b"text"[..], true), (b"\x00", true), (b"\xFF", false)] {
        for (forwardable, expected) in [(&promise[..], is_kept), (&[], true)] {
            let out = PublishOut { topic: "t", forwardable, payload, ..PublishOut::default() };
            let mut bytes = Vec::new();
            encode_publish(&mut bytes, Version::V5, &out);
            let packet = decoded(Role::Server, Version::V5, &bytes);
            let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
            assert_eq!(publish.payload_is_as_promised(), expected);
        }
    }
}
