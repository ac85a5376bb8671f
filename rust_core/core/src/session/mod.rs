//! The QoS state of one session: what is in flight to its client, what waits, which ids the client has not released.
//!
//! A `Window` outlives connections and does no I/O; time comes in as monotonic milliseconds. Most sessions of a broker are
//! idle: while nothing is in flight, waiting or unreleased it holds no heap but small tables for the next burst, which
//! `release` gives back. It is generic over the handle of the message, so that the payload is held once however many
//! windows it stands in.
//!
//! Order: within one priority, QoS 1 and 2 messages leave in the order in which they were offered. QoS 0 has no part in
//! the window and may pass them.

mod entry;
mod inbound;
mod inflight;
mod packet_id;
mod packet_id_map;
mod queue;
mod slots;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

pub use entry::{Entry, Limits, Overflow, SmallIds};
pub use inbound::InboundQos2;
pub use inflight::{Pubrec, Resend};

use inbound::Inbound;
use inflight::Inflight;
use queue::Queue;

/// What became of an offered entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offer<M> {
    /// In flight: the caller sends the PUBLISH now.
    Send {
        /// The id to send it with.
        packet_id: u16,
    },
    /// It waits for `Window::next`.
    Queued {
        /// What had to make room for it, oldest first; empty without an allocation where nothing had to.
        evicted: Vec<Entry<M>>,
    },
    /// Given back: the queue is full, or QoS 0 does not wait here.
    Refused(Entry<M>),
    /// The queue is full and its policy is to end the connection; the entry is gone.
    Disconnect,
}

/// What a connection may send next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a, M> {
    /// A QoS 1 or 2 message, in flight from now on.
    Send {
        /// The id to send it with.
        packet_id: u16,
        /// The message.
        entry: &'a Entry<M>,
    },
    /// A QoS 0 message, which nothing is kept of.
    SendQos0(Entry<M>),
    /// Something of an earlier connection that `Window::resume` had no room for.
    Resend(Resend<'a, M>),
    /// A message that expired while it waited: dropped, ask again.
    Expired(Entry<M>),
    /// Nothing may be sent now.
    None,
}

/// An exchange that is open towards the client, as shown to an operator.
#[derive(Debug, PartialEq, Eq)]
pub struct InflightItem<'a, M> {
    /// The id it goes by.
    pub packet_id: u16,
    /// Place in the order of first sending.
    pub sequence: u32,
    /// The message, or `None` once the client has it and only PUBCOMP is awaited.
    pub entry: Option<&'a Entry<M>>,
}

/// A message that waits, as shown to an operator.
#[derive(Debug, PartialEq, Eq)]
pub struct QueuedItem<'a, M> {
    /// Place in the order of arrival; it stays while the entry waits, and grows within one priority and QoS.
    pub position: u64,
    /// The message.
    pub entry: &'a Entry<M>,
}

/// What few sessions need at a time.
#[derive(Debug)]
struct Backlog<M> {
    queue: Queue<M>,
    inbound: Inbound,
    /// Ids still to be carried again, in order; may name ids that ended meanwhile, which `Inflight` knows.
    withheld: VecDeque<u16>,
}

/// The QoS windows of one session, both directions.
#[derive(Debug)]
pub struct Window<M> {
    inflight: Inflight<M>,
    backlog: Option<Box<Backlog<M>>>,
}

impl<M> Default for Window<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M> Window<M> {
    /// Makes the window of a new session: nothing open, first packet id 1. No heap.
    #[must_use]
    pub fn new() -> Self {
        Self { inflight: Inflight::new(), backlog: None }
    }

