//! Walks the property table and the reason code table against every packet that could carry an entry.

use pybroker_core::codec::{
    Decoder, MAX_PACKET_BYTES, PacketType, Property, PropertyId, PropertyKind, PropertyValue, Role, Version,
};
use pybroker_core::error::DecodeError;
use pybroker_core::reason::ReasonCode;

fn encoded(properties: &[Property<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for property in properties {
        property.encode(&mut bytes);
    }
    bytes
}

fn fault(role: Role, bytes: &[u8]) -> Result<(), DecodeError> {
    Decoder::with_version(role, Version::V5, MAX_PACKET_BYTES).decode(bytes).map(|packet| {
        assert!(packet.is_some(), "the packet is whole: {bytes:02x?}");
    })
}

/// Puts a property block with its length between two parts and the whole behind a fixed header.
fn with_properties(first: &[u8], before: &[u8], block: &[u8], behind: &[u8]) -> Vec<u8> {
    let varint = |mut value: usize| {
        let mut bytes = Vec::new();
        loop {
            let low = u8::try_from(value % 128).expect("it is below 128");
            value /= 128;
            bytes.push(if value == 0 { low } else { low | 0x80 });
            if value == 0 {
                return bytes;
            }
        }
    };
    let body = [before, &varint(block.len()), block, behind].concat();
    [first, &varint(body.len()), &body].concat()
}

/// A value that is in range for the kind.
fn sample(kind: PropertyKind) -> PropertyValue<'static> {
    match kind {
        PropertyKind::Flag => PropertyValue::Flag(true),
        PropertyKind::U16 | PropertyKind::NonZeroU16 => PropertyValue::U16(1),
        PropertyKind::U32 | PropertyKind::NonZeroU32 => PropertyValue::U32(1),
        PropertyKind::NonZeroVarint => PropertyValue::Varint(1),
        PropertyKind::Text | PropertyKind::Topic => PropertyValue::Text("x"),
        PropertyKind::Binary => PropertyValue::Binary(b"x"),
        PropertyKind::Pair => PropertyValue::Pair("x", "y"),
    }
}

/// A packet of each type that has properties, with `block` as its property block; `None` for a will's.
fn packet_with(packet: Option<PacketType>, block: &[u8]) -> (Role, Vec<u8>) {
    let connect = b"\x00\x04MQTT\x05\x02\x00\x00";
    let Some(packet) = packet else {
        let before = b"\x00\x04MQTT\x05\x06\x00\x00\x00\x00\x00";
        return (Role::Server, with_properties(&[0x10], before, block, b"\x00\x01w\x00\x00"));
    };
    let (role, before, behind): (_, &[u8], &[u8]) = match packet {
        PacketType::Connect => (Role::Server, connect, b"\x00\x00"),
        PacketType::Connack => (Role::Client, &[0, 0], &[]),
        PacketType::Publish => (Role::Client, &[0, 1, b't'], &[]),
        PacketType::Subscribe => (Role::Server, &[0, 1], &[0, 1, b'f', 0]),
        PacketType::Unsubscribe => (Role::Server, &[0, 1], &[0, 1, b'f']),
        PacketType::Suback | PacketType::Unsuback => (Role::Client, &[0, 1], &[0]),
        PacketType::Disconnect | PacketType::Auth => (Role::Server, &[0], &[]),
        _ => (Role::Server, &[0, 1, 0], &[]),
    };
    (role, with_properties(&[packet.first_byte()], before, block, behind))
}

#[test]
fn each_property_is_taken_where_the_table_allows_it_and_nowhere_else() {
    let packets = (1..=15).filter_map(PacketType::from_number);
    let packets = packets.filter(|p| !matches!(p, PacketType::Pingreq | PacketType::Pingresp));
    for packet in packets.map(Some).chain([None]) {
        let bit = packet.map_or(1, PacketType::bit);
        for row in PropertyId::TABLE {
            let property = row.id;
            let mut one = encoded(&[Property { id: property, value: sample(row.kind) }]);
            let mut alone = one.clone();
            if property == PropertyId::AuthenticationData {
                let value = PropertyValue::Text("m");
                one.extend(encoded(&[Property { id: PropertyId::AuthenticationMethod, value }]));
            }
            let (role, bytes) = packet_with(packet, &one);
            let result = fault(role, &bytes);
            let is_allowed = row.packets & bit != 0;
            let expected = if is_allowed { Ok(()) } else { Err(DecodeError::PropertyNotAllowed { property }) };
            assert_eq!(result, expected, "{property:?} in {packet:?}");

            alone.extend_from_within(..);
            let (role, bytes) = packet_with(packet, &alone);
            let result = fault(role, &bytes);
            let may_repeat = property == PropertyId::UserProperty
                || (property == PropertyId::SubscriptionId && packet == Some(PacketType::Publish));
            let expected = match (is_allowed, may_repeat) {
                (false, _) => Err(DecodeError::PropertyNotAllowed { property }),
                (true, false) => Err(DecodeError::PropertyRepeated { property }),
                (true, true) => Ok(()),
            };
            assert_eq!(result, expected, "{property:?} twice in {packet:?}");
        }
    }
}

#[test]
fn each_reason_code_is_taken_where_the_table_allows_it_and_nowhere_else() {
    let acks = [PacketType::Puback, PacketType::Pubrec, PacketType::Pubrel, PacketType::Pubcomp];
    for packet in acks.into_iter().chain([PacketType::Disconnect, PacketType::Auth]) {
        for number in 0..=u8::MAX {
            let code = ReasonCode::TABLE.iter().find(|row| row.code as u8 == number);
            let is_allowed = code.is_some_and(|row| row.packets & packet.bit() != 0);
            let body: &[u8] = if acks.contains(&packet) { &[0, 1, number] } else { &[number] };
            let length = u8::try_from(body.len()).expect("a body is short");
            let bytes = [&[packet.first_byte(), length], body].concat();
            let expected = if is_allowed { Ok(()) } else { Err(DecodeError::ReasonCode { packet, number }) };
            assert_eq!(fault(Role::Server, &bytes), expected, "{packet:?} {number:#04x}");
        }
    }
}
