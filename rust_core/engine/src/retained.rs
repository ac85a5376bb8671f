//! Retained messages of the broker: the index behind a lock, with its limits, those of namespaces, and counts.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;
use pybroker_core::message::{Message, NEVER};
use pybroker_core::retained::RetainedIndex;
use pybroker_core::trie::Cursor;

use crate::namespace::{Namespace, Quota};
use crate::settings::Settings;

/// Messages looked at under one lock while those to be removed are searched.
const REMOVAL_PAGE: usize = 10_000;

/// What storing a retained message came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// Kept, replaced or cleared.
    Yes,
    /// The store is full or the payload too large.
    Refused,
}

/// What one topic retains.
struct Held {
    message: Arc<Message>,
    /// Whose quota it is under.
    owner: Option<Arc<Namespace>>,
}

/// The retained messages by routed (mounted) topic.
#[derive(Default)]
pub struct Retained {
    index: RwLock<RetainedIndex<Held>>,
    bytes: AtomicUsize,
}

impl Retained {
    /// Stores, replaces or (empty payload) clears; the check and the change are one step. [MQTT5-3.3.1-5]
    ///
    /// What the clients of a deleted namespace send until they are gone changes nothing.
    pub fn store(
        &self,
        message: &Arc<Message>,
        owner: Option<&Arc<Namespace>>,
        now_ms: u64,
        settings: &Settings,
    ) -> Stored {
        let topic = message.topic();
        let mut index = self.index.write();
        if owner.is_some_and(|owner| owner.is_closed()) {
            return Stored::Yes;
        }
        if message.payload().is_empty() {
            let old = index.remove(topic);
            self.note_removed(old.as_ref());
            return Stored::Yes;
        }
        let before = index.get(topic);
        let is_full = settings.max_retained > 0 && index.len() >= settings.max_retained && before.is_none();
        if is_full || message.payload().len() > settings.max_retained_payload_bytes {
            return Stored::Refused;
        }
        if owner.is_some_and(|owner| !has_quota(owner, message, before)) {
            return Stored::Refused;
        }
        let message = Self::bounded(message, now_ms, settings);
        let held = Held { message, owner: owner.cloned() };
        self.note_added(&held);
        let old = index.insert(topic, held);
        self.note_removed(old.as_ref());
        Stored::Yes
    }

    /// The message with the retainer's own expiry applied: the one that overrides every other, or one that ends earlier.
    fn bounded(message: &Arc<Message>, now_ms: u64, settings: &Settings) -> Arc<Message> {
        let after = |span_ms: u64| if span_ms == 0 { NEVER } else { now_ms.saturating_add(span_ms) };
        let is_overridden = settings.retained_override_ms > 0;
        let deadline = after(if is_overridden { settings.retained_override_ms } else { settings.retained_expiry_ms });
        if message.expires_at_ms == deadline || (!is_overridden && message.expires_at_ms < deadline) {
            return Arc::clone(message);
        }
        let mut copy = Message::clone(message);
        copy.expires_at_ms = deadline;
        Arc::new(copy)
    }

    fn note_added(&self, held: &Held) {
        let bytes = held.message.size_bytes();
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(owner) = &held.owner {
            owner.add(Quota::Retained, 1);
            owner.add(Quota::RetainedBytes, bytes as u64);
        }
    }

    fn note_removed(&self, held: Option<&Held>) {
        let Some(held) = held else { return };
        let bytes = held.message.size_bytes();
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(owner) = &held.owner {
            owner.subtract(Quota::Retained, 1);
            owner.subtract(Quota::RetainedBytes, bytes as u64);
        }
    }

    /// Whether `message` is what its topic retains now.
    #[must_use]
    pub fn is_current(&self, message: &Arc<Message>) -> bool {
        self.index.read().get(message.topic()).is_some_and(|held| Arc::ptr_eq(&held.message, message))
    }

    /// Calls `visit` for every live message whose topic matches the routed filter.
    pub fn matching(&self, filter: &str, now_ms: u64, mut visit: impl FnMut(&Arc<Message>)) {
        // The visitor never breaks off, so how the walk ended says nothing.
        let _ended = self.index.read().matching(filter, &mut |_, held: &Held| {
            if !held.message.is_expired(now_ms) {
                visit(&held.message);
            }
            ControlFlow::Continue(())
        });
    }

