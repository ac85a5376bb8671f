//! The subscription trie: which subscribers a topic reaches.
//!
//! Filters come bare and validated (`topic::parse_filter`), topics validated; both are already mounted. The trie knows
//! subscribers only as numbers. Its memory is two arenas (levels and filters), see `node`; a session keeps 8 bytes per
//! subscription. Locking, caching and the removal of duplicates (one client, several matching filters) are the caller's.

mod candidates;
mod matching;
mod members;
pub(crate) mod node;
pub mod shared;
pub(crate) mod slab;
mod subscriber;

use std::sync::Arc;

pub use self::matching::Matches;
pub use self::shared::{PickRequest, SharedGroup, Strategy};
pub use self::subscriber::{SubscriberId, SubscriptionOptions};

use self::node::Tree;
use self::slab::{NONE, Slab};
use self::subscriber::Subscribers;
use crate::topic;

/// Marks a key or cursor that names a share group; the other bits are its slot.
const GROUP_BIT: u32 = 1 << 31;

/// Names one filter, or one share group on a filter, for as long as somebody subscribes to it. Never mistaken after
/// that: a slot that is used again has another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubscriptionKey {
    slot: u32,
    generation: u32,
}

impl SubscriptionKey {
    /// Whether the subscription is a member of a share group.
    #[must_use]
    pub const fn is_shared(self) -> bool {
        self.slot & GROUP_BIT != 0
    }
}

/// What `Trie::subscribe` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribed {
    /// The key to keep in the session.
    pub key: SubscriptionKey,
    /// Options of the subscription that was replaced; `None` if it is new.
    pub previous: Option<SubscriptionOptions>,
}

/// One subscription in a list for operators; `Trie::filter_of` gives its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The filter and group.
    pub key: SubscriptionKey,
    /// Who subscribed.
    pub subscriber: SubscriberId,
    /// With which options.
    pub options: SubscriptionOptions,
}

/// A place in a paged list. What changes between two pages may be listed twice or not at all; the rest is listed once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor(u64);

impl Cursor {
    /// The beginning of the list.
    pub const START: Self = Self(0);

    /// Makes a cursor of a number from `to_bits`; any other number is a place too, perhaps beyond the end.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The cursor as a number, to hand out in a page token.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    const fn new(slot: u32, position: u32) -> Self {
        Self((slot as u64) << 32 | position as u64)
    }

    pub(crate) const fn at_slot(slot: u32) -> Self {
        Self::new(slot, 0)
    }

    pub(crate) const fn slot(self) -> u32 {
        self.parts().0
    }

    #[expect(clippy::cast_possible_truncation, reason = "takes the two halves apart")]
    const fn parts(self) -> (u32, u32) {
        ((self.0 >> 32) as u32, self.0 as u32)
    }
}

/// All subscriptions of a broker.
#[derive(Debug)]
pub struct Trie {
    tree: Tree,
    /// One tenant per distinct filter; owner is its node.
    filters: Slab<Subscribers>,
    /// One tenant per share group; owner is its filter's slot.
    groups: Slab<Arc<SharedGroup>>,
    direct_count: usize,
    shared_count: usize,
}

impl Default for Trie {
    fn default() -> Self {
        Self::new()
    }
}

impl Trie {
    /// Makes an empty trie.
    #[must_use]
    pub fn new() -> Self {
        Self { tree: Tree::new(), filters: Slab::new(), groups: Slab::new(), direct_count: 0, shared_count: 0 }
    }

    /// Adds or replaces a subscription; `group` makes it a member of that share group. [MQTT5-3.8.3-3]
    ///
    /// Cost: O(levels).
    pub fn subscribe(
        &mut self,
        filter: &str,
        group: Option<&str>,
        id: SubscriberId,
        options: SubscriptionOptions,
    ) -> Subscribed {
        let slot = self.ensure_filter(filter);
        let Some(name) = group else {
            let previous = self.filters.get_mut(slot).and_then(|subscribers| subscribers.insert(id, options.into()));
            self.direct_count += usize::from(previous.is_none());
            return Subscribed { key: self.filter_key(slot), previous: previous.map(Into::into) };
        };
        let group = self.ensure_group(slot, name, filter);
        let previous = self.groups.get(group).and_then(|members| members.insert(id, options));
        self.shared_count += usize::from(previous.is_none());
        Subscribed { key: self.group_key(group), previous }
    }

    /// Removes a subscription by its text; `None` if there is none. Cost: O(levels).
    pub fn unsubscribe(
        &mut self,
        filter: &str,
        group: Option<&str>,
        id: SubscriberId,
    ) -> Option<(SubscriptionKey, SubscriptionOptions)> {
        let key = self.key_of(filter, group)?;
        Some((key, self.take(key, id)?))
    }

