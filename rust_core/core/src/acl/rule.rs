//! One compiled rule, and how it is held against one request.
//!
//! A rule is an action mask, its topics and an optional condition. The mask is looked at first, then the topics, then
//! the condition, which may be a regular expression.

use std::sync::Arc;

use super::condition::Condition;
use super::pattern::{Fit, Pattern, Relation};
use super::request::{Action, Client};
use super::spec::{Permission, RuleAction, Settings, SubscribeMatch};
use super::template::Variable;
use crate::topic;

/// The bits of PUBLISH in a mask: QoS times two plus the retain flag.
const PUBLISH_BITS: u16 = 0b00_0011_1111;

/// The bits of SUBSCRIBE: six plus the QoS.
const SUBSCRIBE_BITS: u16 = 0b01_1100_0000;

/// Returns the mask of actions that a rule is about; one bit each, as `Action::bit` numbers them.
pub(crate) fn mask(action: RuleAction, qos: [bool; 3], retain: Option<bool>) -> u16 {
    let mut mask = 0;
    for (level, _) in qos.iter().enumerate().filter(|(_, is_meant)| **is_meant) {
        let flags = match retain {
            None => 0b11,
            Some(false) => 0b01,
            Some(true) => 0b10,
        };
        mask |= flags << (level * 2) | 1 << (level + 6);
    }
    mask & match action {
        RuleAction::Publish => PUBLISH_BITS,
        RuleAction::Subscribe => SUBSCRIBE_BITS,
        RuleAction::All => PUBLISH_BITS | SUBSCRIBE_BITS,
    }
}

/// One topic of a rule. Equal topics of many rules share their text.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Topic {
    Every,
    /// What stands after `eq `: only the same text, without wildcards and placeholders.
    Same(Arc<str>),
    /// A filter without wildcards and placeholders.
    Literal(Arc<str>),
    Pattern(Arc<Pattern>),
}

/// The topics of a rule; nearly all have one.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Topics {
    One(Topic),
    Many(Box<[Topic]>),
}

impl Topics {
    pub(crate) fn as_slice(&self) -> &[Topic] {
        match self {
            Self::One(topic) => std::slice::from_ref(topic),
            Self::Many(topics) => topics,
        }
    }
}

/// A request as every rule sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) client: &'a Client<'a>,
    pub(crate) bit: u16,
    pub(crate) topic: &'a str,
    pub(crate) settings: Settings,
    allow: Relation,
    deny: Relation,
}

impl<'a> Question<'a> {
    pub(crate) fn new(client: &'a Client<'a>, action: Action, topic: &'a str, settings: Settings) -> Self {
        let (allow, deny) = match (action, settings.subscribe_match) {
            (Action::Publish { .. }, _) | (_, SubscribeMatch::Emqx) => (Relation::Words, Relation::Words),
            (_, SubscribeMatch::Strict) => (Relation::Contains, Relation::Words),
            (_, SubscribeMatch::StrictOverlap) => (Relation::Contains, Relation::Overlaps),
        };
        // A filter without wildcards overlaps exactly the rules that match it.
        let deny = if deny == Relation::Overlaps && !topic.contains(['+', '#']) { Relation::Words } else { deny };
        Self { client, bit: action.bit(), topic, settings, allow, deny }
    }

    /// Whether rules may match whose literal levels differ from the topic's.
    pub(crate) fn reaches_other_literals(&self) -> bool {
        self.deny == Relation::Overlaps
    }

    const fn relation(&self, permission: Permission) -> Relation {
        match permission {
            Permission::Allow => self.allow,
            Permission::Deny => self.deny,
        }
    }
}

