//! Which rules of a long list can match a topic at all, found level by level.
//!
//! A tree of the rules' levels: an edge is a literal level, or "open" for a wildcard or placeholder. A check walks the
//! edges that fit the topic and tries the rules it meets, so the tree may offer too many rules but never too few. Not
//! for deny rules that overlap a filter: those may differ from it in literal levels.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::pattern::Step;
use super::rule::{Question, Rule, Topic};
use super::spec::{Permission, Settings, TemplateAllow};

/// Levels of a rule that the tree knows; rules go on below. It bounds the recursion of a walk.
const MAX_LEVELS: usize = 16;

const ROOT: u32 = 0;
const NONE: u32 = u32::MAX;

/// The tree of one list.
#[derive(Debug)]
pub(crate) struct Index {
    nodes: Box<[Node]>,
    edges: HashTable<Edge>,
    /// Positions of rules, ascending within each node's span.
    positions: Box<[u32]>,
}

/// A part of `Index::positions`.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    end: u32,
}

#[derive(Debug)]
struct Node {
    /// Rules that end here: they need a topic that ends here too.
    ends: Span,
    /// Rules that go on as they like: `#`, or more levels than the tree knows.
    below: Span,
    /// Child of a wildcard or placeholder, or `NONE`.
    open: u32,
    /// The lowest position here and below: a walk that has found a lower one need not come here.
    first: u32,
    has_edges: bool,
}

#[derive(Debug)]
struct Edge {
    from: u32,
    to: u32,
    word: Box<str>,
}

impl Edge {
    fn hash(&self, hasher: &RandomState) -> u64 {
        hasher.hash_one((self.from, &*self.word))
    }
}

/// The best rule of a walk so far.
struct Best<'a, 'q> {
    question: &'q Question<'q>,
    rules: &'a [Rule],
    position: u32,
    found: Option<(Permission, &'a Rule)>,
}

impl Index {
    /// Builds the tree of a list's rules.
    pub(crate) fn new(rules: &[Rule], settings: Settings, hasher: &RandomState) -> Self {
        let mut builder = Builder { nodes: vec![Draft::default()], edges: HashTable::new(), settings, hasher };
        for (position, rule) in (0_u32..).zip(rules) {
            for topic in rule.topics.as_slice() {
                builder.insert(topic, position);
            }
        }
        builder.finish()
    }

    /// The first rule that decides, and how. Allocates nothing.
    pub(crate) fn find<'a>(
        &self,
        question: &Question<'_>,
        rules: &'a [Rule],
        hasher: &RandomState,
    ) -> Option<(Permission, &'a Rule)> {
        let mut best = Best { question, rules, position: NONE, found: None };
        self.visit(ROOT, Some(question.topic), hasher, &mut best);
        best.found
    }

    /// Tries the rules at a node and below it; `rest` is what is left of the topic.
    fn visit(&self, node: u32, rest: Option<&str>, hasher: &RandomState, best: &mut Best<'_, '_>) {
        let Some(node_here) = self.nodes.get(node as usize) else { return };
        if node_here.first >= best.position {
            return;
        }
        best.try_all(self.positions(node_here.below));
        let Some(rest) = rest else {
            best.try_all(self.positions(node_here.ends));
            return;
        };
        let (word, rest) = match rest.split_once('/') {
            Some((word, rest)) => (word, Some(rest)),
            None => (rest, None),
        };
        if node_here.has_edges {
            let is_wanted = |edge: &Edge| edge.from == node && *edge.word == *word;
            if let Some(edge) = self.edges.find(hasher.hash_one((node, word)), is_wanted) {
                self.visit(edge.to, rest, hasher, best);
            }
        }
        if node_here.open != NONE {
            self.visit(node_here.open, rest, hasher, best);
        }
    }

    fn positions(&self, span: Span) -> &[u32] {
        self.positions.get(span.start as usize..span.end as usize).unwrap_or_default()
    }
}

impl Best<'_, '_> {
    /// Tries rules in order until one decides or a better one is known.
    fn try_all(&mut self, positions: &[u32]) {
        for &position in positions {
            if position >= self.position {
                return;
            }
            let Some(rule) = self.rules.get(position as usize) else { return };
            if let Some(permission) = rule.decide(self.question) {
                self.position = position;
                self.found = Some((permission, rule));
                return;
            }
        }
    }
}

