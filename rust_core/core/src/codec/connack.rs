//! CONNACK: whether the client is in, and the limits it must keep.

use super::properties::{Property, PropertyId, PropertySet, PropertyValue, UserProperties, read_block};
use super::wire::Reader;
use super::{PacketType, QoS, Version, frame};
use crate::error::DecodeError;
use crate::reason::ReasonCode;

/// The answer to CONNECT.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Connack<'a> {
    /// The server had a session of this client; only if `reason` is `Success`, never under 3.1.
    pub is_session_present: bool,
    /// How it went; under 3.x a return code is made from it (`ReasonCode::return_code`).
    pub reason: ReasonCode,
    /// All 5.0 properties; not written under 3.x.
    pub properties: ConnackProperties<'a>,
}

/// The properties of a CONNACK; what has the value that an absent property means is not written.
// Each of the flags is a property of its own in the standard.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnackProperties<'a> {
    /// Seconds that the session outlives the connection; `None`: as the client asked.
    pub session_expiry_s: Option<u32>,
    /// Open QoS 1 and 2 messages that the server takes; 65,535 if absent, never 0.
    pub receive_maximum: u16,
    /// The highest QoS that the server takes.
    pub max_qos: QoS,
    /// The server keeps retained messages.
    pub allows_retain: bool,
    /// Bytes of the largest packet that the server takes; `None`: no limit, never 0.
    pub max_packet_bytes: Option<u32>,
    /// The client id that the server chose.
    pub assigned_client_id: Option<&'a str>,
    /// The highest topic alias that the server takes; 0: none.
    pub topic_alias_maximum: u16,
    /// Filters may have wildcards.
    pub allows_wildcards: bool,
    /// Subscriptions may have identifiers.
    pub allows_subscription_ids: bool,
    /// There are shared subscriptions.
    pub allows_shared_subscriptions: bool,
    /// Seconds of keep alive that hold instead of the client's; `None`: the client's.
    pub server_keep_alive_s: Option<u16>,
    /// What response topics may begin with.
    pub response_information: Option<&'a str>,
    /// Another server to use.
    pub server_reference: Option<&'a str>,
    /// The method of enhanced authentication.
    pub authentication_method: Option<&'a str>,
    /// The last data of that authentication.
    pub authentication_data: Option<&'a [u8]>,
    /// The reason for people to read.
    pub reason_string: Option<&'a str>,
    /// User properties, in order.
    pub user_properties: UserProperties<'a>,
}

impl Default for ConnackProperties<'_> {
    fn default() -> Self {
        Self {
            session_expiry_s: None,
            receive_maximum: u16::MAX,
            max_qos: QoS::ExactlyOnce,
            allows_retain: true,
            max_packet_bytes: None,
            assigned_client_id: None,
            topic_alias_maximum: 0,
            allows_wildcards: true,
            allows_subscription_ids: true,
            allows_shared_subscriptions: true,
            server_keep_alive_s: None,
            response_information: None,
            server_reference: None,
            authentication_method: None,
            authentication_data: None,
            reason_string: None,
            user_properties: UserProperties::default(),
        }
    }
}

