//! The subscription trie and the retained index against naive models: lists that are searched with `topic::matches`.
//!
//! 250,000 random operations each, 100,000 of them matches, in short histories that shrink; and one long history with wide
//! lists and reused slots.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use proptest::prelude::*;
use proptest::sample::select;
use pybroker_core::retained::RetainedIndex;
use pybroker_core::topic::{first_level, matches};
use pybroker_core::trie::{
    Cursor, Matches, SubscriberId, SubscriptionKey, SubscriptionOptions, Trie, generation_bucket,
};

const HISTORIES: u32 = 2_500;
const OPERATIONS: usize = 100;

type Identity = (String, Option<String>, SubscriberId);

/// The trie beside a plain map of the same subscriptions, and every key that was ever handed out.
#[derive(Default)]
struct Pair {
    trie: Trie,
    model: BTreeMap<Identity, SubscriptionOptions>,
    keys: BTreeMap<Identity, SubscriptionKey>,
    stale: Vec<(SubscriptionKey, Identity)>,
    found: Matches,
}

impl Pair {
    fn subscribe(&mut self, identity: Identity, options: SubscriptionOptions) {
        let (filter, group, id) = &identity;
        let subscribed = self.trie.subscribe(filter, group.as_deref(), *id, options);
        assert_eq!(subscribed.key.is_shared(), group.is_some());
        assert_eq!(subscribed.previous, self.model.insert(identity.clone(), options), "{identity:?}");
        self.keys.insert(identity, subscribed.key);
    }

    fn unsubscribe(&mut self, identity: &Identity) {
        let (filter, group, id) = identity;
        let removed = self.trie.unsubscribe(filter, group.as_deref(), *id);
        let key = self.keys.remove(identity);
        assert_eq!(removed, key.zip(self.model.remove(identity)), "{identity:?}");
        self.stale.extend(key.map(|key| (key, identity.clone())));
    }

    fn remove_by_key(&mut self, identity: &Identity) {
        let Some(key) = self.keys.remove(identity) else {
            return;
        };
        assert!(self.trie.remove(key, identity.2), "{identity:?}");
        assert!(!self.trie.remove(key, identity.2), "{identity:?}");
        self.model.remove(identity);
        self.stale.push((key, identity.clone()));
    }

    fn check_topic(&mut self, topic: &str) {
        self.trie.find(topic, &mut self.found);
        let mut direct: Vec<_> = self.found.direct.iter().map(|&(id, options)| (id, options.subscription_id)).collect();
        direct.sort_unstable();
        let hits: Vec<_> = self.model.iter().filter(|((filter, ..), _)| matches(filter, topic)).collect();
        let plain = hits.iter().filter(|((_, group, _), _)| group.is_none());
        let mut expected: Vec<_> = plain.map(|((_, _, id), options)| (*id, options.subscription_id)).collect();
        expected.sort_unstable();
        assert_eq!(direct, expected, "{topic:?}");

        let mut groups = BTreeMap::new();
        for group in &self.found.shared {
            let members: BTreeSet<_> = group.members().iter().map(|(id, _)| *id).collect();
            assert_eq!(members.len(), group.len());
            let place = (group.filter().to_owned(), group.name().to_owned());
            assert!(groups.insert(place, members).is_none(), "a group is listed twice for {topic:?}");
        }
        let mut expected: BTreeMap<(String, String), BTreeSet<SubscriberId>> = BTreeMap::new();
        for ((filter, group, id), _) in hits {
            if let Some(group) = group {
                expected.entry((filter.clone(), group.clone())).or_default().insert(*id);
            }
        }
        assert_eq!(groups, expected, "{topic:?}");
    }

    fn check_lookup(&self, identity: &Identity) {
        let (filter, group, id) = identity;
        let expected = self.keys.get(identity).copied().zip(self.model.get(identity).copied());
        assert_eq!(self.trie.lookup(filter, group.as_deref(), *id), expected, "{identity:?}");
        let is_known = self.model.keys().any(|(other, ..)| other == filter);
        assert_eq!(self.trie.has_filter(filter), is_known, "{filter:?}");
    }

    /// No key names anything but what it was given for.
    fn check_keys(&self) {
        let mut text = String::new();
        for (identity, &key) in &self.keys {
            let group = self.trie.filter_of(key, &mut text);
            assert_eq!((text.as_str(), group), (identity.0.as_str(), identity.1.as_deref()));
            assert_eq!(self.trie.options_of(key, identity.2), self.model.get(identity).copied());
        }
        for (key, identity) in &self.stale {
            let group = self.trie.filter_of(*key, &mut text);
            if text.is_empty() {
                assert_eq!((group, self.trie.options_of(*key, identity.2)), (None, None));
            } else {
                assert_eq!((text.as_str(), group), (identity.0.as_str(), identity.1.as_deref()));
            }
        }
    }

