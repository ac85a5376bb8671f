//! Counters since start, under the names that EMQX gives them.
//!
//! A thread counts in plain integers (`Tally`) and adds them to the shared ones (`Counters`) once per turn, so that
//! counting costs the message path one addition. Every drop has a counter of its own: nothing is lost silently. What
//! concerns a namespace that is counted is counted apart meanwhile, and added to its counters as well.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::namespace::Namespace;

macro_rules! metrics {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// One counter.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(usize)]
        #[allow(missing_docs, reason = "the name in the table is the documentation")]
        pub enum Metric { $($variant),+ }

        /// Every counter with its name, in the order of the enumeration.
        pub const METRICS: &[(Metric, &str)] = &[$((Metric::$variant, $name)),+];
    };
}

metrics! {
    BytesReceived = "bytes.received",
    BytesSent = "bytes.sent",
    PacketsReceived = "packets.received",
    PacketsSent = "packets.sent",
    ConnectReceived = "packets.connect.received",
    ConnackSent = "packets.connack.sent",
    ConnackError = "packets.connack.error",
    PublishReceived = "packets.publish.received",
    PublishSent = "packets.publish.sent",
    PublishError = "packets.publish.error",
    PublishAuthError = "packets.publish.auth_error",
    PublishDropped = "packets.publish.dropped",
    PubackReceived = "packets.puback.received",
    PubackSent = "packets.puback.sent",
    PubackMissed = "packets.puback.missed",
    PubrecReceived = "packets.pubrec.received",
    PubrecSent = "packets.pubrec.sent",
    PubrecMissed = "packets.pubrec.missed",
    PubrelReceived = "packets.pubrel.received",
    PubrelSent = "packets.pubrel.sent",
    PubrelMissed = "packets.pubrel.missed",
    PubcompReceived = "packets.pubcomp.received",
    PubcompSent = "packets.pubcomp.sent",
    PubcompMissed = "packets.pubcomp.missed",
    SubscribeReceived = "packets.subscribe.received",
    SubscribeError = "packets.subscribe.error",
    SubackSent = "packets.suback.sent",
    UnsubscribeReceived = "packets.unsubscribe.received",
    UnsubackSent = "packets.unsuback.sent",
    PingreqReceived = "packets.pingreq.received",
    PingrespSent = "packets.pingresp.sent",
    DisconnectReceived = "packets.disconnect.received",
    DisconnectSent = "packets.disconnect.sent",
    AuthReceived = "packets.auth.received",
    AuthSent = "packets.auth.sent",
    MessagesReceived = "messages.received",
    MessagesQos0Received = "messages.qos0.received",
    MessagesQos1Received = "messages.qos1.received",
    MessagesQos2Received = "messages.qos2.received",
    MessagesSent = "messages.sent",
    MessagesQos0Sent = "messages.qos0.sent",
    MessagesQos1Sent = "messages.qos1.sent",
    MessagesQos2Sent = "messages.qos2.sent",
    MessagesPublish = "messages.publish",
    MessagesDelivered = "messages.delivered",
    MessagesAcked = "messages.acked",
    MessagesDelayed = "messages.delayed",
    MessagesRetainedDropped = "messages.retained.dropped",
    MessagesDropped = "messages.dropped",
    MessagesDroppedNoSubscribers = "messages.dropped.no_subscribers",
    MessagesDroppedAwaitPubrelTimeout = "messages.dropped.await_pubrel_timeout",
    MessagesDroppedReceiveMaximum = "messages.dropped.receive_maximum",
    MessagesDroppedQuota = "messages.dropped.quota_exceeded",
    MessagesDroppedDelayedFull = "messages.dropped.delayed_full",
    MessagesDroppedExpired = "messages.dropped.expired",
    DeliveryDropped = "delivery.dropped",
    DeliveryDroppedNoLocal = "delivery.dropped.no_local",
    DeliveryDroppedTooLarge = "delivery.dropped.too_large",
    DeliveryDroppedQos0 = "delivery.dropped.qos0_msg",
    DeliveryDroppedQueueFull = "delivery.dropped.queue_full",
    DeliveryDroppedExpired = "delivery.dropped.expired",
    DeliveryDroppedSessionEnd = "delivery.dropped.session_ended",
    DeliveryDroppedRevoked = "delivery.dropped.revoked",
    DeliveryDroppedBanned = "delivery.dropped.banned",
    ClientAuthorize = "client.authorize",
    AuthorizationAllow = "authorization.allow",
    AuthorizationDeny = "authorization.deny",
    AuthorizationMatchedAllow = "authorization.matched.allow",
    AuthorizationMatchedDeny = "authorization.matched.deny",
    AuthorizationNoMatch = "authorization.nomatch",
    AuthorizationSuperuser = "authorization.superuser",
    AuthorizationCacheHit = "authorization.cache_hit",
    AuthorizationCacheMiss = "authorization.cache_miss",
    AuthorizationRevoked = "authorization.revoked",
}

const LEN: usize = METRICS.len();

/// Counts of one thread within one turn.
pub struct Tally {
    counts: [u64; LEN],
    /// Counts of the namespace at hand, which take the place of `counts`.
    scope: Option<Box<Scope>>,
    /// Counts of namespaces that were at hand in this turn or the one before, by address.
    aside: HashMap<usize, Box<Scope>, foldhash::fast::RandomState>,
}

