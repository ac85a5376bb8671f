//! Topic aliases of one connection, in both directions. 5.0 only.
//!
//! Aliases die with the connection `[MQTT5-3.3.2-7]`, so nothing here is stored with a session. A side that is not
//! used owns no memory.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::num::NonZeroU16;
use std::sync::Arc;

use crate::error::DecodeError;

/// The most bytes of topics that one client may place behind aliases: 65,535 aliases of 256 bytes.
pub const MAX_INBOUND_BYTES: usize = 16 << 20;

/// Spreads 16-bit keys without collisions: a product with an odd number keeps the low bits distinct.
#[derive(Clone, Copy, Default)]
struct AliasHasher(u64);

impl Hasher for AliasHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(self.0 ^ u64::from(byte));
        }
    }

    fn write_u16(&mut self, alias: u16) {
        self.write_u64(u64::from(alias));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Default)]
struct InboundTopics {
    topics: HashMap<u16, Arc<str>, BuildHasherDefault<AliasHasher>>,
    /// Bytes of all topics together.
    bytes: usize,
}

/// The aliases that a peer has set for topics of its own.
#[derive(Default)]
pub struct InboundAliases {
    max: u16,
    inner: Option<Box<InboundTopics>>,
}

impl InboundAliases {
    /// Accept the aliases 1 to `max`; 0 accepts none.
    #[must_use]
    pub const fn new(max: u16) -> Self {
        Self { max, inner: None }
    }

    /// Return the highest alias that is accepted.
    #[must_use]
    pub const fn max(&self) -> u16 {
        self.max
    }

    /// Return the topic of a PUBLISH: `topic` itself, which then belongs to the alias, or the alias's if it is empty.
    ///
    /// # Errors
    /// `TopicAliasInvalid` if the alias is above the maximum `[MQTT5-3.3.2-9]`, `TopicAliasUnknown` if it was not set
    /// on this connection `[MQTT5-3.3.2-7]`, `TopicAliasMemory` if the topics together pass `MAX_INBOUND_BYTES`.
    pub fn resolve<'t>(&'t mut self, alias: NonZeroU16, topic: &'t str) -> Result<&'t str, DecodeError> {
        if !topic.is_empty() {
            self.set(alias, topic)?;
            return Ok(topic);
        }
        self.get(alias).map(|topic| &**topic)
    }

    /// Look an alias up; the topic can be cloned cheaply where a borrow is in the way.
    ///
    /// # Errors
    /// `TopicAliasInvalid` and `TopicAliasUnknown` as [`Self::resolve`].
    pub fn get(&self, alias: NonZeroU16) -> Result<&Arc<str>, DecodeError> {
        let alias = alias.get();
        if alias > self.max {
            return Err(DecodeError::TopicAliasInvalid { alias });
        }
        let topic = self.inner.as_ref().and_then(|inner| inner.topics.get(&alias));
        topic.ok_or(DecodeError::TopicAliasUnknown { alias })
    }

    /// Set or move an alias. `[MQTT5-3.3.2-12]`
    ///
    /// # Errors
    /// `TopicAliasInvalid` and `TopicAliasMemory` as [`Self::resolve`]; then nothing changes.
    pub fn set(&mut self, alias: NonZeroU16, topic: &str) -> Result<(), DecodeError> {
        let alias = alias.get();
        if alias > self.max {
            return Err(DecodeError::TopicAliasInvalid { alias });
        }
        let inner = self.inner.get_or_insert_default();
        let before = inner.topics.get(&alias);
        if before.is_some_and(|before| **before == *topic) {
            return Ok(());
        }
        let bytes = inner.bytes - before.map_or(0, |before| before.len()) + topic.len();
        if bytes > MAX_INBOUND_BYTES {
            return Err(DecodeError::TopicAliasMemory);
        }
        inner.bytes = bytes;
        inner.topics.insert(alias, Arc::from(topic));
        Ok(())
    }
}

/// How many aliases the search for one to replace looks at; more would cost a busy connection more than it gains.
const MAX_STEPS: usize = 8;

