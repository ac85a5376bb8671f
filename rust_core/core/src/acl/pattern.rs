//! The topic of one rule, split beforehand, and how it is held against what a client wrote.
//!
//! Placeholders are compared level by level with the client's values; no text is built, except for a value with `+`, `#`
//! or `/` where the settings allow such values. Which reading of a SUBSCRIBE filter holds is decided in `rule`; here
//! each is one walk over both texts. How text becomes a pattern is in `template`.

use memchr::memchr3;

use super::request::Client;
use super::spec::{Profile, Settings, TemplateAllow};
use super::template::Variable;
use crate::topic;

/// A part of `Pattern::text`; rule topics have at most 65,535 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Span {
    pub(super) start: u16,
    pub(super) end: u16,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Level {
    Text(Span),
    /// Indices into `Pattern::parts`.
    Template(Span),
    Plus,
    Hash,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Part {
    Text(Span),
    Value(Variable),
}

/// A span between two places of a text that has at most 65,535 bytes.
pub(super) fn span(start: usize, end: usize) -> Span {
    let narrow = |at: usize| u16::try_from(at).unwrap_or(u16::MAX);
    Span { start: narrow(start), end: narrow(end) }
}

/// How a rule's levels are held against what the client wrote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Relation {
    /// Words as text: `+` and `#` of the client are words like any other.
    Words,
    /// As `Words`, but `+` of the rule does not stand for `#` of the client.
    Contains,
    /// At least one topic matches both.
    Overlaps,
}

