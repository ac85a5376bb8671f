//! The compiled rules of one principal: the first rule that decides wins. A long list has an index.

use foldhash::fast::RandomState;

use super::index::Index;
use super::rule::{Question, Rule};
use super::spec::{Permission, Settings};

/// Lists shorter than this are walked; `bench/micro` shows no gain of the index below it.
const INDEXED_FROM: usize = 8;

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
    /// Compiles the index too, if the list is long enough.
    pub(crate) fn new(
        name: Box<str>,
        mut rules: Vec<Rule>,
        superseded: Vec<Superseded>,
        settings: Settings,
        hasher: &RandomState,
    ) -> Self {
        let superseded = superseded.into_boxed_slice();
        let index = (rules.len() >= INDEXED_FROM).then(|| Index::new(&rules, settings, hasher));
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
