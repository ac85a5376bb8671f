//! UNSUBSCRIBE and UNSUBACK.
//!
//! As with SUBSCRIBE, filters are checked as strings only.

use std::fmt;

use super::properties::{Notes, PropertySet, UserProperties};
use super::subscribe::{Suback, put_codes};
use super::wire::{self, Reader};
use super::{PacketType, Version, frame};
use crate::error::DecodeError;
use crate::reason;

/// A request to end subscriptions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unsubscribe<'a> {
    /// What the UNSUBACK must carry.
    pub packet_id: u16,
    /// User properties, in order.
    pub user_properties: UserProperties<'a>,
    /// The filters, in order; at least one.
    pub filters: UnsubscribeFilters<'a>,
}

/// The filters of an UNSUBSCRIBE.
#[derive(Clone, Copy, Default)]
pub struct UnsubscribeFilters<'a> {
    encoded: &'a [u8],
}

impl<'a> UnsubscribeFilters<'a> {
    /// Take them from bytes that [`Self::encode`] wrote.
    #[must_use]
    pub const fn new(encoded: &'a [u8]) -> Self {
        Self { encoded }
    }

    /// Append one filter, to build the list of an UNSUBSCRIBE.
    pub fn encode(out: &mut Vec<u8>, filter: &str) {
        wire::put_text(out, filter);
    }

    /// Walk the filters; each may be empty or invalid, but is UTF-8 without U+0000.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut reader = Reader::new(self.encoded);
        std::iter::from_fn(move || reader.text().ok())
    }
}

impl PartialEq for UnsubscribeFilters<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.encoded == other.encoded
    }
}

impl Eq for UnsubscribeFilters<'_> {}

impl fmt::Debug for UnsubscribeFilters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Reads the body of an UNSUBSCRIBE.
pub(super) fn decode(version: Version, body: &[u8]) -> Result<Unsubscribe<'_>, DecodeError> {
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    let notes = if version.is_v5() { Notes::read(&mut reader, PacketType::Unsubscribe)? } else { Notes::default() };
    if reader.is_empty() {
        return Err(DecodeError::NoFilters); // [MQTT5-3.10.3-2]
    }
    let filters = UnsubscribeFilters::new(reader.finish_with_rest());
    while !reader.is_empty() {
        reader.text()?;
    }
    Ok(Unsubscribe { packet_id, user_properties: notes.user_properties, filters })
}

/// Append an UNSUBSCRIBE.
pub fn encode_unsubscribe(out: &mut Vec<u8>, version: Version, unsubscribe: &Unsubscribe<'_>) {
    let filters = unsubscribe.filters.encoded;
    let set = PropertySet::fitting(&[], None, unsubscribe.user_properties, 0, u32::MAX);
    let properties = if version.is_v5() { set.encoded_len() } else { 0 };
    frame::put_header(out, PacketType::Unsubscribe.first_byte(), 2 + properties + filters.len());
    wire::put_u16(out, unsubscribe.packet_id);
    if version.is_v5() {
        set.encode(out);
    }
    out.extend_from_slice(filters);
}

/// The answer to UNSUBSCRIBE.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Unsuback<'a> {
    /// The id of the UNSUBSCRIBE.
    pub packet_id: u16,
    /// The reason for people to read.
    pub reason_string: Option<&'a str>,
    /// User properties, in order.
    pub user_properties: UserProperties<'a>,
    /// A reason code for each filter, in the order of the filters; not written under 3.x.
    pub codes: &'a [u8],
}

/// Reads the body of an UNSUBACK.
pub(super) fn decode_unsuback(version: Version, body: &[u8]) -> Result<Unsuback<'_>, DecodeError> {
    let packet = PacketType::Unsuback;
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    if !version.is_v5() {
        reader.finish()?;
        return Ok(Unsuback { packet_id, ..Unsuback::default() });
    }
    let Notes { reason_string, user_properties } = Notes::read(&mut reader, packet)?;
    let codes = reader.finish_with_rest();
    if let Some(&number) = codes.iter().find(|&&number| !reason::is_allowed(number, packet)) {
        return Err(DecodeError::ReasonCode { packet, number });
    }
    Ok(Unsuback { packet_id, reason_string, user_properties, codes })
}

/// Append an UNSUBACK.
///
/// Reason string and user properties are left out if the packet would have more than `max_packet_bytes` with them.
pub fn encode_unsuback(out: &mut Vec<u8>, version: Version, unsuback: &Unsuback<'_>, max_packet_bytes: u32) {
    let answer = Suback {
        packet_id: unsuback.packet_id,
        reason_string: unsuback.reason_string,
        user_properties: unsuback.user_properties,
        codes: if version.is_v5() { unsuback.codes } else { &[] },
    };
    put_codes(out, version, PacketType::Unsuback, &answer, max_packet_bytes);
}
