//! What `AccessRules` is compiled from: lists of rules as an operator wrote them, and how they are read.

use std::fmt;

/// How an allow and a deny rule are held against the filter of a SUBSCRIBE. PUBLISH and `eq` rules never differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SubscribeMatch {
    /// An allow rule must cover every topic that the filter can match.
    #[default]
    Strict,
    /// As `Strict`, and a deny rule also applies when it shares at least one topic with the filter.
    StrictOverlap,
    /// Words are compared as text, as EMQX does: `a/+` grants the filter `a/#`.
    Emqx,
}

/// What a rule does whose placeholder has no value, or a value with `+`, `#` or `/`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Profile {
    /// It does not match.
    #[default]
    Legacy,
    /// It denies, if its action, QoS, conditions and remaining levels could match.
    Hardened,
}

/// Characters that the value of a placeholder may hold although they mean something in a filter. None by default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TemplateAllow {
    /// `+` is allowed and becomes a wildcard where it fills a level.
    pub plus: bool,
    /// `#` is allowed and becomes a wildcard where it is the last level.
    pub hash: bool,
    /// `/` is allowed and separates levels.
    pub slash: bool,
}

/// How rules are compiled and read; the same for all lists of one `AccessRules`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Settings {
    /// Reading of SUBSCRIBE filters.
    pub subscribe_match: SubscribeMatch,
    /// Reading of placeholders without a usable value.
    pub profile: Profile,
    /// Exceptions from what makes a value unusable.
    pub template_allow: TemplateAllow,
    /// Whether a placeholder may be a part of a level, as in `a/b${username}`. For rules of files, JWT and HTTP answers;
    /// the built-in database refuses them.
    pub allows_partial_placeholders: bool,
}

/// Whose rules a list holds.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Principal {
    /// One client id; the literal `${clientid}` stands for every client.
    ClientId(String),
    /// One user name; the literal `${username}` stands for every client that has one.
    Username(String),
    /// All users of the namespace, or of none.
    All,
}

/// The rules of one principal, in the order in which they are tried.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListSpec {
    /// Namespace of the list; `None` is the global one.
    pub namespace: Option<String>,
    /// Whose list it is.
    pub principal: Principal,
    /// May be empty, which is the same as no list.
    pub rules: Vec<RuleSpec>,
}

/// Which topics a rule is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TopicsSpec {
    /// Every topic, those that begin with `$` included; the atom `all` of an ACL file.
    Every,
    /// Filters with placeholders, or literal texts after `eq `. One of them must match; none never matches.
    These(Vec<String>),
}

/// What a rule decides.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Permission {
    /// The action may be done.
    Allow,
    /// The action is refused.
    Deny,
}

/// Which actions a rule is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RuleAction {
    /// PUBLISH and wills.
    Publish,
    /// SUBSCRIBE.
    Subscribe,
    /// Both.
    All,
}

/// One rule as it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuleSpec {
    /// Topics of the rule.
    pub topics: TopicsSpec,
    /// What it decides.
    pub permission: Permission,
    /// Actions it is about.
    pub action: RuleAction,
    /// Whether QoS 0, 1 and 2 are meant: of the PUBLISH, or the one that SUBSCRIBE asks for.
    pub qos: [bool; 3],
    /// The retain flag that a PUBLISH must have; `None` means any. SUBSCRIBE ignores it.
    pub retain: Option<bool>,
    /// What must hold of the client besides; `None` means nothing.
    pub condition: Option<ConditionSpec>,
}

/// A text that is wanted, or a regular expression that must occur in it (unanchored).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TextSpec {
    /// Equal byte by byte.
    Is(String),
    /// Found by this expression, in the syntax of the crate `regex`. A text of more than 4,096 bytes is not searched: it
    /// counts as found for a deny rule and as not found for an allow rule.
    Matches(String),
}

/// A text of a client that a condition looks at.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum ClientField {
    /// The client id.
    ClientId,
    /// The user name.
    Username,
    /// A client attribute, by name.
    Attribute(String),
    /// The zone.
    Zone,
    /// The listener, as `tcp:default`.
    Listener,
}

/// What must hold of a client. A user name, attribute or address that the client has not got satisfies nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConditionSpec {
    /// A text of the client.
    Text(ClientField, TextSpec),
    /// The peer address lies in one of these addresses or networks (`10.0.0.0/8`).
    Address(Vec<String>),
    /// The security profile that is in force.
    Profile(Profile),
    /// All of them; true if there are none.
    Every(Vec<ConditionSpec>),
    /// At least one of them; false if there are none.
    Some(Vec<ConditionSpec>),
}

/// What is wrong with a rule; `as_str` gives the code of the REST API.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RuleErrorCode {
    /// The topic is no valid filter, or longer than 65,535 bytes.
    InvalidTopic,
    /// A placeholder is only a part of its level.
    InvalidPlaceholder,
    /// A regular expression, an address or a name is not valid.
    InvalidValue,
}

impl RuleErrorCode {
    /// Returns the code of the REST API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidTopic => "INVALID_TOPIC",
            Self::InvalidPlaceholder => "INVALID_PLACEHOLDER",
            Self::InvalidValue => "INVALID_VALUE",
        }
    }
}

/// One fault of a specification.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuleError {
    /// Index of the list in what was given.
    pub list: usize,
    /// Index of the rule in its list; `None` if the list's principal or namespace is at fault.
    pub rule: Option<usize>,
    /// Name of the field in the REST API, such as `topic` or `ipaddr`.
    pub field: &'static str,
    /// Kind of the fault.
    pub code: RuleErrorCode,
    /// One sentence; it ends with the value at fault.
    pub message: String,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "list {}", self.list)?;
        if let Some(rule) = self.rule {
            write!(f, ", rule {rule}")?;
        }
        write!(f, ", {}: {}", self.field, self.message)
    }
}

impl std::error::Error for RuleError {}

/// A fault of a part of a rule, before it is known which rule it is in.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) field: &'static str,
    pub(crate) code: RuleErrorCode,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn new(field: &'static str, code: RuleErrorCode, message: String) -> Self {
        Self { field, code, message }
    }
}
