//! What an administrator may look at, page by page: subscriptions, topics, retained messages, messages of a session.
//!
//! A page costs what a page costs, however much there is: cursors name places, not offsets, save where said.

use std::sync::Arc;

use pybroker_core::message::Message;
use pybroker_core::trie::{Cursor, SubscriberId, Subscription, SubscriptionKey, SubscriptionOptions, Trie};

use crate::hub::Hub;
use crate::session::State;

/// One subscription as listed.
pub struct ListedSubscription {
    /// Session that holds it.
    pub session: SubscriberId,
    /// Filter as routed, with `$share/g/` or `$queue/` where it is shared.
    pub filter: String,
    /// Options byte as in SUBSCRIBE.
    pub options: u8,
    /// Subscription identifier; 0 none.
    pub subscription_id: u32,
}

/// A message that waits for, or is on its way to, a client.
pub struct ListedMessage {
    /// Place in the order of sending or of arrival: where the next page begins behind.
    pub position: u64,
    /// Priority in the queue; 0 in flight.
    pub priority: i16,
    /// The message; `None` in flight once the client has it and only PUBCOMP is awaited.
    pub message: Option<Arc<Message>>,
    /// QoS towards the client.
    pub qos: u8,
    /// Retain flag towards the client.
    pub is_retain: bool,
}

/// Which messages of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// Those that wait.
    Queued,
    /// Those on their way.
    Inflight,
}

fn options_byte(options: &SubscriptionOptions) -> u8 {
    options.qos
        | u8::from(options.no_local) << 2
        | u8::from(options.retain_as_published) << 3
        | options.retain_handling << 4
}

/// Text of a subscription's filter with its group in front.
fn text_of(trie: &Trie, key: SubscriptionKey) -> String {
    let mut filter = String::new();
    let group = trie.filter_of(key, &mut filter);
    match group {
        Some("$queue") => format!("$queue/{filter}"),
        Some(group) => format!("$share/{group}/{filter}"),
        None => filter,
    }
}

impl Hub {
    /// A session's subscriptions by their keys.
    #[must_use]
    pub fn describe_subscriptions(&self, session: SubscriberId, keys: &[SubscriptionKey]) -> Vec<ListedSubscription> {
        let trie = self.trie.read();
        let describe = |key: &SubscriptionKey| {
            let options = trie.options_of(*key, session)?;
            let filter = text_of(&trie, *key);
            let subscription_id = options.subscription_id;
            Some(ListedSubscription { session, filter, options: options_byte(&options), subscription_id })
        };
        keys.iter().filter_map(describe).collect()
    }

    /// Up to `limit` subscriptions of all sessions, and where the next page begins.
    #[must_use]
    pub fn page_subscriptions(&self, from: Cursor, limit: usize) -> (Vec<ListedSubscription>, Option<Cursor>) {
        let trie = self.trie.read();
        let mut page: Vec<Subscription> = Vec::new();
        let next = trie.page_subscriptions(from, limit, &mut page);
        let listed = page
            .iter()
            .map(|subscription| ListedSubscription {
                session: subscription.subscriber,
                filter: text_of(&trie, subscription.key),
                options: options_byte(&subscription.options),
                subscription_id: subscription.options.subscription_id,
            })
            .collect();
        (listed, next)
    }

    /// Up to `limit` distinct filters that somebody subscribes to, and where the next page begins.
    #[must_use]
    pub fn page_topics(&self, from: Cursor, limit: usize) -> (Vec<String>, Option<Cursor>) {
        let trie = self.trie.read();
        let mut page = Vec::new();
        let next = trie.page_filters(from, limit, &mut page);
        (page.iter().map(|key| text_of(&trie, *key)).collect(), next)
    }
}

impl State {
    /// Up to `limit` messages behind `after` (position and priority), in their order, and whether more follow.
    ///
    /// The message at `after` may have left: the page begins with what came behind it. O(messages of the session).
    #[must_use]
    pub fn page_messages(
        &self,
        kind: MessageKind,
        after: Option<(u64, i16)>,
        limit: usize,
    ) -> (Vec<ListedMessage>, bool) {
        let follows = |position: u64, priority: i16| {
            after.is_none_or(|(place, level)| priority < level || (priority == level && position > place))
        };
        let mut page: Vec<ListedMessage> = match kind {
            MessageKind::Queued => (self.window.queued())
                .filter(|item| follows(item.position, item.entry.priority))
                .take(limit.saturating_add(1))
                .map(|item| ListedMessage::of_queue(&item))
                .collect(),
            MessageKind::Inflight => (self.window.inflight())
                .filter(|item| follows(u64::from(item.sequence), 0))
                .take(limit.saturating_add(1))
                .map(|item| ListedMessage::of_flight(&item))
                .collect(),
        };
        let has_more = page.len() > limit;
        page.truncate(limit);
        (page, has_more)
    }
}

impl ListedMessage {
    fn of_queue(item: &pybroker_core::session::QueuedItem<'_, Arc<Message>>) -> Self {
        let entry = item.entry;
        Self {
            position: item.position,
            priority: entry.priority,
            message: Some(Arc::clone(&entry.message)),
            qos: entry.qos,
            is_retain: entry.is_retain,
        }
    }

    fn of_flight(item: &pybroker_core::session::InflightItem<'_, Arc<Message>>) -> Self {
        Self {
            position: u64::from(item.sequence),
            priority: 0,
            message: item.entry.map(|entry| Arc::clone(&entry.message)),
            qos: item.entry.map_or(2, |entry| entry.qos),
            is_retain: item.entry.is_some_and(|entry| entry.is_retain),
        }
    }
}
