//! The QoS 1 and 2 messages that were sent to the client and are not finished.
//!
//! Invariants: a packet id stands here at most once; the order of first sending is kept by a sequence number; a slot
//! without an entry waits for PUBCOMP. A slot is withheld while the connection at hand has not yet carried it again.

use super::entry::Entry;
use super::packet_id::PacketIds;
use super::slots::Slots;

/// What a PUBREC from the client means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pubrec<M> {
    /// The client has the message: answer PUBREL. Also for a PUBREC that comes again.
    Release,
    /// The client refused the message, which ends the exchange; nothing is answered. [MQTT5-4.4.0-2]
    Ended(Entry<M>),
    /// No QoS 2 message with this id is open: 5.0 answers PUBREL 0x92.
    Unknown,
}

/// What a new connection has to carry again. [MQTT5-4.4.0-1] [MQTT3-4.4.0-1]
#[derive(Debug, PartialEq, Eq)]
pub enum Resend<'a, M> {
    /// A PUBLISH with DUP set and its first packet id.
    Publish {
        /// The id of the first sending.
        packet_id: u16,
        /// The message; its expiry no longer matters.
        entry: &'a Entry<M>,
    },
    /// A PUBREL: the client answered PUBREC already, so the message itself is never sent again. [MQTT5-4.3.3-6]
    Release {
        /// The id of the first sending.
        packet_id: u16,
    },
}

/// What is kept of the time of sending: a slot has three bytes to spare.
const LOW_BITS: u64 = 0xFF_FFFF;

#[derive(Debug)]
struct Slot<M> {
    /// `None` once PUBREC came: the message is the client's then.
    entry: Option<Entry<M>>,
    sequence: u32,
    is_withheld: bool,
    /// When it was sent last, in the low 24 bits of the engine's time (4.6 hours); 0: nobody noted it.
    sent_ms: [u8; 3],
}

/// Everything unfinished towards one client, found by packet id in O(1).
#[derive(Debug)]
pub(super) struct Inflight<M> {
    slots: Slots<Slot<M>>,
    next_sequence: u32,
    withheld: u16,
    packet_ids: PacketIds,
}

