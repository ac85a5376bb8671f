//! CONNECT: who the client is and what session it wants.
//!
//! All versions share one struct; fields of 5.0 have their default under 3.x. Whether the client may enter, and what
//! an empty client id means, is decided elsewhere.

use super::properties::{Property, PropertyId, PropertySet, PropertyValue, UserProperties, WILL, read_block};
use super::publish::{Forwardable, Span};
use super::wire::{self, Reader};
use super::{PacketType, QoS, Version, frame};
use crate::error::DecodeError;

/// Bit 7 of the level: a bridge of the mosquitto kind, which wants retain flags as published. Not in the standard.
const BRIDGE: u8 = 0x80;

/// What a client says when it opens a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connect<'a> {
    /// The protocol the client speaks.
    pub version: Version,
    /// May be empty; then the server chooses one or refuses.
    pub client_id: &'a str,
    /// Seconds; 0 switches the keep alive off.
    pub keep_alive_s: u16,
    /// Clean session under 3.x.
    pub is_clean_start: bool,
    /// The peer is a bridge (bit 7 of the level, 3.x only).
    pub is_bridge: bool,
    /// The message to send if the client vanishes.
    pub will: Option<Will<'a>>,
    /// The user name.
    pub username: Option<&'a str>,
    /// The password: any bytes.
    pub password: Option<&'a [u8]>,
    /// All 5.0 properties; the defaults under 3.x.
    pub properties: ConnectProperties<'a>,
}

impl<'a> Connect<'a> {
    /// Make a CONNECT with clean start, no will and no credentials.
    #[must_use]
    pub fn new(version: Version, client_id: &'a str) -> Self {
        Self {
            version,
            client_id,
            keep_alive_s: 0,
            is_clean_start: true,
            is_bridge: false,
            will: None,
            username: None,
            password: None,
            properties: ConnectProperties::default(),
        }
    }
}

/// The message that a client leaves for the case that it vanishes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Will<'a> {
    /// Where it goes: not empty, no wildcard.
    pub topic: &'a str,
    /// The message; may be empty.
    pub payload: &'a [u8],
    /// Its quality of service.
    pub qos: QoS,
    /// Whether it is to be kept.
    pub is_retain: bool,
    /// Seconds to wait before it is sent.
    pub delay_s: u32,
    /// Its lifetime in seconds, counted from its sending; `None` is for ever.
    pub message_expiry_s: Option<u32>,
    /// Properties that travel with it unchanged.
    pub forwardable: Forwardable<'a>,
}

impl<'a> Will<'a> {
    /// Make a will at QoS 0 that is not kept, sent at once and has no properties.
    #[must_use]
    pub const fn new(topic: &'a str, payload: &'a [u8]) -> Self {
        Self {
            topic,
            payload,
            qos: QoS::AtMostOnce,
            is_retain: false,
            delay_s: 0,
            message_expiry_s: None,
            forwardable: Forwardable::new(&[]),
        }
    }
}

/// The properties of a CONNECT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectProperties<'a> {
    /// Seconds that the session outlives the connection; `None` (absent) means 0, `u32::MAX` for ever.
    pub session_expiry_s: Option<u32>,
    /// Open QoS 1 and 2 messages that the client takes; 65,535 if absent, never 0.
    pub receive_maximum: u16,
    /// Bytes of the largest packet that the client takes; `None`: no limit, never 0.
    pub max_packet_bytes: Option<u32>,
    /// The highest topic alias that the client takes; 0: none.
    pub topic_alias_maximum: u16,
    /// The client wants response information in CONNACK.
    pub requests_response_information: bool,
    /// The client wants reason strings and user properties outside PUBLISH, CONNACK and DISCONNECT.
    pub requests_problem_information: bool,
    /// User properties, in order.
    pub user_properties: UserProperties<'a>,
    /// The name of the enhanced authentication that the client wants.
    pub authentication_method: Option<&'a str>,
    /// The first data of that authentication; only with a method.
    pub authentication_data: Option<&'a [u8]>,
}

impl Default for ConnectProperties<'_> {
    fn default() -> Self {
        Self {
            session_expiry_s: None,
            receive_maximum: u16::MAX,
            max_packet_bytes: None,
            topic_alias_maximum: 0,
            requests_response_information: false,
            requests_problem_information: true,
            user_properties: UserProperties::default(),
            authentication_method: None,
            authentication_data: None,
        }
    }
}

