//! The tree of levels under the subscription trie and the retained index.
//!
//! A node is one level of one path and carries a `value`: an index into its owner's slab, or `NONE`. Children form a
//! linked list; where a node has more than one, each of them is also in a hash table of edges keyed by (parent, level).
//! So a chain of single children costs no table at all and a parent with a million children is still found in O(1).
//! The table is split in 256 parts, so that no single insert pays for rehashing all of it. Nothing here recurses.

use std::hash::{BuildHasher, Hasher, RandomState};

use hashbrown::HashTable;

use super::slab::{Arena, NONE};

/// Index of the node that stands for the empty path.
pub(crate) const ROOT: u32 = 0;

const HAS_PLUS: u32 = 1;
const HAS_HASH: u32 = 2;

const EDGE_TABLES: usize = 256;

/// Longest level that is stored inside its node: what fits beside a boxed text without growing the node.
const INLINE_BYTES: usize = 22;

/// The text of one level.
#[derive(Debug)]
enum Level {
    Inline { len: u8, bytes: [u8; INLINE_BYTES] },
    Boxed(Box<str>),
}

impl Level {
    const EMPTY: Self = Self::Inline { len: 0, bytes: [0; INLINE_BYTES] };

    fn new(text: &str) -> Self {
        let mut bytes = [0; INLINE_BYTES];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(place), Ok(len)) => {
                place.copy_from_slice(text.as_bytes());
                Self::Inline { len, bytes }
            }
            _ => Self::Boxed(text.into()),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Boxed(text) => text.as_bytes(),
        }
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Inline { .. } => std::str::from_utf8(self.as_bytes()).unwrap_or_default(),
            Self::Boxed(text) => text,
        }
    }
}

#[derive(Debug)]
struct Node {
    level: Level,
    parent: u32,
    first_child: u32,
    /// Next sibling; in a free node the next free one.
    next: u32,
    prev: u32,
    value: u32,
    /// `HAS_PLUS` and `HAS_HASH`: which wildcard children exist, so that most lookups of them are not made.
    flags: u32,
}

impl Node {
    const fn new(level: Level, parent: u32) -> Self {
        Self { level, parent, first_child: NONE, next: NONE, prev: NONE, value: NONE, flags: 0 }
    }
}

/// A tree of levels; node 0 is the root. Nodes without a value and without children are freed by `prune`.
#[derive(Debug)]
pub(crate) struct Tree {
    nodes: Arena<Node>,
    free: u32,
    len: usize,
    edges: Box<[HashTable<u32>]>,
    /// Seeded, because clients choose the texts.
    hasher: RandomState,
}

impl Tree {
    pub(crate) fn new() -> Self {
        let mut nodes = Arena::new();
        nodes.push(Node::new(Level::EMPTY, NONE));
        let edges = (0..EDGE_TABLES).map(|_| HashTable::new()).collect();
        Self { nodes, free: NONE, len: 0, edges, hasher: RandomState::new() }
    }