    fn check_counts(&self) {
        let filters: BTreeSet<_> = self.model.keys().map(|(filter, ..)| filter).collect();
        assert_eq!(self.trie.subscription_count(), self.model.len());
        assert_eq!(self.trie.topic_count(), filters.len());
        let shared = self.model.keys().filter(|(_, group, _)| group.is_some()).count();
        assert_eq!(self.trie.shared_count(), shared);
        let mut prefixes = BTreeSet::new();
        for filter in filters {
            let levels: Vec<&str> = filter.split('/').collect();
            prefixes.extend((1..=levels.len()).map(|depth| levels[..depth].join("/")));
        }
        assert_eq!(self.trie.node_count(), prefixes.len());
    }

    fn check_pages(&self, limit: usize) {
        let mut text = String::new();
        let (mut page, mut listed, mut cursor) = (Vec::new(), BTreeMap::new(), Some(Cursor::START));
        while let Some(from) = cursor {
            page.clear();
            cursor = self.trie.page_subscriptions(Cursor::from_bits(from.to_bits()), limit, &mut page);
            assert!(page.len() == limit || cursor.is_none());
            for subscription in &page {
                let group = self.trie.filter_of(subscription.key, &mut text).map(str::to_owned);
                let identity = (text.clone(), group, subscription.subscriber);
                assert!(listed.insert(identity, subscription.options).is_none(), "listed twice");
            }
        }
        assert_eq!(listed, self.model);

        let (mut page, mut filters, mut cursor) = (Vec::new(), Vec::new(), Some(Cursor::START));
        while let Some(from) = cursor {
            page.clear();
            cursor = self.trie.page_filters(from, limit, &mut page);
            assert!(page.len() == limit || cursor.is_none());
            for &key in &page {
                self.trie.filter_of(key, &mut text);
                filters.push(text.clone());
            }
        }
        filters.sort_unstable();
        let expected: BTreeSet<_> = self.model.keys().map(|(filter, ..)| filter.clone()).collect();
        assert!(filters.iter().eq(&expected), "{filters:?}");
    }

    fn check_emptied(&mut self) {
        let identities: Vec<Identity> = self.model.keys().cloned().collect();
        for (number, identity) in identities.iter().enumerate() {
            if number % 2 == 0 {
                self.remove_by_key(identity);
            } else {
                self.unsubscribe(identity);
            }
        }
        assert_eq!((self.trie.subscription_count(), self.trie.topic_count(), self.trie.node_count()), (0, 0, 0));
        self.check_keys();
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Subscribe(Identity, u8),
    Unsubscribe(Identity),
    RemoveByKey(Identity),
    Find(String),
}

fn topic_text() -> impl Strategy<Value = String> {
    let level = select(vec!["", "a", "b", "$x", "a-level-with-more-than-22-bytes"]);
    prop::collection::vec(level, 1..5).prop_map(|levels| levels.join("/")).prop_filter("not empty", |t| !t.is_empty())
}

fn filter_text() -> impl Strategy<Value = String> {
    let level = select(vec!["", "a", "b", "$x", "a-level-with-more-than-22-bytes", "+", "+"]);
    (prop::collection::vec(level, 0..5), any::<bool>())
        .prop_map(|(mut levels, ends_open)| {
            if ends_open {
                levels.push("#");
            }
            levels.join("/")
        })
        .prop_filter("not empty", |filter| !filter.is_empty())
}

fn identity() -> impl Strategy<Value = Identity> {
    let group = select(vec![None, None, Some("g"), Some("h"), Some("$queue")]);
    (filter_text(), group, 0_u32..4)
        .prop_map(|(filter, group, id)| (filter, group.map(str::to_owned), SubscriberId(id)))
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (identity(), 0_u8..3).prop_map(|(identity, qos)| Operation::Subscribe(identity, qos)),
        1 => identity().prop_map(Operation::Unsubscribe),
        1 => identity().prop_map(Operation::RemoveByKey),
        4 => topic_text().prop_map(Operation::Find),
    ]
}

