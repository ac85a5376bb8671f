//! The MQTT 5.0 property table (id, type, packets, repeatable) and everything that walks or writes properties.
//!
//! A packet's property block is checked in one pass while it is decoded; the iterators handed out afterwards walk
//! the same bytes again and allocate nothing. Which property means what is for the packet files.

use std::fmt;

use super::PacketType::{
    self, Auth, Connack, Connect, Disconnect, Puback, Pubcomp, Publish, Pubrec, Pubrel, Suback, Subscribe, Unsuback,
    Unsubscribe,
};
use super::frame::packet_bytes;
use super::wire::{self, Reader};
use crate::error::DecodeError;

/// Stands beside the packet types for the properties of a will; packet type 0 does not exist.
pub(super) const WILL: u16 = 1;

/// How a property's value is written and what range it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PropertyKind {
    /// One byte, 0 or 1.
    Flag,
    /// Two bytes.
    U16,
    /// Two bytes, not 0.
    NonZeroU16,
    /// Four bytes.
    U32,
    /// Four bytes, not 0.
    NonZeroU32,
    /// A variable byte integer, not 0.
    NonZeroVarint,
    /// A string.
    Text,
    /// A string that is a topic name.
    Topic,
    /// Binary data.
    Binary,
    /// Two strings.
    Pair,
}

/// One line of the property table.
#[derive(Clone, Copy, Debug)]
pub struct PropertyRow {
    /// The property.
    pub id: PropertyId,
    /// Type and range of its value.
    pub kind: PropertyKind,
    /// Packet types that may carry it, as bits (`PacketType::bit`); bit 0 stands for a will.
    pub packets: u16,
}

macro_rules! property_table {
    ($($variant:ident = $number:literal, $kind:ident, $doc:literal, [$($packet:expr),*];)*) => {
        /// The id of a property. Spec: MQTT 5.0, 2.2.2.2.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum PropertyId {
            $(#[doc = $doc] $variant = $number,)*
        }

        impl PropertyId {
            /// Every property, by rising id.
            pub const TABLE: &'static [PropertyRow] = &[$(PropertyRow {
                id: Self::$variant,
                kind: PropertyKind::$kind,
                packets: $($packet |)* 0,
            },)*];

            /// Return the property's line in the table; `None` for an id that the standard does not know.
            #[must_use]
            pub const fn row(number: u8) -> Option<PropertyRow> {
                match number {
                    $($number => Some(PropertyRow {
                        id: Self::$variant,
                        kind: PropertyKind::$kind,
                        packets: $($packet |)* 0,
                    }),)*
                    _ => None,
                }
            }
        }
    };
}

const CONNECT: u16 = Connect.bit();
const CONNACK: u16 = Connack.bit();
const PUBLISH: u16 = Publish.bit();
const SUBSCRIBE: u16 = Subscribe.bit();
const DISCONNECT: u16 = Disconnect.bit();
const AUTH: u16 = Auth.bit();
const ACKS: u16 = Puback.bit() | Pubrec.bit() | Pubrel.bit() | Pubcomp.bit();
const SUBACKS: u16 = Suback.bit() | Unsuback.bit();
const UNSUBSCRIBE: u16 = Unsubscribe.bit();

