//! Topic names and topic filters: validate, take prefixes apart, match one to one.
//!
//! A *topic* says where a message goes, a *filter* what a subscription asks. Both are compared byte by byte, without any
//! Unicode normalisation [MQTT5-4.7.3-4]. Filters with a special prefix (`$share/g/f`, `$queue/f`, `$exclusive/f`) are
//! "raw"; everything else in the crate takes the bare filter that `parse_filter` returns. Prefixing for namespaces
//! belongs in `mountpoint`.

use std::fmt;

use crate::reason::ReasonCode;

/// Longest topic or filter in bytes: the two length bytes of a UTF-8 string hold no more. [MQTT5-4.7.3-3]
pub const MAX_TOPIC_BYTES: usize = 65_535;

/// Largest `N` of `$delayed/N/topic` that counts seconds from now (EMQX's limit); more is an absolute Unix time.
pub const MAX_DELAY_S: u64 = 4_294_967;

const SHARE_PREFIX: &str = "$share/";
const QUEUE_PREFIX: &str = "$queue/";
const EXCLUSIVE_PREFIX: &str = "$exclusive/";
const DELAYED_PREFIX: &str = "$delayed/";

/// Group name under which `$queue/f` subscribers share.
pub const QUEUE_GROUP: &str = "$queue";

/// Why a topic or a filter was refused; `topic_reason` and `filter_reason` give the MQTT 5 code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicError {
    /// Nothing is left of the name. Topic: 0x82, filter: 0x8F. [MQTT5-4.7.3-1]
    Empty,
    /// More than `MAX_TOPIC_BYTES`. Topic: 0x90, filter: 0x8F. [MQTT5-4.7.3-3]
    TooLong {
        /// Length of the refused text.
        bytes: usize,
    },
    /// More levels than the caller allows. Topic: 0x90, filter: 0x8F.
    TooManyLevels {
        /// The limit that was passed.
        max_levels: usize,
    },
    /// U+0000 inside. 0x81. [MQTT5-4.7.3-2]
    Nul {
        /// Byte offset of the first one.
        offset: usize,
    },
    /// A wildcard in a topic, or one in a filter that stands in the wrong place. Topic: 0x90, filter: 0x8F.
    /// [MQTT5-4.7.1-1] [MQTT5-4.7.1-2] [MQTT5-3.3.2-2]
    Wildcard {
        /// Level of the first offence, counted from 0.
        level: usize,
    },
    /// `$share` without a group or with a wildcard in its name. 0x8F. [MQTT5-4.8.2-1] [MQTT5-4.8.2-2]
    ShareName,
    /// One special prefix inside another, as in `$share/g/$queue/f`. 0x8F.
    NestedPrefix,
    /// `$delayed/N/topic` whose `N` is not a decimal number of at most 64 bits, or without a topic. 0x90.
    Delay,
}

impl TopicError {
    /// Reason code for a PUBLISH or will whose topic is refused.
    #[must_use]
    pub const fn topic_reason(self) -> ReasonCode {
        match self {
            Self::Empty => ReasonCode::ProtocolError,
            Self::Nul { .. } => ReasonCode::MalformedPacket,
            _ => ReasonCode::TopicNameInvalid,
        }
    }

    /// Reason code for a SUBSCRIBE or UNSUBSCRIBE whose filter is refused.
    #[must_use]
    pub const fn filter_reason(self) -> ReasonCode {
        match self {
            Self::Nul { .. } => ReasonCode::MalformedPacket,
            _ => ReasonCode::TopicFilterInvalid,
        }
    }
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("topic must not be empty"),
            Self::TooLong { bytes } => write!(f, "topic must have at most {MAX_TOPIC_BYTES} bytes: {bytes}"),
            Self::TooManyLevels { max_levels } => {
                write!(f, "topic has more levels than allowed: {max_levels}")
            }
            Self::Nul { offset } => write!(f, "topic must not contain U+0000: at byte {offset}"),
            Self::Wildcard { level } => write!(f, "wildcard is not allowed here: at level {level}"),
            Self::ShareName => f.write_str("share needs a group name without wildcards and a filter"),
            Self::NestedPrefix => f.write_str("special prefix must not stand inside another"),
            Self::Delay => f.write_str("delay must be a decimal number of seconds followed by a topic"),
        }
    }
}

impl std::error::Error for TopicError {}