/// Options that tell every subscribe from every other.
fn options_of(number: usize, qos: u8) -> SubscriptionOptions {
    let subscription_id = u32::try_from(number).expect("few operations") + 1;
    SubscriptionOptions { qos, subscription_id, ..SubscriptionOptions::default() }
}

/// `SplitMix64`, for histories too long to shrink.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        u32::try_from(((mixed >> 32) * u64::from(bound)) >> 32).expect("below a u32")
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(HISTORIES) })]

    #[test]
    fn the_trie_agrees_with_a_list(history in prop::collection::vec(operation(), OPERATIONS), limit in 1_usize..20) {
        let mut pair = Pair::default();
        for (number, operation) in history.into_iter().enumerate() {
            match operation {
                Operation::Subscribe(identity, qos) => pair.subscribe(identity, options_of(number, qos)),
                Operation::Unsubscribe(identity) => {
                    pair.check_lookup(&identity);
                    pair.unsubscribe(&identity);
                }
                Operation::RemoveByKey(identity) => pair.remove_by_key(&identity),
                Operation::Find(topic) => pair.check_topic(&topic),
            }
        }
        pair.check_keys();
        pair.check_counts();
        pair.check_pages(limit);
        pair.check_emptied();
    }

    #[test]
    fn the_retained_index_agrees_with_a_list(
        history in prop::collection::vec((0_u8..10, topic_text(), filter_text()), OPERATIONS),
        limit in 1_usize..20,
    ) {
        let mut index = RetainedIndex::new();
        let mut model: BTreeMap<String, usize> = BTreeMap::new();
        for (number, (choice, topic, filter)) in history.into_iter().enumerate() {
            match choice {
                0..4 => prop_assert_eq!(index.insert(&topic, number), model.insert(topic, number)),
                4 => prop_assert_eq!(index.remove(&topic), model.remove(&topic)),
                5 => {
                    if let Some(value) = index.get_mut(&topic) {
                        *value += 1_000;
                    }
                    model.entry(topic.clone()).and_modify(|value| *value += 1_000);
                    prop_assert_eq!(index.get(&topic), model.get(&topic));
                }
                _ => {
                    let hits = model.iter().filter(|(topic, _)| matches(&filter, topic));
                    let expected: Vec<_> = hits.map(|(topic, &value)| (topic.clone(), value)).collect();
                    prop_assert_eq!(matched(&index, &filter), expected, "{}", filter);
                }
            }
            prop_assert_eq!((index.len(), index.is_empty()), (model.len(), model.is_empty()));
        }
        let (mut listed, mut cursor) = (Vec::new(), Some(Cursor::START));
        while let Some(from) = cursor {
            let before = listed.len();
            cursor = index.page(from, limit, &mut |topic, &value| listed.push((topic.to_owned(), value)));
            prop_assert!(listed.len() - before == limit || cursor.is_none());
        }
        listed.sort_unstable();
        prop_assert!(listed.iter().map(|(topic, value)| (topic, value)).eq(&model));
        for topic in model.keys() {
            prop_assert!(index.remove(topic).is_some());
        }
        prop_assert_eq!((index.len(), index.node_count()), (0, 0));
    }
}

fn matched(index: &RetainedIndex<usize>, filter: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let flow = index.matching(filter, &mut |topic, &value| {
        found.push((topic.to_owned(), value));
        ControlFlow::Continue(())
    });
    assert!(flow.is_continue());
    found.sort_unstable();
    found
}

#[test]
fn wide_lists_and_reused_slots_agree_with_a_list() {
    let mut random = Random(7);
    let mut pair = Pair::default();
    for number in 0..20_000_usize {
        let filter = match random.below(8) {
            0 => "wide/#".to_owned(),
            1 => "wide/+/x".to_owned(),
            2 => format!("+/{}/x", random.below(3)),
            _ => format!("wide/{}/x", random.below(300)),
        };
        let group = (random.below(4) == 0).then(|| format!("g{}", random.below(3)));
        let identity = (filter, group, SubscriberId(random.below(200)));
        // The mix of joining and leaving swings, so that lists grow wide and slots are freed and taken again.
        let joins = number / 4_000 % 2 == 0;
        if random.below(10) < if joins { 8 } else { 1 } {
            pair.subscribe(identity, options_of(number, 1));
        } else if let Some(known) = pair.model.range(identity..).next().map(|(known, _)| known.clone()) {
            if random.below(2) == 0 {
                pair.remove_by_key(&known);
            } else {
                pair.unsubscribe(&known);
            }
        }
        if number % 100 == 0 {
            pair.check_topic(&format!("wide/{}/x", random.below(300)));
        }
    }
    assert!(pair.stale.len() > 1_000 && pair.model.len() > 100);
    pair.check_keys();
    pair.check_counts();
    pair.check_pages(97);
    pair.check_emptied();
}