    /// Removes a subscription by its key, at a session's end; false if it is gone already. Cost: O(levels).
    pub fn remove(&mut self, key: SubscriptionKey, id: SubscriberId) -> bool {
        self.take(key, id).is_some()
    }

    /// Finds a subscription by its text.
    #[must_use]
    pub fn lookup(
        &self,
        filter: &str,
        group: Option<&str>,
        id: SubscriberId,
    ) -> Option<(SubscriptionKey, SubscriptionOptions)> {
        let key = self.key_of(filter, group)?;
        Some((key, self.options_of(key, id)?))
    }

    /// The options of a subscriber under a key; `None` if it does not subscribe (any more).
    #[must_use]
    pub fn options_of(&self, key: SubscriptionKey, id: SubscriberId) -> Option<SubscriptionOptions> {
        if key.is_shared() {
            self.group(key)?.get(id)
        } else {
            self.filters.get(self.filter_slot(key)?)?.get(id).map(Into::into)
        }
    }

    /// Replaces `out` by the bare filter of a key and returns its share group; `out` stays empty for a key that is gone.
    ///
    /// Cost: O(levels).
    pub fn filter_of(&self, key: SubscriptionKey, out: &mut String) -> Option<&str> {
        out.clear();
        let node = self.filters.tenant(self.filter_slot(key)?)?.0;
        self.tree.push_path(node, out);
        self.group(key).map(|group| group.name())
    }

    /// The share group of a key; `None` for a direct subscription or a key that is gone.
    #[must_use]
    pub fn group(&self, key: SubscriptionKey) -> Option<&Arc<SharedGroup>> {
        let slot = key.slot & !GROUP_BIT;
        if key.is_shared() && self.groups.holds(slot, key.generation) { self.groups.get(slot) } else { None }
    }

    /// Number of subscriptions, members of share groups included.
    #[must_use]
    pub const fn subscription_count(&self) -> usize {
        self.direct_count + self.shared_count
    }

    /// Number of distinct bare filters.
    #[must_use]
    pub const fn topic_count(&self) -> usize {
        self.filters.len()
    }

    /// Number of subscriptions that are members of share groups.
    #[must_use]
    pub const fn shared_count(&self) -> usize {
        self.shared_count
    }

    /// Number of tree nodes: one per distinct level prefix of the filters.
    #[must_use]
    pub const fn node_count(&self) -> usize {
        self.tree.len()
    }

    /// Whether anybody subscribes to exactly this bare filter, directly or in a group.
    #[must_use]
    pub fn has_filter(&self, filter: &str) -> bool {
        self.slot_of(filter).is_some()
    }

    /// Appends up to `limit` distinct filters to `out`; returns where the next page begins, `None` at the end.
    ///
    /// The keys are for `filter_of`. The order is arbitrary but stable.
    pub fn page_filters(&self, from: Cursor, limit: usize, out: &mut Vec<SubscriptionKey>) -> Option<Cursor> {
        let mut left = limit;
        for slot in from.slot()..self.filters.slots() {
            if self.filters.get(slot).is_none() {
                continue;
            }
            if left == 0 {
                return Some(Cursor::at_slot(slot));
            }
            out.push(self.filter_key(slot));
            left -= 1;
        }
        None
    }

    /// Appends up to `limit` subscriptions to `out`; returns where the next page begins, `None` at the end.
    ///
    /// Direct subscriptions come first, then the members of share groups; else the order is arbitrary but stable.
    pub fn page_subscriptions(&self, from: Cursor, limit: usize, out: &mut Vec<Subscription>) -> Option<Cursor> {
        let end = out.len().saturating_add(limit);
        let (mut slot, mut position) = from.parts();
        loop {
            if slot & GROUP_BIT == 0 && slot >= self.filters.slots() {
                (slot, position) = (GROUP_BIT, 0);
            }
            if slot & GROUP_BIT != 0 && slot & !GROUP_BIT >= self.groups.slots() {
                return None;
            }
            let start = out.len();
            if start == end {
                return Some(Cursor::new(slot, position));
            }
            if self.page_slot(slot, position as usize, end - start, out) {
                (slot, position) = (slot + 1, 0);
            } else {
                position = position.saturating_add(u32::try_from(out.len() - start).unwrap_or(u32::MAX));
            }
        }
    }

