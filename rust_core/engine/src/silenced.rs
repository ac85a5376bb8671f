//! Client ids whose earlier messages are not delivered any more: those that are banned by name.
//!
//! What waits in queues and for its time is dropped once, when a client id is silenced; retained messages stay and are
//! passed over while it is.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;
use pybroker_core::message::Origin;
use pybroker_core::trie::SubscriberId;

use crate::counters::Metric;
use crate::dispatch::Dispatcher;
use crate::hub::Hub;

/// Sessions looked at between two looks at the slab.
const SESSIONS_A_TIME: u32 = 1_000;

/// The set. An empty one costs a load.
#[derive(Default)]
pub struct Silenced {
    count: AtomicUsize,
    client_ids: RwLock<HashSet<Box<str>>>,
}

impl Silenced {
    /// Enters a client id.
    pub fn add(&self, client_id: &str) {
        let mut client_ids = self.client_ids.write();
        client_ids.insert(client_id.into());
        self.count.store(client_ids.len(), Ordering::Relaxed);
    }

    /// Takes a client id out; a missing one is no error.
    pub fn remove(&self, client_id: &str) {
        let mut client_ids = self.client_ids.write();
        client_ids.remove(client_id);
        self.count.store(client_ids.len(), Ordering::Relaxed);
    }

    /// Whether a message comes from one of them.
    #[must_use]
    pub fn holds(&self, origin: Option<&Origin>) -> bool {
        self.count.load(Ordering::Relaxed) != 0
            && origin.is_some_and(|origin| self.client_ids.read().contains(&origin.client_id))
    }
}

impl Hub {
    /// Drops what a client has published from every queue and from what waits for its time. O(all of them).
    pub fn discard_published(&self, client_id: &str, dispatcher: &mut Dispatcher) {
        self.delayed.lock().remove_published(client_id);
        let last = self.session_slots();
        for from in (0..last).step_by(SESSIONS_A_TIME as usize) {
            let mut sessions = Vec::new();
            let end = from.saturating_add(SESSIONS_A_TIME).min(last);
            self.with_sessions((from..end).map(SubscriberId), |session| sessions.push(Arc::clone(session)));
            for session in sessions {
                let mut state = session.lock();
                let dropped = state.window.retain_entries(|entry| {
                    entry.message.origin.as_ref().is_none_or(|origin| &*origin.client_id != client_id)
                });
                if let Some(replay) = state.replay.as_mut() {
                    replay.retain(|waiting| {
                        waiting.message.origin.as_ref().is_none_or(|origin| &*origin.client_id != client_id)
                    });
                }
                state.dropped += dropped as u64;
                drop(state);
                if dropped > 0 {
                    let tally = &mut dispatcher.outlet.tally;
                    tally.enter(session.namespace.as_ref());
                    tally.add(Metric::DeliveryDropped, dropped as u64);
                    tally.add(Metric::DeliveryDroppedBanned, dropped as u64);
                    tally.enter(None);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_messages_of_the_client_are_held_back() {
        let silenced = Silenced::default();
        let origin = |client_id: &str| Origin { client_id: client_id.into(), username: None };
        assert!(!silenced.holds(Some(&origin("a"))));
        silenced.add("a");
        assert!(silenced.holds(Some(&origin("a"))));
        assert!(!silenced.holds(Some(&origin("b"))));
        assert!(!silenced.holds(None));
        silenced.remove("a");
        silenced.remove("missing");
        assert!(!silenced.holds(Some(&origin("a"))));
    }
}