    /// Takes one message for the client.
    ///
    /// QoS 1 and 2 get the next packet id if the client is attached, the window is open and nothing waits before them;
    /// else they are queued. QoS 0 is for a live connection to send by itself: here it is only ever queued, and only if
    /// `limits.stores_qos0`. A message is queued behind others even if the window is open, so after `Queued` a
    /// connection that can write asks `next`.
    ///
    /// Args: `receive_maximum` is the client's, 65,535 if it named none; it is not looked at while detached.
    pub fn offer(&mut self, entry: Entry<M>, is_attached: bool, receive_maximum: u16, limits: &Limits) -> Offer<M> {
        if entry.qos == 0 && !limits.stores_qos0 {
            return Offer::Refused(entry);
        }
        if entry.qos > 0
            && is_attached
            && self.queue_len() == 0
            && let Some(packet_id) = self.inflight.free_packet_id(limits.bound(receive_maximum))
        {
            self.inflight.insert(packet_id, entry);
            return Offer::Send { packet_id };
        }
        let outcome = self.backlog_mut().queue.push(entry, limits);
        self.trim();
        match outcome {
            Ok(evicted) => Offer::Queued { evicted },
            Err(_) if is_attached && limits.overflow == Overflow::Disconnect => Offer::Disconnect,
            Err(entry) => Offer::Refused(entry),
        }
    }

    /// Takes messages of QoS 1 or 2 for the attached client as long as each may be sent at once, and tells `send` the
    /// packet id of each. Returns how many; no more than that were asked of `entries`.
    ///
    /// The rest is for `offer`. Args: as there.
    pub fn send_run(
        &mut self,
        mut entries: impl Iterator<Item = Entry<M>>,
        receive_maximum: u16,
        limits: &Limits,
        mut send: impl FnMut(u16),
    ) -> usize {
        if self.queue_len() > 0 {
            return 0;
        }
        let bound = limits.bound(receive_maximum);
        let mut count = 0;
        while let Some(packet_id) = self.inflight.free_packet_id(bound)
            && let Some(entry) = entries.next()
        {
            self.inflight.insert(packet_id, entry);
            send(packet_id);
            count += 1;
        }
        count
    }

