//! Packet ids of QoS 2 publications that the client sent and has not released yet.
//!
//! An id stands here from its first PUBLISH until PUBREL; a PUBLISH with the same id in between is the same message
//! again. The ids are the client's own and never meet the ids towards it. The set outlives connections.

use super::slots::Slots;

/// What a QoS 2 PUBLISH from the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InboundQos2 {
    /// A message not seen before: take it on, then answer PUBREC.
    New,
    /// The same message again: answer PUBREC, route nothing.
    Duplicate,
    /// More ids wait for PUBREL than are allowed: nothing was noted (5.0: DISCONNECT 0x93).
    Full,
}

/// The ids that wait for PUBREL, each with the time its PUBLISH was last seen.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    awaiting_release: Slots<u64>,
}

impl Inbound {
    pub(super) fn len(&self) -> usize {
        self.awaiting_release.len()
    }

    /// Notes a PUBLISH. A duplicate renews the time: the client shows that it still holds on to this exchange.
    pub(super) fn publish(&mut self, packet_id: u16, now_ms: u64, max_awaiting: u16) -> InboundQos2 {
        if let Some(seen_at_ms) = self.awaiting_release.get_mut(packet_id) {
            // [MQTT5-4.3.3-10] [MQTT3-4.3.3-2]
            *seen_at_ms = now_ms;
            return InboundQos2::Duplicate;
        }
        if max_awaiting > 0 && self.len() >= usize::from(max_awaiting) {
            return InboundQos2::Full;
        }
        self.awaiting_release.insert(packet_id, now_ms);
        InboundQos2::New
    }

    /// Says whether `packet_id` is there.
    pub(super) fn contains(&self, packet_id: u16) -> bool {
        self.awaiting_release.contains(packet_id)
    }

    /// Frees `packet_id`; says whether it was there. [MQTT5-4.3.3-12]
    pub(super) fn remove(&mut self, packet_id: u16) -> bool {
        self.awaiting_release.remove(packet_id).is_some()
    }

    /// Frees the ids not seen for `timeout_ms` or longer; returns how many.
    pub(super) fn expire(&mut self, now_ms: u64, timeout_ms: u64) -> usize {
        self.awaiting_release.retain(|seen_at_ms| now_ms.saturating_sub(*seen_at_ms) < timeout_ms)
    }

    /// Whether there is a table, be it empty.
    pub(super) fn has_heap(&self) -> bool {
        self.awaiting_release.has_heap()
    }

    /// Gives back the heap if no id is left.
    pub(super) fn release(&mut self) {
        self.awaiting_release.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_id_is_a_duplicate_until_it_is_released() {
        let mut inbound = Inbound::default();
        assert_eq!(inbound.publish(7, 0, 0), InboundQos2::New);
        assert_eq!(inbound.publish(7, 1, 0), InboundQos2::Duplicate);
        assert!(inbound.remove(7));
        assert!(!inbound.remove(7));
        assert_eq!(inbound.publish(7, 2, 0), InboundQos2::New);
    }

    #[test]
    fn the_limit_refuses_new_ids_but_not_duplicates() {
        let mut inbound = Inbound::default();
        assert_eq!(inbound.publish(1, 0, 2), InboundQos2::New);
        assert_eq!(inbound.publish(2, 0, 2), InboundQos2::New);
        assert_eq!(inbound.publish(3, 0, 2), InboundQos2::Full);
        assert_eq!(inbound.publish(2, 0, 2), InboundQos2::Duplicate);
        assert_eq!(inbound.len(), 2);
    }

    #[test]
    fn ids_expire_after_the_timeout_counted_from_the_last_publish() {
        let mut inbound = Inbound::default();
        inbound.publish(1, 1_000, 0);
        inbound.publish(2, 1_000, 0);
        inbound.publish(2, 1_500, 0);
        assert_eq!(inbound.expire(1_999, 1_000), 0);
        assert_eq!(inbound.expire(2_000, 1_000), 1);
        assert_eq!(inbound.publish(2, 2_100, 0), InboundQos2::Duplicate);
        assert_eq!(inbound.publish(1, 2_100, 0), InboundQos2::New);
    }

    #[test]
    fn the_heap_of_the_last_id_is_kept_until_it_is_released() {
        let mut inbound = Inbound::default();
        inbound.publish(1, 0, 0);
        inbound.release();
        assert!(inbound.contains(1));
        inbound.remove(1);
        assert!(inbound.has_heap());
        inbound.release();
        assert!(!inbound.has_heap());
    }
}
