//! PUBLISH in both directions, and the properties of a message that travel with it unchanged.
//!
//! Decoding borrows everything and allocates nothing; it is the hottest code of the codec. What a topic's levels
//! mean is for `topic.rs`, aliases are resolved in `alias.rs`.

use std::borrow::Cow;
use std::num::NonZeroU16;

use super::properties::{Properties, Property, PropertyId, PropertyValue, UserProperties, read_block};
use super::wire::{self, Reader};
use super::{PacketType, QoS, Role, Version, frame};
use crate::error::DecodeError;

/// A message as it came from the network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Publish<'a> {
    /// The sender has sent it before.
    pub is_dup: bool,
    /// Quality of service of this hop.
    pub qos: QoS,
    /// The message is to be kept (client to server), or was kept (server to client).
    pub is_retain: bool,
    /// Where it goes: no wildcard, no U+0000; empty if a topic alias stands for it.
    pub topic: &'a str,
    /// 0 at QoS 0, else not 0.
    pub packet_id: u16,
    /// All 5.0 properties; empty under 3.x.
    pub properties: PublishProperties<'a>,
    /// The message itself.
    pub payload: &'a [u8],
}

impl Publish<'_> {
    /// Tell whether the payload is UTF-8 if its format indicator promises that. `[MQTT5-3.3.2-4]`
    ///
    /// Costs a pass over the payload where the indicator is 1.
    #[must_use]
    pub fn payload_is_as_promised(&self) -> bool {
        self.properties.forwardable.allows(self.payload)
    }
}

/// The properties of a PUBLISH.
#[derive(Clone, Copy, Default, Debug)]
pub struct PublishProperties<'a> {
    /// The number that stands for the topic on this connection.
    pub topic_alias: Option<NonZeroU16>,
    /// Seconds that the message may still wait; `None` is for ever.
    pub message_expiry_s: Option<u32>,
    /// What a server forwards unchanged.
    pub forwardable: Forwardable<'a>,
    block: &'a [u8],
}

impl<'a> PublishProperties<'a> {
    /// Return the bytes of what a server forwards unchanged; see [`Forwardable::bytes`].
    #[must_use]
    pub fn forwardable(&self) -> Cow<'a, [u8]> {
        self.forwardable.bytes()
    }

    /// Walk the subscription identifiers, which only a server sends.
    pub fn subscription_ids(&self) -> impl Iterator<Item = u32> + use<'a> {
        Properties::new(self.block).filter_map(|property| match property.value {
            PropertyValue::Varint(id) => Some(id),
            _ => None,
        })
    }

    fn read(reader: &mut Reader<'a>, role: Role) -> Result<Self, DecodeError> {
        let mut properties = Self::default();
        let mut span = Span::default();
        let block = read_block(reader, PacketType::Publish.bit(), |property, start, end| {
            match (property.id, property.value) {
                (PropertyId::TopicAlias, PropertyValue::U16(alias)) => {
                    properties.topic_alias = NonZeroU16::new(alias);
                }
                (PropertyId::MessageExpiry, PropertyValue::U32(seconds)) => {
                    properties.message_expiry_s = Some(seconds);
                }
                (PropertyId::SubscriptionId, _) => {
                    if role == Role::Server {
                        return Err(DecodeError::SubscriptionIdFromClient); // [MQTT5-3.3.4-6]
                    }
                }
                _ => span.add(start, end),
            }
            Ok(())
        })?;
        properties.forwardable = span.of(block);
        properties.block = block;
        Ok(properties)
    }
}

impl PartialEq for PublishProperties<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.topic_alias == other.topic_alias
            && self.message_expiry_s == other.message_expiry_s
            && self.forwardable == other.forwardable
            && self.subscription_ids().eq(other.subscription_ids())
    }
}

impl Eq for PublishProperties<'_> {}

/// The properties that a server forwards as they are: payload format, content type, response topic, correlation
/// data and user properties. `[MQTT5-3.3.2-4]` `[MQTT5-3.3.2-15]` `[MQTT5-3.3.2-16]` `[MQTT5-3.3.2-17]`
/// `[MQTT5-3.3.2-18]` `[MQTT5-3.3.2-20]`
#[derive(Clone, Copy, Default, Debug)]
pub struct Forwardable<'a> {
    /// From the first of them to the last.
    span: &'a [u8],
    /// Whether other properties stand between them.
    is_mixed: bool,
}

