//! Counters since start, under the names that EMQX gives them.
//!
//! A thread counts in plain integers (`Tally`) and adds them to the shared ones (`Counters`) once per turn, so that
//! counting costs the message path one addition. Every drop has a counter of its own: nothing is lost silently.

use std::sync::atomic::{AtomicU64, Ordering};

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
}

impl Default for Tally {
    fn default() -> Self {
        Self { counts: [0; LEN] }
    }
}

impl Tally {
    /// Adds one.
    pub fn count(&mut self, metric: Metric) {
        self.add(metric, 1);
    }

    /// Adds `n`.
    pub fn add(&mut self, metric: Metric, n: u64) {
        if let Some(count) = self.counts.get_mut(metric as usize) {
            *count += n;
        }
    }

    /// Moves everything into `counters`.
    pub fn settle(&mut self, counters: &Counters) {
        for (shared, count) in counters.counts.iter().zip(&mut self.counts) {
            if *count != 0 {
                shared.fetch_add(*count, Ordering::Relaxed);
                *count = 0;
            }
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
    fn the_table_has_each_metric_at_its_place_and_each_name_once() {
        let names: HashSet<_> = METRICS.iter().map(|(_, name)| name).collect();
        assert_eq!(names.len(), METRICS.len());
        assert!(METRICS.iter().enumerate().all(|(at, (metric, _))| *metric as usize == at));
    }
}
