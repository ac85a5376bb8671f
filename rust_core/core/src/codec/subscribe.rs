//! SUBSCRIBE and SUBACK.
//!
//! Filters are checked as strings here; whether they are valid filters is for `topic.rs`, because one bad filter need
//! not spoil its neighbours.

use std::fmt;

use super::properties::{Notes, Property, PropertyId, PropertySet, PropertyValue, UserProperties, read_block};
use super::wire::{self, Reader};
use super::{PacketType, QoS, Version, frame};
use crate::error::DecodeError;
use crate::reason::{self, ReasonCode};

/// A request for subscriptions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subscribe<'a> {
    /// What the SUBACK must carry.
    pub packet_id: u16,
    /// The number that goes with every message these subscriptions bring.
    pub subscription_id: Option<u32>,
    /// User properties, in order.
    pub user_properties: UserProperties<'a>,
    /// What is asked for, in order; at least one.
    pub filters: SubscribeFilters<'a>,
}

/// What a subscription asks for beside its filter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SubscribeOptions {
    /// The highest QoS that the client wants.
    pub qos: QoS,
    /// Messages of this client itself are not wanted; 5.0 only.
    pub no_local: bool,
    /// Messages keep the retain flag they were published with; 5.0 only.
    pub retain_as_published: bool,
    /// When retained messages are sent: 0 always, 1 for a new subscription, 2 never; 5.0 only.
    pub retain_handling: u8,
}

impl SubscribeOptions {
    /// `[MQTT5-3.8.3-5]` `[MQTT3-3.8.3-4]`
    fn from_byte(version: Version, options: u8) -> Result<Self, DecodeError> {
        let malformed = DecodeError::SubscriptionOptions { options };
        let qos = QoS::from_bits(options).ok_or(malformed)?;
        let reserved = if version.is_v5() { 0b1100_0000 } else { 0b1111_1100 };
        if options & reserved != 0 {
            return Err(malformed);
        }
        let retain_handling = options >> 4;
        if retain_handling == 3 {
            return Err(DecodeError::RetainHandling);
        }
        Ok(Self { qos, no_local: options & 0b0100 != 0, retain_as_published: options & 0b1000 != 0, retain_handling })
    }

    fn to_byte(self, version: Version) -> u8 {
        let qos = self.qos as u8;
        if !version.is_v5() {
            return qos;
        }
        let no_local = u8::from(self.no_local) << 2;
        let retain_as_published = u8::from(self.retain_as_published) << 3;
        qos | no_local | retain_as_published | self.retain_handling.min(2) << 4
    }
}

/// The filters of a SUBSCRIBE with their options.
#[derive(Clone, Copy, Default)]
pub struct SubscribeFilters<'a> {
    encoded: &'a [u8],
}

impl<'a> SubscribeFilters<'a> {
    /// Take them from bytes that [`Self::encode`] wrote.
    #[must_use]
    pub const fn new(encoded: &'a [u8]) -> Self {
        Self { encoded }
    }

    /// Append one filter with its options, to build the list of a SUBSCRIBE.
    pub fn encode(out: &mut Vec<u8>, filter: &str, options: SubscribeOptions) {
        wire::put_text(out, filter);
        out.push(options.to_byte(Version::V5));
    }

    /// Walk the filters and their options; a filter may be empty or invalid, but is UTF-8 without U+0000.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, SubscribeOptions)> + use<'a> {
        let mut reader = Reader::new(self.encoded);
        std::iter::from_fn(move || read_filter(&mut reader, Version::V5).ok())
    }

    /// Checks every entry under the rules of `version`; there must be one.
    fn read(reader: Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let mut rest = reader;
        if rest.is_empty() {
            return Err(DecodeError::NoFilters); // [MQTT5-3.8.3-2]
        }
        while !rest.is_empty() {
            read_filter(&mut rest, version)?;
        }
        Ok(Self::new(reader.finish_with_rest()))
    }
}

impl PartialEq for SubscribeFilters<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.encoded == other.encoded
    }
}

impl Eq for SubscribeFilters<'_> {}

impl fmt::Debug for SubscribeFilters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

fn read_filter<'a>(reader: &mut Reader<'a>, version: Version) -> Result<(&'a str, SubscribeOptions), DecodeError> {
    let filter = reader.text()?;
    let options = SubscribeOptions::from_byte(version, reader.u8()?)?;
    Ok((filter, options))
}

