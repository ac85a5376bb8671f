//! Packet ids of one session towards its client.
//!
//! They count 1, 2, 3 and so on over the life of the session, connections included; 0 is never given out and 65,535 is
//! followed by 1. Which ids are taken is known to the in-flight window alone, so it is asked and nothing is kept twice.

/// The last packet id that was given out; 0 before the first.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct PacketIds {
    last: u16,
}

impl PacketIds {
    /// Returns the id that comes next, without giving it out, or `None` if all 65,535 are taken.
    ///
    /// `is_taken` is asked once where nothing is in the way, at most 65,535 times after a wrap.
    pub(super) fn next_free(self, is_taken: impl Fn(u16) -> bool) -> Option<u16> {
        // [MQTT5-2.2.1-3] [MQTT5-2.2.1-4] [MQTT3-2.3.1-1] [MQTT3-2.3.1-4]
        let mut candidate = self.last;
        for _ in 0..u16::MAX {
            candidate = candidate.checked_add(1).unwrap_or(1);
            if !is_taken(candidate) {
                return Some(candidate);
            }
        }
        None
    }

    /// Marks `packet_id`, which `next_free` returned, as given out.
    pub(super) fn advance_to(&mut self, packet_id: u16) {
        self.last = packet_id;
    }

    /// Takes `packet_id` back if it was the last one given out, so that an id the client never saw leaves no gap.
    pub(super) fn take_back(&mut self, packet_id: u16) {
        if self.last == packet_id {
            self.last = packet_id.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(_: u16) -> bool {
        false
    }

    #[test]
    fn ids_count_from_one_and_skip_zero_at_the_wrap() {
        let mut ids = PacketIds::default();
        assert_eq!(ids.next_free(free), Some(1));
        ids.advance_to(1);
        assert_eq!(ids.next_free(free), Some(2));
        ids.advance_to(65_535);
        assert_eq!(ids.next_free(free), Some(1));
    }

    #[test]
    fn taken_ids_are_skipped_also_across_the_wrap() {
        let ids = PacketIds { last: 65_533 };
        assert_eq!(ids.next_free(|id| !(3..65_534).contains(&id)), Some(3));
    }

    #[test]
    fn there_is_no_id_when_all_are_taken() {
        assert_eq!(PacketIds { last: 7 }.next_free(|_| true), None);
        assert_eq!(PacketIds { last: 7 }.next_free(|id| id != 7), Some(7));
    }

    #[test]
    fn only_the_last_id_is_taken_back() {
        let mut ids = PacketIds { last: 9 };
        ids.take_back(8);
        assert_eq!(ids.next_free(free), Some(10));
        ids.take_back(9);
        assert_eq!(ids.next_free(free), Some(9));
        let mut wrapped = PacketIds { last: 1 };
        wrapped.take_back(1);
        assert_eq!(wrapped.next_free(free), Some(1));
    }
}