impl<M> Inflight<M> {
    pub(super) fn new() -> Self {
        Self { slots: Slots::default(), next_sequence: 0, withheld: 0, packet_ids: PacketIds::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Returns whether something waits to be carried again by the connection at hand.
    pub(super) fn is_withholding(&self) -> bool {
        self.withheld > 0
    }

    /// Returns how many exchanges the connection at hand has open, which is what `receive_maximum` bounds.
    pub(super) fn open(&self) -> usize {
        self.slots.len() - usize::from(self.withheld)
    }

    /// Returns the id for one more message, or `None` if `bound` exchanges are open or older ones go first.
    pub(super) fn free_packet_id(&self, bound: u16) -> Option<u16> {
        // [MQTT5-3.3.4-9] [MQTT5-4.9.0-2]
        if self.is_withholding() || self.open() >= usize::from(bound) {
            return None;
        }
        self.packet_ids.next_free(|packet_id| self.slots.contains(packet_id))
    }

    /// Opens an exchange under `packet_id`, which `free_packet_id` returned.
    pub(super) fn insert(&mut self, packet_id: u16, entry: Entry<M>) {
        if self.next_sequence == u32::MAX {
            self.renumber();
        }
        let slot = Slot { entry: Some(entry), sequence: self.next_sequence, is_withheld: false, sent_ms: [0; 3] };
        self.next_sequence += 1;
        self.packet_ids.advance_to(packet_id);
        self.slots.insert(packet_id, slot);
    }

    /// Notes when the message under `packet_id` was sent.
    pub(super) fn note_sent(&mut self, packet_id: u16, now_ms: u64) {
        if let Some(slot) = self.slots.get_mut(packet_id) {
            let [_, _, _, _, _, high, middle, low] = (now_ms & LOW_BITS).max(1).to_be_bytes();
            slot.sent_ms = [high, middle, low];
        }
    }

    /// Returns the unanswered message under `packet_id`, and how long before `now_ms` it was sent if that was noted.
    pub(super) fn sent(&self, packet_id: u16, now_ms: u64) -> Option<(&Entry<M>, Option<u64>)> {
        let slot = self.slots.get(packet_id)?;
        let [high, middle, low] = slot.sent_ms;
        let sent_ms = u64::from(u32::from_be_bytes([0, high, middle, low]));
        Some((slot.entry.as_ref()?, (sent_ms > 0).then(|| now_ms.wrapping_sub(sent_ms) & LOW_BITS)))
    }

    /// Ends a QoS 1 exchange; `None` if there is none with this id.
    pub(super) fn acknowledge(&mut self, packet_id: u16) -> Option<Entry<M>> {
        self.remove_if(packet_id, |entry| entry.qos == 1)
    }

    /// Ends the exchange of a message that was given an id but never left.
    pub(super) fn abandon(&mut self, packet_id: u16) -> Option<Entry<M>> {
        let entry = self.remove_if(packet_id, |_| true)?;
        self.packet_ids.take_back(packet_id);
        Some(entry)
    }

    /// Takes a PUBREC. After the first good one the message is dropped and only its id is kept.
    pub(super) fn receive(&mut self, packet_id: u16, is_failure: bool) -> Pubrec<M> {
        if is_failure && let Some(entry) = self.remove_if(packet_id, |entry| entry.qos == 2) {
            return Pubrec::Ended(entry);
        }
        match self.slots.get_mut(packet_id) {
            Some(slot) if slot.entry.as_ref().is_none_or(|entry| entry.qos == 2) => {
                slot.entry = None;
                if std::mem::take(&mut slot.is_withheld) {
                    self.withheld -= 1;
                }
                Pubrec::Release
            }
            _ => Pubrec::Unknown,
        }
    }

    /// Ends a QoS 2 exchange that PUBREL was sent for; says whether there was one.
    pub(super) fn complete(&mut self, packet_id: u16) -> bool {
        let is_known = self.slots.remove_if(packet_id, |slot| slot.entry.is_none()).is_some();
        self.begin_anew_when_empty();
        is_known
    }

    /// Sorts what a new connection carries at once from what waits for acknowledgements: (ids now, ids later).
    ///
    /// Both are in the order of first sending. PUBREL is never withheld, yet counts as an open exchange, so that no
    /// reading of the standard makes more than `receive_maximum` of them.
    pub(super) fn begin_connection(&mut self, receive_maximum: u16) -> (Vec<u16>, Vec<u16>) {
        let ids = self.ordered_ids();
        let releases = self.slots.iter().filter(|(_, slot)| slot.entry.is_none()).count();
        let mut room = usize::from(receive_maximum).saturating_sub(releases);
        let mut now = Vec::with_capacity(ids.len());
        let mut later = Vec::new();
        self.withheld = 0;
        for packet_id in ids {
            let Some(slot) = self.slots.get_mut(packet_id) else {
                continue;
            };
            slot.is_withheld = slot.entry.is_some() && room == 0;
            if slot.is_withheld {
                self.withheld += 1;
                later.push(packet_id);
            } else {
                room -= usize::from(slot.entry.is_some());
                now.push(packet_id);
            }
        }
        (now, later)
    }

    /// Marks `packet_id` as carried again; false if it is no longer withheld.
    pub(super) fn carry_again(&mut self, packet_id: u16) -> bool {
        match self.slots.get_mut(packet_id) {
            Some(slot) if slot.is_withheld => {
                slot.is_withheld = false;
                self.withheld -= 1;
                true
            }
            _ => false,
        }
    }

    /// Returns the message under `packet_id` that the client has not answered yet.
    pub(super) fn entry(&self, packet_id: u16) -> Option<&Entry<M>> {
        self.slots.get(packet_id)?.entry.as_ref()
    }

    /// Returns what stands under `packet_id`, as it would be sent again.
    pub(super) fn get(&self, packet_id: u16) -> Option<Resend<'_, M>> {
        let slot = self.slots.get(packet_id)?;
        Some(match &slot.entry {
            Some(entry) => Resend::Publish { packet_id, entry },
            None => Resend::Release { packet_id },
        })
    }

    /// Returns the ids in the order of first sending. O(n log n).
    pub(super) fn ordered_ids(&self) -> Vec<u16> {
        self.ordered().into_iter().map(|(_, packet_id)| packet_id).collect()
    }

    /// Returns the sequence numbers and ids in the order of first sending. O(n log n).
    pub(super) fn ordered(&self) -> Vec<(u32, u16)> {
        let mut order: Vec<(u32, u16)> = self.slots.iter().map(|(id, slot)| (slot.sequence, id)).collect();
        order.sort_unstable();
        order
    }

    /// Takes out the unacknowledged QoS 1 messages of shared subscriptions, oldest first.
    ///
    /// A QoS 2 message stays: it may be with the client already. [MQTT5-4.8.2-4]
    pub(super) fn take_shared(&mut self) -> Vec<Entry<M>> {
        if !self.slots.iter().any(|(_, slot)| slot.may_move()) {
            return Vec::new();
        }
        let ids = self.ordered_ids();
        ids.into_iter()
            .filter_map(|packet_id| self.remove_if(packet_id, |entry| entry.qos == 1 && entry.is_shared))
            .collect()
    }

    fn remove_if(&mut self, packet_id: u16, condition: impl FnOnce(&Entry<M>) -> bool) -> Option<Entry<M>> {
        let slot = self.slots.remove_if(packet_id, |slot| slot.entry.as_ref().is_some_and(condition))?;
        self.withheld -= u16::from(slot.is_withheld);
        self.begin_anew_when_empty();
        slot.entry
    }

    fn begin_anew_when_empty(&mut self) {
        if self.slots.len() == 0 {
            self.next_sequence = 0;
        }
    }

    /// Gives back the heap if nothing is open.
    pub(super) fn release(&mut self) {
        self.slots.release();
    }

    fn renumber(&mut self) {
        self.next_sequence = 0;
        for packet_id in self.ordered_ids() {
            if let Some(slot) = self.slots.get_mut(packet_id) {
                slot.sequence = self.next_sequence;
                self.next_sequence += 1;
            }
        }
    }
}

impl<M> Slot<M> {
    fn may_move(&self) -> bool {
        self.entry.as_ref().is_some_and(|entry| entry.qos == 1 && entry.is_shared)
    }
}

#[cfg(test)]
impl<M> Inflight<M> {
    pub(super) fn has_heap(&self) -> bool {
        self.slots.has_heap()
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::entry;
    use super::*;

    #[test]
    fn the_order_of_first_sending_survives_renumbering() {
        let mut inflight = Inflight::new();
        inflight.insert(9, entry("a", 1));
        inflight.next_sequence = u32::MAX - 1;
        inflight.insert(3, entry("b", 1));
        inflight.insert(6, entry("c", 1));
        assert_eq!(inflight.ordered_ids(), [9, 3, 6]);
        assert_eq!(inflight.next_sequence, 3);
    }

    #[test]
    fn the_heap_of_the_last_exchange_is_kept_until_it_is_released() {
        let mut inflight = Inflight::new();
        inflight.insert(1, entry("a", 1));
        inflight.insert(2, entry("b", 2));
        inflight.acknowledge(1);
        assert_eq!(inflight.receive(2, false), Pubrec::Release);
        assert!(inflight.complete(2));
        assert!(inflight.has_heap());
        inflight.release();
        assert!(!inflight.has_heap());
        assert_eq!(inflight.next_sequence, 0);
    }

    #[test]
    fn the_time_since_the_sending_is_known_once_it_was_noted() {
        let mut inflight = Inflight::new();
        inflight.insert(1, entry("a", 1));
        assert_eq!(inflight.sent(1, 5).map(|(_, since)| since), Some(None));
        for sent_ms in [1_000, LOW_BITS - 1, 7 << 24, u64::MAX - 400] {
            inflight.note_sent(1, sent_ms);
            assert!(
                inflight
                    .sent(1, sent_ms + 300)
                    .and_then(|(_, since)| since)
                    .is_some_and(|ms| (299..=300).contains(&ms))
            );
        }
        assert_eq!(inflight.sent(2, 5).map(|(_, since)| since), None);
    }

    #[test]
    fn a_slot_with_its_key_takes_one_cache_line() {
        assert!(size_of::<Option<(u16, Slot<std::sync::Arc<()>>)>>() <= 64);
    }
}
