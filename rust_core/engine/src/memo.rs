//! Verdicts on a client's last publications, so that a publication like the one before costs one comparison.
//!
//! The key is topic, QoS and retain flag. Bounded: the verdict that came first goes first. A verdict is only as good as
//! the chain and the subject it came from; whoever changes one of them begins a new memo.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::access::Keeping;

/// One verdict.
#[derive(Debug, Clone)]
pub struct KeptVerdict {
    /// Topic as the client wrote it, without `$delayed/N/`.
    pub topic: Box<str>,
    /// QoS, and the retain flag as the lowest bit.
    pub key: u8,
    /// The verdict.
    pub is_allowed: bool,
    /// When it came, monotonic.
    pub kept_ms: u64,
}

/// The verdicts of one client.
#[derive(Default)]
pub struct Memo {
    /// Verdicts in the order in which they came; `None` where one was removed.
    kept: VecDeque<Option<KeptVerdict>>,
    /// Number of the first of them.
    first: u64,
    /// Numbers by hash.
    index: HashTable<(u64, u64)>,
    /// Number of the verdict that was asked for last.
    recent: u64,
    hasher: RandomState,
}

/// QoS and retain flag in one number.
#[must_use]
pub fn key_of(qos: u8, is_retain: bool) -> u8 {
    qos << 1 | u8::from(is_retain)
}

impl Memo {
    /// The verdict on a publication, if it is known and not too old.
    pub fn find(&mut self, topic: &str, key: u8, now_ms: u64, ttl_ms: u64) -> Option<bool> {
        if let Some(recent) = self.at(self.recent)
            && recent.key == key
            && *recent.topic == *topic
            && now_ms.saturating_sub(recent.kept_ms) < ttl_ms
        {
            return Some(recent.is_allowed);
        }
        let hash = self.hash(topic, key);
        let number = self.number_of(hash, topic, key)?;
        let found = self.at(number)?;
        if now_ms.saturating_sub(found.kept_ms) >= ttl_ms {
            self.remove(hash, number);
            return None;
        }
        let is_allowed = found.is_allowed;
        self.recent = number;
        Some(is_allowed)
    }

    /// Keeps a verdict; what is too much leaves.
    pub fn keep(&mut self, topic: &str, key: u8, is_allowed: bool, now_ms: u64, keeping: Keeping) {
        let hash = self.hash(topic, key);
        if let Some(number) = self.number_of(hash, topic, key) {
            self.remove(hash, number);
        }
        if self.index.len() >= keeping.max_len {
            let is_old = |kept: &KeptVerdict| now_ms.saturating_sub(kept.kept_ms) >= keeping.ttl_ms;
            if self.kept.iter().flatten().next_back().is_some_and(is_old) {
                self.kept.clear();
                self.index.clear();
            } else {
                self.remove_first();
            }
        }
        if self.kept.len() > 2 * keeping.max_len {
            self.close_gaps();
        }
        let number = self.first + self.kept.len() as u64;
        self.kept.push_back(Some(KeptVerdict { topic: topic.into(), key, is_allowed, kept_ms: now_ms }));
        self.index.insert_unique(hash, (hash, number), |(hash, _)| *hash);
        self.recent = number;
    }

    /// The verdicts that still hold, oldest first.
    pub fn iter(&self, now_ms: u64, ttl_ms: u64) -> impl Iterator<Item = &KeptVerdict> {
        self.kept.iter().flatten().filter(move |kept| now_ms.saturating_sub(kept.kept_ms) < ttl_ms)
    }

    fn hash(&self, topic: &str, key: u8) -> u64 {
        self.hasher.hash_one((topic, key))
    }

    fn at(&self, number: u64) -> Option<&KeptVerdict> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.kept.get(place)?.as_ref()
    }

    fn number_of(&self, hash: u64, topic: &str, key: u8) -> Option<u64> {
        let is_it =
            |&(_, number): &(u64, u64)| self.at(number).is_some_and(|kept| kept.key == key && *kept.topic == *topic);
        self.index.find(hash, is_it).map(|(_, number)| *number)
    }

    fn remove(&mut self, hash: u64, number: u64) {
        if let Ok(entry) = self.index.find_entry(hash, |(_, there)| *there == number) {
            entry.remove();
        }
        let place = usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
        if let Some(kept) = self.kept.get_mut(place) {
            *kept = None;
        }
        while let Some(None) = self.kept.front() {
            self.kept.pop_front();
            self.first += 1;
        }
    }

    /// Numbers the verdicts anew, without the places of those that were removed.
    fn close_gaps(&mut self) {
        self.kept.retain(Option::is_some);
        self.index.clear();
        for (number, kept) in (self.first..).zip(self.kept.iter().flatten()) {
            let hash = self.hasher.hash_one((&*kept.topic, kept.key));
            self.index.insert_unique(hash, (hash, number), |(hash, _)| *hash);
        }
    }

    fn remove_first(&mut self) {
        let number = self.first;
        if let Some(Some(kept)) = self.kept.front() {
            let hash = self.hash(&kept.topic, kept.key);
            self.remove(hash, number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEPING: Keeping = Keeping { max_len: 3, ttl_ms: 100 };

    #[test]
    fn qos_and_retain_are_part_of_the_key() {
        let mut memo = Memo::default();
        memo.keep("t", key_of(0, false), true, 0, KEEPING);
        assert_eq!(memo.find("t", key_of(0, false), 1, 100), Some(true));
        assert_eq!(memo.find("t", key_of(1, false), 1, 100), None);
        assert_eq!(memo.find("t", key_of(0, true), 1, 100), None);
    }

    #[test]
    fn the_first_verdict_leaves_a_full_memo_first() {
        let mut memo = Memo::default();
        for topic in ["a", "b", "c"] {
            memo.keep(topic, 0, true, 0, KEEPING);
        }
        memo.keep("a", 0, false, 1, KEEPING);
        memo.keep("d", 0, true, 1, KEEPING);
        let known: Vec<_> = ["a", "b", "c", "d"].map(|topic| memo.find(topic, 0, 1, 100)).into();
        assert_eq!(known, [Some(false), None, Some(true), Some(true)]);
        assert_eq!(memo.iter(1, 100).map(|kept| &*kept.topic).collect::<Vec<_>>(), ["c", "a", "d"]);
    }

    #[test]
    fn an_old_verdict_holds_no_more() {
        let mut memo = Memo::default();
        memo.keep("t", 0, true, 0, KEEPING);
        assert_eq!(memo.find("t", 0, 99, 100), Some(true));
        assert_eq!(memo.find("t", 0, 100, 100), None);
        assert_eq!(memo.index.len(), 0);
    }

    #[test]
    fn a_full_memo_whose_newest_verdict_is_old_is_emptied() {
        let mut memo = Memo::default();
        for topic in ["a", "b", "c"] {
            memo.keep(topic, 0, true, 0, KEEPING);
        }
        memo.keep("d", 0, true, 100, KEEPING);
        assert_eq!(memo.kept.len(), 1);
        assert_eq!(memo.find("d", 0, 100, 100), Some(true));
    }

    #[test]
    fn verdicts_that_come_again_and_again_keep_the_memo_small() {
        let mut memo = Memo::default();
        memo.keep("first", 0, true, 0, KEEPING);
        for at in 0..1_000 {
            memo.keep("again", 0, at % 2 == 0, at, KEEPING);
            assert!(memo.index.len() == 2 && memo.kept.len() <= 7, "{at}");
        }
        assert_eq!(memo.find("first", 0, 1, 100), Some(true));
        assert_eq!(memo.find("again", 0, 999, 100), Some(false));
    }
}