    /// Returns what the attached connection may send now; call it until `Next::None`.
    ///
    /// What `resume` withheld goes first, then what waits. A full window holds back QoS 1 and 2 but not QoS 0.
    /// [MQTT5-4.9.0-2] [MQTT5-4.9.0-3]
    pub fn next(&mut self, now_ms: u64, receive_maximum: u16, limits: &Limits) -> Next<'_, M> {
        if self.inflight.is_withholding()
            && self.inflight.open() < usize::from(receive_maximum)
            && let Some(packet_id) = self.next_withheld()
        {
            return self.inflight.get(packet_id).map_or(Next::None, Next::Resend);
        }
        let Some(backlog) = &mut self.backlog else {
            return Next::None;
        };
        let free_packet_id = self.inflight.free_packet_id(limits.bound(receive_maximum));
        let Some(entry) = backlog.queue.pop(free_packet_id.is_some()) else {
            return Next::None;
        };
        self.trim();
        if entry.is_expired(now_ms) {
            return Next::Expired(entry);
        }
        match free_packet_id {
            Some(packet_id) if entry.qos > 0 => {
                self.inflight.insert(packet_id, entry);
                let sent = self.inflight.entry(packet_id);
                sent.map_or(Next::None, |entry| Next::Send { packet_id, entry })
            }
            _ => Next::SendQos0(entry),
        }
    }

    /// Notes when a message in flight was sent, for those who measure its client. O(1).
    pub fn note_sent(&mut self, packet_id: u16, now_ms: u64) {
        self.inflight.note_sent(packet_id, now_ms);
    }

    /// Returns the message that an answer with `packet_id` would be for, and how many milliseconds before `now_ms` it
    /// was sent, modulo 2^24; `None` for those if nobody noted it. O(1).
    #[must_use]
    pub fn sent(&self, packet_id: u16, now_ms: u64) -> Option<(&Entry<M>, Option<u64>)> {
        self.inflight.sent(packet_id, now_ms)
    }

    /// Ends a QoS 1 exchange and returns its message, or `None` if no QoS 1 message with this id is open. O(1).
    ///
    /// A PUBACK of 0x80 or more ends it just the same. [MQTT5-4.4.0-2]
    pub fn on_puback(&mut self, packet_id: u16) -> Option<Entry<M>> {
        let entry = self.inflight.acknowledge(packet_id);
        self.trim();
        entry
    }

    /// Takes a PUBREC; `is_failure` says that its code is 0x80 or more. O(1).
    ///
    /// After a good one the message is dropped: from here on only PUBREL is ever sent. [MQTT5-4.3.3-6]
    pub fn on_pubrec(&mut self, packet_id: u16, is_failure: bool) -> Pubrec<M> {
        let outcome = self.inflight.receive(packet_id, is_failure);
        self.trim();
        outcome
    }

    /// Ends a QoS 2 exchange; false if none with this id had reached PUBREL. O(1).
    pub fn on_pubcomp(&mut self, packet_id: u16) -> bool {
        let is_known = self.inflight.complete(packet_id);
        self.trim();
        is_known
    }

    /// Ends the exchange of a message that was given `packet_id` but was not sent, for instance because it is larger than
    /// the client's maximum packet size. [MQTT5-3.1.2-25]
    ///
    /// The id is given out again if it was the latest. `None` if no such message is open.
    pub fn abandon(&mut self, packet_id: u16) -> Option<Entry<M>> {
        let entry = self.inflight.abandon(packet_id);
        self.trim();
        entry
    }

    /// Begins a new connection: yields what it must carry again at once, in the order of first sending.
    ///
    /// Where the client now allows fewer messages than are open, the later PUBLISH packets are withheld and come from
    /// `next` as acknowledgements arrive; nothing newer goes before them. Call it once per connection, before `offer`
    /// and `next`, and send everything it yields. O(n log n).
    pub fn resume(&mut self, receive_maximum: u16) -> impl Iterator<Item = Resend<'_, M>> {
        let (now, later) = self.inflight.begin_connection(receive_maximum);
        if later.is_empty() {
            if let Some(backlog) = &mut self.backlog {
                backlog.withheld = VecDeque::new();
            }
        } else {
            self.backlog_mut().withheld = later.into();
        }
        self.trim();
        now.into_iter().filter_map(|packet_id| self.inflight.get(packet_id))
    }

    /// Takes out what may go to another member of a shared subscription: in flight at QoS 1 first, then what waits.
    ///
    /// A QoS 2 message in flight stays for this client's return. [MQTT5-4.8.2-4] [MQTT5-4.8.2-5]
    pub fn take_shared(&mut self) -> Vec<Entry<M>> {
        let mut taken = self.inflight.take_shared();
        if let Some(backlog) = &mut self.backlog {
            backlog.queue.take_shared(&mut taken);
        }
        self.trim();
        taken
    }

    /// Removes the waiting entries that `keep` refuses and returns how many; `keep` is asked in no particular order.
    ///
    /// What is in flight was sent already and is finished. [MQTT5-3.10.4-3] [MQTT3-3.10.4-3]
    pub fn retain_entries(&mut self, keep: impl FnMut(&Entry<M>) -> bool) -> usize {
        let removed = self.backlog.as_mut().map_or(0, |backlog| backlog.queue.retain(keep));
        self.trim();
        removed
    }

    /// Removes the waiting entries that expired by `now_ms` and returns how many. O(1) while none can have.
    ///
    /// What is in flight no longer expires. [MQTT5-3.3.2-5] [MQTT5-4.3.3-7]
    pub fn expire(&mut self, now_ms: u64) -> usize {
        let removed = self.backlog.as_mut().map_or(0, |backlog| backlog.queue.expire(now_ms));
        self.trim();
        removed
    }

    /// Gives back the tables that the last burst has left, for a session that is idle. O(1).
    pub fn release(&mut self) {
        self.inflight.release();
        if let Some(backlog) = &mut self.backlog {
            backlog.inbound.release();
        }
        self.trim();
    }

    /// Forgets everything, packet ids included: the session of the same client that starts next begins at 1.
    pub fn clear(&mut self) {
        *self = Self::new();
    }

    /// Returns the number of exchanges open towards the client, those that wait for PUBCOMP included.
    #[must_use]
    pub fn inflight_len(&self) -> usize {
        self.inflight.len()
    }

    /// Returns the number of messages that wait.
    #[must_use]
    pub fn queue_len(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| backlog.queue.len())
    }

    /// Returns whether a message of QoS 0 waits, so that a newer one must not be sent by itself. [MQTT5-4.6.0-5]
    #[must_use]
    pub fn has_qos0_waiting(&self) -> bool {
        self.backlog.as_ref().is_some_and(|backlog| backlog.queue.has_qos0())
    }

    /// Returns the bytes that wait, as counted by `Entry::bytes`.
    #[must_use]
    pub fn queue_bytes(&self) -> u64 {
        self.backlog.as_ref().map_or(0, |backlog| backlog.queue.bytes())
    }

    /// Walks over the open exchanges in the order of first sending. Sorts first: O(n log n).
    pub fn inflight(&self) -> impl Iterator<Item = InflightItem<'_, M>> {
        self.inflight.ordered().into_iter().map(|(sequence, packet_id)| InflightItem {
            packet_id,
            sequence,
            entry: match self.inflight.get(packet_id) {
                Some(Resend::Publish { entry, .. }) => Some(entry),
                _ => None,
            },
        })
    }

    /// Walks over the waiting messages in the order they would go through an open window.
    pub fn queued(&self) -> impl Iterator<Item = QueuedItem<'_, M>> {
        self.backlog
            .iter()
            .flat_map(|backlog| backlog.queue.iter())
            .map(|(position, entry)| QueuedItem { position, entry })
    }

    /// Takes note of a QoS 2 PUBLISH from the client. O(1).
    ///
    /// Args: `max_awaiting` is the most ids that may wait for PUBREL, 0 for no limit but their number.
    pub fn inbound_publish(&mut self, packet_id: u16, now_ms: u64, max_awaiting: u16) -> InboundQos2 {
        let outcome = self.backlog_mut().inbound.publish(packet_id, now_ms, max_awaiting);
        self.trim();
        outcome
    }

    /// Returns whether an id waits for the client's PUBREL. O(1).
    #[must_use]
    pub fn inbound_contains(&self, packet_id: u16) -> bool {
        self.backlog.as_ref().is_some_and(|backlog| backlog.inbound.contains(packet_id))
    }

    /// Takes a PUBREL from the client; false for an unknown id (PUBCOMP 0x92 in 5.0). O(1). [MQTT5-4.3.3-11]
    pub fn inbound_release(&mut self, packet_id: u16) -> bool {
        let is_known = self.backlog.as_mut().is_some_and(|backlog| backlog.inbound.remove(packet_id));
        self.trim();
        is_known
    }

    /// Frees an id after a PUBREC of 0x80 or more was sent: the next PUBLISH with it is new. [MQTT5-4.3.3-9]
    pub fn inbound_forget(&mut self, packet_id: u16) {
        self.inbound_release(packet_id);
    }

    /// Frees the ids whose PUBLISH was last seen `timeout_ms` or longer ago, and returns how many. O(n).
    pub fn inbound_expire(&mut self, now_ms: u64, timeout_ms: u64) -> usize {
        let expired = self.backlog.as_mut().map_or(0, |backlog| backlog.inbound.expire(now_ms, timeout_ms));
        self.trim();
        expired
    }

    /// Returns the number of ids that wait for the client's PUBREL.
    #[must_use]
    pub fn inbound_len(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| backlog.inbound.len())
    }

    fn next_withheld(&mut self) -> Option<u16> {
        let backlog = self.backlog.as_mut()?;
        while let Some(packet_id) = backlog.withheld.pop_front() {
            if self.inflight.carry_again(packet_id) {
                self.trim();
                return Some(packet_id);
            }
        }
        None
    }

    fn backlog_mut(&mut self) -> &mut Backlog<M> {
        self.backlog.get_or_insert_with(|| {
            Box::new(Backlog { queue: Queue::new(), inbound: Inbound::default(), withheld: VecDeque::new() })
        })
    }

    /// Gives back the heap that nothing needs any more, but for the tables.
    fn trim(&mut self) {
        let Some(backlog) = &mut self.backlog else {
            return;
        };
        if !self.inflight.is_withholding() && backlog.withheld.capacity() > 0 {
            backlog.withheld = VecDeque::new();
        }
        if backlog.queue.len() == 0 && !backlog.inbound.has_heap() && backlog.withheld.capacity() == 0 {
            self.backlog = None;
        }
    }
}