impl<'a> Forwardable<'a> {
    /// Take them from `bytes` as [`Self::bytes`] returned them or `Property::encode` wrote them.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { span: bytes, is_mixed: false }
    }

    /// Return them encoded, in the order of the packet, without a length in front.
    ///
    /// Borrowed unless other properties stand between them.
    #[must_use]
    pub fn bytes(&self) -> Cow<'a, [u8]> {
        if !self.is_mixed {
            return Cow::Borrowed(self.span);
        }
        let mut bytes = Vec::with_capacity(self.span.len());
        let mut properties = Properties::new(self.span);
        while let Some((property, encoded)) = properties.next_with_bytes() {
            if is_forwardable(property.id) {
                bytes.extend_from_slice(encoded);
            }
        }
        Cow::Owned(bytes)
    }

    /// Tell whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.span.is_empty()
    }

    /// Tell whether the payload format indicator is there and 1: the payload is UTF-8.
    #[must_use]
    pub fn promises_utf8(&self) -> bool {
        self.find(PropertyId::PayloadFormat) == Some(PropertyValue::Flag(true))
    }

    /// Tell whether `payload` is what the payload format indicator promises. Spec: MQTT 5.0, 3.3.2.3.2.
    #[must_use]
    pub fn allows(&self, payload: &[u8]) -> bool {
        !self.promises_utf8() || payload_is_utf8(payload)
    }

    /// Return the payload format indicator: `None` if absent, else 0 or 1.
    #[must_use]
    pub fn payload_format(&self) -> Option<u8> {
        match self.find(PropertyId::PayloadFormat) {
            Some(PropertyValue::Flag(is_utf8)) => Some(u8::from(is_utf8)),
            _ => None,
        }
    }

    /// Return the content type.
    #[must_use]
    pub fn content_type(&self) -> Option<&'a str> {
        self.find_text(PropertyId::ContentType)
    }

    /// Return the response topic: a topic name.
    #[must_use]
    pub fn response_topic(&self) -> Option<&'a str> {
        self.find_text(PropertyId::ResponseTopic)
    }

    /// Return the correlation data.
    #[must_use]
    pub fn correlation_data(&self) -> Option<&'a [u8]> {
        match self.find(PropertyId::CorrelationData) {
            Some(PropertyValue::Binary(data)) => Some(data),
            _ => None,
        }
    }

    /// Return the user properties.
    #[must_use]
    pub const fn user_properties(&self) -> UserProperties<'a> {
        UserProperties::new(self.span)
    }

    fn find_text(&self, id: PropertyId) -> Option<&'a str> {
        match self.find(id) {
            Some(PropertyValue::Text(text)) => Some(text),
            _ => None,
        }
    }

    fn find(&self, id: PropertyId) -> Option<PropertyValue<'a>> {
        let mut properties = Properties::new(self.span);
        properties.find(|property| property.id == id).map(|property| property.value)
    }
}

impl PartialEq for Forwardable<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Forwardable<'_> {}

const fn is_forwardable(id: PropertyId) -> bool {
    matches!(
        id,
        PropertyId::PayloadFormat
            | PropertyId::ContentType
            | PropertyId::ResponseTopic
            | PropertyId::CorrelationData
            | PropertyId::UserProperty
    )
}

/// Where the forwardable properties lie in a block.
#[derive(Default)]
pub(super) struct Span {
    start: usize,
    end: usize,
    is_mixed: bool,
}

impl Span {
    /// Adds a property; they come in the order of the block.
    pub(super) fn add(&mut self, start: usize, end: usize) {
        if self.end == 0 {
            self.start = start;
        } else if self.end != start {
            self.is_mixed = true;
        }
        self.end = end;
    }

    pub(super) fn of<'a>(&self, block: &'a [u8]) -> Forwardable<'a> {
        let span = block.get(self.start..self.end).unwrap_or_default();
        Forwardable { span, is_mixed: self.is_mixed }
    }
}

/// Tell whether a payload is well-formed UTF-8 (U+0000 is allowed there).
#[must_use]
pub fn payload_is_utf8(payload: &[u8]) -> bool {
    simdutf8::basic::from_utf8(payload).is_ok()
}

/// Reads the body; QoS 3 and DUP at QoS 0 were refused with the header.
#[inline]
pub(super) fn decode(version: Version, role: Role, flags: u8, body: &[u8]) -> Result<Publish<'_>, DecodeError> {
    let mut reader = Reader::new(body);
    let topic = reader.topic()?;
    let qos = QoS::from_bits(flags >> 1).ok_or(DecodeError::PublishQos)?;
    let packet_id = if qos == QoS::AtMostOnce { 0 } else { reader.packet_id()? };
    let properties = if version.is_v5() && !reader.skip_zero() {
        PublishProperties::read(&mut reader, role)?
    } else {
        PublishProperties::default()
    };
    if topic.is_empty() && properties.topic_alias.is_none() {
        return Err(DecodeError::TopicEmpty); // [MQTT5-4.7.3-1] [MQTT3-4.7.3-1]
    }
    Ok(Publish {
        is_dup: flags & 0b1000 != 0,
        qos,
        is_retain: flags & 1 != 0,
        topic,
        packet_id,
        properties,
        payload: reader.finish_with_rest(),
    })
}

