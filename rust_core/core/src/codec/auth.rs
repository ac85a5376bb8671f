//! AUTH: one step of enhanced authentication. 5.0 only.

use super::properties::{Property, PropertyId, PropertySet, PropertyValue, UserProperties, read_block};
use super::wire::Reader;
use super::{PacketType, frame};
use crate::error::DecodeError;
use crate::reason::ReasonCode;

/// A step of enhanced authentication.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Auth<'a> {
    /// `Success`, `ContinueAuthentication` or `ReAuthenticate`.
    pub reason: ReasonCode,
    /// The method of CONNECT; the short form has none.
    pub authentication_method: Option<&'a str>,
    /// What the method says.
    pub authentication_data: Option<&'a [u8]>,
    /// The reason for people to read.
    pub reason_string: Option<&'a str>,
    /// User properties, in order.
    pub user_properties: UserProperties<'a>,
}

/// Reads the body. Code and properties may be left out. Spec: MQTT 5.0, 3.15.2.
pub(super) fn decode(body: &[u8]) -> Result<Auth<'_>, DecodeError> {
    let packet = PacketType::Auth;
    let mut reader = Reader::new(body);
    let mut auth = Auth::default();
    if !reader.is_empty() {
        let number = reader.u8()?;
        auth.reason = ReasonCode::for_packet(number, packet).ok_or(DecodeError::ReasonCode { packet, number })?;
        if !reader.is_empty() {
            let block = read_block(&mut reader, packet.bit(), |property, _, _| {
                match (property.id, property.value) {
                    (PropertyId::AuthenticationMethod, PropertyValue::Text(method)) => {
                        auth.authentication_method = Some(method);
                    }
                    (PropertyId::AuthenticationData, PropertyValue::Binary(data)) => {
                        auth.authentication_data = Some(data);
                    }
                    (PropertyId::ReasonString, PropertyValue::Text(text)) => {
                        auth.reason_string = Some(text);
                    }
                    _ => {}
                }
                Ok(())
            })?;
            auth.user_properties = UserProperties::new(block);
        }
    }
    reader.finish()?;
    Ok(auth)
}

/// Append an AUTH.
///
/// Reason string and user properties are left out if the packet would have more than `max_packet_bytes` with them.
pub fn encode_auth(out: &mut Vec<u8>, auth: &Auth<'_>, max_packet_bytes: u32) {
    let first = PacketType::Auth.first_byte();
    let fields = [
        auth.authentication_method.map(|m| Property::text(PropertyId::AuthenticationMethod, m)),
        auth.authentication_data.map(|data| Property::binary(PropertyId::AuthenticationData, data)),
    ];
    let set = PropertySet::fitting(&fields, auth.reason_string, auth.user_properties, 1, max_packet_bytes);
    if set.is_empty() && auth.reason == ReasonCode::Success {
        out.extend_from_slice(&[first, 0]);
        return;
    }
    frame::put_header(out, first, 1 + set.encoded_len());
    out.push(auth.reason.into());
    set.encode(out);
}
