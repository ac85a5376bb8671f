//! From the text of a rule's topic to its levels: wildcards, placeholders, literal text.
//!
//! `${name}` with a known name is a placeholder, `${$}` a dollar sign; anything else stays as it is written. How the
//! result is held against a request is in `pattern`.

use super::pattern::{Level, Part, Pattern, span};
use super::spec::{Fault, RuleErrorCode};
use crate::topic;

/// A placeholder.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Variable {
    ClientId,
    Username,
    CertCommonName,
    Zone,
    Attribute(Box<str>),
}

impl Variable {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "clientid" => Self::ClientId,
            "username" => Self::Username,
            "cert_common_name" => Self::CertCommonName,
            "zone" => Self::Zone,
            _ => {
                let name = name.strip_prefix("client_attrs.")?;
                let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
                if name.is_empty() || !name.bytes().all(is_name) {
                    return None;
                }
                Self::Attribute(name.into())
            }
        })
    }

    /// The name between the braces.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::ClientId => "clientid".to_owned(),
            Self::Username => "username".to_owned(),
            Self::CertCommonName => "cert_common_name".to_owned(),
            Self::Zone => "zone".to_owned(),
            Self::Attribute(name) => format!("client_attrs.{name}"),
        }
    }
}

/// What a filter was compiled to.
#[derive(Debug)]
pub(crate) enum Compiled {
    /// Neither wildcards nor placeholders: only this text matches.
    Literal(Box<str>),
    Pattern(Pattern),
}

/// Compiles the filter of a rule (not one after `eq `).
///
/// # Errors
/// A fault of the field `topic`: no valid filter, too long, or a placeholder that is a part of a level although
/// `allows_partial` is false.
pub(crate) fn compile(filter: &str, allows_partial: bool) -> Result<Compiled, Fault> {
    topic::validate_filter(filter, usize::MAX).map_err(|error| {
        let message = format!("{error}: {:?}", excerpt(filter));
        Fault::new("topic", RuleErrorCode::InvalidTopic, message)
    })?;
    let mut builder = Builder::default();
    let mut rest = filter;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        builder.push_text(before);
        rest = builder.push_placeholder(from);
    }
    builder.push_text(rest);
    builder.end_level();
    if !allows_partial && builder.has_partial {
        let message = format!("placeholder must fill its level: {:?}", excerpt(filter));
        return Err(Fault::new("topic", RuleErrorCode::InvalidPlaceholder, message));
    }
    Ok(builder.finish())
}

/// The beginning of a text for an error message.
pub(crate) fn excerpt(text: &str) -> &str {
    text.char_indices().nth(120).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

#[derive(Default)]
struct Builder {
    text: String,
    levels: Vec<Level>,
    parts: Vec<Part>,
    level_start: usize,
    piece_start: usize,
    first_part: usize,
    has_partial: bool,
}

impl Builder {
    /// Appends literal text, in which slashes end levels.
    fn push_text(&mut self, text: &str) {
        for (number, piece) in text.split('/').enumerate() {
            if number > 0 {
                self.end_level();
                self.text.push('/');
                self.start_level();
            }
            self.text.push_str(piece);
        }
    }

    /// Takes one placeholder from the front of `from`, which begins with `${`, and returns what is behind it.
    fn push_placeholder<'a>(&mut self, from: &'a str) -> &'a str {
        let name = from.get(2..).and_then(|rest| rest.split_once('}'));
        if let Some(("$", rest)) = name {
            self.text.push('$');
            return rest;
        }
        if let Some((name, rest)) = name
            && let Some(variable) = Variable::parse(name)
        {
            self.end_piece();
            self.parts.push(Part::Value(variable));
            return rest;
        }
        self.text.push('$');
        from.get(1..).unwrap_or_default()
    }

    fn start_level(&mut self) {
        self.level_start = self.text.len();
        self.piece_start = self.text.len();
        self.first_part = self.parts.len();
    }

    fn end_piece(&mut self) {
        if self.piece_start < self.text.len() {
            self.parts.push(Part::Text(span(self.piece_start, self.text.len())));
            self.piece_start = self.text.len();
        }
    }

    fn end_level(&mut self) {
        if self.parts.len() == self.first_part {
            let level = self.text.get(self.level_start..).unwrap_or_default();
            self.levels.push(match level {
                "+" => Level::Plus,
                "#" => Level::Hash,
                _ => Level::Text(span(self.level_start, self.text.len())),
            });
            return;
        }
        self.end_piece();
        self.has_partial |= self.parts.len() - self.first_part > 1;
        self.levels.push(Level::Template(span(self.first_part, self.parts.len())));
    }

    fn finish(self) -> Compiled {
        if self.levels.iter().all(|level| matches!(level, Level::Text(_))) {
            return Compiled::Literal(self.text.into());
        }
        Compiled::Pattern(Pattern { text: self.text.into(), levels: self.levels.into(), parts: self.parts.into() })
    }
}