/// A message that is about to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PublishOut<'a> {
    /// Sent before on this session; written only above QoS 0.
    pub is_dup: bool,
    /// Quality of service of this hop.
    pub qos: QoS,
    /// The retain flag.
    pub is_retain: bool,
    /// Empty where `topic_alias` stands for it.
    pub topic: &'a str,
    /// Written only above QoS 0, where it must not be 0.
    pub packet_id: u16,
    /// 0: none.
    pub topic_alias: u16,
    /// Seconds that are left; `None` is for ever.
    pub message_expiry_s: Option<u32>,
    /// Identifiers of the subscriptions that matched, each 1 to 268,435,455.
    pub subscription_ids: &'a [u32],
    /// Encoded properties, as [`Forwardable::bytes`] returns them.
    pub forwardable: &'a [u8],
    /// The message itself.
    pub payload: &'a [u8],
}

impl PublishOut<'_> {
    fn property_bytes(&self) -> usize {
        let ids = self.subscription_ids.iter().map(|&id| 1 + wire::varint_bytes(id as usize));
        usize::from(self.topic_alias != 0) * 3
            + usize::from(self.message_expiry_s.is_some()) * 5
            + ids.sum::<usize>()
            + self.forwardable.len()
    }

    /// Bytes behind the fixed header; `property_bytes` counts under 5.0 only.
    fn remaining(&self, version: Version, property_bytes: usize) -> usize {
        let properties = if version.is_v5() { wire::varint_bytes(property_bytes) + property_bytes } else { 0 };
        let packet_id = if self.qos == QoS::AtMostOnce { 0 } else { 2 };
        wire::text_bytes(self.topic) + packet_id + properties + self.payload.len()
    }
}

/// Return the bytes of the whole packet, for the limit of the receiver.
///
/// Above `MAX_PACKET_BYTES` there is no such packet, and the encoders write nothing.
#[must_use]
pub fn publish_len(version: Version, publish: &PublishOut<'_>) -> usize {
    frame::packet_bytes(publish.remaining(version, publish.property_bytes()))
}

/// Append a PUBLISH.
pub fn encode_publish(out: &mut Vec<u8>, version: Version, publish: &PublishOut<'_>) {
    let start = out.len();
    // Header, packet id and our own properties fit into 32 bytes unless many subscriptions match.
    out.reserve(publish.payload.len() + publish.topic.len() + publish.forwardable.len() + 32);
    encode_publish_head(out, version, publish);
    if out.len() > start {
        out.extend_from_slice(publish.payload);
    }
}

/// Append a PUBLISH up to its payload, which the caller sends right behind it.
pub fn encode_publish_head(out: &mut Vec<u8>, version: Version, publish: &PublishOut<'_>) {
    let property_bytes = publish.property_bytes();
    let remaining = publish.remaining(version, property_bytes);
    if remaining > wire::MAX_VARINT {
        return;
    }
    let is_acknowledged = publish.qos != QoS::AtMostOnce;
    let first = PacketType::Publish.first_byte()
        | u8::from(publish.is_dup && is_acknowledged) << 3 // [MQTT5-3.3.1-2]
        | (publish.qos as u8) << 1
        | u8::from(publish.is_retain);
    out.reserve(5 + remaining - publish.payload.len());
    out.push(first);
    wire::put_varint(out, remaining);
    wire::put_text(out, publish.topic);
    if is_acknowledged {
        wire::put_u16(out, publish.packet_id);
    }
    if version.is_v5() {
        wire::put_varint(out, property_bytes);
        put_properties(out, publish);
    }
}

fn put_properties(out: &mut Vec<u8>, publish: &PublishOut<'_>) {
    if publish.topic_alias != 0 {
        Property::u16(PropertyId::TopicAlias, publish.topic_alias).encode(out);
    }
    if let Some(seconds) = publish.message_expiry_s {
        Property::u32(PropertyId::MessageExpiry, seconds).encode(out);
    }
    for &id in publish.subscription_ids {
        out.push(PropertyId::SubscriptionId as u8);
        wire::put_varint(out, id as usize);
    }
    out.extend_from_slice(publish.forwardable);
}

/// Appends a decoded PUBLISH again.
pub(super) fn encode(out: &mut Vec<u8>, version: Version, publish: &Publish<'_>) {
    let subscription_ids: Vec<u32> = publish.properties.subscription_ids().collect();
    let forwardable = publish.properties.forwardable();
    let again = PublishOut {
        is_dup: publish.is_dup,
        qos: publish.qos,
        is_retain: publish.is_retain,
        topic: publish.topic,
        packet_id: publish.packet_id,
        topic_alias: publish.properties.topic_alias.map_or(0, NonZeroU16::get),
        message_expiry_s: publish.properties.message_expiry_s,
        subscription_ids: &subscription_ids,
        forwardable: &forwardable,
        payload: publish.payload,
    };
    encode_publish(out, version, &again);
}
