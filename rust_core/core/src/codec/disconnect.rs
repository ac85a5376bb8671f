//! DISCONNECT: the last packet of a connection. Under 3.x only a client sends it and it says nothing.

use super::properties::{Property, PropertyId, PropertySet, PropertyValue, UserProperties, read_block};
use super::wire::Reader;
use super::{PacketType, Role, Version, frame};
use crate::error::DecodeError;
use crate::reason::ReasonCode;

/// Why one side leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Disconnect<'a> {
    /// The reason; `Success` is the normal end, under 3.x always.
    pub reason: ReasonCode,
    /// The client's new session expiry in seconds; `None`: as CONNECT said. A server never sends it.
    pub session_expiry_s: Option<u32>,
    /// The reason for people to read.
    pub reason_string: Option<&'a str>,
    /// Another server to use.
    pub server_reference: Option<&'a str>,
    /// User properties, in order.
    pub user_properties: UserProperties<'a>,
}

impl Disconnect<'_> {
    /// Make a DISCONNECT without properties.
    #[must_use]
    pub const fn new(reason: ReasonCode) -> Self {
        Self {
            reason,
            session_expiry_s: None,
            reason_string: None,
            server_reference: None,
            user_properties: UserProperties::new(&[]),
        }
    }
}

/// Reads the body. Code and property length may be left out. Spec: MQTT 5.0, 3.14.2.
pub(super) fn decode(version: Version, role: Role, body: &[u8]) -> Result<Disconnect<'_>, DecodeError> {
    let packet = PacketType::Disconnect;
    let mut reader = Reader::new(body);
    let mut disconnect = Disconnect::default();
    if version.is_v5() && !reader.is_empty() {
        let number = reader.u8()?;
        disconnect.reason = ReasonCode::for_packet(number, packet).ok_or(DecodeError::ReasonCode { packet, number })?;
        if !reader.is_empty() {
            let block = read_block(&mut reader, packet.bit(), |property, _, _| {
                match (property.id, property.value) {
                    (PropertyId::SessionExpiry, PropertyValue::U32(seconds)) => {
                        if role == Role::Client {
                            let property = PropertyId::SessionExpiry;
                            return Err(DecodeError::PropertyNotAllowed { property }); // [MQTT5-3.14.2-2]
                        }
                        disconnect.session_expiry_s = Some(seconds);
                    }
                    (PropertyId::ReasonString, PropertyValue::Text(text)) => {
                        disconnect.reason_string = Some(text);
                    }
                    (PropertyId::ServerReference, PropertyValue::Text(text)) => {
                        disconnect.server_reference = Some(text);
                    }
                    _ => {}
                }
                Ok(())
            })?;
            disconnect.user_properties = UserProperties::new(block);
        }
    }
    reader.finish()?;
    Ok(disconnect)
}

/// Append a DISCONNECT in its shortest form; under 3.x it is two bytes, which only a client may send.
///
/// Reason string and user properties are left out if the packet would have more than `max_packet_bytes` with them.
pub fn encode_disconnect(out: &mut Vec<u8>, version: Version, disconnect: &Disconnect<'_>, max_packet_bytes: u32) {
    let first = PacketType::Disconnect.first_byte();
    let fields = [
        disconnect.session_expiry_s.map(|s| Property::u32(PropertyId::SessionExpiry, s)),
        disconnect.server_reference.map(|text| Property::text(PropertyId::ServerReference, text)),
    ];
    let set = PropertySet::fitting(&fields, disconnect.reason_string, disconnect.user_properties, 1, max_packet_bytes);
    if !version.is_v5() || (set.is_empty() && disconnect.reason == ReasonCode::Success) {
        out.extend_from_slice(&[first, 0]);
    } else if set.is_empty() {
        out.extend_from_slice(&[first, 1, disconnect.reason.into()]);
    } else {
        frame::put_header(out, first, 1 + set.encoded_len());
        out.push(disconnect.reason.into());
        set.encode(out);
    }
}
