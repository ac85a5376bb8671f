//! Match cache of one thread: (mountpoint, topic as the publisher writes it) to targets, valid while subscriptions that
//! could match are unchanged.
//!
//! Validity is a pair of generations: that of the topic's first level, and that of filters that begin with a wildcard.
//! A subscribe bumps one of them, so it does not empty the whole cache. Bounded by two halves: when the young one is
//! heavy enough it becomes the old one, and what is asked for again moves back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::{BuildHasher, Hasher};

use pybroker_core::route::{Audience, Plan};
use pybroker_core::trie::{self, SharedGroup};

use crate::hub::Hub;
use crate::session::{Mount, Session};

/// What one half may weigh, so that neither long topics nor many subscribers of many topics grow a thread's cache: about
/// 20,000 topics of ordinary length with one subscriber each.
const HALF_BYTES: usize = 4 * 1024 * 1024;
/// Weight of an entry beside its topic and targets: the entry, its place in the table, two allocations.
const ENTRY_BYTES: usize = 176;
const BUCKETS: usize = 256;

/// Counts changes of the subscriptions, by bucket of the filter's first level.
pub struct Generations {
    buckets: [AtomicU64; BUCKETS],
    wildcards: AtomicU64,
}

impl Default for Generations {
    fn default() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BUCKETS], wildcards: AtomicU64::new(0) }
    }
}

/// State of the subscriptions that could match one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation {
    bucket: u64,
    wildcards: u64,
}

impl Generations {
    /// Takes note that a subscription to `filter` (as routed) came, went or changed. Call it after the change.
    pub fn bump(&self, filter: &str) {
        let first = pybroker_core::topic::first_level(filter);
        match trie::generation_bucket(first).and_then(|at| self.buckets.get(usize::from(at))) {
            Some(bucket) => bucket.fetch_add(1, Ordering::Release),
            None => self.wildcards.fetch_add(1, Ordering::Release),
        };
    }

    /// State for topics of `bucket`.
    #[must_use]
    pub fn of(&self, bucket: u8) -> Generation {
        Generation {
            bucket: self.buckets.get(usize::from(bucket)).map_or(0, |count| count.load(Ordering::Acquire)),
            wildcards: self.wildcards.load(Ordering::Acquire),
        }
    }
}

/// One session that gets messages of a topic.
pub struct Target {
    /// The session.
    pub session: Arc<Session>,
    /// Identifiers of the matching subscriptions.
    pub subscription_ids: Box<[u32]>,
    /// Highest QoS granted.
    pub qos: u8,
    /// Whether the retain flag is kept.
    pub is_retain_as_published: bool,
    /// Whose messages it gets.
    pub audience: Audience,
}

/// Everyone who gets messages of a topic.
#[derive(Default)]
pub struct Targets {
    /// Ordinary subscribers.
    pub direct: Box<[Target]>,
    /// Shared groups: one member each.
    pub groups: Box<[Arc<SharedGroup>]>,
}

impl Targets {
    /// Whether nobody is subscribed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.direct.is_empty() && self.groups.is_empty()
    }
}

/// Turns what matched into sessions; subscribers that have just ended are left out.
pub(crate) fn resolve(hub: &Hub, plan: &mut Plan) -> Targets {
    let mut direct = Vec::with_capacity(plan.deliveries.len());
    let mut sessions = Vec::with_capacity(plan.deliveries.len());
    hub.with_sessions(plan.deliveries.iter().map(|delivery| delivery.id), |session| sessions.push(Arc::clone(session)));
    let mut sessions = sessions.into_iter().peekable();
    for delivery in plan.deliveries.drain(..) {
        if sessions.peek().is_some_and(|session| session.id == delivery.id)
            && let Some(session) = sessions.next()
        {
            direct.push(Target {
                session,
                subscription_ids: delivery.subscription_ids.into_boxed_slice(),
                qos: delivery.qos,
                is_retain_as_published: delivery.is_retain_as_published,
                audience: delivery.audience,
            });
        }
    }
    Targets { direct: direct.into_boxed_slice(), groups: std::mem::take(&mut plan.groups).into_boxed_slice() }
}

struct Entry {
    hash: u64,
    mount: Option<Arc<Mount>>,
    topic: Box<str>,
    bucket: u8,
    generation: Generation,
    targets: Arc<Targets>,
}

impl Entry {
    fn weight(&self) -> usize {
        let groups = self.targets.groups.len() * size_of::<Arc<SharedGroup>>();
        ENTRY_BYTES + self.topic.len() + self.targets.direct.len() * size_of::<Target>() + groups
    }

    fn is_for(&self, hash: u64, mount: Option<&Arc<Mount>>, topic: &str) -> bool {
        self.hash == hash && *self.topic == *topic && is_same_mount(self.mount.as_ref(), mount)
    }
}

