//! What can be wrong with bytes from the network; each fault carries its data and states its reason code.
//!
//! The codes are those of MQTT 5.0: 0x81 if the bytes cannot be read by the packet's grammar, 0x82 if they can but
//! are not allowed, a named code where the standard has one. A 3.x client never hears them: its connection is closed.

use std::fmt;

use crate::codec::{PacketType, PropertyId, Version};
use crate::reason::ReasonCode;

macro_rules! decode_errors {
    ($(
        $(#[$doc:meta])*
        $variant:ident $({ $($(#[$field_doc:meta])* $field:ident: $type:ty),* })? => $reason:ident, $message:literal;
    )*) => {
        /// Why bytes are not a packet that this side may receive.
        ///
        /// After any of these the connection ends: the decoder does not look for the next packet.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum DecodeError {
            $($(#[$doc])* $variant $({ $($(#[$field_doc])* $field: $type),* })?,)*
        }

        impl DecodeError {
            /// The name of each variant.
            pub const KINDS: &'static [&'static str] = &[$(stringify!($variant)),*];

            /// Return the name of the variant, for counters and logs.
            #[must_use]
            pub const fn kind(self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => stringify!($variant),)*
                }
            }

            /// Return the reason code for a 5.0 client: in DISCONNECT, or in CONNACK where [`Self::connack`] says so.
            #[must_use]
            pub const fn reason(self) -> ReasonCode {
                match self {
                    $(Self::$variant { .. } => ReasonCode::$reason,)*
                }
            }
        }

        impl fmt::Display for DecodeError {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant $({ $($field),* })? => write!(f, $message),)*
                }
            }
        }
    };
}

decode_errors! {
    /// The remaining length has a fifth byte. Spec: MQTT 5.0, 1.5.5.
    RemainingLength => MalformedPacket, "remaining length must not have more than 4 bytes";
    /// The packet has more bytes than this side accepts; found on its header. `[MQTT5-3.2.2-15]`
    PacketTooLarge {
        /// Bytes of the whole packet, as announced.
        bytes: u32,
        /// Bytes that are accepted at most.
        limit: u32
    } => PacketTooLarge, "packet must not have more than {limit} bytes: {bytes}";
    /// The first packet of a client is not CONNECT; nothing is answered. `[MQTT5-3.1.0-1]`
    NotConnect {
        /// The type number that came.
        number: u8
    } => ProtocolError, "first packet must be CONNECT: type {number}";
    /// Type 0, or type 15 under 3.x. Spec: MQTT 3.1.1, 2.2.1; MQTT 5.0, 2.1.2.
    PacketType {
        /// The type number that came.
        number: u8
    } => MalformedPacket, "packet type is forbidden: {number}";
    /// A packet that only the receiving side may send. Spec: MQTT 5.0, 4.13.1.
    UnexpectedPacket {
        /// What came.
        packet: PacketType
    } => ProtocolError, "packet comes from the wrong side: {packet:?}";
    /// The header flags differ from the table. `[MQTT5-2.1.3-1]`
    ReservedFlags {
        /// The packet.
        packet: PacketType,
        /// Its four flag bits.
        flags: u8
    } => MalformedPacket, "reserved header flags of {packet:?} are wrong: {flags:#06b}";
    /// A length inside the packet runs past its end.
    Truncated => MalformedPacket, "packet ends inside a field";
    /// Bytes are left after the packet's last field.
    TrailingBytes {
        /// How many.
        count: u32
    } => MalformedPacket, "bytes after the last field: {count}";
    /// A variable byte integer inside the packet has a fifth byte. Spec: MQTT 5.0, 1.5.5.
    VariableByteInteger => MalformedPacket, "variable byte integer must not have more than 4 bytes";
    /// A string is not well-formed UTF-8. `[MQTT5-1.5.4-1]`
    Utf8 => MalformedPacket, "string must be well-formed utf-8";
    /// A string holds U+0000. `[MQTT5-1.5.4-2]`
    NulCharacter => MalformedPacket, "string must not hold a null character";
    /// A packet id is 0. `[MQTT5-2.2.1-3]`
    PacketIdZero => ProtocolError, "packet id must not be 0";
    /// A property id that the standard does not know.
    PropertyUnknown {
        /// The id.
        id: u8
    } => ProtocolError, "property id is unknown: {id:#04x}";
    /// A property of another packet type, or of the other direction.
    PropertyNotAllowed {
        /// The property.
        property: PropertyId
    } => ProtocolError, "property does not belong here: {property:?}";
    /// A property that may come once came twice.
    PropertyRepeated {
        /// The property.
        property: PropertyId
    } => ProtocolError, "property must not come twice: {property:?}";
    /// A property's value is outside its range.
    PropertyValue {
        /// The property.
        property: PropertyId
    } => ProtocolError, "property value is out of range: {property:?}";
    /// A client sent a subscription identifier in PUBLISH. `[MQTT5-3.3.4-6]`
    SubscriptionIdFromClient => ProtocolError, "client must not publish with a subscription identifier";
    /// A response topic is empty or has wildcards. `[MQTT5-3.3.2-14]`
    ResponseTopic => ProtocolError, "response topic must be a topic name";
    /// Authentication data without an authentication method. Spec: MQTT 5.0, 3.1.2.11.10.
    AuthenticationDataAlone => ProtocolError, "authentication data needs an authentication method";
    /// A reason code that is unknown or belongs to other packets.
    ReasonCode {
        /// The packet.
        packet: PacketType,
        /// The code.
        number: u8
    } => ProtocolError, "reason code does not belong in {packet:?}: {number:#04x}";
    /// The protocol name is neither `MQTT` nor `MQIsdp`; nothing is answered. `[MQTT5-3.1.2-1]`
    ProtocolName => UnsupportedProtocolVersion, "protocol name must be MQTT or MQIsdp";
    /// The name is right and the level is not served. `[MQTT5-3.1.2-2]`
    ProtocolLevel {
        /// The level byte.
        level: u8,
        /// Whether the answer takes the form of 3.x.
        is_legacy: bool
    } => UnsupportedProtocolVersion, "protocol level is not supported (legacy answer: {is_legacy}): {level}";
    /// The reserved bit of the connect flags is set. `[MQTT5-3.1.2-3]`
    ConnectFlags {
        /// The connect flags.
        flags: u8
    } => MalformedPacket, "reserved connect flag is set: {flags:#010b}";
    /// The will QoS is 3, or will QoS or will retain come without the will flag. `[MQTT5-3.1.2-11]`
    WillFlags {
        /// The connect flags.
        flags: u8
    } => MalformedPacket, "will bits of the connect flags contradict each other: {flags:#010b}";
    /// A 3.x client sent a password without a user name. `[MQTT3-3.1.2-22]`
    PasswordAlone => MalformedPacket, "password needs a user name";
    /// Reserved bits of the CONNACK flags are set. `[MQTT5-3.2.2-1]`
    ConnackFlags {
        /// The flags.
        flags: u8
    } => MalformedPacket, "reserved connack flags are set: {flags:#010b}";
    /// PUBLISH with QoS 3. `[MQTT5-3.3.1-4]`
    PublishQos => MalformedPacket, "qos must be 0, 1 or 2";
    /// PUBLISH with DUP and QoS 0. `[MQTT5-3.3.1-2]`
    DupAtQosZero => MalformedPacket, "dup must be 0 at qos 0";
    /// An empty topic name (5.0: without an alias), or an empty will topic. `[MQTT5-4.7.3-1]`
    TopicEmpty => ProtocolError, "topic must not be empty";
    /// A topic name with `+` or `#`. `[MQTT5-3.3.2-2]`
    TopicWildcard => TopicNameInvalid, "topic must not contain a wildcard";
    /// A topic alias is 0 or above the maximum. `[MQTT5-3.3.2-8]` `[MQTT5-3.3.2-9]`
    TopicAliasInvalid {
        /// The alias.
        alias: u16
    } => TopicAliasInvalid, "topic alias is out of range: {alias}";
    /// A topic alias was never set on this connection. `[MQTT5-3.3.2-7]`
    TopicAliasUnknown {
        /// The alias.
        alias: u16
    } => ProtocolError, "topic alias is not set: {alias}";
    /// The topics behind the aliases of a connection would need more memory than they may.
    TopicAliasMemory => QuotaExceeded, "topics behind aliases need too much memory";
    /// SUBSCRIBE or UNSUBSCRIBE without a filter. `[MQTT5-3.8.3-2]` `[MQTT5-3.10.3-2]`
    NoFilters => ProtocolError, "packet must have at least one filter";
    /// QoS 3 or reserved bits in subscription options. `[MQTT5-3.8.3-5]`
    SubscriptionOptions {
        /// The options byte.
        options: u8
    } => MalformedPacket, "subscription options are malformed: {options:#010b}";
    /// Retain handling 3. Spec: MQTT 5.0, 3.8.3.1.
    RetainHandling => ProtocolError, "retain handling must be 0, 1 or 2";
}

