//! PUBACK, PUBREC, PUBREL and PUBCOMP: four packets of one form.
//!
//! A 3.x acknowledgement is a packet id and nothing else; whatever reason we give is not written there.

use super::properties::{Notes, PropertySet, UserProperties};
use super::wire::{Reader, put_u16};
use super::{PacketType, Version, frame};
use crate::error::DecodeError;
use crate::reason::ReasonCode;

/// An acknowledgement; the packet type stands beside it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ack<'a> {
    /// The message that is acknowledged.
    pub packet_id: u16,
    /// How it went; `Success` under 3.x.
    pub reason: ReasonCode,
    /// The reason for people to read.
    pub reason_string: Option<&'a str>,
    /// User properties, in order.
    pub user_properties: UserProperties<'a>,
}

impl Ack<'_> {
    /// Make an acknowledgement without properties, which is written in its shortest form.
    #[must_use]
    pub const fn new(packet_id: u16, reason: ReasonCode) -> Self {
        let user_properties = UserProperties::new(&[]);
        Self { packet_id, reason, reason_string: None, user_properties }
    }
}

/// Reads the body. Code and property length may be left out. Spec: MQTT 5.0, 3.4.2.
pub(super) fn decode(packet: PacketType, version: Version, body: &[u8]) -> Result<Ack<'_>, DecodeError> {
    let mut reader = Reader::new(body);
    let mut ack = Ack::new(reader.packet_id()?, ReasonCode::Success);
    if version.is_v5() && !reader.is_empty() {
        let number = reader.u8()?;
        ack.reason = ReasonCode::for_packet(number, packet).ok_or(DecodeError::ReasonCode { packet, number })?;
        if !reader.is_empty() {
            let notes = Notes::read(&mut reader, packet)?;
            ack.reason_string = notes.reason_string;
            ack.user_properties = notes.user_properties;
        }
    }
    reader.finish()?;
    Ok(ack)
}

/// Append an acknowledgement in its shortest form.
///
/// Reason string and user properties are left out if the packet would have more than `max_packet_bytes` with them.
pub fn encode_ack(out: &mut Vec<u8>, version: Version, packet: PacketType, ack: &Ack<'_>, max_packet_bytes: u32) {
    let [high, low] = ack.packet_id.to_be_bytes();
    let first = packet.first_byte();
    let is_bare = ack.reason_string.is_none() && ack.user_properties.is_empty();
    if !version.is_v5() || (is_bare && ack.reason == ReasonCode::Success) {
        out.extend_from_slice(&[first, 2, high, low]);
        return;
    }
    let set = PropertySet::fitting(&[], ack.reason_string, ack.user_properties, 3, max_packet_bytes);
    if is_bare || set.is_empty() {
        out.extend_from_slice(&[first, 3, high, low, ack.reason.into()]);
        return;
    }
    frame::put_header(out, first, 3 + set.encoded_len());
    put_u16(out, ack.packet_id);
    out.push(ack.reason.into());
    set.encode(out);
}
