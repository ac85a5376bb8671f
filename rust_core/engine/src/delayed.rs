//! Messages published to `$delayed/N/topic`, in memory until their time. [decision: EMQX delayed publish]

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use pybroker_core::codec::QoS;
use pybroker_core::trie::SubscriberId;

use crate::publication::Inbound;
use crate::session::Mount;

/// A publication that waits.
pub struct DelayedMessage {
    topic: Box<str>,
    mount: Option<Arc<Mount>>,
    qos: QoS,
    is_retain: bool,
    properties: Box<[u8]>,
    payload: Box<[u8]>,
    expiry_s: Option<u32>,
    publisher: Option<SubscriberId>,
    client_id: Box<str>,
    is_loop_ignored: bool,
}

impl DelayedMessage {
    /// Keeps a publication whose topic is the inner one, behind `$delayed/N/`.
    #[must_use]
    pub fn new(inbound: &Inbound<'_>) -> Self {
        Self {
            topic: inbound.topic.into(),
            mount: inbound.mount.cloned(),
            qos: inbound.qos,
            is_retain: inbound.is_retain,
            properties: inbound.properties.as_ref().into(),
            payload: inbound.payload.into(),
            expiry_s: inbound.expiry_s,
            publisher: inbound.publisher,
            client_id: inbound.client_id.into(),
            is_loop_ignored: inbound.is_loop_ignored,
        }
    }

    /// The publication, now due. Its expiry counts from here.
    #[must_use]
    pub fn inbound(&self) -> Inbound<'_> {
        Inbound {
            topic: &self.topic,
            mount: self.mount.as_ref(),
            qos: self.qos,
            is_retain: self.is_retain,
            properties: Cow::Borrowed(&self.properties),
            payload: &self.payload,
            expiry_s: self.expiry_s,
            publisher: self.publisher,
            client_id: &self.client_id,
            is_loop_ignored: self.is_loop_ignored,
            frame: None,
        }
    }
}

struct Due {
    at_ms: u64,
    sequence: u64,
    message: DelayedMessage,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at_ms, self.sequence) == (other.at_ms, other.sequence)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ms, self.sequence).cmp(&(other.at_ms, other.sequence))
    }
}

/// All waiting publications, earliest first; equal times keep the order of arrival.
#[derive(Default)]
pub struct Delayed {
    heap: BinaryHeap<Reverse<Due>>,
    sequence: u64,
}

impl Delayed {
    /// Adds one. Returns whether it is now the earliest; `None` if `max` (0: no limit) are waiting already.
    pub fn push(&mut self, message: DelayedMessage, at_ms: u64, max: usize) -> Option<bool> {
        if max > 0 && self.heap.len() >= max {
            return None;
        }
        self.sequence += 1;
        let is_first = self.next_at_ms().is_none_or(|first| at_ms < first);
        self.heap.push(Reverse(Due { at_ms, sequence: self.sequence, message }));
        Some(is_first)
    }

    /// Takes the earliest if it is due.
    pub fn pop_due(&mut self, now_ms: u64) -> Option<DelayedMessage> {
        if self.next_at_ms()? > now_ms {
            return None;
        }
        self.heap.pop().map(|Reverse(due)| due.message)
    }

    /// When the earliest is due.
    #[must_use]
    pub fn next_at_ms(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse(due)| due.at_ms)
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}