/// What a subscription is besides its filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterKind<'a> {
    /// An ordinary subscription.
    Plain,
    /// One member of a group; `$queue/f` has the group `QUEUE_GROUP`.
    Share {
        /// Name of the group, without slashes and wildcards.
        group: &'a str,
    },
    /// `$exclusive/f`: at most one client may hold it.
    Exclusive,
}

/// A raw filter taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParsedFilter<'a> {
    /// Which prefix stood in front.
    pub kind: FilterKind<'a>,
    /// The bare filter behind the prefix.
    pub filter: &'a str,
}

/// When a delayed publication is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delay {
    /// So many seconds from now, at most `MAX_DELAY_S`.
    After {
        /// Seconds to wait.
        seconds: u64,
    },
    /// At an absolute time.
    At {
        /// Seconds since the Unix epoch, larger than `MAX_DELAY_S`.
        unix_s: u64,
    },
}

/// Validates a topic name and returns its number of levels (at least 1).
///
/// # Errors
/// `Empty`, `TooLong`, `Nul`, `Wildcard` or `TooManyLevels`, the first that applies in this order per byte.
pub fn validate_topic(topic: &str, max_levels: usize) -> Result<usize, TopicError> {
    check_length(topic)?;
    let mut levels = 1;
    for (offset, byte) in topic.bytes().enumerate() {
        match byte {
            b'/' => levels += 1,
            // [MQTT5-3.3.2-2] [MQTT5-4.7.1-1]
            b'+' | b'#' => return Err(TopicError::Wildcard { level: levels - 1 }),
            0 => return Err(TopicError::Nul { offset }),
            _ => {}
        }
        if levels > max_levels {
            return Err(TopicError::TooManyLevels { max_levels });
        }
    }
    check_levels(levels, max_levels)
}

/// Validates a bare filter and returns its number of levels (at least 1).
///
/// # Errors
/// `Wildcard { level }` if `#` is not last or a wildcard shares its level; else as `validate_topic`.
/// [MQTT5-4.7.1-1] [MQTT5-4.7.1-2]
pub fn validate_filter(filter: &str, max_levels: usize) -> Result<usize, TopicError> {
    check_length(filter)?;
    let mut levels = 0;
    let mut offset = 0;
    let mut is_closed = false;
    for level in filter.split('/') {
        if is_closed {
            return Err(TopicError::Wildcard { level: levels - 1 });
        }
        levels += 1;
        check_levels(levels, max_levels)?;
        if level.len() == 1 {
            is_closed = level == "#";
        } else if level.contains(['+', '#']) {
            return Err(TopicError::Wildcard { level: levels - 1 });
        }
        if let Some(at) = level.find('\0') {
            return Err(TopicError::Nul { offset: offset + at });
        }
        offset += level.len() + 1;
    }
    Ok(levels)
}

fn check_length(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > MAX_TOPIC_BYTES {
        return Err(TopicError::TooLong { bytes: text.len() });
    }
    Ok(())
}

fn check_levels(levels: usize, max_levels: usize) -> Result<usize, TopicError> {
    if levels > max_levels { Err(TopicError::TooManyLevels { max_levels }) } else { Ok(levels) }
}

/// Takes `$share/g/f`, `$queue/f` and `$exclusive/f` apart and validates what is inside.
///
/// `max_levels` counts the levels of the inner filter. `$share`, `$queue` and `$exclusive` without a slash are plain.
///
/// # Errors
/// `ShareName` [MQTT5-4.8.2-1] [MQTT5-4.8.2-2], `NestedPrefix`, or what `validate_filter` says of the inner filter.
pub fn parse_filter(raw: &str, max_levels: usize) -> Result<ParsedFilter<'_>, TopicError> {
    check_length(raw)?;
    let (kind, filter) = split_filter(raw);
    if let FilterKind::Share { group } = kind
        && (group.is_empty() || group.contains(['+', '#', '\0']))
    {
        return Err(TopicError::ShareName);
    }
    if kind != FilterKind::Plain && !matches!(split_filter(filter), (FilterKind::Plain, _)) {
        return Err(TopicError::NestedPrefix);
    }
    validate_filter(filter, max_levels)?;
    Ok(ParsedFilter { kind, filter })
}

/// Splits a raw filter without judging it: a broken one comes back with an empty group or an empty filter.
pub(crate) fn split_filter(raw: &str) -> (FilterKind<'_>, &str) {
    if let Some(rest) = raw.strip_prefix(SHARE_PREFIX) {
        let (group, filter) = rest.split_once('/').unwrap_or((rest, ""));
        (FilterKind::Share { group }, filter)
    } else if let Some(filter) = raw.strip_prefix(QUEUE_PREFIX) {
        (FilterKind::Share { group: QUEUE_GROUP }, filter)
    } else if let Some(filter) = raw.strip_prefix(EXCLUSIVE_PREFIX) {
        (FilterKind::Exclusive, filter)
    } else {
        (FilterKind::Plain, raw)
    }
}