#[test]
fn a_filter_of_the_largest_size_neither_recurses_nor_leaks() {
    let filter = format!("{}#", "+/".repeat(32_767));
    let topic = "/".repeat(65_535);
    let mut trie = Trie::new();
    let mut found = Matches::default();
    let key = trie.subscribe(&filter, None, SubscriberId(1), SubscriptionOptions::default()).key;
    trie.find(&topic, &mut found);
    assert_eq!(found.direct.len(), 1);
    assert!(trie.remove(key, SubscriberId(1)));
    assert_eq!(trie.node_count(), 0);
    trie.find(&topic, &mut found);
    assert!(found.is_empty());

    let mut index = RetainedIndex::new();
    index.insert(&topic, 1);
    assert_eq!(matched(&index, &filter), [(topic.clone(), 1)]);
    assert_eq!(index.remove(&topic), Some(1));
}

#[test]
fn a_topic_that_was_not_validated_is_no_wildcard_of_its_own() {
    let mut trie = Trie::new();
    let mut found = Matches::default();
    for filter in ["+", "#", "a/+"] {
        trie.subscribe(filter, None, SubscriberId(1), SubscriptionOptions::default());
    }
    for (topic, expected) in [("+", 2), ("#", 2), ("a/+", 2), ("a/#", 2)] {
        trie.find(topic, &mut found);
        assert_eq!(found.direct.len(), expected, "{topic}");
    }
}

#[test]
fn a_walk_over_retained_topics_ends_when_the_caller_breaks() {
    let mut index = RetainedIndex::new();
    for number in 0..1_000 {
        index.insert(&format!("a/{number}"), number);
    }
    for filter in ["#", "a/+", "a/#", "+/+"] {
        let mut left = 10;
        let flow = index.matching(filter, &mut |_, _| {
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(flow.is_break());
        assert_eq!(left, 0, "{filter}");
    }
}

#[test]
fn cached_groups_see_members_that_join_and_leave() {
    let mut trie = Trie::new();
    let mut found = Matches::default();
    trie.subscribe("a", Some("g"), SubscriberId(1), SubscriptionOptions::default());
    trie.find("a", &mut found);
    let cached = found.shared.first().cloned().expect("the group matches");
    trie.subscribe("a", Some("g"), SubscriberId(2), SubscriptionOptions::default());
    assert_eq!(cached.len(), 2);
    trie.unsubscribe("a", Some("g"), SubscriberId(1));
    trie.unsubscribe("a", Some("g"), SubscriberId(2));
    assert!(cached.is_empty());
    assert_eq!(
        cached.pick(
            pybroker_core::trie::Strategy::Random,
            &pybroker_core::trie::PickRequest::default(),
            &|_| true,
            &[]
        ),
        None
    );
}

#[test]
fn a_cursor_from_outside_is_only_a_place() {
    let mut trie = Trie::new();
    trie.subscribe("a", Some("g"), SubscriberId(1), SubscriptionOptions::default());
    let mut random = Random(3);
    for number in 0..10_000_u64 {
        let bits = match number {
            0 => u64::MAX,
            _ => u64::from(random.below(u32::MAX)) << 32 | u64::from(random.below(u32::MAX)),
        };
        let mut page = Vec::new();
        trie.page_subscriptions(Cursor::from_bits(bits), 10, &mut page);
        assert!(page.len() <= 1);
        trie.page_filters(Cursor::from_bits(bits), 10, &mut Vec::new());
    }
}

#[test]
fn buckets_depend_on_the_first_level_and_spare_wildcards() {
    assert_eq!((generation_bucket("+"), generation_bucket("#")), (None, None));
    assert_eq!(generation_bucket(first_level("a/b")), generation_bucket(first_level("a/#")));
    let used: BTreeSet<_> = (0..2_000).filter_map(|number| generation_bucket(&format!("device{number}"))).collect();
    assert!(used.len() > 200, "{}", used.len());
}

#[test]
fn the_shared_types_may_cross_threads() {
    fn crosses<T: Send + Sync>() {}
    crosses::<Trie>();
    crosses::<RetainedIndex<usize>>();
    crosses::<pybroker_core::trie::SharedGroup>();
    assert_eq!(size_of::<SubscriptionKey>(), 8);
}