/// A node while the tree is built.
struct Draft {
    ends: Vec<u32>,
    below: Vec<u32>,
    open: u32,
    first: u32,
    has_edges: bool,
}

impl Default for Draft {
    fn default() -> Self {
        Self { ends: Vec::new(), below: Vec::new(), open: NONE, first: NONE, has_edges: false }
    }
}

struct Builder<'a> {
    nodes: Vec<Draft>,
    edges: HashTable<Edge>,
    settings: Settings,
    hasher: &'a RandomState,
}

impl Builder<'_> {
    fn insert(&mut self, topic: &Topic, position: u32) {
        match topic {
            Topic::Every => self.insert_steps(std::iter::once(Step::Rest), position),
            Topic::Same(text) | Topic::Literal(text) => {
                self.insert_steps(text.split('/').map(Step::Literal), position);
            }
            Topic::Pattern(pattern) => {
                // A value that may hold slashes or wildcards can be any number of levels.
                let is_free = self.settings.template_allow != TemplateAllow::default();
                let steps = pattern.steps().map(|step| match step {
                    Step::Value if is_free => Step::Rest,
                    step => step,
                });
                self.insert_steps(steps, position);
            }
        }
    }

    fn insert_steps<'s>(&mut self, steps: impl Iterator<Item = Step<'s>>, position: u32) {
        let mut node = ROOT;
        self.mark(node, position);
        for (depth, step) in steps.enumerate() {
            node = match step {
                Step::Rest => return self.end(node, position, true),
                _ if depth == MAX_LEVELS => return self.end(node, position, true),
                Step::Literal(word) => self.child(node, word),
                Step::Plus | Step::Value => self.open_child(node),
            };
            self.mark(node, position);
        }
        self.end(node, position, false);
    }

    /// Positions come in ascending order, so the first one at a node is the lowest.
    fn mark(&mut self, node: u32, position: u32) {
        if let Some(draft) = self.nodes.get_mut(node as usize) {
            draft.first = draft.first.min(position);
        }
    }

    fn end(&mut self, node: u32, position: u32, goes_on: bool) {
        if let Some(draft) = self.nodes.get_mut(node as usize) {
            let positions = if goes_on { &mut draft.below } else { &mut draft.ends };
            // Two topics of one rule may end at one node.
            if positions.last() != Some(&position) {
                positions.push(position);
            }
        }
    }

    fn add(&mut self) -> u32 {
        self.nodes.push(Draft::default());
        u32::try_from(self.nodes.len() - 1).unwrap_or(NONE)
    }

    fn child(&mut self, from: u32, word: &str) -> u32 {
        let hash = self.hasher.hash_one((from, word));
        if let Some(edge) = self.edges.find(hash, |edge| edge.from == from && *edge.word == *word) {
            return edge.to;
        }
        let to = self.add();
        let hasher = self.hasher;
        self.edges.insert_unique(hash, Edge { from, to, word: word.into() }, |edge| edge.hash(hasher));
        if let Some(draft) = self.nodes.get_mut(from as usize) {
            draft.has_edges = true;
        }
        to
    }

    fn open_child(&mut self, from: u32) -> u32 {
        match self.nodes.get(from as usize).map(|draft| draft.open) {
            Some(to) if to != NONE => to,
            _ => {
                let to = self.add();
                if let Some(draft) = self.nodes.get_mut(from as usize) {
                    draft.open = to;
                }
                to
            }
        }
    }

    fn finish(mut self) -> Index {
        let mut positions = Vec::new();
        let mut span = |mut taken: Vec<u32>| {
            let start = u32::try_from(positions.len()).unwrap_or(NONE);
            positions.append(&mut taken);
            Span { start, end: u32::try_from(positions.len()).unwrap_or(NONE) }
        };
        let nodes = self.nodes.into_iter().map(|draft| Node {
            ends: span(draft.ends),
            below: span(draft.below),
            open: draft.open,
            first: draft.first,
            has_edges: draft.has_edges,
        });
        let nodes = nodes.collect();
        self.edges.shrink_to_fit(|edge| edge.hash(self.hasher));
        Index { nodes, edges: self.edges, positions: positions.into() }
    }
}
