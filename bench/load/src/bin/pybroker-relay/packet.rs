//! The MQTT 3.1.1 that a relay looks at: where a packet ends, its topic, its packet id. Everything else stays bytes.

use std::ops::Range;

/// First byte of the packets that a client sends, without flags.
pub mod kind {
    pub const CONNECT: u8 = 1;
    pub const PUBLISH: u8 = 3;
    pub const PUBREC: u8 = 5;
    pub const PUBREL: u8 = 6;
    pub const SUBSCRIBE: u8 = 8;
    pub const PINGREQ: u8 = 12;
    pub const DISCONNECT: u8 = 14;
}

pub const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
/// Return code 1: not this version of the protocol.
pub const CONNACK_VERSION: [u8; 4] = [0x20, 2, 0, 1];
pub const PINGRESP: [u8; 2] = [0xD0, 0];
/// What a CONNECT of 3.1.1 begins with: the name of the protocol and its level.
pub const PROTOCOL: &[u8] = b"\0\x04MQTT\x04";

/// Bytes that are no packet of a client.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

/// Where the parts of one PUBLISH stand in its buffer.
#[derive(Debug, PartialEq, Eq)]
pub struct Publish {
    pub qos: u8,
    pub topic: Range<usize>,
    /// Index of the two bytes of the packet id; meaningless at `QoS` 0.
    pub packet_id_at: usize,
}

/// Finds the end of the fixed header and of the packet that begins at `at`; `None` while either is incomplete.
///
/// # Errors
/// `Malformed` if the length has more than four bytes.
pub fn bounds(input: &[u8], at: usize) -> Result<Option<(usize, usize)>, Malformed> {
    let mut length = 0;
    for step in 0..4 {
        let Some(&byte) = input.get(at + 1 + step) else {
            return Ok(None);
        };
        length |= usize::from(byte & 0x7F) << (7 * step);
        if byte & 0x80 == 0 {
            let body = at + 2 + step;
            return Ok((body + length <= input.len()).then_some((body, body + length)));
        }
    }
    Err(Malformed)
}

/// Finds the parts of the PUBLISH whose first byte is `first` and whose body is `input[body..end]`.
///
/// # Errors
/// `Malformed` if it is too short for what it says, or of `QoS` 3.
pub fn publish(input: &[u8], first: u8, body: usize, end: usize) -> Result<Publish, Malformed> {
    let qos = first >> 1 & 3;
    let topic = body + 2..body + 2 + usize::from(number(input, body, end)?);
    let after = topic.end + if qos > 0 { 2 } else { 0 };
    if after > end || qos == 3 {
        return Err(Malformed);
    }
    Ok(Publish {
        qos,
        packet_id_at: topic.end,
        topic,
    })
}

/// Collects the filters of the SUBSCRIBE whose body is `input[body..end]`, each with its `QoS`.
///
/// # Errors
/// `Malformed` if one is cut off.
pub fn filters(input: &[u8], body: usize, end: usize) -> Result<Vec<(&[u8], u8)>, Malformed> {
    let (mut found, mut at) = (Vec::new(), body + 2);
    while at < end {
        let filter = at + 2..at + 2 + usize::from(number(input, at, end)?);
        if filter.end >= end {
            return Err(Malformed);
        }
        at = filter.end + 1;
        found.push((&input[filter.clone()], input[filter.end] & 3));
    }
    Ok(found)
}

/// Compares a filter with a topic; `+` stands for any level, `#` for nothing.
pub fn is_match(filter: &[u8], topic: &[u8]) -> bool {
    let (mut filter, mut topic) = (filter.split(|b| *b == b'/'), topic.split(|b| *b == b'/'));
    loop {
        match (filter.next(), topic.next()) {
            (None, None) => return true,
            (Some(one), Some(other)) if one == b"+" || one == other => {}
            _ => return false,
        }
    }
}

/// Reads the two bytes at `at`, which have to lie before `end`: a packet id or a length.
///
/// # Errors
/// `Malformed` if they do not.
pub fn number(input: &[u8], at: usize, end: usize) -> Result<u16, Malformed> {
    match input[at..end] {
        [high, low, ..] => Ok(u16::from_be_bytes([high, low])),
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_ends_where_its_length_says() {
        assert_eq!(bounds(b"\x30", 0), Ok(None));
        assert_eq!(bounds(b"\x30\x03ab", 0), Ok(None));
        assert_eq!(bounds(b"\x30\x03abc\xC0\0", 0), Ok(Some((2, 5))));
        assert_eq!(bounds(b"\x30\x03abc\xC0\0", 5), Ok(Some((7, 7))));
        let long = [&b"\x30\x80\x01"[..], &[0; 128]].concat();
        assert_eq!(bounds(&long, 0), Ok(Some((3, 131))));
        assert_eq!(bounds(b"\x30\x80\x80\x80\x80\x01", 0), Err(Malformed));
    }

    #[test]
    fn parts_of_a_publish_are_found() {
        let input = b"\x32\x07\0\x01t\0\x09xy";
        let found = publish(input, input[0], 2, 9).unwrap();
        assert_eq!((found.qos, found.topic, found.packet_id_at), (1, 4..5, 5));
        for (first, cut) in [(0x30, 3), (0x30, 4), (0x32, 6), (0x36, 9)] {
            assert_eq!(publish(input, first, 2, cut), Err(Malformed), "{cut}");
        }
    }

    #[test]
    fn plus_stands_for_one_level() {
        assert!(is_match(b"a/b", b"a/b"));
        assert!(is_match(b"a/+/c", b"a/b/c"));
        for filter in [&b"a/+"[..], b"a/+/c/d", b"a/b/x", b"a/#"] {
            assert!(!is_match(filter, b"a/b/c"), "{filter:?}");
        }
    }

    #[test]
    fn filters_keep_their_quality() {
        let input = b"\0\x01\0\x01a\x01\0\x02bc\x02";
        let found = filters(input, 0, input.len()).unwrap();
        assert_eq!(found, [(&b"a"[..], 1), (&b"bc"[..], 2)]);
        assert_eq!(filters(input, 0, input.len() - 1), Err(Malformed));
    }
}