/// Topics up to this length are not worth an alias, which costs three bytes itself.
const MIN_TOPIC_BYTES: usize = 4;

struct Slot {
    topic: Arc<str>,
    /// Used since the hand passed last.
    is_recent: bool,
}

#[derive(Default)]
struct OutboundTopics {
    index: HashMap<Arc<str>, u16>,
    /// The slot of alias `n` is `n - 1`.
    slots: Vec<Slot>,
    /// Where the search for a slot to replace goes on.
    hand: usize,
}

/// The aliases that we have set for a peer.
///
/// Topics get the next free alias; when all are given, one that was not used lately is moved (second chance). If the
/// search finds none soon, the topic gets no alias, so that a wide spread of topics does not push out the common ones.
#[derive(Default)]
pub struct OutboundAliases {
    max: u16,
    inner: Option<Box<OutboundTopics>>,
}

impl OutboundAliases {
    /// Use the aliases 1 to `max`, the lower of the peer's maximum and what we want to remember. `[MQTT5-3.1.2-26]`
    #[must_use]
    pub const fn new(max: u16) -> Self {
        Self { max, inner: None }
    }

    /// Return the alias for `topic` and whether the packet must name the topic too, because the peer does not know
    /// the alias yet; `None`: send the topic without an alias.
    ///
    /// Call it only for a packet that is then sent, or take a first use back with [`Self::forget`].
    pub fn assign(&mut self, topic: &str) -> Option<(NonZeroU16, bool)> {
        if self.max == 0 || topic.len() < MIN_TOPIC_BYTES {
            return None;
        }
        let inner = self.inner.get_or_insert_default();
        if let Some(&alias) = inner.index.get(topic) {
            if let Some(slot) = inner.slots.get_mut(usize::from(alias) - 1) {
                slot.is_recent = true;
            }
            return NonZeroU16::new(alias).map(|alias| (alias, false));
        }
        let position = if inner.slots.len() < usize::from(self.max) { inner.slots.len() } else { inner.free_slot()? };
        let alias = u16::try_from(position + 1).ok()?;
        let topic: Arc<str> = Arc::from(topic);
        inner.index.insert(Arc::clone(&topic), alias);
        let slot = Slot { topic, is_recent: false };
        match inner.slots.get_mut(position) {
            Some(old) => *old = slot,
            None => inner.slots.push(slot),
        }
        NonZeroU16::new(alias).map(|alias| (alias, true))
    }

    /// Forget what was assigned to `topic`: its next use names the topic again.
    pub fn forget(&mut self, topic: &str) {
        if let Some(inner) = &mut self.inner {
            inner.index.remove(topic);
        }
    }
}