impl<'a> ConnackProperties<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut properties = Self::default();
        let block = read_block(reader, PacketType::Connack.bit(), |property, _, _| {
            properties.set(property);
            Ok(())
        })?;
        properties.user_properties = UserProperties::new(block);
        Ok(properties)
    }

    fn set(&mut self, property: Property<'a>) {
        use PropertyId as Id;
        use PropertyValue as Value;
        match (property.id, property.value) {
            (Id::SessionExpiry, Value::U32(s)) => self.session_expiry_s = Some(s),
            (Id::ReceiveMaximum, Value::U16(count)) => self.receive_maximum = count,
            (Id::MaximumQos, Value::Flag(is_one)) => {
                self.max_qos = if is_one { QoS::AtLeastOnce } else { QoS::AtMostOnce };
            }
            (Id::RetainAvailable, Value::Flag(is_on)) => self.allows_retain = is_on,
            (Id::MaximumPacketSize, Value::U32(bytes)) => self.max_packet_bytes = Some(bytes),
            (Id::AssignedClientId, Value::Text(id)) => self.assigned_client_id = Some(id),
            (Id::TopicAliasMaximum, Value::U16(alias)) => self.topic_alias_maximum = alias,
            (Id::WildcardSubscriptionAvailable, Value::Flag(is_on)) => {
                self.allows_wildcards = is_on;
            }
            (Id::SubscriptionIdAvailable, Value::Flag(is_on)) => {
                self.allows_subscription_ids = is_on;
            }
            (Id::SharedSubscriptionAvailable, Value::Flag(is_on)) => {
                self.allows_shared_subscriptions = is_on;
            }
            (Id::ServerKeepAlive, Value::U16(s)) => self.server_keep_alive_s = Some(s),
            (Id::ResponseInformation, Value::Text(text)) => self.response_information = Some(text),
            (Id::ServerReference, Value::Text(text)) => self.server_reference = Some(text),
            (Id::AuthenticationMethod, Value::Text(text)) => {
                self.authentication_method = Some(text);
            }
            (Id::AuthenticationData, Value::Binary(data)) => self.authentication_data = Some(data),
            (Id::ReasonString, Value::Text(text)) => self.reason_string = Some(text),
            _ => {}
        }
    }

    fn fields(&self) -> [Option<Property<'a>>; 15] {
        use PropertyId as Id;
        let off = |id, is_on: bool| (!is_on).then(|| Property::flag(id, false));
        let text = |id, value: Option<&'a str>| value.map(|text| Property::text(id, text));
        let is_qos_limited = self.max_qos < QoS::ExactlyOnce;
        [
            self.session_expiry_s.map(|s| Property::u32(Id::SessionExpiry, s)),
            (self.receive_maximum != u16::MAX).then(|| Property::u16(Id::ReceiveMaximum, self.receive_maximum)),
            is_qos_limited.then(|| Property::flag(Id::MaximumQos, self.max_qos == QoS::AtLeastOnce)),
            off(Id::RetainAvailable, self.allows_retain),
            self.max_packet_bytes.map(|bytes| Property::u32(Id::MaximumPacketSize, bytes)),
            text(Id::AssignedClientId, self.assigned_client_id),
            (self.topic_alias_maximum != 0).then(|| Property::u16(Id::TopicAliasMaximum, self.topic_alias_maximum)),
            off(Id::WildcardSubscriptionAvailable, self.allows_wildcards),
            off(Id::SubscriptionIdAvailable, self.allows_subscription_ids),
            off(Id::SharedSubscriptionAvailable, self.allows_shared_subscriptions),
            self.server_keep_alive_s.map(|s| Property::u16(Id::ServerKeepAlive, s)),
            text(Id::ResponseInformation, self.response_information),
            text(Id::ServerReference, self.server_reference),
            text(Id::AuthenticationMethod, self.authentication_method),
            self.authentication_data.map(|data| Property::binary(Id::AuthenticationData, data)),
        ]
    }
}

/// Reads the body.
pub(super) fn decode(version: Version, body: &[u8]) -> Result<Connack<'_>, DecodeError> {
    let packet = PacketType::Connack;
    let mut reader = Reader::new(body);
    let flags = reader.u8()?;
    if flags > 1 {
        return Err(DecodeError::ConnackFlags { flags }); // [MQTT5-3.2.2-1]
    }
    let number = reader.u8()?;
    let (reason, properties) = if version.is_v5() {
        (ReasonCode::for_packet(number, packet), ConnackProperties::read(&mut reader)?)
    } else {
        (ReasonCode::from_return_code(number), ConnackProperties::default())
    };
    let reason = reason.ok_or(DecodeError::ReasonCode { packet, number })?;
    reader.finish()?;
    // A refusal has no session, whatever it says; under 3.1 the byte is reserved and says nothing.
    let is_session_present = flags == 1 && reason == ReasonCode::Success && version != Version::V31;
    Ok(Connack { is_session_present, reason, properties })
}

/// Append a CONNACK.
///
/// A refusal never says that a session is present. `[MQTT5-3.2.2-6]` `[MQTT3-3.2.2-4]` Reason string and user
/// properties are left out if the packet would have more than `max_packet_bytes` with them.
pub fn encode_connack(out: &mut Vec<u8>, version: Version, connack: &Connack<'_>, max_packet_bytes: u32) {
    let first = PacketType::Connack.first_byte();
    let is_session_present =
        connack.is_session_present && connack.reason == ReasonCode::Success && version != Version::V31;
    let flags = u8::from(is_session_present);
    if !version.is_v5() {
        out.extend_from_slice(&[first, 2, flags, connack.reason.return_code()]);
        return;
    }
    let properties = &connack.properties;
    let fields = properties.fields();
    let set = PropertySet::fitting(&fields, properties.reason_string, properties.user_properties, 2, max_packet_bytes);
    frame::put_header(out, first, 2 + set.encoded_len());
    out.extend_from_slice(&[flags, connack.reason.into()]);
    set.encode(out);
}