/// Reads the body of a SUBSCRIBE.
pub(super) fn decode(version: Version, body: &[u8]) -> Result<Subscribe<'_>, DecodeError> {
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    let mut subscription_id = None;
    let mut user_properties = UserProperties::default();
    if version.is_v5() {
        let block = read_block(&mut reader, PacketType::Subscribe.bit(), |property, _, _| {
            if let PropertyValue::Varint(id) = property.value {
                subscription_id = Some(id);
            }
            Ok(())
        })?;
        user_properties = UserProperties::new(block);
    }
    let filters = SubscribeFilters::read(reader, version)?;
    Ok(Subscribe { packet_id, subscription_id, user_properties, filters })
}

/// Append a SUBSCRIBE.
pub fn encode_subscribe(out: &mut Vec<u8>, version: Version, subscribe: &Subscribe<'_>) {
    let mut body = Vec::new();
    wire::put_u16(&mut body, subscribe.packet_id);
    if version.is_v5() {
        let id = subscribe
            .subscription_id
            .map(|id| Property { id: PropertyId::SubscriptionId, value: PropertyValue::Varint(id) });
        let user = subscribe.user_properties;
        PropertySet::fitting(&[id], None, user, 0, u32::MAX).encode(&mut body);
    }
    for (filter, options) in subscribe.filters.iter() {
        wire::put_text(&mut body, filter);
        body.push(options.to_byte(version));
    }
    frame::put_header(out, PacketType::Subscribe.first_byte(), body.len());
    out.append(&mut body);
}

/// The answer to SUBSCRIBE.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Suback<'a> {
    /// The id of the SUBSCRIBE.
    pub packet_id: u16,
    /// The reason for people to read.
    pub reason_string: Option<&'a str>,
    /// User properties, in order.
    pub user_properties: UserProperties<'a>,
    /// A reason code for each filter, in the order of the filters.
    pub codes: &'a [u8],
}

/// Reads the body of a SUBACK.
pub(super) fn decode_suback(version: Version, body: &[u8]) -> Result<Suback<'_>, DecodeError> {
    let packet = PacketType::Suback;
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    let notes = if version.is_v5() { Notes::read(&mut reader, packet)? } else { Notes::default() };
    let codes = reader.finish_with_rest();
    for &number in codes {
        let is_known = if version.is_v5() {
            reason::is_allowed(number, packet)
        } else {
            matches!(number, 0..=2 | 0x80) // [MQTT3-3.9.3-2]
        };
        if !is_known {
            return Err(DecodeError::ReasonCode { packet, number });
        }
    }
    let Notes { reason_string, user_properties } = notes;
    Ok(Suback { packet_id, reason_string, user_properties, codes })
}

/// Append a SUBACK.
///
/// 3.1.1 knows one failure, 0x80, and gets it for every code from there up. `[MQTT3-3.9.3-2]` 3.1 knows none: it is
/// told QoS 0, the least it can be told. Reason string and user properties are left out if the packet would have more
/// than `max_packet_bytes` with them.
pub fn encode_suback(out: &mut Vec<u8>, version: Version, suback: &Suback<'_>, max_packet_bytes: u32) {
    let failure = match version {
        Version::V31 => ReasonCode::Success,
        _ => ReasonCode::UnspecifiedError,
    };
    put_codes(out, version, PacketType::Suback, suback, max_packet_bytes);
    if !version.is_v5() {
        let start = out.len() - suback.codes.len();
        for code in out.iter_mut().skip(start).filter(|code| **code >= 0x80) {
            *code = failure.into();
        }
    }
}

/// Writes the form that SUBACK and UNSUBACK share; the codes come last.
pub(super) fn put_codes(
    out: &mut Vec<u8>,
    version: Version,
    packet: PacketType,
    answer: &Suback<'_>,
    max_packet_bytes: u32,
) {
    let first = packet.first_byte();
    let other_bytes = 2 + answer.codes.len();
    if version.is_v5() {
        let set =
            PropertySet::fitting(&[], answer.reason_string, answer.user_properties, other_bytes, max_packet_bytes);
        frame::put_header(out, first, other_bytes + set.encoded_len());
        wire::put_u16(out, answer.packet_id);
        set.encode(out);
    } else {
        frame::put_header(out, first, other_bytes);
        wire::put_u16(out, answer.packet_id);
    }
    out.extend_from_slice(answer.codes);
}