property_table! {
    PayloadFormat = 0x01, Flag, "1 if the payload is UTF-8.", [PUBLISH, WILL];
    MessageExpiry = 0x02, U32, "Seconds that a message may wait.", [PUBLISH, WILL];
    ContentType = 0x03, Text, "What the payload is.", [PUBLISH, WILL];
    ResponseTopic = 0x08, Topic, "Where a response goes.", [PUBLISH, WILL];
    CorrelationData = 0x09, Binary, "Which request a response is for.", [PUBLISH, WILL];
    SubscriptionId = 0x0B, NonZeroVarint, "The number that a client gave a subscription.", [PUBLISH, SUBSCRIBE];
    SessionExpiry = 0x11, U32, "Seconds that a session outlives its connection.", [CONNECT, CONNACK, DISCONNECT];
    AssignedClientId = 0x12, Text, "The client id that the server chose.", [CONNACK];
    ServerKeepAlive = 0x13, U16, "Seconds of keep alive that the server wants.", [CONNACK];
    AuthenticationMethod = 0x15, Text, "The name of the authentication method.", [CONNECT, CONNACK, AUTH];
    AuthenticationData = 0x16, Binary, "What the authentication method says.", [CONNECT, CONNACK, AUTH];
    RequestProblemInformation = 0x17, Flag, "0 if the client wants no reason strings.", [CONNECT];
    WillDelay = 0x18, U32, "Seconds before the will is sent.", [WILL];
    RequestResponseInformation = 0x19, Flag, "1 if the client wants response information.", [CONNECT];
    ResponseInformation = 0x1A, Text, "What response topics may begin with.", [CONNACK];
    ServerReference = 0x1C, Text, "Another server to use.", [CONNACK, DISCONNECT];
    ReasonString = 0x1F, Text, "A reason for people to read.", [CONNACK, ACKS, SUBACKS, DISCONNECT, AUTH];
    ReceiveMaximum = 0x21, NonZeroU16, "Open QoS 1 and 2 messages the sender takes.", [CONNECT, CONNACK];
    TopicAliasMaximum = 0x22, U16, "The highest topic alias the sender takes.", [CONNECT, CONNACK];
    TopicAlias = 0x23, NonZeroU16, "A number instead of the topic.", [PUBLISH];
    MaximumQos = 0x24, Flag, "The highest QoS the server takes, if it is not 2.", [CONNACK];
    RetainAvailable = 0x25, Flag, "0 if the server keeps no retained messages.", [CONNACK];
    UserProperty = 0x26, Pair, "A name and a value of the application's own.",
        [CONNECT, CONNACK, PUBLISH, WILL, ACKS, SUBSCRIBE, SUBACKS, UNSUBSCRIBE, DISCONNECT, AUTH];
    MaximumPacketSize = 0x27, NonZeroU32, "The largest packet the sender takes.", [CONNECT, CONNACK];
    WildcardSubscriptionAvailable = 0x28, Flag, "0 if filters may have no wildcards.", [CONNACK];
    SubscriptionIdAvailable = 0x29, Flag, "0 if subscriptions may have no identifier.", [CONNACK];
    SharedSubscriptionAvailable = 0x2A, Flag, "0 if there are no shared subscriptions.", [CONNACK];
}

/// The value of a property.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PropertyValue<'a> {
    /// A flag.
    Flag(bool),
    /// Two bytes.
    U16(u16),
    /// Four bytes.
    U32(u32),
    /// A variable byte integer, at most 268,435,455.
    Varint(u32),
    /// A string.
    Text(&'a str),
    /// Binary data.
    Binary(&'a [u8]),
    /// Name and value.
    Pair(&'a str, &'a str),
}

/// One property: what it is and what it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Property<'a> {
    /// Which property.
    pub id: PropertyId,
    /// Its value, of the kind that the table gives the id.
    pub value: PropertyValue<'a>,
}

impl<'a> Property<'a> {
    pub(super) const fn flag(id: PropertyId, value: bool) -> Self {
        Self { id, value: PropertyValue::Flag(value) }
    }

    pub(super) const fn u16(id: PropertyId, value: u16) -> Self {
        Self { id, value: PropertyValue::U16(value) }
    }

    pub(super) const fn u32(id: PropertyId, value: u32) -> Self {
        Self { id, value: PropertyValue::U32(value) }
    }

    pub(super) const fn text(id: PropertyId, value: &'a str) -> Self {
        Self { id, value: PropertyValue::Text(value) }
    }

    pub(super) const fn binary(id: PropertyId, value: &'a [u8]) -> Self {
        Self { id, value: PropertyValue::Binary(value) }
    }

    /// Make a user property.
    #[must_use]
    pub const fn user(name: &'a str, value: &'a str) -> Self {
        Self { id: PropertyId::UserProperty, value: PropertyValue::Pair(name, value) }
    }

    /// Return how many bytes [`Self::encode`] writes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        1 + match self.value {
            PropertyValue::Flag(_) => 1,
            PropertyValue::U16(_) => 2,
            PropertyValue::U32(_) => 4,
            PropertyValue::Varint(value) => wire::varint_bytes(value as usize),
            PropertyValue::Text(value) => wire::text_bytes(value),
            PropertyValue::Binary(value) => wire::binary_bytes(value),
            PropertyValue::Pair(name, value) => wire::text_bytes(name) + wire::text_bytes(value),
        }
    }

    /// Append the property as it stands in a packet: id, then value.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.id as u8);
        match self.value {
            PropertyValue::Flag(value) => out.push(u8::from(value)),
            PropertyValue::U16(value) => wire::put_u16(out, value),
            PropertyValue::U32(value) => wire::put_u32(out, value),
            PropertyValue::Varint(value) => wire::put_varint(out, value as usize),
            PropertyValue::Text(value) => wire::put_text(out, value),
            PropertyValue::Binary(value) => wire::put_binary(out, value),
            PropertyValue::Pair(name, value) => {
                wire::put_text(out, name);
                wire::put_text(out, value);
            }
        }
    }

    /// Reads one property that `packets` (one bit) may carry and that is not in `seen`; adds it there.
    fn read(reader: &mut Reader<'a>, packets: u16, seen: &mut u64) -> Result<Self, DecodeError> {
        let number = reader.u8()?;
        let row = PropertyId::row(number).ok_or(DecodeError::PropertyUnknown { id: number })?;
        let property = row.id;
        if row.packets & packets == 0 {
            return Err(DecodeError::PropertyNotAllowed { property });
        }
        let bit = 1 << number;
        let is_repeatable =
            property == PropertyId::UserProperty || (property == PropertyId::SubscriptionId && packets == PUBLISH);
        if *seen & bit != 0 && !is_repeatable {
            return Err(DecodeError::PropertyRepeated { property });
        }
        *seen |= bit;
        let value = read_value(reader, row)?;
        Ok(Self { id: property, value })
    }
}