/// Outcome of one topic of a rule. The order is the precedence among the topics of one rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fit<'a> {
    Differs,
    /// A placeholder has no value.
    Absent(&'a Variable),
    Matches,
    /// The value of a placeholder has a character that it must not have.
    Forbidden(&'a Variable),
    /// One of these two, and the remaining levels match; only in the hardened profile.
    CouldMatch(&'a Variable),
}

impl Fit<'_> {
    pub(crate) const fn rank(self) -> u8 {
        match self {
            Self::Differs => 0,
            Self::Absent(_) => 1,
            Self::Matches => 2,
            Self::Forbidden(_) => 3,
            Self::CouldMatch(_) => 4,
        }
    }
}

/// One level of a rule as the index sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step<'a> {
    Literal(&'a str),
    Plus,
    /// A level with a placeholder.
    Value,
    /// Everything from here on.
    Rest,
}

/// A filter with at least one wildcard or placeholder.
#[derive(PartialEq, Eq, Hash, Debug)]
pub(crate) struct Pattern {
    /// The filter without its placeholders; slashes stay.
    pub(super) text: Box<str>,
    pub(super) levels: Box<[Level]>,
    pub(super) parts: Box<[Part]>,
}

impl Pattern {
    /// A pattern of rendered text: `+` and a last `#` are wildcards, anything else is literal.
    fn rendered(text: String) -> Self {
        let mut levels = Vec::new();
        let mut start = 0;
        for level in text.split('/') {
            let end = start + level.len();
            levels.push(match level {
                "+" => Level::Plus,
                "#" if end == text.len() => Level::Hash,
                _ => Level::Text(span(start, end)),
            });
            start = end + 1;
        }
        Self { text: text.into(), levels: levels.into(), parts: Box::default() }
    }

    /// The levels without their detail.
    pub(crate) fn steps(&self) -> impl Iterator<Item = Step<'_>> {
        self.levels.iter().map(|level| match level {
            Level::Text(span) => Step::Literal(self.text(*span)),
            Level::Template(_) => Step::Value,
            Level::Plus => Step::Plus,
            Level::Hash => Step::Rest,
        })
    }

    fn text(&self, span: Span) -> &str {
        self.text.get(span.start.into()..span.end.into()).unwrap_or_default()
    }

    fn parts(&self, span: Span) -> &[Part] {
        self.parts.get(span.start.into()..span.end.into()).unwrap_or_default()
    }

    /// Holds the pattern against what the client wrote. An unusable value is told only if the remaining levels match.
    pub(crate) fn fit(&self, written: &str, client: &Client<'_>, relation: Relation, settings: Settings) -> Fit<'_> {
        if self.parts.is_empty() {
            return if self.matches(written, relation, &NoValues) { Fit::Matches } else { Fit::Differs };
        }
        let values = Values { client, allow: settings.template_allow };
        if values.allow != TemplateAllow::default() && self.unusable(&values).is_none() && self.has_special(&values) {
            return self.fit_rendered(written, relation, &values);
        }
        // Unusable values fit any level, so most rules end here before their values are looked at closely.
        if !self.matches(written, relation, &values) {
            return Fit::Differs;
        }
        match self.unusable(&values) {
            None => Fit::Matches,
            Some(Fit::Absent(variable) | Fit::Forbidden(variable)) if settings.profile == Profile::Hardened => {
                Fit::CouldMatch(variable)
            }
            Some(fault) => fault,
        }
    }

    /// The first placeholder whose value has a character that it must not have.
    pub(crate) fn forbidden(&self, client: &Client<'_>, settings: Settings) -> Option<&Variable> {
        let values = Values { client, allow: settings.template_allow };
        self.variables().find(|variable| matches!(values.fault(variable), Some(Fit::Forbidden(_))))
    }

    fn fit_rendered(&self, written: &str, relation: Relation, values: &Values<'_>) -> Fit<'_> {
        let rendered = self.render(values);
        // Longer than any topic, and longer than spans reach.
        if rendered.len() > topic::MAX_TOPIC_BYTES {
            return Fit::Differs;
        }
        if Self::rendered(rendered).matches(written, relation, &NoValues) { Fit::Matches } else { Fit::Differs }
    }

    fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.parts.iter().filter_map(|part| match part {
            Part::Value(variable) => Some(variable),
            Part::Text(_) => None,
        })
    }

    /// The worst of the placeholders whose value cannot be used.
    fn unusable<'a>(&'a self, values: &Values<'_>) -> Option<Fit<'a>> {
        self.variables()
            .filter_map(|variable| values.fault(variable))
            .reduce(|worst, fault| if fault.rank() > worst.rank() { fault } else { worst })
    }

    /// Whether a usable value has a character that means something in a filter.
    fn has_special(&self, values: &Values<'_>) -> bool {
        self.variables().any(|variable| values.client.value(variable).is_some_and(has_special))
    }

    fn render(&self, values: &Values<'_>) -> String {
        let mut out = String::new();
        for (number, level) in self.levels.iter().enumerate() {
            if number > 0 {
                out.push('/');
            }
            match level {
                Level::Text(span) => out.push_str(self.text(*span)),
                Level::Plus => out.push('+'),
                Level::Hash => out.push('#'),
                Level::Template(span) => {
                    for part in self.parts(*span) {
                        match part {
                            Part::Text(span) => out.push_str(self.text(*span)),
                            Part::Value(variable) => out.push_str(values.client.value(variable).unwrap_or_default()),
                        }
                    }
                }
            }
        }
        out
    }

    fn matches<'v>(&self, written: &str, relation: Relation, values: &impl Source<'v>) -> bool {
        match relation {
            Relation::Words => self.covers(written, values, false),
            Relation::Contains => self.covers(written, values, true),
            Relation::Overlaps => self.overlaps(written, values),
        }
    }

    fn covers<'v>(&self, written: &str, values: &impl Source<'v>, is_strict: bool) -> bool {
        // [MQTT5-4.7.2-1]
        if written.starts_with('$') && matches!(self.levels.first(), Some(Level::Plus | Level::Hash)) {
            return false;
        }
        let mut words = written.split('/');
        for level in &self.levels {
            if *level == Level::Hash {
                return true;
            }
            let Some(word) = words.next() else { return false };
            let is_equal = match level {
                Level::Text(span) => word == self.text(*span),
                Level::Template(span) => self.renders(*span, word, values),
                Level::Plus | Level::Hash => !is_strict || word != "#",
            };
            if !is_equal {
                return false;
            }
        }
        words.next().is_none()
    }

    fn overlaps<'v>(&self, written: &str, values: &impl Source<'v>) -> bool {
        // [MQTT5-4.7.2-1]
        let is_hidden = match self.levels.first() {
            Some(Level::Plus | Level::Hash) => written.starts_with('$'),
            Some(level) => topic::begins_with_wildcard(written) && self.begins_with_dollar(*level, values),
            None => false,
        };
        if is_hidden {
            return false;
        }
        let mut words = written.split('/');
        for level in &self.levels {
            if *level == Level::Hash {
                return true;
            }
            match (level, words.next()) {
                (_, None) => return false,
                (_, Some("#")) => return true,
                (Level::Plus | Level::Hash, _) | (_, Some("+")) => {}
                (Level::Text(span), Some(word)) if word == self.text(*span) => {}
                (Level::Template(span), Some(word)) if self.renders(*span, word, values) => {}
                _ => return false,
            }
        }
        matches!(words.next(), None | Some("#"))
    }

    /// Whether a level begins with `$`; one with an unusable value may begin with anything, so it does not.
    fn begins_with_dollar<'v>(&self, level: Level, values: &impl Source<'v>) -> bool {
        match level {
            Level::Text(span) => self.text(span).starts_with('$'),
            Level::Template(span) => {
                let mut first = "";
                for part in self.parts(span) {
                    let text = match part {
                        Part::Text(span) => Some(self.text(*span)),
                        Part::Value(variable) => values.text(variable),
                    };
                    let Some(text) = text else { return false };
                    first = if first.is_empty() { text } else { first };
                }
                first.starts_with('$')
            }
            Level::Plus | Level::Hash => false,
        }
    }

    /// Whether a level with placeholders renders to `word`; one with an unusable value renders to any.
    fn renders<'v>(&self, span: Span, word: &str, values: &impl Source<'v>) -> bool {
        let parts = self.parts(span);
        let mut rest = Some(word);
        for part in parts {
            let text = match part {
                Part::Text(span) => self.text(*span),
                Part::Value(variable) => match values.text(variable) {
                    Some(text) => text,
                    None => return true,
                },
            };
            rest = rest.and_then(|rest| rest.strip_prefix(text));
        }
        rest.is_some_and(str::is_empty)
    }
}

/// Where the walks take values from; `None` fits any level.
trait Source<'a> {
    fn text(&self, variable: &Variable) -> Option<&'a str>;
}

/// For patterns without placeholders.
struct NoValues;

impl<'a> Source<'a> for NoValues {
    fn text(&self, _: &Variable) -> Option<&'a str> {
        None
    }
}

struct Values<'a> {
    client: &'a Client<'a>,
    allow: TemplateAllow,
}

impl Values<'_> {
    fn fault<'v>(&self, variable: &'v Variable) -> Option<Fit<'v>> {
        let Some(value) = self.client.value(variable) else { return Some(Fit::Absent(variable)) };
        let is_forbidden = |byte: u8| match byte {
            b'+' => !self.allow.plus,
            b'#' => !self.allow.hash,
            b'/' => !self.allow.slash,
            _ => false,
        };
        value.bytes().any(is_forbidden).then_some(Fit::Forbidden(variable))
    }
}

impl<'a> Source<'a> for Values<'a> {
    fn text(&self, variable: &Variable) -> Option<&'a str> {
        self.client.value(variable).filter(|value| !has_special(value))
    }
}

fn has_special(value: &str) -> bool {
    memchr3(b'+', b'#', b'/', value.as_bytes()).is_some()
}
