//! Messages published to `$delayed/N/topic`, in memory until their time. [decision: EMQX delayed publish]
//!
//! Clients, wills and operators delay alike; the topic is taken apart before the mountpoint is put in front.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use pybroker_core::codec::QoS;
use pybroker_core::message::Origin;
use pybroker_core::reason::ReasonCode;
use pybroker_core::topic::{self, Delay};
use pybroker_core::trie::SubscriberId;

use crate::command::Command;
use crate::counters::Metric;
use crate::hub::Hub;
use crate::link::Outlet;
use crate::namespace::Namespace;
use crate::publication::{Inbound, Sender};
use crate::session::Mount;
use crate::sys;

/// A publication that waits.
pub struct DelayedMessage {
    topic: Box<str>,
    mount: Option<Arc<Mount>>,
    namespace: Option<Arc<Namespace>>,
    qos: QoS,
    is_retain: bool,
    properties: Box<[u8]>,
    payload: Box<[u8]>,
    expiry_s: Option<u32>,
    publisher: Option<SubscriberId>,
    origin: Option<Arc<Origin>>,
    is_loop_ignored: bool,
    published_ms: u64,
}

impl DelayedMessage {
    /// Keeps a publication under its inner topic, the one behind `$delayed/N/`.
    #[must_use]
    pub fn new(inbound: &Inbound<'_>, topic: &str, now_ms: u64) -> Self {
        Self {
            topic: topic.into(),
            mount: inbound.mount.cloned(),
            namespace: inbound.namespace.cloned(),
            qos: inbound.qos,
            is_retain: inbound.is_retain,
            properties: inbound.properties.as_ref().into(),
            payload: inbound.payload.into(),
            expiry_s: inbound.expiry_s,
            publisher: inbound.publisher,
            origin: inbound.sender.origin(),
            is_loop_ignored: inbound.is_loop_ignored,
            published_ms: now_ms,
        }
    }

    /// The publication, now due. Its expiry counts from here.
    #[must_use]
    pub fn inbound(&self) -> Inbound<'_> {
        Inbound {
            topic: &self.topic,
            mount: self.mount.as_ref(),
            namespace: self.namespace.as_ref(),
            qos: self.qos,
            is_retain: self.is_retain,
            properties: Cow::Borrowed(&self.properties),
            payload: &self.payload,
            expiry_s: self.expiry_s,
            publisher: self.publisher,
            sender: self.origin.as_ref().map_or(Sender::Broker, Sender::Known),
            client_id: self.origin.as_ref().map_or("", |origin| &origin.client_id),
            is_loop_ignored: self.is_loop_ignored,
            frame: None,
        }
    }

    /// Topic as it will be routed.
    fn routed(&self) -> String {
        [self.mount.as_ref().map_or("", |mount| &mount.prefix), &self.topic].concat()
    }
}

/// Number of a waiting publication: when it is due (monotonic ms), and which of that time.
pub type DelayedId = (u64, u64);

/// A waiting publication as listed.
pub struct ListedDelayed {
    /// Its number.
    pub id: DelayedId,
    /// Topic as it will be routed.
    pub topic: String,
    /// Published QoS.
    pub qos: QoS,
    /// Published payload; empty in a list.
    pub payload: Box<[u8]>,
    /// Who published it; `None` for the broker itself.
    pub origin: Option<Arc<Origin>>,
    /// Monotonic time at which it came in.
    pub published_ms: u64,
}

/// All waiting publications, earliest first; equal times keep the order of arrival.
#[derive(Default)]
pub struct Delayed {
    waiting: BTreeMap<DelayedId, DelayedMessage>,
    sequence: u64,
}

impl Delayed {
    /// Adds one. Returns whether it is now the earliest; `None` if `max` (0: no limit) are waiting already.
    pub fn push(&mut self, message: DelayedMessage, at_ms: u64, max: usize) -> Option<bool> {
        if max > 0 && self.waiting.len() >= max {
            return None;
        }
        self.sequence += 1;
        let is_first = self.next_at_ms().is_none_or(|first| at_ms < first);
        self.waiting.insert((at_ms, self.sequence), message);
        Some(is_first)
    }

    /// Takes the earliest if it is due.
    pub fn pop_due(&mut self, now_ms: u64) -> Option<DelayedMessage> {
        if self.next_at_ms()? > now_ms {
            return None;
        }
        self.waiting.pop_first().map(|(_, message)| message)
    }

    /// When the earliest is due.
    #[must_use]
    pub fn next_at_ms(&self) -> Option<u64> {
        self.waiting.first_key_value().map(|((at_ms, _), _)| *at_ms)
    }

    /// Up to `limit` that follow `after`, or the first ones, and whether more follow.
    #[must_use]
    pub fn page(&self, after: Option<DelayedId>, limit: usize) -> (Vec<ListedDelayed>, bool) {
        let from = after.map_or((0, 0), |(at_ms, sequence)| (at_ms, sequence.saturating_add(1)));
        let mut rest = self.waiting.range(from..);
        let page = rest.by_ref().take(limit).map(|(id, message)| listed(*id, message, &[])).collect();
        (page, rest.next().is_some())
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: DelayedId) -> Option<ListedDelayed> {
        self.waiting.get(&id).map(|message| listed(id, message, &message.payload))
    }

    /// Drops one. Returns whether it was there.
    pub fn remove(&mut self, id: DelayedId) -> bool {
        self.waiting.remove(&id).is_some()
    }

    /// Drops all that would be routed to `topic`; returns how many. O(all).
    pub fn remove_topic(&mut self, topic: &str) -> usize {
        let before = self.waiting.len();
        self.waiting.retain(|_, message| message.routed() != topic);
        before - self.waiting.len()
    }

