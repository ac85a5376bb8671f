//! The index of retained topics: which of them a filter matches.
//!
//! Generic over what is kept per topic (a message handle). Topics come validated and mounted. Limits, expiry and the
//! `$` rule for mounted clients are the caller's.

use std::ops::ControlFlow;

use crate::trie::Cursor;
use crate::trie::node::{ROOT, Tree};
use crate::trie::slab::{NONE, Slab};

/// Values by topic, searchable by filter.
#[derive(Debug)]
pub struct RetainedIndex<V> {
    tree: Tree,
    /// Owner is the topic's node.
    values: Slab<V>,
}

impl<V> Default for RetainedIndex<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> RetainedIndex<V> {
    /// Makes an empty index.
    #[must_use]
    pub fn new() -> Self {
        Self { tree: Tree::new(), values: Slab::new() }
    }

    /// Number of topics.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no topic.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of tree nodes: one per distinct level prefix of the topics.
    #[must_use]
    pub const fn node_count(&self) -> usize {
        self.tree.len()
    }

    /// Sets the value of a topic and returns the one before. Cost: O(levels).
    pub fn insert(&mut self, topic: &str, value: V) -> Option<V> {
        let node = self.tree.ensure(topic);
        let slot = self.tree.value(node);
        if let Some(place) = self.values.get_mut(slot) {
            return Some(std::mem::replace(place, value));
        }
        let slot = self.values.insert(node, value);
        self.tree.set_value(node, slot);
        None
    }

    /// Takes a topic and its value out. Cost: O(levels).
    pub fn remove(&mut self, topic: &str) -> Option<V> {
        let node = self.tree.find(topic)?;
        let value = self.values.remove(self.tree.value(node))?;
        self.tree.set_value(node, NONE);
        self.tree.prune(node);
        Some(value)
    }

    /// The value of a topic.
    #[must_use]
    pub fn get(&self, topic: &str) -> Option<&V> {
        self.values.get(self.tree.value(self.tree.find(topic)?))
    }

    /// The value of a topic, to change it in place.
    pub fn get_mut(&mut self, topic: &str) -> Option<&mut V> {
        let node = self.tree.find(topic)?;
        self.values.get_mut(self.tree.value(node))
    }

    /// Calls `visit` with every topic that a validated bare filter matches, until it breaks.
    ///
    /// A filter that begins with a wildcard does not match topics that begin with `$`. [MQTT5-4.7.2-1]
    /// The order is arbitrary. Only branches that can match are visited.
    pub fn matching(&self, filter: &str, visit: &mut dyn FnMut(&str, &V) -> ControlFlow<()>) -> ControlFlow<()> {
        Walk { index: self, levels: filter.split('/').collect(), topic: String::new(), pending: Vec::new(), visit }
            .run()
    }

    /// Calls `visit` with up to `limit` topics; returns where the next page begins, `None` at the end.
    ///
    /// The order is arbitrary but stable; a topic that comes or goes between two pages may be missed.
    pub fn page(&self, from: Cursor, limit: usize, visit: &mut dyn FnMut(&str, &V)) -> Option<Cursor> {
        let mut topic = String::new();
        let mut left = limit;
        for slot in from.slot()..self.values.slots() {
            let Some((node, value)) = self.values.tenant(slot) else {
                continue;
            };
            if left == 0 {
                return Some(Cursor::at_slot(slot));
            }
            topic.clear();
            self.tree.push_path(node, &mut topic);
            visit(&topic, value);
            left -= 1;
        }
        None
    }
}

/// How a node came to be visited, which says where the walk goes on after it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// By its text: no sibling matches.
    Level,
    /// By `+`: its siblings match too.
    Plus,
    /// By `#`: its siblings and everything below match too.
    HashMark,
}

struct Pending {
    node: u32,
    step: Step,
    /// Filter levels that are used up when this node is entered.
    depth: usize,
    /// Bytes of the parent's path.
    parent_bytes: usize,
}

/// One walk of `RetainedIndex::matching`; it holds at most two pending nodes per level.
struct Walk<'a, V> {
    index: &'a RetainedIndex<V>,
    levels: Vec<&'a str>,
    topic: String,
    pending: Vec<Pending>,
    visit: &'a mut dyn FnMut(&str, &V) -> ControlFlow<()>,
}

impl<V> Walk<'_, V> {
    fn run(mut self) -> ControlFlow<()> {
        self.go_on(ROOT, 0)?;
        while let Some(Pending { node, step, depth, parent_bytes }) = self.pending.pop() {
            if step != Step::Level {
                self.push(self.index.tree.next_sibling(node), step, depth, parent_bytes);
            }
            let level = self.index.tree.level(node);
            let is_first = self.index.tree.parent(node) == ROOT;
            if is_first && step != Step::Level && level.starts_with('$') {
                continue;
            }
            self.topic.truncate(parent_bytes);
            if !is_first {
                self.topic.push('/');
            }
            self.topic.push_str(level);
            if step == Step::HashMark {
                self.report(node)?;
                self.push(self.index.tree.first_child(node), step, depth, self.topic.len());
            } else {
                self.go_on(node, depth)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// Goes on below a node whose path matches the first `depth` levels of the filter.
    fn go_on(&mut self, node: u32, depth: usize) -> ControlFlow<()> {
        let bytes = self.topic.len();
        match self.levels.get(depth).copied() {
            None => self.report(node)?,
            Some("#") => {
                self.report(node)?;
                self.push(self.index.tree.first_child(node), Step::HashMark, depth, bytes);
            }
            Some("+") => self.push(self.index.tree.first_child(node), Step::Plus, depth + 1, bytes),
            Some(level) => {
                let child = self.index.tree.child(node, level).unwrap_or(NONE);
                self.push(child, Step::Level, depth + 1, bytes);
            }
        }
        ControlFlow::Continue(())
    }

    fn push(&mut self, node: u32, step: Step, depth: usize, parent_bytes: usize) {
        if node != NONE {
            self.pending.push(Pending { node, step, depth, parent_bytes });
        }
    }

    fn report(&mut self, node: u32) -> ControlFlow<()> {
        match self.index.values.get(self.index.tree.value(node)) {
            Some(value) => (self.visit)(&self.topic, value),
            None => ControlFlow::Continue(()),
        }
    }
}
