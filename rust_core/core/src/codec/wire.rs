//! The data types of the wire: integers, variable byte integers, UTF-8 strings, binary data.
//!
//! Reading borrows from the packet and never allocates. Writing cannot fail: text or binary data beyond 65,535 bytes
//! is cut there, so that a caller's mistake shortens a field and never breaks the framing.

use memchr::{memchr, memchr3};

use crate::error::DecodeError;

/// The most a variable byte integer can say. Spec: MQTT 5.0, 1.5.5.
pub(super) const MAX_VARINT: usize = 268_435_455;

/// What is left to read of one packet, or of one field in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes that are left.
    pub(super) const fn len(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        let (&value, rest) = self.rest.split_first().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(value)
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(u16::from_be_bytes(*bytes))
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*bytes))
    }

    /// Reads a packet id, which is never 0. `[MQTT5-2.2.1-3]`
    pub(super) fn packet_id(&mut self) -> Result<u16, DecodeError> {
        match self.u16()? {
            0 => Err(DecodeError::PacketIdZero),
            packet_id => Ok(packet_id),
        }
    }

    /// Reads a variable byte integer.
    ///
    /// NOTE: a longer form than needed is accepted; only what we send must be the shortest. `[MQTT5-1.5.5-1]`
    pub(super) fn varint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::VariableByteInteger)
    }

    /// Skips a zero byte if one comes next: an empty property block.
    pub(super) fn skip_zero(&mut self) -> bool {
        let Some((0, rest)) = self.rest.split_first() else {
            return false;
        };
        self.rest = rest;
        true
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Reads two bytes of length and so much binary data.
    pub(super) fn binary(&mut self) -> Result<&'a [u8], DecodeError> {
        let count = self.u16()?;
        self.take(usize::from(count))
    }

    /// Reads a string: well-formed UTF-8 without U+0000. `[MQTT5-1.5.4-1]` `[MQTT5-1.5.4-2]`
    ///
    /// A leading U+FEFF stays and nothing is normalised. `[MQTT5-1.5.4-3]` `[MQTT5-4.7.3-4]`
    pub(super) fn text(&mut self) -> Result<&'a str, DecodeError> {
        let bytes = self.binary()?;
        let text = simdutf8::basic::from_utf8(bytes).map_err(|_| DecodeError::Utf8)?;
        if memchr(0, bytes).is_some() {
            return Err(DecodeError::NulCharacter);
        }
        Ok(text)
    }

    /// Reads a string that must be a topic name or empty: no wildcard. `[MQTT5-3.3.2-2]`
    pub(super) fn topic(&mut self) -> Result<&'a str, DecodeError> {
        let bytes = self.binary()?;
        let text = simdutf8::basic::from_utf8(bytes).map_err(|_| DecodeError::Utf8)?;
        if memchr3(0, b'+', b'#', bytes).is_none() {
            return Ok(text);
        }
        // A null character is the graver fault, wherever it stands.
        Err(if memchr(0, bytes).is_some() { DecodeError::NulCharacter } else { DecodeError::TopicWildcard })
    }

    /// Ends the reading: nothing may be left.
    pub(super) fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        let count = u32::try_from(self.rest.len()).unwrap_or(u32::MAX);
        Err(DecodeError::TrailingBytes { count })
    }

    /// Hands out everything that is left.
    pub(super) fn finish_with_rest(self) -> &'a [u8] {
        self.rest
    }
}

/// Returns how many bytes the shortest form of `value` has.
pub(super) const fn varint_bytes(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// Writes `value` in the fewest bytes possible; a value above `MAX_VARINT` becomes that. `[MQTT5-1.5.5-1]`
pub(super) fn put_varint(out: &mut Vec<u8>, value: usize) {
    let mut rest = value.min(MAX_VARINT);
    loop {
        // The mask leaves seven bits.
        #[allow(clippy::cast_possible_truncation)]
        let low = (rest & 0x7F) as u8;
        rest >>= 7;
        if rest == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

pub(super) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(super) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Returns the bytes of `data` with its length in front.
pub(super) const fn binary_bytes(data: &[u8]) -> usize {
    2 + if data.len() > 0xFFFF { 0xFFFF } else { data.len() }
}

pub(super) fn put_binary(out: &mut Vec<u8>, data: &[u8]) {
    let data = data.get(..0xFFFF).unwrap_or(data);
    put_u16(out, u16::try_from(data.len()).unwrap_or(u16::MAX));
    out.extend_from_slice(data);
}

/// Returns the bytes of `text` with its length in front.
pub(super) fn text_bytes(text: &str) -> usize {
    2 + cut(text).len()
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_binary(out, cut(text).as_bytes());
}

/// Cuts `text` at the last character boundary that a length of 16 bits can say.
fn cut(text: &str) -> &str {
    if text.len() <= 0xFFFF {
        return text;
    }
    (0xFFFC..=0xFFFF).rev().find_map(|end| text.get(..end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_byte_integers_take_the_fewest_bytes() {
        for (value, bytes) in [
            (0, &[0x00][..]),
            (127, &[0x7F]),
            (128, &[0x80, 0x01]),
            (16_383, &[0xFF, 0x7F]),
            (16_384, &[0x80, 0x80, 0x01]),
            (2_097_151, &[0xFF, 0xFF, 0x7F]),
            (2_097_152, &[0x80, 0x80, 0x80, 0x01]),
            (MAX_VARINT, &[0xFF, 0xFF, 0xFF, 0x7F]),
            (MAX_VARINT + 1, &[0xFF, 0xFF, 0xFF, 0x7F]),
        ] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out, bytes);
            assert_eq!(varint_bytes(value), bytes.len());
            let read = Reader::new(bytes).varint();
            assert_eq!(read.map(|v| v as usize), Ok(value.min(MAX_VARINT)));
        }
    }

    #[test]
    fn text_beyond_the_length_field_is_cut_between_characters() {
        let text = "é".repeat(40_000);
        let mut out = Vec::new();
        put_text(&mut out, &text);
        assert_eq!(out.len(), text_bytes(&text));
        assert_eq!(Reader::new(&out).text().map(str::len), Ok(65_534));
        let data = vec![7; 70_000];
        out.clear();
        put_binary(&mut out, &data);
        assert_eq!((out.len(), binary_bytes(&data)), (65_537, 65_537));
    }
}