impl<'a> ConnectProperties<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut properties = Self::default();
        let block = read_block(reader, PacketType::Connect.bit(), |property, _, _| {
            match (property.id, property.value) {
                (PropertyId::SessionExpiry, PropertyValue::U32(seconds)) => {
                    properties.session_expiry_s = Some(seconds);
                }
                (PropertyId::ReceiveMaximum, PropertyValue::U16(count)) => {
                    properties.receive_maximum = count;
                }
                (PropertyId::MaximumPacketSize, PropertyValue::U32(bytes)) => {
                    properties.max_packet_bytes = Some(bytes);
                }
                (PropertyId::TopicAliasMaximum, PropertyValue::U16(alias)) => {
                    properties.topic_alias_maximum = alias;
                }
                (PropertyId::RequestResponseInformation, PropertyValue::Flag(is_wanted)) => {
                    properties.requests_response_information = is_wanted;
                }
                (PropertyId::RequestProblemInformation, PropertyValue::Flag(is_wanted)) => {
                    properties.requests_problem_information = is_wanted;
                }
                (PropertyId::AuthenticationMethod, PropertyValue::Text(method)) => {
                    properties.authentication_method = Some(method);
                }
                (PropertyId::AuthenticationData, PropertyValue::Binary(data)) => {
                    properties.authentication_data = Some(data);
                }
                _ => {}
            }
            Ok(())
        })?;
        properties.user_properties = UserProperties::new(block);
        if properties.authentication_data.is_some() && properties.authentication_method.is_none() {
            return Err(DecodeError::AuthenticationDataAlone);
        }
        Ok(properties)
    }

    fn fields(&self) -> [Option<Property<'a>>; 8] {
        [
            self.session_expiry_s.map(|s| Property::u32(PropertyId::SessionExpiry, s)),
            (self.receive_maximum != u16::MAX).then(|| Property::u16(PropertyId::ReceiveMaximum, self.receive_maximum)),
            self.max_packet_bytes.map(|b| Property::u32(PropertyId::MaximumPacketSize, b)),
            (self.topic_alias_maximum != 0)
                .then(|| Property::u16(PropertyId::TopicAliasMaximum, self.topic_alias_maximum)),
            self.requests_response_information.then(|| Property::flag(PropertyId::RequestResponseInformation, true)),
            (!self.requests_problem_information).then(|| Property::flag(PropertyId::RequestProblemInformation, false)),
            self.authentication_method.map(|m| Property::text(PropertyId::AuthenticationMethod, m)),
            self.authentication_data.map(|d| Property::binary(PropertyId::AuthenticationData, d)),
        ]
    }
}

/// The connect flags behind the reserved bit.
#[derive(Clone, Copy)]
struct Flags(u8);

impl Flags {
    const CLEAN_START: u8 = 0x02;
    const WILL: u8 = 0x04;
    const WILL_RETAIN: u8 = 0x20;
    const PASSWORD: u8 = 0x40;
    const USERNAME: u8 = 0x80;

    const fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    const fn will_qos(self) -> Option<QoS> {
        QoS::from_bits(self.0 >> 3)
    }

    /// Checks the bits against each other.
    fn read(reader: &mut Reader<'_>, version: Version) -> Result<Self, DecodeError> {
        let flags = reader.u8()?;
        if flags & 1 != 0 {
            return Err(DecodeError::ConnectFlags { flags }); // [MQTT5-3.1.2-3]
        }
        let is_contradiction = if flags & Self::WILL == 0 {
            flags & 0b0011_1000 != 0 // [MQTT5-3.1.2-11] [MQTT5-3.1.2-13]
        } else {
            flags & 0b0001_1000 == 0b0001_1000 // [MQTT5-3.1.2-12]
        };
        if is_contradiction {
            return Err(DecodeError::WillFlags { flags });
        }
        let flags = Self(flags);
        if !version.is_v5() && flags.has(Self::PASSWORD) && !flags.has(Self::USERNAME) {
            return Err(DecodeError::PasswordAlone); // [MQTT3-3.1.2-22]
        }
        Ok(flags)
    }
}

/// Reads the protocol name and level: the version and whether the peer is a bridge.
///
/// The rest of a CONNECT can be read only after this, so the decoder learns the version here even if the rest fails.
pub(super) fn read_version(reader: &mut Reader<'_>) -> Result<(Version, bool), DecodeError> {
    let name = reader.binary()?;
    let is_first_name = match name {
        b"MQIsdp" => true,
        b"MQTT" => false,
        _ => return Err(DecodeError::ProtocolName), // [MQTT5-3.1.2-1]
    };
    let level = reader.u8()?;
    match (is_first_name, level & !BRIDGE, level & BRIDGE != 0) {
        (true, 3, is_bridge) => Ok((Version::V31, is_bridge)),
        (false, 4, is_bridge) => Ok((Version::V311, is_bridge)),
        (false, 5, false) => Ok((Version::V5, false)),
        // [MQTT5-3.1.2-2] A level above ours can read the answer of 5.0.
        _ => Err(DecodeError::ProtocolLevel { level, is_legacy: is_first_name || level < 5 }),
    }
}

