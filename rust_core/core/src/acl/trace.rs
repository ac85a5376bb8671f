//! The long answer: what came of each rule of a client's lists.

use super::list::List;
use super::request::Action;
use super::rule::{Finding, Question, Rule, mask};
use super::spec::RuleAction;
use super::template::Variable;
use super::{Place, Verdict};

/// What came of holding one rule against a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It matches.
    Matches,
    /// It denies because a placeholder has no usable value (hardened profile only).
    Denies,
    /// It is about the other action.
    Action,
    /// It is about another QoS.
    Qos,
    /// It is about the other retain flag.
    Retain,
    /// Its topic does not match.
    Topic,
    /// A placeholder has no value.
    PlaceholderAbsent,
    /// The value of a placeholder has `+`, `#` or `/`.
    PlaceholderForbidden,
    /// Its condition does not hold.
    Condition,
    /// An equal rule follows, whose permission counts.
    Superseded,
}

impl Outcome {
    /// Every outcome with its name in the REST API.
    pub const NAMES: &'static [(Self, &'static str)] = &[
        (Self::Matches, "matches"),
        (Self::Denies, "denies"),
        (Self::Action, "action"),
        (Self::Qos, "qos"),
        (Self::Retain, "retain"),
        (Self::Topic, "topic"),
        (Self::PlaceholderAbsent, "placeholder_absent"),
        (Self::PlaceholderForbidden, "placeholder_forbidden"),
        (Self::Condition, "condition"),
        (Self::Superseded, "superseded"),
    ];

    /// Returns the name in the REST API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(outcome, _)| *outcome == self).map_or("", |(_, name)| name)
    }
}

/// What came of one rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TraceEntry {
    /// The rule.
    pub place: Place,
    /// What came of it.
    pub outcome: Outcome,
    /// Whether the check came this far; false behind the rule that decided.
    pub is_reached: bool,
    /// The placeholder at fault, as `client_attrs.site`.
    pub placeholder: Option<String>,
    /// The equal rule that replaced this one.
    pub superseded_by: Option<u32>,
}

/// A verdict with its reasons.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trace {
    /// What `AccessRules::check` answers.
    pub verdict: Verdict,
    /// The rules of the client's lists in the order in which they are tried; superseded ones at the end of their list.
    pub entries: Vec<TraceEntry>,
    /// How many more there are.
    pub left_out: usize,
    limit: usize,
    is_decided: bool,
}

impl Trace {
    pub(super) const fn new(verdict: Verdict, limit: usize) -> Self {
        Self { verdict, entries: Vec::new(), left_out: 0, limit, is_decided: false }
    }

    pub(super) fn add_list(
        &mut self,
        list: &List,
        question: &Question<'_>,
        action: Action,
        place: impl Fn(u32) -> Place,
    ) {
        for rule in list.rules() {
            let finding = rule.judge(question);
            let is_reached = !self.is_decided;
            self.is_decided |= matches!(finding, Finding::Matches | Finding::Denies(_));
            if self.has_room() {
                let (outcome, variable) = outcome(finding, rule, action);
                let placeholder = variable.map(Variable::name);
                let place = place(rule.index);
                self.entries.push(TraceEntry { place, outcome, is_reached, placeholder, superseded_by: None });
            }
        }
        for rule in list.superseded() {
            if self.has_room() {
                self.entries.push(TraceEntry {
                    place: place(rule.index),
                    outcome: Outcome::Superseded,
                    is_reached: false,
                    placeholder: None,
                    superseded_by: Some(rule.by),
                });
            }
        }
    }

    fn has_room(&mut self) -> bool {
        if self.entries.len() < self.limit {
            return true;
        }
        self.left_out += 1;
        false
    }
}

fn outcome<'a>(finding: Finding<'a>, rule: &Rule, action: Action) -> (Outcome, Option<&'a Variable>) {
    match finding {
        Finding::Matches => (Outcome::Matches, None),
        Finding::Denies(variable) => (Outcome::Denies, Some(variable)),
        Finding::Action => (why_masked(rule, action), None),
        Finding::Topic => (Outcome::Topic, None),
        Finding::Absent(variable) => (Outcome::PlaceholderAbsent, Some(variable)),
        Finding::Forbidden(variable) => (Outcome::PlaceholderForbidden, Some(variable)),
        Finding::Condition => (Outcome::Condition, None),
    }
}

/// Which part of the mask rules the action out.
fn why_masked(rule: &Rule, action: Action) -> Outcome {
    let (kind, qos) = match action {
        Action::Publish { qos, .. } => (RuleAction::Publish, qos),
        Action::Subscribe { qos } => (RuleAction::Subscribe, qos),
    };
    let mut this_qos = [false; 3];
    if let Some(place) = this_qos.get_mut(qos as usize) {
        *place = true;
    }
    if rule.mask & mask(kind, [true; 3], None) == 0 {
        Outcome::Action
    } else if rule.mask & mask(kind, this_qos, None) == 0 {
        Outcome::Qos
    } else {
        Outcome::Retain
    }
}
