//! A hash map keyed by packet ids, with a hash that costs one multiplication.
//!
//! The key space has 65,536 values and both halves of the product reach the table, so ids that a client picks on purpose
//! cost at most a few more probes; a keyed hash would only make each acknowledgement dearer.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map from packet ids to `V`; owns no heap while its capacity is 0.
pub(super) type PacketIdMap<V> = HashMap<u16, V, BuildHasherDefault<PacketIdHasher>>;

/// Spreads a packet id over 64 bits.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct PacketIdHasher {
    hash: u64,
}

impl Hasher for PacketIdHasher {
    fn finish(&self) -> u64 {
        self.hash
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u16(u16::from(byte));
        }
    }

    fn write_u16(&mut self, packet_id: u16) {
        // 2^64 divided by the golden ratio, made odd: neighbours land far apart.
        let product = (self.hash ^ u64::from(packet_id)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.hash = product ^ (product >> 32);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn every_packet_id_has_a_hash_of_its_own() {
        let hasher = BuildHasherDefault::<PacketIdHasher>::default();
        let seen: HashSet<u64> = (0..=u16::MAX).map(|id| hasher.hash_one(id)).collect();
        assert_eq!(seen.len(), 65_536);
    }

    #[test]
    fn bytes_are_hashed_in_order() {
        let hash = |bytes: &[u8]| {
            let mut hasher = PacketIdHasher::default();
            hasher.write(bytes);
            hasher.finish()
        };
        assert_ne!(hash(b"ab"), hash(b"ba"));
    }
}