/// Takes the delay off a `$delayed/N/topic` publication; `None` for any other topic.
///
/// The inner topic is not empty but otherwise not validated.
///
/// # Errors
/// `Delay` if `N` is not decimal, does not fit 64 bits, or no topic follows.
pub fn parse_delayed(topic: &str) -> Result<Option<(Delay, &str)>, TopicError> {
    let Some(rest) = topic.strip_prefix(DELAYED_PREFIX) else {
        return Ok(None);
    };
    let (number, inner) = rest.split_once('/').ok_or(TopicError::Delay)?;
    if inner.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(TopicError::Delay);
    }
    let seconds: u64 = number.parse().map_err(|_| TopicError::Delay)?;
    let delay = if seconds > MAX_DELAY_S { Delay::At { unix_s: seconds } } else { Delay::After { seconds } };
    Ok(Some((delay, inner)))
}

/// Whether `filter` begins with a wildcard, so that the `$` rule concerns it. [MQTT5-4.7.2-1]
#[must_use]
pub fn begins_with_wildcard(filter: &str) -> bool {
    is_wildcard(first_level(filter))
}

/// The text before the first slash; the whole text if there is none.
#[must_use]
pub fn first_level(topic: &str) -> &str {
    topic.split('/').next().unwrap_or_default()
}

pub(crate) fn is_wildcard(level: &str) -> bool {
    level == "+" || level == "#"
}

/// Whether a valid bare filter matches a valid topic.
///
/// A filter that begins with a wildcard does not match a topic that begins with `$` [MQTT5-4.7.2-1]; `a/#` matches `a`
/// too. Cost: one pass over both texts, nothing is allocated.
#[must_use]
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && begins_with_wildcard(filter) {
        return false;
    }
    let mut topic_levels = topic.split('/');
    for level in filter.split('/') {
        if level == "#" {
            return true;
        }
        match topic_levels.next() {
            Some(there) if level == "+" || level == there => {}
            _ => return false,
        }
    }
    topic_levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_of_thirty_thousand_levels_is_refused() {
        let filter = "/".repeat(30_000);
        assert_eq!(validate_filter(&filter, 128), Err(TopicError::TooManyLevels { max_levels: 128 }));
        assert_eq!(validate_topic(&filter, 128), Err(TopicError::TooManyLevels { max_levels: 128 }));
        assert_eq!(validate_filter(&filter, usize::MAX), Ok(30_001));
    }

    #[test]
    fn a_text_longer_than_a_wire_string_is_refused() {
        let text = "a".repeat(MAX_TOPIC_BYTES + 1);
        let expected = TopicError::TooLong { bytes: MAX_TOPIC_BYTES + 1 };
        assert_eq!(validate_topic(&text, 128), Err(expected));
        assert_eq!(validate_filter(&text, 128), Err(expected));
        assert_eq!(validate_topic(&text[1..], 128), Ok(1));
    }

    #[test]
    fn every_error_states_its_codes_and_its_data() {
        let table = [
            (TopicError::Empty, 0x82, 0x8F, "topic must not be empty"),
            (TopicError::TooLong { bytes: 65_536 }, 0x90, 0x8F, "topic must have at most 65535 bytes: 65536"),
            (TopicError::TooManyLevels { max_levels: 3 }, 0x90, 0x8F, "topic has more levels than allowed: 3"),
            (TopicError::Nul { offset: 4 }, 0x81, 0x81, "topic must not contain U+0000: at byte 4"),
            (TopicError::Wildcard { level: 1 }, 0x90, 0x8F, "wildcard is not allowed here: at level 1"),
            (TopicError::ShareName, 0x90, 0x8F, "share needs a group name without wildcards and a filter"),
            (TopicError::NestedPrefix, 0x90, 0x8F, "special prefix must not stand inside another"),
            (TopicError::Delay, 0x90, 0x8F, "delay must be a decimal number of seconds followed by a topic"),
        ];
        for (error, topic_reason, filter_reason, text) in table {
            assert_eq!(
                (error.topic_reason() as u8, error.filter_reason() as u8),
                (topic_reason, filter_reason),
                "{error:?}"
            );
            assert_eq!(error.to_string(), text);
        }
    }
}
