//! Fixed header, remaining length and size limit.
//!
//! The only file that knows partial input: everything behind it works on one whole packet. A fault that shows in the
//! first bytes is reported as soon as they are there, so a longer buffer never changes the verdict.

use super::{Role, Version};
use crate::error::DecodeError;

/// The most bytes any packet can have: five of header and 268,435,455 behind it. Spec: MQTT 5.0, 2.1.4.
pub const MAX_PACKET_BYTES: u32 = 268_435_460;

/// The type of a control packet, by its number on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum PacketType {
    /// Client to server: open the connection.
    Connect = 1,
    /// Server to client: the answer to CONNECT.
    Connack = 2,
    /// A message, in either direction.
    Publish = 3,
    /// Answer to PUBLISH at QoS 1.
    Puback = 4,
    /// First answer to PUBLISH at QoS 2.
    Pubrec = 5,
    /// The sender's answer to PUBREC.
    Pubrel = 6,
    /// Last answer at QoS 2.
    Pubcomp = 7,
    /// Client to server: add subscriptions.
    Subscribe = 8,
    /// Server to client: the answer to SUBSCRIBE.
    Suback = 9,
    /// Client to server: remove subscriptions.
    Unsubscribe = 10,
    /// Server to client: the answer to UNSUBSCRIBE.
    Unsuback = 11,
    /// Client to server: are you there?
    Pingreq = 12,
    /// Server to client: yes.
    Pingresp = 13,
    /// The end of the connection; in 3.x from the client only.
    Disconnect = 14,
    /// A step of enhanced authentication; 5.0 only.
    Auth = 15,
}

impl PacketType {
    /// Return the type with this number; `None` for 0 and above 15.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Connect,
            2 => Self::Connack,
            3 => Self::Publish,
            4 => Self::Puback,
            5 => Self::Pubrec,
            6 => Self::Pubrel,
            7 => Self::Pubcomp,
            8 => Self::Subscribe,
            9 => Self::Suback,
            10 => Self::Unsubscribe,
            11 => Self::Unsuback,
            12 => Self::Pingreq,
            13 => Self::Pingresp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// Return the bit that stands for this type in a set of packet types.
    #[must_use]
    pub const fn bit(self) -> u16 {
        1 << self as u8
    }

    /// Return the first byte of a packet of this type, with the flags that the standard fixes (PUBLISH: none set).
    #[must_use]
    pub const fn first_byte(self) -> u8 {
        (self as u8) << 4 | self.fixed_flags()
    }

    /// `[MQTT5-3.6.1-1]` `[MQTT5-3.8.1-1]` `[MQTT5-3.10.1-1]`
    const fn fixed_flags(self) -> u8 {
        match self {
            Self::Pubrel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        }
    }

    /// Tell whether the side with this role may receive the packet.
    const fn is_for(self, role: Role, version: Version) -> bool {
        match (self, role) {
            (Self::Connack | Self::Suback | Self::Unsuback | Self::Pingresp, Role::Server)
            | (Self::Connect | Self::Subscribe | Self::Unsubscribe | Self::Pingreq, Role::Client) => false,
            (Self::Disconnect, Role::Client) => version.is_v5(),
            _ => true,
        }
    }
}

/// A fixed header whose remaining length is complete and within the limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct FixedHeader {
    pub(super) packet: PacketType,
    /// The low four bits of the first byte.
    pub(super) flags: u8,
    /// Bytes of the header itself.
    pub(super) header_bytes: usize,
    /// Bytes of the whole packet.
    pub(super) packet_bytes: usize,
}

/// Reads the fixed header at the front of `buf`; `None` while it is not complete.
#[inline]
pub(super) fn read_header(
    buf: &[u8],
    role: Role,
    version: Option<Version>,
    max_packet_bytes: u32,
) -> Result<Option<FixedHeader>, DecodeError> {
    let Some((&first, rest)) = buf.split_first() else {
        return Ok(None);
    };
    let packet = check_first_byte(first, role, version)?;
    let mut remaining = 0_u32;
    for (index, &byte) in rest.iter().take(4).enumerate() {
        remaining |= u32::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            let header_bytes = index + 2;
            let packet_bytes = header_bytes + remaining as usize;
            if packet_bytes > max_packet_bytes as usize {
                // At most MAX_PACKET_BYTES, by construction.
                let bytes = u32::try_from(packet_bytes).unwrap_or(u32::MAX);
                return Err(DecodeError::PacketTooLarge { bytes, limit: max_packet_bytes });
            }
            let flags = first & 0x0F;
            return Ok(Some(FixedHeader { packet, flags, header_bytes, packet_bytes }));
        }
    }
    // The fourth byte still announced a fifth: malformed, whether it is here or not.
    if rest.len() >= 4 { Err(DecodeError::RemainingLength) } else { Ok(None) }
}

/// Judges type and flags, which need no other byte.
#[inline]
fn check_first_byte(first: u8, role: Role, version: Option<Version>) -> Result<PacketType, DecodeError> {
    let number = first >> 4;
    let flags = first & 0x0F;
    let packet = PacketType::from_number(number);
    let Some(version) = version else {
        // [MQTT5-3.1.0-1] A client that has not said its version yet may send nothing but CONNECT.
        return match packet {
            Some(PacketType::Connect) if flags == 0 => Ok(PacketType::Connect),
            Some(packet @ PacketType::Connect) => Err(DecodeError::ReservedFlags { packet, flags }),
            _ => Err(DecodeError::NotConnect { number }),
        };
    };
    let Some(packet) = packet else {
        return Err(DecodeError::PacketType { number });
    };
    match packet {
        PacketType::Publish => match flags & 0b0110 {
            0b0110 => return Err(DecodeError::PublishQos), // [MQTT5-3.3.1-4]
            0 if flags & 0b1000 != 0 => return Err(DecodeError::DupAtQosZero), // [MQTT5-3.3.1-2]
            _ => {}
        },
        PacketType::Auth if !version.is_v5() => return Err(DecodeError::PacketType { number }),
        _ if !packet.is_for(role, version) => return Err(DecodeError::UnexpectedPacket { packet }),
        _ if flags != packet.fixed_flags() => {
            return Err(DecodeError::ReservedFlags { packet, flags }); // [MQTT5-2.1.3-1]
        }
        _ => {}
    }
    Ok(packet)
}

/// Returns the bytes of a packet with so many bytes behind its fixed header.
pub(super) const fn packet_bytes(remaining: usize) -> usize {
    1 + super::wire::varint_bytes(remaining) + remaining
}

/// Writes a fixed header and makes room for what follows it.
pub(super) fn put_header(out: &mut Vec<u8>, first: u8, remaining: usize) {
    out.reserve(packet_bytes(remaining));
    out.push(first);
    super::wire::put_varint(out, remaining);
}