    /// Number of nodes without the root.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn value(&self, node: u32) -> u32 {
        self.nodes[node].value
    }

    pub(crate) fn set_value(&mut self, node: u32, value: u32) {
        self.nodes[node].value = value;
    }

    pub(crate) fn parent(&self, node: u32) -> u32 {
        self.nodes[node].parent
    }

    pub(crate) fn first_child(&self, node: u32) -> u32 {
        self.nodes[node].first_child
    }

    pub(crate) fn next_sibling(&self, node: u32) -> u32 {
        self.nodes[node].next
    }

    pub(crate) fn level(&self, node: u32) -> &str {
        self.nodes[node].level.as_str()
    }

    /// The `+` child.
    pub(crate) fn plus(&self, node: u32) -> Option<u32> {
        if self.nodes[node].flags & HAS_PLUS == 0 { None } else { self.child(node, "+") }
    }

    /// The `#` child.
    pub(crate) fn hash_mark(&self, node: u32) -> Option<u32> {
        if self.nodes[node].flags & HAS_HASH == 0 { None } else { self.child(node, "#") }
    }

    /// The child with that text, wildcards included.
    pub(crate) fn child(&self, parent: u32, level: &str) -> Option<u32> {
        let first = self.nodes.get(self.nodes[parent].first_child)?;
        if first.level.as_bytes() == level.as_bytes() {
            return Some(self.nodes[parent].first_child);
        }
        if first.next == NONE {
            return None;
        }
        let hash = edge_hash(&self.hasher, parent, level.as_bytes());
        let is_it = |&index: &u32| {
            let node = &self.nodes[index];
            node.parent == parent && node.level.as_bytes() == level.as_bytes()
        };
        self.edges.get(edge_table(hash))?.find(hash, is_it).copied()
    }

    /// The node at the end of a path. Cost: O(levels).
    pub(crate) fn find(&self, path: &str) -> Option<u32> {
        path.split('/').try_fold(ROOT, |node, level| self.child(node, level))
    }

    /// The node at the end of a path, made where it is missing.
    pub(crate) fn ensure(&mut self, path: &str) -> u32 {
        let mut node = ROOT;
        for level in path.split('/') {
            node = match self.child(node, level) {
                Some(child) => child,
                None => self.add_child(node, level),
            };
        }
        node
    }

    fn add_child(&mut self, parent: u32, level: &str) -> u32 {
        let mut node = Node::new(Level::new(level), parent);
        let first = self.nodes[parent].first_child;
        node.next = first;
        let index = self.take_free(node);
        if first != NONE {
            if self.nodes[first].next == NONE {
                self.add_edge(first);
            }
            self.nodes[first].prev = index;
            self.add_edge(index);
        }
        let flag = wildcard_flag(level);
        let parent = &mut self.nodes[parent];
        parent.first_child = index;
        parent.flags |= flag;
        self.len += 1;
        index
    }

    fn take_free(&mut self, node: Node) -> u32 {
        let index = self.free;
        let Some(place) = self.nodes.get_mut(index) else {
            return self.nodes.push(node);
        };
        self.free = place.next;
        *place = node;
        index
    }

    /// Frees `node` and its ancestors as far as they have neither a value nor a child. Cost: O(levels).
    pub(crate) fn prune(&mut self, mut node: u32) {
        while node != ROOT {
            let Node { first_child, value, parent, .. } = self.nodes[node];
            if first_child != NONE || value != NONE {
                return;
            }
            self.unlink(node);
            node = parent;
        }
    }

    fn unlink(&mut self, index: u32) {
        let Node { parent, next, prev, .. } = self.nodes[index];
        let has_siblings = next != NONE || prev != NONE;
        if has_siblings {
            self.remove_edge(index);
        }
        if let Some(next) = self.nodes.get_mut(next) {
            next.prev = prev;
        }
        match self.nodes.get_mut(prev) {
            Some(prev) => prev.next = next,
            None => self.nodes[parent].first_child = next,
        }
        let first = self.nodes[parent].first_child;
        if has_siblings && self.nodes[first].next == NONE {
            self.remove_edge(first);
        }
        let node = &mut self.nodes[index];
        let flag = wildcard_flag(node.level.as_str());
        node.level = Level::EMPTY;
        node.parent = NONE;
        node.next = self.free;
        self.free = index;
        self.nodes[parent].flags &= !flag;
        self.len -= 1;
    }

    fn add_edge(&mut self, index: u32) {
        let Self { nodes, edges, hasher, .. } = self;
        let hash_of = |&index: &u32| edge_hash(hasher, nodes[index].parent, nodes[index].level.as_bytes());
        let hash = hash_of(&index);
        if let Some(table) = edges.get_mut(edge_table(hash)) {
            table.insert_unique(hash, index, hash_of);
        }
    }

    fn remove_edge(&mut self, index: u32) {
        let node = &self.nodes[index];
        let hash = edge_hash(&self.hasher, node.parent, node.level.as_bytes());
        let table = self.edges.get_mut(edge_table(hash));
        if let Some(Ok(edge)) = table.map(|table| table.find_entry(hash, |&other| other == index)) {
            edge.remove();
        }
    }

    /// Appends the path of a node to `out`. Cost: O(levels).
    pub(crate) fn push_path(&self, node: u32, out: &mut String) {
        let ancestors = std::iter::successors(Some(node), |&node| Some(self.nodes[node].parent));
        let mut path: Vec<u32> = ancestors.take_while(|&node| node != ROOT && node != NONE).collect();
        path.reverse();
        for (position, &node) in path.iter().enumerate() {
            if position > 0 {
                out.push('/');
            }
            out.push_str(self.level(node));
        }
    }
}