/// Reads a value and checks its range.
fn read_value<'a>(reader: &mut Reader<'a>, row: PropertyRow) -> Result<PropertyValue<'a>, DecodeError> {
    let property = row.id;
    let out_of_range = DecodeError::PropertyValue { property };
    Ok(match row.kind {
        PropertyKind::Flag => match reader.u8()? {
            0 => PropertyValue::Flag(false),
            1 => PropertyValue::Flag(true),
            _ => return Err(out_of_range),
        },
        PropertyKind::U16 => PropertyValue::U16(reader.u16()?),
        PropertyKind::NonZeroU16 => match reader.u16()? {
            0 if property == PropertyId::TopicAlias => {
                return Err(DecodeError::TopicAliasInvalid { alias: 0 }); // [MQTT5-3.3.2-8]
            }
            0 => return Err(out_of_range),
            value => PropertyValue::U16(value),
        },
        PropertyKind::U32 => PropertyValue::U32(reader.u32()?),
        PropertyKind::NonZeroU32 => match reader.u32()? {
            0 => return Err(out_of_range),
            value => PropertyValue::U32(value),
        },
        PropertyKind::NonZeroVarint => match reader.varint()? {
            0 => return Err(out_of_range),
            value => PropertyValue::Varint(value),
        },
        PropertyKind::Text => PropertyValue::Text(reader.text()?),
        PropertyKind::Topic => match reader.topic() {
            // [MQTT5-3.3.2-14] and, for the empty one, [MQTT5-4.7.3-1]
            Ok("") | Err(DecodeError::TopicWildcard) => return Err(DecodeError::ResponseTopic),
            topic => PropertyValue::Text(topic?),
        },
        PropertyKind::Binary => PropertyValue::Binary(reader.binary()?),
        PropertyKind::Pair => PropertyValue::Pair(reader.text()?, reader.text()?),
    })
}

/// Reads a property block with its length and hands each property to `visit`, with where it begins and ends.
///
/// Returns the block's bytes. `packets` is the one bit of the packet (or `WILL`).
#[inline]
pub(super) fn read_block<'a>(
    reader: &mut Reader<'a>,
    packets: u16,
    mut visit: impl FnMut(Property<'a>, usize, usize) -> Result<(), DecodeError>,
) -> Result<&'a [u8], DecodeError> {
    let count = reader.varint()?;
    let block = reader.take(count as usize)?;
    let mut rest = Reader::new(block);
    let mut seen = 0;
    while !rest.is_empty() {
        let start = block.len() - rest.len();
        let property = Property::read(&mut rest, packets, &mut seen)?;
        visit(property, start, block.len() - rest.len())?;
    }
    Ok(block)
}

/// Walks the properties of a block that was checked before; it ends at the first byte that is no property.
#[derive(Clone, Debug)]
pub struct Properties<'a> {
    rest: Reader<'a>,
}

impl<'a> Properties<'a> {
    /// Walk `block`: properties one after the other, without a length in front.
    #[must_use]
    pub const fn new(block: &'a [u8]) -> Self {
        Self { rest: Reader::new(block) }
    }

    /// The next property with its own bytes.
    pub(super) fn next_with_bytes(&mut self) -> Option<(Property<'a>, &'a [u8])> {
        if self.rest.is_empty() {
            return None;
        }
        let before = self.rest;
        let Ok(property) = Property::read(&mut self.rest, u16::MAX, &mut 0) else {
            self.rest = Reader::new(&[]);
            return None;
        };
        let mut start = before;
        let bytes = start.take(before.len() - self.rest.len()).ok()?;
        Some((property, bytes))
    }
}

impl<'a> Iterator for Properties<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_with_bytes().map(|(property, _)| property)
    }
}

/// The user properties of a packet, in their order, duplicates included.
#[derive(Clone, Copy, Default)]
pub struct UserProperties<'a> {
    block: &'a [u8],
}