    /// The message of one topic.
    #[must_use]
    pub fn get(&self, topic: &str, now_ms: u64) -> Option<Arc<Message>> {
        let index = self.index.read();
        index.get(topic).map(|held| &held.message).filter(|message| !message.is_expired(now_ms)).cloned()
    }

    /// Up to `limit` live messages from a place on, and where the next page begins.
    #[must_use]
    pub fn page(&self, from: Cursor, limit: usize, now_ms: u64) -> (Vec<Arc<Message>>, Option<Cursor>) {
        let mut page = Vec::new();
        let next = self.index.read().page(from, limit, &mut |_, held: &Held| {
            if !held.message.is_expired(now_ms) {
                page.push(Arc::clone(&held.message));
            }
        });
        (page, next)
    }

    /// Up to `limit` live messages that match the routed filter, behind the first `skip`, and whether more follow.
    #[must_use]
    pub fn page_matching(&self, filter: &str, skip: usize, limit: usize, now_ms: u64) -> (Vec<Arc<Message>>, bool) {
        let (mut seen, mut page) = (0, Vec::new());
        let ended = self.index.read().matching(filter, &mut |_, held: &Held| {
            if held.message.is_expired(now_ms) {
                return ControlFlow::Continue(());
            }
            seen += 1;
            if seen > skip && page.len() == limit {
                return ControlFlow::Break(());
            }
            if seen > skip {
                page.push(Arc::clone(&held.message));
            }
            ControlFlow::Continue(())
        });
        (page, ended.is_break())
    }

    /// Removes every message whose topic matches the routed filter; returns how many.
    pub fn remove_matching(&self, filter: &str) -> usize {
        let mut doomed = Vec::new();
        let _ended = self.index.read().matching(filter, &mut |_, held: &Held| {
            doomed.push(Arc::clone(&held.message));
            ControlFlow::Continue(())
        });
        self.remove_all(&doomed)
    }

    /// Removes what has expired; returns how many.
    pub fn expire(&self, now_ms: u64) -> usize {
        self.remove_where(|held| held.message.is_expired(now_ms))
    }

    /// Removes what clients of a namespace have published, and whatever lies below a prefix; returns how many.
    pub fn remove_of_namespace(&self, name: &str, prefix: Option<&str>) -> usize {
        self.remove_where(|held| {
            held.owner.as_ref().is_some_and(|owner| &*owner.name == name)
                || prefix.is_some_and(|prefix| held.message.topic().starts_with(prefix))
        })
    }

    /// Removes what `is_doomed`; returns how many. Works in pages, so that publishers never wait long.
    fn remove_where(&self, is_doomed: impl Fn(&Held) -> bool) -> usize {
        let mut removed = 0;
        let mut cursor = Some(Cursor::default());
        while let Some(from) = cursor {
            let mut doomed = Vec::new();
            cursor = self.index.read().page(from, REMOVAL_PAGE, &mut |_, held: &Held| {
                if is_doomed(held) {
                    doomed.push(Arc::clone(&held.message));
                }
            });
            removed += self.remove_all(&doomed);
        }
        removed
    }

    /// Removes these messages where they are still what their topic retains.
    fn remove_all(&self, doomed: &[Arc<Message>]) -> usize {
        if doomed.is_empty() {
            return 0;
        }
        let mut index = self.index.write();
        let mut removed = 0;
        for message in doomed {
            if index.get(message.topic()).is_some_and(|held| Arc::ptr_eq(&held.message, message)) {
                let old = index.remove(message.topic());
                self.note_removed(old.as_ref());
                removed += 1;
            }
        }
        removed
    }

    /// Number of messages held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.read().len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of topics, properties and payloads held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// Whether the namespace may keep `message` where `before` stood. A quota that was lowered below what is held refuses
/// nothing that makes it less.
fn has_quota(owner: &Arc<Namespace>, message: &Message, before: Option<&Held>) -> bool {
    let own = before.filter(|held| held.owner.as_ref().is_some_and(|holder| Arc::ptr_eq(holder, owner)));
    let more_bytes = message.size_bytes().saturating_sub(own.map_or(0, |held| held.message.size_bytes())) as u64;
    (own.is_some() || owner.admits(Quota::Retained, 1))
        && (more_bytes == 0 || owner.admits(Quota::RetainedBytes, more_bytes))
}