impl Default for Tally {
    fn default() -> Self {
        Self { counts: [0; LEN], scope: None, aside: HashMap::default() }
    }
}

struct Scope {
    namespace: Arc<Namespace>,
    counts: [u64; LEN],
}

impl Scope {
    fn new(namespace: &Arc<Namespace>) -> Self {
        Self { namespace: Arc::clone(namespace), counts: [0; LEN] }
    }

    fn key(&self) -> usize {
        address(&self.namespace)
    }

    /// Moves everything into `counters` and those of the namespace. Returns whether there was anything.
    fn settle(&mut self, counters: &Counters) -> bool {
        if self.counts.iter().all(|count| *count == 0) {
            return false;
        }
        if let Some(own) = self.namespace.counters() {
            own.add(&self.counts);
        }
        counters.add(&self.counts);
        self.counts = [0; LEN];
        true
    }
}

fn address(namespace: &Arc<Namespace>) -> usize {
    Arc::as_ptr(namespace) as usize
}

impl Tally {
    /// Adds one.
    pub fn count(&mut self, metric: Metric) {
        self.add(metric, 1);
    }

    /// Adds `n`.
    pub fn add(&mut self, metric: Metric, n: u64) {
        let counts = self.scope.as_mut().map_or(&mut self.counts, |scope| &mut scope.counts);
        if let Some(count) = counts.get_mut(metric as usize) {
            *count += n;
        }
    }

    /// Whose traffic is counted from here on. Costs two branches where no namespace comes or goes.
    pub fn enter(&mut self, namespace: Option<&Arc<Namespace>>) {
        let is_same = match (&self.scope, namespace) {
            (None, None) => true,
            (Some(scope), Some(namespace)) => Arc::ptr_eq(&scope.namespace, namespace),
            _ => false,
        };
        if !is_same {
            self.change_scope(namespace);
        }
    }

    fn change_scope(&mut self, namespace: Option<&Arc<Namespace>>) {
        if let Some(scope) = self.scope.take() {
            self.aside.insert(scope.key(), scope);
        }
        self.scope = namespace
            .filter(|namespace| namespace.is_counted())
            .map(|namespace| self.aside.remove(&address(namespace)).unwrap_or_else(|| Box::new(Scope::new(namespace))));
    }

    /// Moves everything into `counters`, and what belongs to a namespace into its own as well.
    pub fn settle(&mut self, counters: &Counters) {
        self.enter(None);
        if !self.aside.is_empty() {
            self.aside.retain(|_, scope| scope.settle(counters));
        }
        if self.counts.iter().any(|count| *count != 0) {
            counters.add(&self.counts);
            self.counts = [0; LEN];
        }
    }
}

/// Counts of the whole engine.
pub struct Counters {
    counts: [AtomicU64; LEN],
}

impl Default for Counters {
    fn default() -> Self {
        Self { counts: [const { AtomicU64::new(0) }; LEN] }
    }
}

impl Counters {
    fn add(&self, counts: &[u64; LEN]) {
        for (shared, count) in self.counts.iter().zip(counts) {
            if *count != 0 {
                shared.fetch_add(*count, Ordering::Relaxed);
            }
        }
    }

    /// Current value of one counter; settled at the end of each turn.
    #[must_use]
    pub fn get(&self, metric: Metric) -> u64 {
        self.counts.get(metric as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::mailbox::Mailbox;

    #[test]
    fn a_tally_is_settled_once() {
        let counters = Counters::default();
        let mut tally = Tally::default();
        tally.count(Metric::BytesSent);
        tally.add(Metric::BytesSent, 4);
        tally.settle(&counters);
        tally.settle(&counters);
        assert_eq!(counters.get(Metric::BytesSent), 5);
        assert_eq!(counters.get(Metric::BytesReceived), 0);
    }

    #[test]
    fn what_a_namespace_counts_is_in_its_own_counters_and_in_the_common_ones() -> Result<(), std::io::Error> {
        let make =
            || Ok::<_, std::io::Error>(Arc::new(Namespace::new("n".into(), Arc::default(), Arc::new(Mailbox::new()?))));
        let (counted, other, plain) = (make()?, make()?, make()?);
        counted.set_counted(true);
        other.set_counted(true);
        let (counters, mut tally) = (Counters::default(), Tally::default());
        for _ in 0..3 {
            for namespace in [Some(&counted), Some(&plain), None, Some(&other)] {
                tally.enter(namespace);
                tally.count(Metric::MessagesReceived);
            }
        }
        tally.settle(&counters);
        tally.count(Metric::MessagesReceived);
        tally.settle(&counters);
        let of = |namespace: &Namespace| namespace.counters().map(|own| own.get(Metric::MessagesReceived));
        assert_eq!((of(&counted), of(&other), of(&plain)), (Some(3), Some(3), None));
        assert_eq!(counters.get(Metric::MessagesReceived), 13);
        tally.settle(&counters);
        assert!(tally.aside.is_empty(), "what was not at hand for a turn is let go");
        Ok(())
    }

    #[test]
    fn the_table_has_each_metric_at_its_place_and_each_name_once() {
        let names: HashSet<_> = METRICS.iter().map(|(_, name)| name).collect();
        assert_eq!(names.len(), METRICS.len());
        assert!(METRICS.iter().enumerate().all(|(at, (metric, _))| *metric as usize == at));
    }
}