/// Whether two clients share a mountpoint. Mounts are interned, so this compares pointers.
#[must_use]
pub fn is_same_mount(a: Option<&Arc<Mount>>, b: Option<&Arc<Mount>>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        _ => false,
    }
}

/// The cache.
#[derive(Default)]
pub struct MatchCache {
    young: HashTable<Entry>,
    young_bytes: usize,
    old: HashTable<Entry>,
    hasher: RandomState,
}

impl MatchCache {
    fn hash(&self, mount: Option<&Arc<Mount>>, topic: &str) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(topic.as_bytes());
        hasher.write_usize(mount.map_or(0, |mount| Arc::as_ptr(mount) as usize));
        hasher.finish()
    }

    /// Targets of a topic, if they are known and still right.
    pub fn get(&mut self, mount: Option<&Arc<Mount>>, topic: &str, generations: &Generations) -> Option<Arc<Targets>> {
        let hash = self.hash(mount, topic);
        if let Some(entry) = self.young.find(hash, |entry| entry.is_for(hash, mount, topic)) {
            return (entry.generation == generations.of(entry.bucket)).then(|| Arc::clone(&entry.targets));
        }
        let (entry, _) = self.old.find_entry(hash, |entry| entry.is_for(hash, mount, topic)).ok()?.remove();
        if entry.generation != generations.of(entry.bucket) {
            return None;
        }
        let targets = Arc::clone(&entry.targets);
        self.insert_entry(entry);
        Some(targets)
    }

    /// Keeps targets that were found while the subscriptions were at `generation`.
    pub fn insert(
        &mut self,
        mount: Option<&Arc<Mount>>,
        topic: &str,
        bucket: u8,
        generation: Generation,
        targets: Arc<Targets>,
    ) {
        let hash = self.hash(mount, topic);
        if let Ok(found) = self.young.find_entry(hash, |entry| entry.is_for(hash, mount, topic)) {
            let entry = found.into_mut();
            let before = entry.weight();
            entry.generation = generation;
            entry.targets = targets;
            self.young_bytes = self.young_bytes + entry.weight() - before;
            return;
        }
        self.insert_entry(Entry { hash, mount: mount.cloned(), topic: topic.into(), bucket, generation, targets });
    }

    fn insert_entry(&mut self, entry: Entry) {
        if self.young_bytes >= HALF_BYTES {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += entry.weight();
        self.young.insert_unique(entry.hash, entry, |entry| entry.hash);
    }

    /// Forgets what is out of date, so that ended sessions are freed where nobody publishes any more.
    pub fn sweep(&mut self, generations: &Generations) {
        self.old = HashTable::new();
        self.young.retain(|entry| entry.generation == generations.of(entry.bucket));
        self.young_bytes = self.young.iter().map(Entry::weight).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(cache: &MatchCache) -> usize {
        cache.young.iter().chain(&cache.old).map(Entry::weight).sum()
    }

    #[test]
    fn long_topics_do_not_outgrow_the_budget() {
        let (mut cache, generations) = (MatchCache::default(), Generations::default());
        let generation = generations.of(0);
        for n in 0..1_000 {
            let topic = format!("{n}/{}", "x".repeat(60_000));
            cache.insert(None, &topic, 0, generation, Arc::new(Targets::default()));
        }
        assert!(held(&cache) <= 2 * HALF_BYTES + 2 * 61_000);
        assert_eq!(cache.young_bytes, cache.young.iter().map(Entry::weight).sum::<usize>());
    }

    #[test]
    fn what_is_asked_for_again_outlives_the_halves() {
        let (mut cache, generations) = (MatchCache::default(), Generations::default());
        let generation = generations.of(0);
        cache.insert(None, "hot", 0, generation, Arc::new(Targets::default()));
        for n in 0..200_000 {
            cache.insert(None, &format!("cold/{n}"), 0, generation, Arc::new(Targets::default()));
            if n % 1_000 == 0 {
                assert!(cache.get(None, "hot", &generations).is_some());
            }
        }
        assert!(cache.get(None, "cold/0", &generations).is_none());
    }

    #[test]
    fn a_change_of_the_subscriptions_ends_an_entry() {
        let (mut cache, generations) = (MatchCache::default(), Generations::default());
        let bucket = trie::generation_bucket("a").unwrap_or(0);
        cache.insert(None, "a/b", bucket, generations.of(bucket), Arc::new(Targets::default()));
        assert!(cache.get(None, "a/b", &generations).is_some());
        generations.bump("a/+");
        assert!(cache.get(None, "a/b", &generations).is_none());
        cache.insert(None, "a/b", bucket, generations.of(bucket), Arc::new(Targets::default()));
        generations.bump("+/b");
        assert!(cache.get(None, "a/b", &generations).is_none());
        cache.sweep(&generations);
        assert_eq!(held(&cache), 0);
    }
}