impl<'a> UserProperties<'a> {
    /// Take them from `block`, which may hold other properties too (see `Property::encode`).
    #[must_use]
    pub const fn new(block: &'a [u8]) -> Self {
        Self { block }
    }

    /// Walk the (name, value) pairs.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        Properties::new(self.block).filter_map(|property| match property.value {
            PropertyValue::Pair(name, value) => Some((name, value)),
            _ => None,
        })
    }

    /// Tell whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.block.is_empty() || self.iter().next().is_none()
    }

    fn encoded_len(&self) -> usize {
        self.iter().map(|(name, value)| Property::user(name, value).encoded_len()).sum()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        for (name, value) in self.iter() {
            Property::user(name, value).encode(out);
        }
    }
}

impl PartialEq for UserProperties<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for UserProperties<'_> {}

impl fmt::Debug for UserProperties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The properties of a packet that is about to be written.
#[derive(Clone, Copy)]
pub(super) struct PropertySet<'p, 'a> {
    fields: &'p [Option<Property<'a>>],
    reason_string: Option<Property<'a>>,
    user_properties: UserProperties<'a>,
}

impl<'p, 'a> PropertySet<'p, 'a> {
    /// Collects the properties; user properties, then the reason string, are left out if the packet, which has
    /// `other_bytes` behind its fixed header beside them, would have more than `max_packet_bytes`.
    ///
    /// `[MQTT5-3.2.2-19]` `[MQTT5-3.2.2-20]` and the same rule of the other packets.
    pub(super) fn fitting(
        fields: &'p [Option<Property<'a>>],
        reason_string: Option<&'a str>,
        user_properties: UserProperties<'a>,
        other_bytes: usize,
        max_packet_bytes: u32,
    ) -> Self {
        let reason_string = reason_string.map(|text| Property::text(PropertyId::ReasonString, text));
        let mut set = Self { fields, reason_string, user_properties };
        let is_too_long = |set: &Self| packet_bytes(other_bytes + set.encoded_len()) > max_packet_bytes as usize;
        if is_too_long(&set) {
            set.user_properties = UserProperties::default();
        }
        if is_too_long(&set) {
            set.reason_string = None;
        }
        set
    }

    pub(super) fn is_empty(&self) -> bool {
        self.block_len() == 0
    }

    /// Bytes of the block without its length.
    fn block_len(&self) -> usize {
        let fields: usize = self.fields.iter().flatten().map(Property::encoded_len).sum();
        let reason_string = self.reason_string.as_ref().map_or(0, Property::encoded_len);
        fields + reason_string + self.user_properties.encoded_len()
    }

    /// Bytes of the block and its length.
    pub(super) fn encoded_len(&self) -> usize {
        let block = self.block_len();
        wire::varint_bytes(block) + block
    }

    /// Appends the block with its length in front.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        wire::put_varint(out, self.block_len());
        for property in self.fields.iter().flatten().chain(&self.reason_string) {
            property.encode(out);
        }
        self.user_properties.encode(out);
    }
}

/// The two properties that nearly every packet may have: reason string and user properties.
#[derive(Clone, Copy, Default)]
pub(super) struct Notes<'a> {
    pub(super) reason_string: Option<&'a str>,
    pub(super) user_properties: UserProperties<'a>,
}

impl<'a> Notes<'a> {
    /// Reads the property block of a packet that has no properties but these two.
    pub(super) fn read(reader: &mut Reader<'a>, packet: PacketType) -> Result<Self, DecodeError> {
        let mut reason_string = None;
        let block = read_block(reader, packet.bit(), |property, _, _| {
            if let PropertyValue::Text(text) = property.value {
                reason_string = Some(text);
            }
            Ok(())
        })?;
        Ok(Self { reason_string, user_properties: UserProperties::new(block) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_rises_and_its_rows_are_found_by_id() {
        assert_eq!(PropertyId::TABLE.len(), 27);
        for pair in PropertyId::TABLE.windows(2) {
            assert!(pair[0].id < pair[1].id);
        }
        for number in 0..=u8::MAX {
            let row = PropertyId::row(number).map(|row| row.id as u8);
            let listed = PropertyId::TABLE.iter().any(|row| row.id as u8 == number);
            assert_eq!(row, listed.then_some(number));
        }
    }

    #[test]
    fn optional_properties_leave_in_order_when_the_packet_is_too_long() {
        let mut block = Vec::new();
        Property::user("a", "b").encode(&mut block);
        let user = UserProperties::new(&block);
        let len = |max| PropertySet::fitting(&[], Some("why"), user, 2, max).encoded_len();
        assert_eq!(len(18), 14);
        assert_eq!(len(17), 7);
        assert_eq!(len(11), 7);
        assert_eq!(len(10), 1);
    }
}
