//! PINGREQ and PINGRESP, which are a fixed header and nothing else.

use super::PacketType;

/// A whole PINGREQ.
pub const PINGREQ: [u8; 2] = [PacketType::Pingreq.first_byte(), 0];

/// A whole PINGRESP.
pub const PINGRESP: [u8; 2] = [PacketType::Pingresp.first_byte(), 0];