/// What came of holding one rule against one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Finding<'a> {
    /// It matches; its permission decides.
    Matches,
    /// It denies, whatever its permission: hardened profile, and a placeholder without a usable value.
    Denies(&'a Variable),
    Action,
    Topic,
    Absent(&'a Variable),
    Forbidden(&'a Variable),
    Condition,
}

/// A compiled rule.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) topics: Topics,
    pub(crate) condition: Option<Arc<Condition>>,
    /// Index of the rule in the list as it was written.
    pub(crate) index: u32,
    pub(crate) mask: u16,
    pub(crate) permission: Permission,
}

impl Rule {
    /// The permission with which this rule ends the search; `None` if it does not.
    pub(crate) fn decide(&self, question: &Question<'_>) -> Option<Permission> {
        match self.judge(question) {
            Finding::Matches => Some(self.permission),
            Finding::Denies(_) => Some(Permission::Deny),
            _ => None,
        }
    }

    /// Holds the rule against a request and says what came of it.
    pub(crate) fn judge(&self, question: &Question<'_>) -> Finding<'_> {
        if self.mask & question.bit == 0 {
            return Finding::Action;
        }
        let finding = match &self.topics {
            Topics::One(topic) => self.fit(topic, question),
            Topics::Many(topics) => self.fit_many(topics, question),
        };
        let finding = match finding {
            Fit::Matches => Finding::Matches,
            Fit::CouldMatch(variable) => Finding::Denies(variable),
            Fit::Differs => return Finding::Topic,
            Fit::Absent(variable) => return Finding::Absent(variable),
            Fit::Forbidden(variable) => return Finding::Forbidden(variable),
        };
        // What cannot be searched neither allows nor escapes a denial.
        let is_deny = self.permission == Permission::Deny;
        let holds = |condition: &Arc<Condition>| condition.holds(question.client, question.settings.profile, is_deny);
        if self.condition.as_ref().is_none_or(holds) { finding } else { Finding::Condition }
    }

    /// The strongest fit of several topics; a value that must not be used in one of them rules all of them out.
    fn fit_many<'a>(&self, topics: &'a [Topic], question: &Question<'_>) -> Fit<'a> {
        let fits = topics.iter().map(|topic| self.fit(topic, question));
        let best = fits.reduce(|best, fit| if fit.rank() > best.rank() { fit } else { best });
        let forbidden = |topic: &'a Topic| match topic {
            Topic::Pattern(pattern) => pattern.forbidden(question.client, question.settings),
            _ => None,
        };
        match best {
            Some(Fit::Matches) => topics.iter().find_map(forbidden).map_or(Fit::Matches, Fit::Forbidden),
            best => best.unwrap_or(Fit::Differs),
        }
    }

    fn fit<'a>(&self, topic: &'a Topic, question: &Question<'_>) -> Fit<'a> {
        let relation = question.relation(self.permission);
        let matches = match topic {
            Topic::Every => true,
            Topic::Literal(text) if relation == Relation::Overlaps => topic::matches(question.topic, text),
            Topic::Same(text) | Topic::Literal(text) => **text == *question.topic,
            Topic::Pattern(pattern) => {
                return pattern.fit(question.topic, question.client, relation, question.settings);
            }
        };
        if matches { Fit::Matches } else { Fit::Differs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::QoS;

    #[test]
    fn a_mask_has_the_bits_of_what_the_rule_is_about() {
        let publish = |qos, retain| Action::Publish { qos, retain }.bit();
        let subscribe = |qos| Action::Subscribe { qos }.bit();
        let one = QoS::AtLeastOnce;
        assert_eq!(mask(RuleAction::Publish, [false, true, false], Some(true)), publish(one, true));
        assert_eq!(mask(RuleAction::Publish, [false, true, false], None), publish(one, true) | publish(one, false));
        assert_eq!(mask(RuleAction::Subscribe, [false, true, false], Some(true)), subscribe(one));
        assert_eq!(mask(RuleAction::All, [false, true, false], Some(false)), publish(one, false) | subscribe(one));
        assert_eq!(mask(RuleAction::All, [false; 3], None), 0);
        assert_eq!(mask(RuleAction::All, [true; 3], None), PUBLISH_BITS | SUBSCRIBE_BITS);
    }
}