fn edge_hash(hasher: &RandomState, parent: u32, level: &[u8]) -> u64 {
    let mut state = hasher.build_hasher();
    state.write_u32(parent);
    state.write(level);
    state.finish()
}

/// Which part holds an edge: by bits that the table itself does not look at.
const fn edge_table(hash: u64) -> usize {
    (hash >> 40) as usize % EDGE_TABLES
}

fn wildcard_flag(level: &str) -> u32 {
    match level {
        "+" => HAS_PLUS,
        "#" => HAS_HASH,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_of(tree: &Tree, node: u32) -> String {
        let mut text = String::new();
        tree.push_path(node, &mut text);
        text
    }

    #[test]
    fn a_node_stays_small() {
        assert_eq!(size_of::<Level>(), 24);
        assert_eq!(size_of::<Node>(), 48);
    }

    #[test]
    fn paths_with_empty_long_and_wildcard_levels_are_kept_apart() {
        let mut tree = Tree::new();
        let long = "x".repeat(100);
        let paths = ["a", "/a", "a/", "/", "//", "a/+", "a/#", "+", "#", "a/b", "ab", long.as_str(), "ä/é"];
        let nodes: Vec<u32> = paths.iter().map(|path| tree.ensure(path)).collect();
        for (path, &node) in paths.iter().zip(&nodes) {
            assert_eq!(tree.find(path), Some(node), "{path}");
            assert_eq!(path_of(&tree, node), *path);
        }
        assert_eq!(tree.find("b"), None);
        assert_eq!(tree.find("a/b/c"), None);
    }

    #[test]
    fn prune_frees_what_carries_nothing_and_keeps_the_rest() {
        let mut tree = Tree::new();
        let leaf = tree.ensure("a/b/c/d");
        let kept = tree.ensure("a/b");
        tree.set_value(kept, 1);
        tree.prune(leaf);
        assert_eq!((tree.len(), tree.find("a/b/c")), (2, None));
        tree.set_value(kept, NONE);
        tree.prune(kept);
        assert_eq!((tree.len(), tree.find("a")), (0, None));
    }

    #[test]
    fn edges_hold_exactly_the_children_that_have_siblings() {
        let mut tree = Tree::new();
        let edges = |tree: &Tree| tree.edges.iter().map(HashTable::len).sum::<usize>();
        let nodes: Vec<u32> = (0..100).map(|number| tree.ensure(&format!("p/{number}"))).collect();
        assert_eq!(edges(&tree), 100);
        for &node in &nodes[1..] {
            tree.prune(node);
        }
        assert_eq!((edges(&tree), tree.find("p/0"), tree.find("p/1")), (0, Some(nodes[0]), None));
        let plus = tree.ensure("p/+");
        assert_eq!(tree.plus(tree.parent(plus)), Some(plus));
        tree.prune(plus);
        assert_eq!(tree.plus(tree.parent(nodes[0])), None);
        assert_eq!(tree.nodes[tree.parent(nodes[0])].flags, 0);
    }
}