impl OutboundTopics {
    /// Takes the topic out of a slot that was not used lately and returns its position.
    fn free_slot(&mut self) -> Option<usize> {
        for _ in 0..MAX_STEPS.min(self.slots.len()) {
            let position = self.hand;
            self.hand = (self.hand + 1) % self.slots.len();
            let slot = self.slots.get_mut(position)?;
            if slot.is_recent {
                slot.is_recent = false;
                continue;
            }
            // A forgotten topic may have got another alias since.
            if self.index.get(&slot.topic).is_some_and(|&alias| usize::from(alias) == position + 1) {
                self.index.remove(&slot.topic);
            }
            return Some(position);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alias(number: u16) -> NonZeroU16 {
        NonZeroU16::new(number).expect("tests use aliases above 0")
    }

    #[test]
    fn an_alias_can_be_set_moved_and_used() {
        let mut aliases = InboundAliases::new(2);
        let unknown = Err(DecodeError::TopicAliasUnknown { alias: 1 });
        assert_eq!(aliases.resolve(alias(1), ""), unknown);
        assert_eq!(aliases.resolve(alias(1), "a/b"), Ok("a/b"));
        assert_eq!(aliases.resolve(alias(2), "c"), Ok("c"));
        assert_eq!(aliases.resolve(alias(1), ""), Ok("a/b"));
        assert_eq!(aliases.resolve(alias(1), "d"), Ok("d"));
        assert_eq!(aliases.resolve(alias(1), ""), Ok("d"));
        assert_eq!(aliases.resolve(alias(2), ""), Ok("c"));
        let invalid = Err(DecodeError::TopicAliasInvalid { alias: 3 });
        assert_eq!(aliases.resolve(alias(3), "x"), invalid);
        assert_eq!(aliases.resolve(alias(3), ""), invalid);
    }

    #[test]
    fn every_alias_up_to_the_maximum_works() {
        let mut aliases = InboundAliases::new(u16::MAX);
        for number in 1..=u16::MAX {
            aliases.set(alias(number), &format!("t/{number}")).expect("it is within the maximum");
        }
        for number in 1..=u16::MAX {
            assert_eq!(aliases.resolve(alias(number), ""), Ok(&*format!("t/{number}")));
        }
    }

    #[test]
    fn the_memory_behind_inbound_aliases_is_bounded() {
        let mut aliases = InboundAliases::new(u16::MAX);
        let topic = "x".repeat(65_535);
        let count = MAX_INBOUND_BYTES / topic.len();
        for number in 1..=count {
            let number = u16::try_from(number).expect("it is far below the maximum");
            assert_eq!(aliases.set(alias(number), &topic), Ok(()));
        }
        assert_eq!(aliases.set(alias(60_000), &topic), Err(DecodeError::TopicAliasMemory));
        assert_eq!(aliases.set(alias(1), "short"), Ok(()));
        assert_eq!(aliases.set(alias(60_000), &topic[..60_000]), Ok(()));
    }

    #[test]
    fn unused_aliases_own_no_memory() {
        assert_eq!(size_of::<InboundAliases>(), 16);
        assert_eq!(size_of::<OutboundAliases>(), 16);
        assert!(InboundAliases::new(10).inner.is_none());
        assert!(OutboundAliases::new(10).inner.is_none());
    }

    #[test]
    fn the_first_use_names_the_topic_and_later_ones_do_not() {
        let mut aliases = OutboundAliases::new(2);
        assert_eq!(aliases.assign("abc"), None);
        assert_eq!(aliases.assign("topic/1"), Some((alias(1), true)));
        assert_eq!(aliases.assign("topic/2"), Some((alias(2), true)));
        assert_eq!(aliases.assign("topic/1"), Some((alias(1), false)));
        // topic/1 was used again, so topic/2 makes room.
        assert_eq!(aliases.assign("topic/3"), Some((alias(2), true)));
        assert_eq!(aliases.assign("topic/1"), Some((alias(1), false)));
        assert_eq!(aliases.assign("topic/3"), Some((alias(2), false)));
        assert_eq!(OutboundAliases::new(0).assign("topic/1"), None);
    }

    #[test]
    fn a_forgotten_topic_is_named_again() {
        let mut aliases = OutboundAliases::new(2);
        assert_eq!(aliases.assign("topic/1"), Some((alias(1), true)));
        aliases.forget("topic/1");
        assert_eq!(aliases.assign("topic/1"), Some((alias(2), true)));
        assert_eq!(aliases.assign("topic/2"), Some((alias(1), true)));
        assert_eq!(aliases.assign("topic/1"), Some((alias(2), false)));
        assert_eq!(aliases.assign("topic/2"), Some((alias(1), false)));
    }

    #[test]
    fn an_alias_never_stands_for_two_topics() {
        let mut aliases = OutboundAliases::new(5);
        let mut peer: HashMap<u16, String> = HashMap::new();
        for step in 0_u32..10_000 {
            let topic = format!("topic/{}", (step * step * 7 + step / 3) % 23);
            if let Some((alias, is_first_use)) = aliases.assign(&topic) {
                if is_first_use {
                    peer.insert(alias.get(), topic.clone());
                }
                assert_eq!(peer.get(&alias.get()), Some(&topic));
            }
        }
        assert_eq!(peer.len(), 5);
    }
}
