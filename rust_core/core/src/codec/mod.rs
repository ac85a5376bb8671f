//! The MQTT codec: bytes in, packets out, and back, for 3.1, 3.1.1 and 5.0 in both directions.
//!
//! Packets borrow from the bytes they were read from. The version is an argument everywhere, never a second tree.
//! What one packet alone can tell is judged here; what needs a session, a policy or another packet is not.

mod ack;
pub mod alias;
mod auth;
mod connack;
mod connect;
mod disconnect;
mod frame;
mod ping;
mod properties;
mod publish;
mod subscribe;
mod unsubscribe;
mod wire;

pub use ack::{Ack, encode_ack};
pub use auth::{Auth, encode_auth};
pub use connack::{Connack, ConnackProperties, encode_connack};
pub use connect::{Connect, ConnectProperties, Will, encode_connect};
pub use disconnect::{Disconnect, encode_disconnect};
pub use frame::{MAX_PACKET_BYTES, PacketType};
pub use ping::{PINGREQ, PINGRESP};
pub use properties::{Properties, Property, PropertyId, PropertyKind, PropertyRow, PropertyValue, UserProperties};
pub use publish::{
    Forwardable, Publish, PublishOut, PublishProperties, encode_publish, encode_publish_head, payload_is_utf8,
    publish_len,
};
pub use subscribe::{Suback, Subscribe, SubscribeFilters, SubscribeOptions, encode_suback, encode_subscribe};
pub use unsubscribe::{Unsuback, Unsubscribe, UnsubscribeFilters, encode_unsuback, encode_unsubscribe};

use crate::error::DecodeError;
use frame::{FixedHeader, read_header};
use wire::Reader;

/// A version of the protocol, by its level on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Version {
    /// MQTT 3.1 (`MQIsdp`).
    V31 = 3,
    /// MQTT 3.1.1.
    V311 = 4,
    /// MQTT 5.0.
    V5 = 5,
}

impl Version {
    /// Tell whether packets have properties and reason codes.
    #[must_use]
    pub const fn is_v5(self) -> bool {
        matches!(self, Self::V5)
    }
}

/// A quality of service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
pub enum QoS {
    /// QoS 0: not acknowledged.
    #[default]
    AtMostOnce = 0,
    /// QoS 1: acknowledged, may come twice.
    AtLeastOnce = 1,
    /// QoS 2: comes once.
    ExactlyOnce = 2,
}

impl QoS {
    /// Return the QoS in the two lowest bits; `None` for 3.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits & 0b11 {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

impl TryFrom<u8> for QoS {
    type Error = u8;

    /// Turn a number into its QoS; any other number comes back as the error.
    fn try_from(number: u8) -> Result<Self, u8> {
        if number > 2 { Err(number) } else { Self::from_bits(number).ok_or(number) }
    }
}

/// Which side decodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It receives what clients send.
    Server,
    /// It receives what servers send.
    Client,
}