impl std::error::Error for DecodeError {}

impl DecodeError {
    /// Return what a client hears whose first CONNECT has this fault: the form of the CONNACK and its code.
    ///
    /// `version` is what `Decoder::version` says after the fault; it is set as soon as the level was readable.
    /// `None` means a close without an answer: the first packet is no CONNECT, the protocol name is wrong, or the
    /// client speaks 3.x, which has a return code for an unsupported level only.
    ///
    /// Spec: MQTT 5.0, 4.13.2; MQTT 3.1.1, 3.1.2.2.
    #[must_use]
    pub const fn connack(self, version: Option<Version>) -> Option<(Version, ReasonCode)> {
        match (self, version) {
            (Self::ProtocolLevel { is_legacy: true, .. }, _) => Some((Version::V311, self.reason())),
            (Self::ProtocolLevel { .. }, _) | (_, Some(Version::V5)) => Some((Version::V5, self.reason())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_small_and_says_its_data() {
        assert!(size_of::<DecodeError>() <= 12);
        let error = DecodeError::PacketTooLarge { bytes: 9, limit: 8 };
        assert_eq!(error.to_string(), "packet must not have more than 8 bytes: 9");
        assert_eq!(error.kind(), "PacketTooLarge");
        let error = DecodeError::ReservedFlags { packet: PacketType::Pubrel, flags: 4 };
        assert_eq!(error.to_string(), "reserved header flags of Pubrel are wrong: 0b0100");
    }

    #[test]
    fn a_connect_fault_is_answered_by_what_the_client_can_read() {
        let old = DecodeError::ProtocolLevel { level: 2, is_legacy: true };
        let new = DecodeError::ProtocolLevel { level: 6, is_legacy: false };
        let code = ReasonCode::UnsupportedProtocolVersion;
        assert_eq!(old.connack(None), Some((Version::V311, code)));
        assert_eq!(new.connack(None), Some((Version::V5, code)));
        assert_eq!(DecodeError::ProtocolName.connack(None), None);
        assert_eq!(DecodeError::Utf8.connack(Some(Version::V311)), None);
        let malformed = Some((Version::V5, ReasonCode::MalformedPacket));
        assert_eq!(DecodeError::Utf8.connack(Some(Version::V5)), malformed);
    }
}
