//! The compiled rules of one principal, and the index of a long list.
//!
//! The first rule that decides wins. A long list is indexed by the literal levels with which its rules begin, so that a
//! check looks at the rules of each prefix of the topic and at none besides; the order of the list still holds.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::rule::{Question, Rule, Topic};
use super::spec::Permission;

/// Lists shorter than this are walked; `bench/micro` shows no gain of the index below it.
const INDEXED_FROM: usize = 16;

/// Levels of a rule that are indexed at most. It bounds the look-ups of one check.
const MAX_PREFIX_LEVELS: usize = 8;

/// Rules of one principal.
#[derive(Debug)]
pub(crate) struct List {
    /// Client id or user name; empty for all users.
    pub(crate) name: Box<str>,
    rules: Rules,
    extra: Option<Box<Extra>>,
}

/// Most lists have one rule, which then stands beside the name in memory.
#[derive(Debug)]
enum Rules {
    One(Rule),
    Many(Box<[Rule]>),
}

/// What few lists have.
#[derive(Debug, Default)]
struct Extra {
    superseded: Box<[Superseded]>,
    index: Option<Index>,
}

/// A rule that does not count because an equal one follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Superseded {
    /// Index of the rule in the list as it was written.
    pub(crate) index: u32,
    /// Index of the one whose permission counts.
    pub(crate) by: u32,
}

impl List {
    pub(crate) fn new(name: Box<str>, mut rules: Vec<Rule>, superseded: Vec<Superseded>, hasher: &RandomState) -> Self {
        let superseded = superseded.into_boxed_slice();
        let index = (rules.len() >= INDEXED_FROM).then(|| Index::new(&rules, hasher));
        let extra = (index.is_some() || !superseded.is_empty()).then(|| Box::new(Extra { superseded, index }));
        let one = if rules.len() == 1 { rules.pop() } else { None };
        Self { name, rules: one.map_or_else(|| Rules::Many(rules.into()), Rules::One), extra }
    }

    /// The rules in the order in which they are tried.
    pub(crate) fn rules(&self) -> &[Rule] {
        match &self.rules {
            Rules::One(rule) => std::slice::from_ref(rule),
            Rules::Many(rules) => rules,
        }
    }

    pub(crate) fn superseded(&self) -> &[Superseded] {
        self.extra.as_ref().map_or(&[], |extra| &extra.superseded)
    }

    /// The first rule that decides, and how. Allocates nothing.
    pub(crate) fn find(&self, question: &Question<'_>, hasher: &RandomState) -> Option<(Permission, &Rule)> {
        let index = self.extra.as_ref().and_then(|extra| extra.index.as_ref());
        match index {
            Some(index) if !question.reaches_other_literals() => index.find(question, self.rules(), hasher),
            _ => self.rules().iter().find_map(|rule| Some((rule.decide(question)?, rule))),
        }
    }
}

/// Positions of rules by the literal levels with which they begin.
#[derive(Debug)]
struct Index {
    /// Bit `n` is set if some rule begins with `n` literal levels.
    depths: u16,
    buckets: HashTable<Bucket>,
    /// Ascending within a bucket.
    positions: Box<[u32]>,
}

#[derive(Debug)]
struct Bucket {
    prefix: Box<str>,
    levels: usize,
    start: u32,
    end: u32,
}

impl Index {
    fn new(rules: &[Rule], hasher: &RandomState) -> Self {
        let mut keys = Vec::with_capacity(rules.len());
        for (position, rule) in (0_u32..).zip(rules) {
            for topic in rule.topics.as_slice() {
                let (levels, prefix) = prefix_of(topic);
                keys.push((levels, prefix, position));
            }
        }
        keys.sort_unstable();
        keys.dedup();
        let mut buckets = HashTable::new();
        let mut depths = 0;
        for (start, end, levels, prefix) in groups(&keys) {
            depths |= 1 << levels;
            let bucket = Bucket { prefix: prefix.into(), levels, start, end };
            let rehash = |bucket: &Bucket| hasher.hash_one((bucket.levels, &*bucket.prefix));
            buckets.insert_unique(hasher.hash_one((levels, prefix)), bucket, rehash);
        }
        buckets.shrink_to_fit(|bucket| hasher.hash_one((bucket.levels, &*bucket.prefix)));
        Self { depths, buckets, positions: keys.iter().map(|key| key.2).collect() }
    }

    fn find<'a>(
        &self,
        question: &Question<'_>,
        rules: &'a [Rule],
        hasher: &RandomState,
    ) -> Option<(Permission, &'a Rule)> {
        let mut best = None;
        let mut best_position = u32::MAX;
        for (levels, prefix) in prefixes(question.topic) {
            if self.depths >> levels == 0 {
                break;
            }
            if self.depths >> levels & 1 == 0 {
                continue;
            }
            let is_wanted = |bucket: &Bucket| bucket.levels == levels && *bucket.prefix == *prefix;
            let Some(bucket) = self.buckets.find(hasher.hash_one((levels, prefix)), is_wanted) else { continue };
            let positions = self.positions.get(bucket.start as usize..bucket.end as usize).unwrap_or_default();
            for &position in positions.iter().take_while(|position| **position < best_position) {
                let Some(rule) = rules.get(position as usize) else { continue };
                if let Some(permission) = rule.decide(question) {
                    best = Some((permission, rule));
                    best_position = position;
                    break;
                }
            }
        }
        best
    }
}

/// Runs of keys with the same prefix: where each begins and ends, and the prefix.
fn groups<'a>(keys: &[(usize, &'a str, u32)]) -> Vec<(u32, u32, usize, &'a str)> {
    let mut groups = Vec::new();
    let mut start = 0_u32;
    for run in keys.chunk_by(|one, other| (one.0, one.1) == (other.0, other.1)) {
        let end = start.saturating_add(u32::try_from(run.len()).unwrap_or(u32::MAX));
        if let Some((levels, prefix, _)) = run.first() {
            groups.push((start, end, *levels, *prefix));
        }
        start = end;
    }
    groups
}

/// The literal levels with which a topic of a rule begins, at most `MAX_PREFIX_LEVELS`.
fn prefix_of(topic: &Topic) -> (usize, &str) {
    let text = match topic {
        Topic::Every => return (0, ""),
        Topic::Same(text) | Topic::Literal(text) => text,
        Topic::Pattern(pattern) if pattern.begins_open() => return (0, ""),
        Topic::Pattern(pattern) => pattern.literal_prefix(),
    };
    prefixes(text).last().unwrap_or((0, ""))
}

/// Every prefix of whole levels with its number of levels: none, one, two, up to `MAX_PREFIX_LEVELS`.
fn prefixes(topic: &str) -> impl Iterator<Item = (usize, &str)> {
    let ends = topic.bytes().enumerate().filter(|(_, byte)| *byte == b'/').map(|(at, _)| at);
    let ends = std::iter::once(0).chain(ends.chain(std::iter::once(topic.len())));
    ends.enumerate().take(MAX_PREFIX_LEVELS + 1).map(|(levels, end)| (levels, topic.get(..end).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_end_at_slashes_and_at_the_limit() {
        assert_eq!(prefixes("/a").collect::<Vec<_>>(), [(0, ""), (1, ""), (2, "/a")]);
        assert_eq!(prefixes("a/b").collect::<Vec<_>>(), [(0, ""), (1, "a"), (2, "a/b")]);
        let deep = "a/".repeat(30_000);
        assert_eq!(prefixes(&deep).last(), Some((8, "a/a/a/a/a/a/a/a")));
    }
}
