//! MQTT 5.0 reason codes: one table with number, name and the packets that may carry it.
//!
//! 3.x has no reason codes but CONNACK return codes and the SUBACK failure; both are mapped here and nowhere else.
//! Which code a fault gets is not decided here: see `error.rs` for what cannot be decoded.

use crate::codec::PacketType::{self, Auth, Connack, Disconnect, Puback, Pubcomp, Pubrec, Pubrel, Suback, Unsuback};

/// One line of the reason code table.
#[derive(Clone, Copy, Debug)]
pub struct ReasonRow {
    /// The code.
    pub code: ReasonCode,
    /// The code's name in `snake_case`, as logs, metrics and the API show it.
    pub name: &'static str,
    /// Packet types that may carry the code, as bits (`PacketType::bit`).
    pub packets: u16,
}

macro_rules! reason_codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, [$($packet:ident)*];)*) => {
        /// An MQTT 5.0 reason code.
        ///
        /// `Success` also stands for "normal disconnection" and "granted QoS 0", which share its number.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        #[repr(u8)]
        pub enum ReasonCode {
            $($(#[$doc])* $variant = $number,)*
        }

        impl ReasonCode {
            /// Every code, in rising order.
            pub const TABLE: &'static [ReasonRow] = &[
                $(ReasonRow { code: ReasonCode::$variant, name: $name, packets: $($packet.bit() |)* 0 },)*
            ];

            /// Return the code's name in `snake_case`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }

        impl TryFrom<u8> for ReasonCode {
            type Error = u8;

            /// Turn a byte into its code; a byte outside the table comes back as the error.
            fn try_from(number: u8) -> Result<Self, u8> {
                match number {
                    $($number => Ok(Self::$variant),)*
                    other => Err(other),
                }
            }
        }
    };
}

reason_codes! {
    /// Done, normal disconnection, or granted QoS 0.
    #[default]
    Success = 0x00, "success", [Connack Puback Pubrec Pubrel Pubcomp Suback Unsuback Disconnect Auth];
    /// The subscription holds at QoS 1.
    GrantedQos1 = 0x01, "granted_qos_1", [Suback];
    /// The subscription holds at QoS 2.
    GrantedQos2 = 0x02, "granted_qos_2", [Suback];
    /// The client leaves and wants its will sent.
    DisconnectWithWill = 0x04, "disconnect_with_will_message", [Disconnect];
    /// Accepted, but nobody subscribes to the topic.
    NoMatchingSubscribers = 0x10, "no_matching_subscribers", [Puback Pubrec];
    /// There was no such subscription to remove.
    NoSubscriptionExisted = 0x11, "no_subscription_existed", [Unsuback];
    /// Another step of enhanced authentication follows.
    ContinueAuthentication = 0x18, "continue_authentication", [Auth];
    /// The client starts authentication again.
    ReAuthenticate = 0x19, "re_authenticate", [Auth];
    /// No reason is given.
    UnspecifiedError = 0x80, "unspecified_error", [Connack Puback Pubrec Suback Unsuback Disconnect];
    /// The bytes do not follow the packet's grammar.
    MalformedPacket = 0x81, "malformed_packet", [Connack Disconnect];
    /// The packet is readable, but not allowed here.
    ProtocolError = 0x82, "protocol_error", [Connack Disconnect];
    /// Refused for a reason of this broker's own.
    ImplementationSpecificError = 0x83, "implementation_specific_error",
        [Connack Puback Pubrec Suback Unsuback Disconnect];
    /// The protocol level of CONNECT is not served.
    UnsupportedProtocolVersion = 0x84, "unsupported_protocol_version", [Connack];
    /// The client id is refused.
    ClientIdentifierNotValid = 0x85, "client_identifier_not_valid", [Connack];
    /// The credentials are wrong.
    BadUserNameOrPassword = 0x86, "bad_username_or_password", [Connack];
    /// The client may not do this.
    NotAuthorized = 0x87, "not_authorized", [Connack Puback Pubrec Suback Unsuback Disconnect];
    /// The broker does not serve at the moment.
    ServerUnavailable = 0x88, "server_unavailable", [Connack];
    /// The broker has too much to do.
    ServerBusy = 0x89, "server_busy", [Connack Disconnect];
    /// The client is banned.
    Banned = 0x8A, "banned", [Connack];
    /// The broker stops.
    ServerShuttingDown = 0x8B, "server_shutting_down", [Disconnect];
    /// The authentication method is unknown or not the one of CONNECT.
    BadAuthenticationMethod = 0x8C, "bad_authentication_method", [Connack Disconnect];
    /// Nothing came for one and a half keep alives.
    KeepAliveTimeout = 0x8D, "keep_alive_timeout", [Disconnect];
    /// Another connection has taken the client id over.
    SessionTakenOver = 0x8E, "session_taken_over", [Disconnect];
    /// The filter is well-formed text but not a valid filter.
    TopicFilterInvalid = 0x8F, "topic_filter_invalid", [Suback Unsuback Disconnect];
    /// The topic is well-formed text but not a valid topic name.
    TopicNameInvalid = 0x90, "topic_name_invalid", [Connack Puback Pubrec Disconnect];
    /// The packet id is in use already.
    PacketIdentifierInUse = 0x91, "packet_identifier_in_use", [Puback Pubrec Suback Unsuback];
    /// The packet id is not known.
    PacketIdentifierNotFound = 0x92, "packet_identifier_not_found", [Pubrel Pubcomp];
    /// More QoS 1 and 2 messages are open than the receive maximum allows.
    ReceiveMaximumExceeded = 0x93, "receive_maximum_exceeded", [Disconnect];
    /// The topic alias is 0 or above the maximum.
    TopicAliasInvalid = 0x94, "topic_alias_invalid", [Disconnect];
    /// The packet is larger than the maximum packet size.
    PacketTooLarge = 0x95, "packet_too_large", [Connack Disconnect];
    /// The client sends too fast.
    MessageRateTooHigh = 0x96, "message_rate_too_high", [Disconnect];
    /// A limit of the broker or an administrator is reached.
    QuotaExceeded = 0x97, "quota_exceeded", [Connack Puback Pubrec Suback Disconnect];
    /// An operator ended the connection.
    AdministrativeAction = 0x98, "administrative_action", [Disconnect];
    /// The payload is not what its format indicator promises.
    PayloadFormatInvalid = 0x99, "payload_format_invalid", [Connack Puback Pubrec Disconnect];
    /// Retained messages are not available.
    RetainNotSupported = 0x9A, "retain_not_supported", [Connack Disconnect];
    /// The QoS is above the maximum.
    QosNotSupported = 0x9B, "qos_not_supported", [Connack Disconnect];
    /// Go to another server for now.
    UseAnotherServer = 0x9C, "use_another_server", [Connack Disconnect];
    /// Go to another server for good.
    ServerMoved = 0x9D, "server_moved", [Connack Disconnect];
    /// Shared subscriptions are not available.
    SharedSubscriptionsNotSupported = 0x9E, "shared_subscriptions_not_supported", [Suback Disconnect];
    /// Too many connections arrive.
    ConnectionRateExceeded = 0x9F, "connection_rate_exceeded", [Connack Disconnect];
    /// The connection has lasted as long as it may.
    MaximumConnectTime = 0xA0, "maximum_connect_time", [Disconnect];
    /// Subscription identifiers are not available.
    SubscriptionIdentifiersNotSupported = 0xA1, "subscription_identifiers_not_supported",
        [Suback Disconnect];
    /// Wildcard subscriptions are not available.
    WildcardSubscriptionsNotSupported = 0xA2, "wildcard_subscriptions_not_supported",
        [Suback Disconnect];
}

/// For each byte the packets that may carry it; 0 where the byte is no reason code.
const ALLOWED: [u16; 256] = {
    let mut allowed = [0; 256];
    let mut row = 0;
    while row < ReasonCode::TABLE.len() {
        allowed[ReasonCode::TABLE[row].code as usize] = ReasonCode::TABLE[row].packets;
        row += 1;
    }
    allowed
};

impl ReasonCode {
    /// Tell whether the code reports a failure (0x80 and above).
    #[must_use]
    pub const fn is_error(self) -> bool {
        self as u8 >= 0x80
    }

    /// Return the code behind `number` if a packet of this type may carry it, else `None`.
    #[must_use]
    pub fn for_packet(number: u8, packet: PacketType) -> Option<Self> {
        is_allowed(number, packet).then(|| Self::try_from(number).ok()).flatten()
    }

    /// Return the CONNACK return code (0 to 5) that tells a 3.x client about this code.
    ///
    /// Codes that 3.x cannot say become the nearest one: what concerns the broker's state 3, what concerns the
    /// client's rights 5.
    ///
    /// Spec: MQTT 3.1.1, 3.2.2.3.
    #[must_use]
    pub const fn return_code(self) -> u8 {
        match self {
            Self::UnsupportedProtocolVersion => 1,
            Self::ClientIdentifierNotValid => 2,
            Self::BadUserNameOrPassword => 4,
            Self::UnspecifiedError
            | Self::ImplementationSpecificError
            | Self::ServerUnavailable
            | Self::ServerBusy
            | Self::ServerShuttingDown
            | Self::QuotaExceeded
            | Self::UseAnotherServer
            | Self::ServerMoved
            | Self::ConnectionRateExceeded => 3,
            code if code.is_error() => 5,
            _ => 0,
        }
    }

    /// Return the code that a 3.x CONNACK return code stands for; `None` above 5, which 3.x reserves.
    #[must_use]
    pub const fn from_return_code(return_code: u8) -> Option<Self> {
        match return_code {
            0 => Some(Self::Success),
            1 => Some(Self::UnsupportedProtocolVersion),
            2 => Some(Self::ClientIdentifierNotValid),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }
}

impl From<ReasonCode> for u8 {
    fn from(code: ReasonCode) -> Self {
        code as Self
    }
}

/// Tell whether a packet of this type may carry the code `number`.
#[must_use]
pub fn is_allowed(number: u8, packet: PacketType) -> bool {
    ALLOWED.get(usize::from(number)).is_some_and(|packets| packets & packet.bit() != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_rises_and_every_code_has_a_packet() {
        for pair in ReasonCode::TABLE.windows(2) {
            assert!(pair[0].code < pair[1].code);
        }
        for row in ReasonCode::TABLE {
            assert_ne!(row.packets, 0, "{}", row.name);
            assert_eq!(ReasonCode::try_from(row.code as u8), Ok(row.code));
            assert_eq!(row.code.name(), row.name);
        }
        assert_eq!(ReasonCode::TABLE.len(), 43);
    }

    #[test]
    fn a_byte_outside_the_table_is_carried_by_no_packet() {
        for number in 0..=u8::MAX {
            if ReasonCode::try_from(number).is_err() {
                assert!((1..=15).filter_map(PacketType::from_number).all(|p| !is_allowed(number, p)));
            }
        }
    }

    #[test]
    fn return_codes_survive_the_way_there_and_back() {
        for return_code in 0..=5 {
            let code = ReasonCode::from_return_code(return_code);
            assert_eq!(code.map(ReasonCode::return_code), Some(return_code));
        }
        assert_eq!(ReasonCode::from_return_code(6), None);
        assert_eq!(ReasonCode::Banned.return_code(), 5);
        assert_eq!(ReasonCode::QuotaExceeded.return_code(), 3);
    }
}
