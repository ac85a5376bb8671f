//! Adds and strips a namespace's prefix: what a client calls `t` the broker calls `<mountpoint>t`.
//!
//! No slash is added: the mountpoint `n1` makes `n1t` of `t`. Special prefixes (`$share/g/`, `$queue/`, `$exclusive/`,
//! `$delayed/N/`) stay in front and group names are never prefixed. Topics come validated; the mounted text may be
//! longer than `MAX_TOPIC_BYTES`, which no packet can carry: the engine refuses such a publication.

use std::fmt;

use crate::reason::ReasonCode;
use crate::topic::{self, FilterKind};

/// Why a text cannot be a mountpoint. CONNECT: 0x87; REST: 400 `BAD_REQUEST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountpointError {
    /// `+` or `#`: the client's filters would reach other namespaces. 0x87.
    Wildcard {
        /// Byte offset of the first one.
        offset: usize,
    },
    /// NUL or another control character. 0x87.
    Control {
        /// Byte offset of the first one.
        offset: usize,
    },
    /// A leading `$`: it would reach `$SYS`, `$share` or `$delayed`. 0x87.
    Dollar,
}

impl MountpointError {
    /// Reason code for a CONNECT that would get this mountpoint.
    #[must_use]
    pub const fn reason(self) -> ReasonCode {
        ReasonCode::NotAuthorized
    }
}

impl fmt::Display for MountpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wildcard { offset } => write!(f, "mountpoint must not contain a wildcard: at byte {offset}"),
            Self::Control { offset } => write!(f, "mountpoint must not contain a control character: at byte {offset}"),
            Self::Dollar => f.write_str("mountpoint must not begin with '$'"),
        }
    }
}

impl std::error::Error for MountpointError {}

/// Validates a rendered mountpoint; the empty one (none) is fine.
///
/// # Errors
/// `Dollar`, `Wildcard` or `Control`.
pub fn validate_mountpoint(mountpoint: &str) -> Result<(), MountpointError> {
    if mountpoint.starts_with('$') {
        return Err(MountpointError::Dollar);
    }
    for (offset, character) in mountpoint.char_indices() {
        match character {
            '+' | '#' => return Err(MountpointError::Wildcard { offset }),
            character if character.is_control() => return Err(MountpointError::Control { offset }),
            _ => {}
        }
    }
    Ok(())
}

/// Replaces `out` by the mounted form of a topic or bare filter.
pub fn mount(mountpoint: &str, topic: &str, out: &mut String) {
    out.clear();
    push_mounted(mountpoint, topic, out);
}

fn push_mounted(mountpoint: &str, topic: &str, out: &mut String) {
    out.reserve(mountpoint.len() + topic.len());
    out.push_str(mountpoint);
    out.push_str(topic);
}

/// Strips the prefix if it is there; else the topic is returned unchanged (a message from outside the namespace).
#[must_use]
pub fn unmount<'a>(mountpoint: &str, topic: &'a str) -> &'a str {
    topic.strip_prefix(mountpoint).unwrap_or(topic)
}

/// Replaces `out` by the mounted form of a publication's topic: `$delayed/N/t` becomes `$delayed/N/<mountpoint>t`.
///
/// A `$delayed/` topic that `parse_delayed` refuses is prefixed as a whole.
pub fn mount_publish(mountpoint: &str, topic: &str, out: &mut String) {
    out.clear();
    let inner = match topic::parse_delayed(topic) {
        Ok(Some((_, inner))) => inner,
        _ => topic,
    };
    push_kept_prefix(topic, inner, out);
    push_mounted(mountpoint, inner, out);
}

/// Replaces `out` by the mounted form of a raw filter: the prefix goes on the inner filter, the group name stays.
pub fn mount_filter(mountpoint: &str, raw: &str, out: &mut String) {
    out.clear();
    let inner = inner_filter(raw);
    push_kept_prefix(raw, inner, out);
    push_mounted(mountpoint, inner, out);
}

/// Replaces `out` by the client's view of a mounted raw filter; the inverse of `mount_filter`.
pub fn unmount_filter(mountpoint: &str, raw: &str, out: &mut String) {
    out.clear();
    let inner = inner_filter(raw);
    push_kept_prefix(raw, inner, out);
    out.push_str(unmount(mountpoint, inner));
}

fn inner_filter(raw: &str) -> &str {
    match topic::split_filter(raw) {
        (FilterKind::Plain, _) => raw,
        (_, inner) => inner,
    }
}

fn push_kept_prefix(whole: &str, inner: &str, out: &mut String) {
    out.push_str(whole.strip_suffix(inner).unwrap_or_default());
}

/// Whether the `$` rule hides a mounted topic from a subscriber of that mountpoint whose options say `hides_dollar`.
///
/// True if the topic lies under the mountpoint and the client's view of it begins with `$` [MQTT5-4.7.2-1]. The trie
/// only knows mounted texts, so the caller drops such targets after matching.
#[must_use]
pub fn hidden_from(mountpoint: &str, topic: &str) -> bool {
    topic.strip_prefix(mountpoint).is_some_and(|view| view.starts_with('$'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_states_its_code_and_its_data() {
        let table = [
            (MountpointError::Wildcard { offset: 2 }, "mountpoint must not contain a wildcard: at byte 2"),
            (MountpointError::Control { offset: 0 }, "mountpoint must not contain a control character: at byte 0"),
            (MountpointError::Dollar, "mountpoint must not begin with '$'"),
        ];
        for (error, text) in table {
            assert_eq!(error.reason(), ReasonCode::NotAuthorized);
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn a_reused_buffer_keeps_nothing_of_its_last_text() {
        let mut out = String::from("rest of before");
        mount("n1/", "a", &mut out);
        assert_eq!(out, "n1/a");
        mount_filter("n1/", "$share/g/a", &mut out);
        assert_eq!(out, "$share/g/n1/a");
        mount_publish("n1/", "$delayed/5/a", &mut out);
        assert_eq!(out, "$delayed/5/n1/a");
        unmount_filter("n1/", "$share/g/n1/a", &mut out);
        assert_eq!(out, "$share/g/a");
    }
}