    /// Drops all that a client has published. O(all).
    pub fn remove_published(&mut self, client_id: &str) {
        self.waiting.retain(|_, message| message.origin.as_ref().is_none_or(|origin| &*origin.client_id != client_id));
    }

    /// Drops all that clients of a namespace have published, and all that would be routed below a prefix; returns how
    /// many. O(all).
    pub fn remove_of_namespace(&mut self, name: &str, prefix: Option<&str>) -> usize {
        let before = self.waiting.len();
        self.waiting.retain(|_, message| {
            let is_own = message.namespace.as_ref().is_some_and(|namespace| &*namespace.name == name);
            !is_own && prefix.is_none_or(|prefix| !message.routed().starts_with(prefix))
        });
        before - self.waiting.len()
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

fn listed(id: DelayedId, message: &DelayedMessage, payload: &[u8]) -> ListedDelayed {
    ListedDelayed {
        id,
        topic: message.routed(),
        qos: message.qos,
        payload: payload.into(),
        origin: message.origin.clone(),
        published_ms: message.published_ms,
    }
}

/// Keeps a publication whose topic names a delay, and says what its publisher is told; `None`: it is to go out now.
pub fn delay(hub: &Hub, out: &mut Outlet, inbound: &Inbound<'_>) -> Option<ReasonCode> {
    let settings = &out.settings;
    if !settings.is_delayed_enabled || !inbound.topic.starts_with("$delayed/") {
        return None;
    }
    let (at_ms, topic) = match topic::parse_delayed(inbound.topic) {
        Ok(Some((Delay::After { seconds }, topic))) => (out.now_ms.saturating_add(seconds.saturating_mul(1000)), topic),
        Ok(Some((Delay::At { unix_s }, topic))) => {
            let wait_s = unix_s.saturating_sub(sys::unix_s());
            (out.now_ms.saturating_add(wait_s.saturating_mul(1000)), topic)
        }
        Ok(None) => return None,
        Err(_) => return Some(ReasonCode::TopicNameInvalid),
    };
    if topic::validate_topic(topic, settings.max_topic_levels).is_err() {
        return Some(ReasonCode::TopicNameInvalid);
    }
    if topic.starts_with("$SYS/") && !matches!(inbound.sender, Sender::Broker) {
        return Some(ReasonCode::NotAuthorized);
    }
    let waiting = DelayedMessage::new(inbound, topic, out.now_ms);
    let mut delayed = hub.delayed.lock();
    if inbound.namespace.is_some_and(|namespace| namespace.is_closed()) {
        // It was deleted, and its clients are being disconnected.
        return Some(ReasonCode::Success);
    }
    let is_first = delayed.push(waiting, at_ms, settings.max_delayed);
    drop(delayed);
    let Some(is_first) = is_first else {
        out.tally.count(Metric::MessagesDropped);
        out.tally.count(Metric::MessagesDroppedDelayedFull);
        return Some(ReasonCode::QuotaExceeded);
    };
    out.tally.count(Metric::MessagesDelayed);
    if is_first && let Some(mailbox) = hub.shards.first() {
        mailbox.push(Command::Delay);
    }
    Some(ReasonCode::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(topic: &str) -> DelayedMessage {
        let inbound = Inbound {
            topic: "$delayed/1/t",
            mount: None,
            namespace: None,
            qos: QoS::AtMostOnce,
            is_retain: false,
            properties: Cow::Borrowed(&[]),
            payload: b"x",
            expiry_s: None,
            publisher: None,
            sender: Sender::Broker,
            client_id: "",
            is_loop_ignored: false,
            frame: None,
        };
        DelayedMessage::new(&inbound, topic, 7)
    }

    #[test]
    fn the_earliest_comes_first_and_equal_times_keep_their_order() {
        let mut delayed = Delayed::default();
        assert_eq!(delayed.push(message("b"), 20, 0), Some(true));
        assert_eq!(delayed.push(message("c"), 20, 0), Some(false));
        assert_eq!(delayed.push(message("a"), 10, 0), Some(true));
        assert_eq!(delayed.push(message("d"), 5, 3), None);
        assert!(delayed.pop_due(9).is_none());
        let order: Vec<Box<str>> = std::iter::from_fn(|| delayed.pop_due(20)).map(|one| one.topic).collect();
        assert_eq!(order, ["a".into(), "b".into(), "c".into()]);
    }

    #[test]
    fn pages_go_on_behind_what_has_left_meanwhile() {
        let mut delayed = Delayed::default();
        for at_ms in 1..=5 {
            delayed.push(message("t"), at_ms, 0);
        }
        let (page, has_more) = delayed.page(None, 2);
        let last = page.last().map(|one| one.id);
        assert!(has_more && last.is_some_and(|id| delayed.remove(id)));
        let (page, has_more) = delayed.page(last, 9);
        assert_eq!(page.iter().map(|one| one.id.0).collect::<Vec<_>>(), [3, 4, 5]);
        assert!(!has_more);
    }

    #[test]
    fn one_and_all_of_a_topic_are_removed() {
        let mut delayed = Delayed::default();
        delayed.push(message("a"), 1, 0);
        delayed.push(message("b"), 2, 0);
        delayed.push(message("a"), 3, 0);
        assert!(!delayed.remove((9, 9)));
        assert_eq!((delayed.remove_topic("a"), delayed.len()), (2, 1));
        let (page, _) = delayed.page(None, 1);
        assert!(page.first().is_some_and(|one| one.published_ms == 7 && delayed.get(one.id).is_some()));
    }
}
