//! Subscriptions held against the rules again: which are no longer allowed, and how one is taken away.
//!
//! Nothing here counts as a check: only what is taken away is counted.

use std::sync::Arc;

use pybroker_core::acl::Action;
use pybroker_core::codec::QoS;
use pybroker_core::topic::{self, TopicError};
use pybroker_core::trie::SubscriberId;

use crate::access::{AccessChain, Answer, Check, Subject};
use crate::counters::Metric;
use crate::dispatch::Dispatcher;
use crate::hub::Hub;
use crate::publication::group_tag;
use crate::session::Session;

/// A subscription that the chain does not simply allow.
pub struct Doubted {
    /// Its session.
    pub session: SubscriberId,
    /// Filter as its client would write it; `$exclusive/` is not known here.
    pub filter: String,
    /// Granted QoS.
    pub qos: u8,
    /// `Deny`, or `Ask` with the step that Python must take.
    pub answer: Answer,
}

impl Hub {
    /// Judges the subscriptions of up to `limit` sessions from number `from` on; also returns where the next begin.
    ///
    /// A subscription is judged with its granted QoS: the one that was asked for is not known any more.
    #[must_use]
    pub fn recheck(&self, chain: &AccessChain, from: u32, limit: usize) -> (Vec<Doubted>, Option<u32>) {
        let mut sessions = Vec::new();
        let last = u32::try_from(limit).unwrap_or(u32::MAX).saturating_add(from).min(self.session_slots());
        self.with_sessions((from..last).map(SubscriberId), |session| sessions.push(Arc::clone(session)));
        let mut doubted = Vec::new();
        for session in sessions {
            self.recheck_session(chain, &session, &session.subject(), &mut doubted);
        }
        (doubted, (last < self.session_slots()).then_some(last))
    }

    /// Judges the subscriptions of one session.
    pub fn recheck_session(
        &self,
        chain: &AccessChain,
        session: &Session,
        subject: &Subject,
        doubted: &mut Vec<Doubted>,
    ) {
        let keys = session.lock().subscriptions.clone();
        if keys.is_empty() {
            return;
        }
        let mut scratch = String::new();
        for listed in self.describe_subscriptions(session.id, &keys) {
            let filter = session.client_filter(&listed.filter);
            let qos = listed.options & 0b11;
            let action = Action::Subscribe { qos: QoS::try_from(qos).unwrap_or(QoS::AtMostOnce) };
            let check = Check { subject, action, topic: &filter, from: 0, is_counted: false };
            let answer = chain.judge(&check, &mut scratch).answer;
            if answer != Answer::Allow {
                doubted.push(Doubted { session: session.id, filter, qos, answer });
            }
        }
    }

    /// Takes a subscription away, and from the queue what came by it alone. Returns whether it existed.
    ///
    /// # Errors
    /// [`TopicError`] when the filter is not valid.
    pub fn revoke(&self, session: &Session, raw: &str, dispatcher: &mut Dispatcher) -> Result<bool, TopicError> {
        if !self.unsubscribe(session, raw)? {
            return Ok(false);
        }
        let keys = session.lock().subscriptions.clone();
        let (filters, groups) = self.filters_of(&keys);
        let mut state = session.lock();
        let dropped = state.window.retain_entries(|entry| {
            if entry.is_shared {
                groups.contains(&entry.origin)
            } else {
                filters.iter().any(|filter| topic::matches(filter, entry.message.topic()))
            }
        });
        if let Some(replay) = state.replay.as_mut() {
            replay.retain(|waiting| filters.iter().any(|filter| topic::matches(filter, waiting.message.topic())));
        }
        state.dropped += dropped as u64;
        drop(state);
        let tally = &mut dispatcher.outlet.tally;
        tally.enter(session.namespace.as_ref());
        tally.count(Metric::AuthorizationRevoked);
        tally.add(Metric::DeliveryDropped, dropped as u64);
        tally.add(Metric::DeliveryDroppedRevoked, dropped as u64);
        tally.enter(None);
        Ok(true)
    }

    /// Filters (as routed) of ordinary subscriptions, and tags of the groups of shared ones.
    fn filters_of(&self, keys: &[pybroker_core::trie::SubscriptionKey]) -> (Vec<String>, Vec<u32>) {
        let trie = self.trie.read();
        let (mut filters, mut groups) = (Vec::new(), Vec::new());
        for key in keys {
            if let Some(group) = trie.group(*key) {
                groups.push(group_tag(group));
            } else {
                let mut filter = String::new();
                trie.filter_of(*key, &mut filter);
                filters.push(filter);
            }
        }
        (filters, groups)
    }
}