/// Reads what follows the protocol level.
pub(super) fn decode(version: Version, is_bridge: bool, mut reader: Reader<'_>) -> Result<Connect<'_>, DecodeError> {
    let flags = Flags::read(&mut reader, version)?;
    let keep_alive_s = reader.u16()?;
    let properties = if version.is_v5() { ConnectProperties::read(&mut reader)? } else { ConnectProperties::default() };
    let client_id = reader.text()?;
    let will = if flags.has(Flags::WILL) { Some(read_will(&mut reader, version, flags)?) } else { None };
    let username = if flags.has(Flags::USERNAME) { Some(reader.text()?) } else { None };
    let password = if flags.has(Flags::PASSWORD) { Some(reader.binary()?) } else { None };
    reader.finish()?; // [MQTT5-3.1.2-16] [MQTT5-3.1.2-18]
    Ok(Connect {
        version,
        client_id,
        keep_alive_s,
        is_clean_start: flags.has(Flags::CLEAN_START),
        is_bridge,
        will,
        username,
        password,
        properties,
    })
}

fn read_will<'a>(reader: &mut Reader<'a>, version: Version, flags: Flags) -> Result<Will<'a>, DecodeError> {
    let mut will = Will::new("", &[]);
    if version.is_v5() {
        let mut span = Span::default();
        let block = read_block(reader, WILL, |property, start, end| {
            match (property.id, property.value) {
                (PropertyId::WillDelay, PropertyValue::U32(seconds)) => will.delay_s = seconds,
                (PropertyId::MessageExpiry, PropertyValue::U32(seconds)) => {
                    will.message_expiry_s = Some(seconds);
                }
                _ => span.add(start, end),
            }
            Ok(())
        })?;
        will.forwardable = span.of(block);
    }
    will.topic = reader.topic()?;
    if will.topic.is_empty() {
        return Err(DecodeError::TopicEmpty); // [MQTT5-4.7.3-1]
    }
    will.payload = reader.binary()?;
    will.qos = flags.will_qos().ok_or(DecodeError::WillFlags { flags: flags.0 })?;
    will.is_retain = flags.has(Flags::WILL_RETAIN);
    Ok(will)
}

/// Append a CONNECT in the form of its version.
///
/// A password without a user name is left out under 3.x, which has no such form. `[MQTT3-3.1.2-22]`
pub fn encode_connect(out: &mut Vec<u8>, connect: &Connect<'_>) {
    let version = connect.version;
    let password = connect.password.filter(|_| version.is_v5() || connect.username.is_some());
    let mut body = Vec::new();
    wire::put_text(&mut body, if version == Version::V31 { "MQIsdp" } else { "MQTT" });
    let bridge = if connect.is_bridge && !version.is_v5() { BRIDGE } else { 0 };
    body.push(version as u8 | bridge);
    body.push(connect_flags(connect, password));
    wire::put_u16(&mut body, connect.keep_alive_s);
    if version.is_v5() {
        let properties = &connect.properties;
        let fields = properties.fields();
        let user = properties.user_properties;
        PropertySet::fitting(&fields, None, user, 0, u32::MAX).encode(&mut body);
    }
    wire::put_text(&mut body, connect.client_id);
    if let Some(will) = &connect.will {
        put_will(&mut body, version, will);
    }
    if let Some(username) = connect.username {
        wire::put_text(&mut body, username);
    }
    if let Some(password) = password {
        wire::put_binary(&mut body, password);
    }
    frame::put_header(out, PacketType::Connect.first_byte(), body.len());
    out.append(&mut body);
}

fn connect_flags(connect: &Connect<'_>, password: Option<&[u8]>) -> u8 {
    let will = connect.will.map_or(0, |will| {
        let retain = if will.is_retain { Flags::WILL_RETAIN } else { 0 };
        Flags::WILL | (will.qos as u8) << 3 | retain
    });
    let clean_start = if connect.is_clean_start { Flags::CLEAN_START } else { 0 };
    let username = if connect.username.is_some() { Flags::USERNAME } else { 0 };
    let password = if password.is_some() { Flags::PASSWORD } else { 0 };
    clean_start | will | username | password
}

fn put_will(out: &mut Vec<u8>, version: Version, will: &Will<'_>) {
    if version.is_v5() {
        let forwardable = will.forwardable.bytes();
        let delay = (will.delay_s != 0).then(|| Property::u32(PropertyId::WillDelay, will.delay_s));
        let expiry = will.message_expiry_s.map(|s| Property::u32(PropertyId::MessageExpiry, s));
        let own = [delay, expiry];
        let own_bytes: usize = own.iter().flatten().map(Property::encoded_len).sum();
        wire::put_varint(out, own_bytes + forwardable.len());
        own.iter().flatten().for_each(|property| property.encode(out));
        out.extend_from_slice(&forwardable);
    }
    wire::put_text(out, will.topic);
    wire::put_binary(out, will.payload);
}
