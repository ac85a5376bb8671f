//! From a topic to who gets the message: mount, match, and one delivery per subscriber however many of its filters match.
//!
//! The answer depends on the subscriptions alone, so it may be kept until they change. What depends on the publisher
//! (No Local, the choice inside a shared group) is left to the moment of delivery.

use std::sync::Arc;

use crate::trie::{Matches, SharedGroup, SubscriberId, SubscriptionOptions, Trie};

/// Whose publications a delivery is for: filters with and without No Local may overlap. [MQTT5-3.8.3-3]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Of everyone.
    Everyone,
    /// Of everyone but the subscriber itself.
    Others,
    /// Of the subscriber itself alone.
    Own,
}

/// One copy for one subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The subscriber.
    pub id: SubscriberId,
    /// Highest QoS granted by the matching subscriptions, 0 to 2. [MQTT5-3.3.4-2]
    pub qos: u8,
    /// Whether any of them asks for the retain flag as published. [MQTT5-3.3.1-13]
    pub is_retain_as_published: bool,
    /// Whose publications it is for.
    pub audience: Audience,
    /// Identifiers of all of them, without those that have none. [MQTT5-3.3.4-3] [MQTT5-3.3.4-4]
    pub subscription_ids: Vec<u32>,
}

/// Everything that matches one topic.
#[derive(Default)]
pub struct Plan {
    /// Ordinary subscriptions, merged by subscriber, in the order of subscriber numbers.
    pub deliveries: Vec<Delivery>,
    /// Shared groups, each of which gets one copy.
    pub groups: Vec<Arc<SharedGroup>>,
}

/// Matches `topic` (as routed, mounted) and merges per subscriber into `plan`.
///
/// `is_hidden` says of a subscriber whose filter begins with a wildcard whether its mountpoint makes the topic a
/// `$`-topic for it; it is asked only for subscriptions that were made with `hides_dollar`.
pub fn plan(
    trie: &Trie,
    topic: &str,
    matches: &mut Matches,
    is_hidden: impl Fn(SubscriberId) -> bool,
    plan: &mut Plan,
) {
    plan.deliveries.clear();
    plan.groups.clear();
    trie.find(topic, matches);
    plan.groups.append(&mut matches.shared);
    let direct = &mut matches.direct;
    direct.retain(|(id, options)| !(options.hides_dollar && is_hidden(*id)));
    direct.sort_unstable_by_key(|(id, _)| *id);
    for same in direct.chunk_by(|(a, _), (b, _)| a == b) {
        merge(same, &mut plan.deliveries);
    }
}

fn merge(same: &[(SubscriberId, SubscriptionOptions)], out: &mut Vec<Delivery>) {
    let restricted = same.iter().filter(|(_, options)| options.no_local).count();
    if restricted == 0 {
        out.extend(delivery(same.iter(), Audience::Everyone));
    } else {
        out.extend(delivery(same.iter(), Audience::Others));
        out.extend(delivery(same.iter().filter(|(_, options)| !options.no_local), Audience::Own));
    }
}

fn delivery<'a>(
    subscriptions: impl Iterator<Item = &'a (SubscriberId, SubscriptionOptions)>,
    audience: Audience,
) -> Option<Delivery> {
    subscriptions.fold(None, |merged, (id, options)| {
        let mut merged = merged.unwrap_or(Delivery {
            id: *id,
            qos: 0,
            is_retain_as_published: false,
            audience,
            subscription_ids: Vec::new(),
        });
        merged.qos = merged.qos.max(options.qos);
        merged.is_retain_as_published |= options.retain_as_published;
        if options.subscription_id != 0 {
            merged.subscription_ids.push(options.subscription_id);
        }
        Some(merged)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(qos: u8, no_local: bool, subscription_id: u32) -> SubscriptionOptions {
        SubscriptionOptions { qos, no_local, subscription_id, ..SubscriptionOptions::default() }
    }

    fn planned(trie: &Trie, topic: &str) -> Vec<Delivery> {
        let mut found = Plan::default();
        plan(trie, topic, &mut Matches::default(), |_| true, &mut found);
        found.deliveries
    }

    #[test]
    fn overlapping_filters_give_one_copy_with_the_highest_qos_and_all_identifiers() {
        let mut trie = Trie::new();
        let id = SubscriberId(7);
        trie.subscribe("a/+", None, id, options(1, false, 5));
        trie.subscribe("a/b", None, id, options(2, false, 6));
        trie.subscribe("#", None, id, options(0, false, 0));
        let found = planned(&trie, "a/b");
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].qos, found[0].audience), (2, Audience::Everyone));
        let mut ids = found[0].subscription_ids.clone();
        ids.sort_unstable();
        assert_eq!(ids, [5, 6]);
    }

    #[test]
    fn no_local_beside_an_open_filter_keeps_the_open_one_for_own_messages() {
        let mut trie = Trie::new();
        let id = SubscriberId(1);
        trie.subscribe("a/+", None, id, options(2, true, 5));
        trie.subscribe("a/b", None, id, options(1, false, 6));
        let found = planned(&trie, "a/b");
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].audience, found[0].qos), (Audience::Others, 2));
        assert_eq!(
            (found[1].audience, found[1].qos, found[1].subscription_ids.as_slice()),
            (Audience::Own, 1, &[6][..])
        );
    }

    #[test]
    fn a_mounted_leading_wildcard_does_not_see_hidden_topics() {
        let mut trie = Trie::new();
        let hides = SubscriptionOptions { hides_dollar: true, ..options(0, false, 0) };
        trie.subscribe("n1/#", None, SubscriberId(1), hides);
        trie.subscribe("n1/#", None, SubscriberId(2), options(0, false, 0));
        let found = planned(&trie, "n1/$x");
        assert_eq!(found.iter().map(|delivery| delivery.id).collect::<Vec<_>>(), [SubscriberId(2)]);
    }
}
