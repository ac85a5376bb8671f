//! The walk from a topic to its subscribers, and the buffer that collects them.

use std::sync::Arc;

use super::node::ROOT;
use super::slab::NONE;
use super::subscriber::unpack;
use super::{SharedGroup, SubscriberId, SubscriptionOptions, Trie};
use crate::topic;

/// What a topic reached; kept by the caller and used again, so that a match allocates nothing.
#[derive(Debug, Default)]
pub struct Matches {
    /// Every matching direct subscription, in no order; a subscriber with several matching filters is there several
    /// times.
    pub direct: Vec<(SubscriberId, SubscriptionOptions)>,
    /// Every matching share group: each gets the message once.
    pub shared: Vec<Arc<SharedGroup>>,
    /// Byte ranges of the topic's levels.
    levels: Vec<(u32, u32)>,
    /// Nodes still to visit, with the number of levels that led there.
    pending: Vec<(u32, usize)>,
}

impl Matches {
    /// Forgets the last match but keeps the memory.
    pub fn clear(&mut self) {
        self.direct.clear();
        self.shared.clear();
    }

    /// Whether the topic reached nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.direct.is_empty() && self.shared.is_empty()
    }

    fn split(&mut self, topic: &str) {
        self.levels.clear();
        let mut start = 0;
        for level in topic.split('/') {
            // A topic has at most 65,535 bytes; a longer one is cut into empty levels here, not misread.
            let end = start + level.len();
            self.levels.push((u32::try_from(start).unwrap_or(NONE), u32::try_from(end).unwrap_or(NONE)));
            start = end + 1;
        }
    }
}

impl Trie {
    /// Replaces `out` by everything that matches a validated topic.
    ///
    /// A filter that begins with a wildcard does not match a topic that begins with `$`. [MQTT5-4.7.2-1]
    /// Cost: O(matching branches), independent of the number of subscriptions.
    pub fn find(&self, topic: &str, out: &mut Matches) {
        out.clear();
        out.split(topic);
        let is_dollar = topic.starts_with('$');
        out.pending.clear();
        out.pending.push((ROOT, 0));
        while let Some((node, depth)) = out.pending.pop() {
            let allows_wildcard = depth > 0 || !is_dollar;
            if allows_wildcard && let Some(hash_mark) = self.tree.hash_mark(node) {
                self.collect(hash_mark, out);
            }
            let Some(&(start, end)) = out.levels.get(depth) else {
                self.collect(node, out);
                continue;
            };
            if allows_wildcard && let Some(plus) = self.tree.plus(node) {
                out.pending.push((plus, depth + 1));
            }
            let level = topic.get(start as usize..end as usize).unwrap_or_default();
            if !topic::is_wildcard(level)
                && let Some(child) = self.tree.child(node, level)
            {
                out.pending.push((child, depth + 1));
            }
        }
    }

    fn collect(&self, node: u32, out: &mut Matches) {
        let Some(subscribers) = self.filters.get(self.tree.value(node)) else {
            return;
        };
        out.direct.extend(subscribers.direct().iter().map(unpack));
        for &group in subscribers.groups() {
            out.shared.extend(self.groups.get(group).cloned());
        }
    }
}