    /// Appends what one slot holds from `position` on; whether that was its end.
    fn page_slot(&self, slot: u32, position: usize, limit: usize, out: &mut Vec<Subscription>) -> bool {
        if let Some(group) = self.groups.get(slot & !GROUP_BIT).filter(|_| slot & GROUP_BIT != 0) {
            let key = self.group_key(slot & !GROUP_BIT);
            return group.page(position, limit, &mut |subscriber, options| {
                out.push(Subscription { key, subscriber, options });
            });
        }
        let Some(subscribers) = self.filters.get(slot) else {
            return true;
        };
        let key = self.filter_key(slot);
        let rest = subscribers.direct().get(position..).unwrap_or_default();
        let taken = rest.iter().take(limit);
        out.extend(taken.map(|&(subscriber, options)| Subscription { key, subscriber, options: options.into() }));
        rest.len() <= limit
    }

    fn filter_key(&self, slot: u32) -> SubscriptionKey {
        SubscriptionKey { slot, generation: self.filters.generation(slot) }
    }

    fn group_key(&self, slot: u32) -> SubscriptionKey {
        SubscriptionKey { slot: slot | GROUP_BIT, generation: self.groups.generation(slot) }
    }

    /// The slot of a key's filter, if the key still holds.
    fn filter_slot(&self, key: SubscriptionKey) -> Option<u32> {
        let slot = key.slot & !GROUP_BIT;
        if key.is_shared() {
            return self.groups.holds(slot, key.generation).then(|| self.groups.tenant(slot))?.map(|(owner, _)| owner);
        }
        self.filters.holds(slot, key.generation).then_some(slot)
    }

    fn slot_of(&self, filter: &str) -> Option<u32> {
        let slot = self.tree.value(self.tree.find(filter)?);
        (slot != NONE).then_some(slot)
    }

    fn key_of(&self, filter: &str, group: Option<&str>) -> Option<SubscriptionKey> {
        let slot = self.slot_of(filter)?;
        match group {
            None => Some(self.filter_key(slot)),
            Some(name) => {
                let groups = self.filters.get(slot)?.groups();
                let at = self.group_position(groups, name).ok()?;
                Some(self.group_key(*groups.get(at)?))
            }
        }
    }

    /// Where a group stands among the groups of one filter, which are sorted by name.
    fn group_position(&self, groups: &[u32], name: &str) -> Result<usize, usize> {
        groups.binary_search_by(|&slot| self.groups.get(slot).map_or("", |group| group.name()).cmp(name))
    }

    fn ensure_filter(&mut self, filter: &str) -> u32 {
        let node = self.tree.ensure(filter);
        let slot = self.tree.value(node);
        if slot != NONE {
            return slot;
        }
        let slot = self.filters.insert(node, Subscribers::default());
        self.tree.set_value(node, slot);
        slot
    }

    fn ensure_group(&mut self, slot: u32, name: &str, filter: &str) -> u32 {
        let groups = self.filters.get(slot).map_or(&[][..], Subscribers::groups);
        match self.group_position(groups, name) {
            Ok(at) => groups.get(at).copied().unwrap_or(NONE),
            Err(at) => {
                let group = self.groups.insert(slot, Arc::new(SharedGroup::new(name, filter)));
                if let Some(subscribers) = self.filters.get_mut(slot) {
                    subscribers.insert_group(at, group);
                }
                group
            }
        }
    }

    fn take(&mut self, key: SubscriptionKey, id: SubscriberId) -> Option<SubscriptionOptions> {
        let slot = self.filter_slot(key)?;
        if !key.is_shared() {
            let options = self.filters.get_mut(slot)?.remove(id)?;
            self.direct_count -= 1;
            self.free_filter(slot);
            return Some(options.into());
        }
        let group = Arc::clone(self.group(key)?);
        let options = group.remove(id)?;
        self.shared_count -= 1;
        if group.is_empty() {
            self.groups.remove(key.slot & !GROUP_BIT);
            self.filters.get_mut(slot)?.remove_group(key.slot & !GROUP_BIT);
            self.free_filter(slot);
        }
        Some(options)
    }

    /// Frees a filter that nobody subscribes to any more, and its nodes.
    fn free_filter(&mut self, slot: u32) {
        let Some((node, subscribers)) = self.filters.tenant(slot) else {
            return;
        };
        if subscribers.is_empty() {
            self.filters.remove(slot);
            self.tree.set_value(node, NONE);
            self.tree.prune(node);
        }
    }
}

/// The match-cache generation that a filter or topic with this first level belongs to; `None` for a wildcard, whose
/// filters have a generation of their own.
#[must_use]
pub fn generation_bucket(first_level: &str) -> Option<u8> {
    if topic::is_wildcard(first_level) {
        return None;
    }
    // FNV-1a, folded: stable over restarts. A client that seeks collisions only empties its own cache entries earlier.
    let hash =
        first_level.bytes().fold(0x811C_9DC5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let [a, b, c, d] = hash.to_le_bytes();
    Some(a ^ b ^ c ^ d)
}