/// A control packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Packet<'a> {
    /// Boxed, because it is large and comes once.
    Connect(Box<Connect<'a>>),
    /// Boxed, because it is large and comes once.
    Connack(Box<Connack<'a>>),
    /// A message.
    Publish(Publish<'a>),
    /// QoS 1 is done.
    Puback(Ack<'a>),
    /// QoS 2, first answer.
    Pubrec(Ack<'a>),
    /// QoS 2, the sender releases the message.
    Pubrel(Ack<'a>),
    /// QoS 2 is done.
    Pubcomp(Ack<'a>),
    /// Add subscriptions.
    Subscribe(Subscribe<'a>),
    /// The answer to SUBSCRIBE.
    Suback(Suback<'a>),
    /// Remove subscriptions.
    Unsubscribe(Unsubscribe<'a>),
    /// The answer to UNSUBSCRIBE.
    Unsuback(Unsuback<'a>),
    /// Are you there?
    Pingreq,
    /// Yes.
    Pingresp,
    /// The end of the connection.
    Disconnect(Disconnect<'a>),
    /// A step of enhanced authentication.
    Auth(Auth<'a>),
}

impl Packet<'_> {
    /// Return the packet's type.
    #[must_use]
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::Connack(_) => PacketType::Connack,
            Self::Publish(_) => PacketType::Publish,
            Self::Puback(_) => PacketType::Puback,
            Self::Pubrec(_) => PacketType::Pubrec,
            Self::Pubrel(_) => PacketType::Pubrel,
            Self::Pubcomp(_) => PacketType::Pubcomp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::Suback(_) => PacketType::Suback,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::Unsuback(_) => PacketType::Unsuback,
            Self::Pingreq => PacketType::Pingreq,
            Self::Pingresp => PacketType::Pingresp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }
}

/// Reads the packets of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    max_packet_bytes: u32,
    role: Role,
    version: Option<Version>,
}

impl Decoder {
    /// Make a decoder that does not know the version yet.
    ///
    /// As a server it takes nothing but CONNECT until one has said the version; as a client it reads 3.1.1 (use
    /// [`Self::with_version`] there). `max_packet_bytes` counts whole packets, header included.
    #[must_use]
    pub const fn new(role: Role, max_packet_bytes: u32) -> Self {
        let version = match role {
            Role::Server => None,
            Role::Client => Some(Version::V311),
        };
        Self { max_packet_bytes, role, version }
    }

    /// Make a decoder for a connection whose version is known.
    #[must_use]
    pub const fn with_version(role: Role, version: Version, max_packet_bytes: u32) -> Self {
        Self { max_packet_bytes, role, version: Some(version) }
    }

    /// Return the version of the connection; `None` before the protocol level of a first CONNECT was readable.
    #[must_use]
    pub const fn version(&self) -> Option<Version> {
        self.version
    }

    /// Return the bytes of the whole packet at the front of `buf`; `None` while its fixed header is not complete.
    ///
    /// # Errors
    /// What the fixed header alone can tell, the size limit included: nobody need read an oversized packet in.
    pub fn packet_len(&self, buf: &[u8]) -> Result<Option<usize>, DecodeError> {
        let header = read_header(buf, self.role, self.version, self.max_packet_bytes)?;
        Ok(header.map(|header| header.packet_bytes))
    }

    /// Read the packet at the front of `buf` and return it with the bytes it took; `None` while it is not complete.
    ///
    /// The first CONNECT sets the version, also when it is refused behind its protocol level.
    ///
    /// # Errors
    /// Why the bytes are no packet for this side. More bytes behind `buf` would not change that.
    #[inline]
    pub fn decode<'a>(&mut self, buf: &'a [u8]) -> Result<Option<(Packet<'a>, usize)>, DecodeError> {
        let Some(header) = read_header(buf, self.role, self.version, self.max_packet_bytes)? else {
            return Ok(None);
        };
        let Some(body) = buf.get(header.header_bytes..header.packet_bytes) else {
            return Ok(None);
        };
        let packet = self.decode_body(header, body)?;
        Ok(Some((packet, header.packet_bytes)))
    }

    #[inline]
    fn decode_body<'a>(&mut self, header: FixedHeader, body: &'a [u8]) -> Result<Packet<'a>, DecodeError> {
        let version = self.version.unwrap_or(Version::V311);
        let packet = header.packet;
        Ok(match packet {
            PacketType::Publish => Packet::Publish(publish::decode(version, self.role, header.flags, body)?),
            PacketType::Puback => Packet::Puback(ack::decode(packet, version, body)?),
            PacketType::Pubrec => Packet::Pubrec(ack::decode(packet, version, body)?),
            PacketType::Pubrel => Packet::Pubrel(ack::decode(packet, version, body)?),
            PacketType::Pubcomp => Packet::Pubcomp(ack::decode(packet, version, body)?),
            PacketType::Subscribe => Packet::Subscribe(subscribe::decode(version, body)?),
            PacketType::Suback => Packet::Suback(subscribe::decode_suback(version, body)?),
            PacketType::Unsubscribe => Packet::Unsubscribe(unsubscribe::decode(version, body)?),
            PacketType::Unsuback => Packet::Unsuback(unsubscribe::decode_unsuback(version, body)?),
            PacketType::Pingreq => Reader::new(body).finish().map(|()| Packet::Pingreq)?,
            PacketType::Pingresp => Reader::new(body).finish().map(|()| Packet::Pingresp)?,
            PacketType::Disconnect => Packet::Disconnect(disconnect::decode(version, self.role, body)?),
            PacketType::Auth => Packet::Auth(auth::decode(body)?),
            PacketType::Connack => Packet::Connack(Box::new(connack::decode(version, body)?)),
            PacketType::Connect => {
                let mut reader = Reader::new(body);
                let (version, is_bridge) = connect::read_version(&mut reader)?;
                self.version.get_or_insert(version);
                Packet::Connect(Box::new(connect::decode(version, is_bridge, reader)?))
            }
        })
    }
}

/// Append a packet in the form of `version`; CONNECT has its own.
///
/// Packets that a version does not have are written all the same: it is for tests and bridges, which know what they
/// send. The server's own packets have functions that keep the receiver's limit.
pub fn encode(out: &mut Vec<u8>, version: Version, packet: &Packet<'_>) {
    let limit = MAX_PACKET_BYTES;
    match packet {
        Packet::Connect(connect) => encode_connect(out, connect),
        Packet::Connack(connack) => encode_connack(out, version, connack, limit),
        Packet::Publish(publish) => publish::encode(out, version, publish),
        Packet::Puback(ack) | Packet::Pubrec(ack) | Packet::Pubrel(ack) | Packet::Pubcomp(ack) => {
            encode_ack(out, version, packet.packet_type(), ack, limit);
        }
        Packet::Subscribe(subscribe) => encode_subscribe(out, version, subscribe),
        Packet::Suback(suback) => encode_suback(out, version, suback, limit),
        Packet::Unsubscribe(unsubscribe) => encode_unsubscribe(out, version, unsubscribe),
        Packet::Unsuback(unsuback) => encode_unsuback(out, version, unsuback, limit),
        Packet::Pingreq => out.extend_from_slice(&PINGREQ),
        Packet::Pingresp => out.extend_from_slice(&PINGRESP),
        Packet::Disconnect(disconnect) => encode_disconnect(out, version, disconnect, limit),
        Packet::Auth(auth) => encode_auth(out, auth, limit),
    }
}
