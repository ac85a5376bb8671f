//! From specifications to compiled lists. Everything is checked before anything is used.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::condition::{Condition, Expressions};
use super::list::{List, Superseded};
use super::rule::{Rule, Topic, Topics, mask};
use super::spec::{
    ConditionSpec, Fault, ListSpec, Principal, RuleError, RuleErrorCode, RuleSpec, Settings, TopicsSpec,
};
use super::template::{Compiled, compile, excerpt};
use crate::topic::MAX_TOPIC_BYTES;

/// Faults that are told at most; a specification with more is not worth listing whole.
pub(super) const MAX_ERRORS: usize = 1_000;

const EQ_PREFIX: &str = "eq ";

/// Compiles lists one after the other; equal topics and conditions are shared among them.
pub(super) struct Compiler<'a> {
    settings: Settings,
    hasher: &'a RandomState,
    topics: HashMap<String, Topic>,
    conditions: HashMap<Condition, Arc<Condition>>,
    expressions: Expressions,
    errors: Vec<RuleError>,
    lists: usize,
}

impl<'a> Compiler<'a> {
    pub(super) fn new(settings: Settings, hasher: &'a RandomState) -> Self {
        Self {
            settings,
            hasher,
            topics: HashMap::new(),
            conditions: HashMap::new(),
            expressions: Expressions::default(),
            errors: Vec::new(),
            lists: 0,
        }
    }

    /// Compiles one list and returns its place; faults are kept for `finish`.
    pub(super) fn compile(&mut self, spec: ListSpec) -> (Option<String>, Principal, List) {
        let number = self.lists;
        self.lists += 1;
        self.check_names(&spec, number);
        let mut rules = Vec::with_capacity(spec.rules.len());
        for (index, rule) in (0_u32..).zip(spec.rules) {
            match self.rule(rule, index) {
                Ok(rule) => rules.push(rule),
                Err(fault) => self.report(number, Some(index as usize), fault),
            }
        }
        let (name, rules, superseded) = match &spec.principal {
            Principal::All => ("", rules, Vec::new()),
            Principal::ClientId(name) | Principal::Username(name) => {
                let (rules, superseded) = last_of_equals(rules);
                (name.as_str(), rules, superseded)
            }
        };
        let list = List::new(name.into(), rules, superseded, self.settings, self.hasher);
        (spec.namespace, spec.principal, list)
    }

    /// Returns the faults, if there are any.
    ///
    /// # Errors
    /// The first `MAX_ERRORS` faults in the order of the specification.
    pub(super) fn finish(self) -> Result<(), Vec<RuleError>> {
        if self.errors.is_empty() { Ok(()) } else { Err(self.errors) }
    }

    fn report(&mut self, list: usize, rule: Option<usize>, fault: Fault) {
        if self.errors.len() < MAX_ERRORS {
            let Fault { field, code, message } = fault;
            self.errors.push(RuleError { list, rule, field, code, message });
        }
    }

    fn check_names(&mut self, spec: &ListSpec, number: usize) {
        let principal = match &spec.principal {
            Principal::ClientId(name) => Some(("clientid", name)),
            Principal::Username(name) => Some(("username", name)),
            Principal::All => None,
        };
        let namespace = spec.namespace.as_ref().map(|name| ("ns", name));
        for (field, name) in principal.into_iter().chain(namespace) {
            if name.is_empty() || name.len() > MAX_TOPIC_BYTES {
                let message = format!("must have 1 to {MAX_TOPIC_BYTES} bytes: {:?}", excerpt(name));
                self.report(number, None, Fault::new(field, RuleErrorCode::InvalidValue, message));
            }
        }
    }

    fn rule(&mut self, spec: RuleSpec, index: u32) -> Result<Rule, Fault> {
        Ok(Rule {
            topics: self.topics(spec.topics)?,
            condition: spec.condition.map(|condition| self.condition(&condition)).transpose()?,
            index,
            mask: mask(spec.action, spec.qos, spec.retain),
            permission: spec.permission,
        })
    }

    fn topics(&mut self, spec: TopicsSpec) -> Result<Topics, Fault> {
        match spec {
            TopicsSpec::Every => Ok(Topics::One(Topic::Every)),
            TopicsSpec::These(mut filters) if filters.len() == 1 => {
                self.topic(filters.pop().unwrap_or_default()).map(Topics::One)
            }
            TopicsSpec::These(filters) => {
                filters.into_iter().map(|filter| self.topic(filter)).collect::<Result<_, _>>().map(Topics::Many)
            }
        }
    }

    fn topic(&mut self, filter: String) -> Result<Topic, Fault> {
        match self.topics.entry(filter) {
            Entry::Occupied(known) => Ok(known.get().clone()),
            Entry::Vacant(place) => {
                let topic = compile_topic(place.key(), self.settings)?;
                Ok(place.insert(topic).clone())
            }
        }
    }

    fn condition(&mut self, spec: &ConditionSpec) -> Result<Arc<Condition>, Fault> {
        let condition = Condition::compile(spec, &mut self.expressions)?;
        match self.conditions.entry(condition) {
            Entry::Occupied(known) => Ok(known.get().clone()),
            Entry::Vacant(place) => {
                let shared = Arc::new(place.key().clone());
                Ok(place.insert(shared).clone())
            }
        }
    }
}

fn compile_topic(filter: &str, settings: Settings) -> Result<Topic, Fault> {
    if let Some(text) = filter.strip_prefix(EQ_PREFIX) {
        if text.len() > MAX_TOPIC_BYTES {
            let message = format!("topic must have at most {MAX_TOPIC_BYTES} bytes: {}", text.len());
            return Err(Fault::new("topic", RuleErrorCode::InvalidTopic, message));
        }
        return Ok(Topic::Same(text.into()));
    }
    Ok(match compile(filter, settings.allows_partial_placeholders)? {
        Compiled::Literal(text) => Topic::Literal(text.into()),
        Compiled::Pattern(pattern) => Topic::Pattern(Arc::new(pattern)),
    })
}

/// Keeps of rules that are equal but for their permission the last, at the place of the first.
#[expect(clippy::mutable_key_type, reason = "conditions compare by what was written; searches change only caches")]
fn last_of_equals(rules: Vec<Rule>) -> (Vec<Rule>, Vec<Superseded>) {
    if rules.len() < 2 {
        return (rules, Vec::new());
    }
    let mut places = HashMap::with_capacity(rules.len());
    let mut kept: Vec<Rule> = Vec::with_capacity(rules.len());
    let mut superseded = Vec::new();
    for rule in rules {
        let place = *places.entry((rule.topics.clone(), rule.mask, rule.condition.clone())).or_insert(kept.len());
        match kept.get_mut(place) {
            Some(equal) => {
                superseded.push(Superseded { index: equal.index, by: rule.index });
                *equal = rule;
            }
            None => kept.push(rule),
        }
    }
    (kept, superseded)
}
