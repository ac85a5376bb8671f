//! Client side of RFC 6455 for load: upgrade request, one binary frame per MQTT packet, server frames taken apart.
//!
//! The mask key is one constant per run: a broker does the full unmasking work, and nothing secret is sent.

use crate::error::LoadError;
use crate::wire;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Returns the upgrade request for `path`.
pub fn upgrade_request(host: &str, path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: mqtt\r\n\r\n"
    )
    .into_bytes()
}

/// Looks for the end of the server's reply: its size, `None` while it is incomplete.
///
/// # Errors
/// `LoadError::Protocol` if the answer is not 101.
pub fn upgrade_reply_bytes(input: &[u8]) -> Result<Option<usize>, LoadError> {
    let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let line = input
        .split(|byte| *byte == b'\r')
        .next()
        .unwrap_or_default();
    if line.split(|byte| *byte == b' ').nth(1) != Some(b"101") {
        return Err(LoadError::Protocol(format!(
            "no upgrade: {}",
            String::from_utf8_lossy(line)
        )));
    }
    Ok(Some(end + 4))
}

/// Appends every MQTT packet of `packets` as its own masked binary frame.
///
/// # Errors
/// `LoadError::Protocol` if `packets` does not hold whole packets (a bug of the caller).
pub fn frame(packets: &[u8], out: &mut Vec<u8>) -> Result<(), LoadError> {
    let mut rest = packets;
    while !rest.is_empty() {
        let size = wire::packet_bytes(rest)?.filter(|size| *size <= rest.len());
        let size =
            size.ok_or_else(|| LoadError::Protocol("half a packet in an output buffer".into()))?;
        let (packet, after) = rest.split_at(size);
        put_frame(0x82, packet, out);
        rest = after;
    }
    Ok(())
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "each arm checks the range it writes"
)]
fn put_frame(first: u8, body: &[u8], out: &mut Vec<u8>) {
    out.push(first);
    match body.len() {
        length @ 0..=125 => out.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            out.push(0x80 | 0x7e);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0x80 | 0x7f);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    let start = out.len();
    out.extend_from_slice(body);
    for chunk in out[start..].chunks_mut(4) {
        chunk
            .iter_mut()
            .zip(MASK)
            .for_each(|(byte, mask)| *byte ^= mask);
    }
}

/// Takes server frames apart; remembers a frame that is cut by the end of a read.
#[derive(Debug, Default)]
pub struct Unframer {
    head: Vec<u8>,
    body_left: u64,
    is_data: bool,
}

impl Unframer {
    /// Appends the payload of all data frames in `input` to `out`; control frames are dropped.
    ///
    /// # Errors
    /// `LoadError::Protocol` for a masked server frame or a close frame.
    pub fn unframe(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Result<(), LoadError> {
        while !input.is_empty() {
            if self.body_left > 0 {
                let take = usize::try_from(self.body_left)
                    .unwrap_or(usize::MAX)
                    .min(input.len());
                if self.is_data {
                    out.extend_from_slice(&input[..take]);
                }
                self.body_left -= take as u64;
                input = &input[take..];
                continue;
            }
            self.head.push(input[0]);
            input = &input[1..];
            if let Some(length) = self.head_length()? {
                self.is_data = self.head[0] & 0x0f <= 2;
                self.body_left = length;
                self.head.clear();
            }
        }
        Ok(())
    }

    fn head_length(&self) -> Result<Option<u64>, LoadError> {
        let [first, second, rest @ ..] = self.head.as_slice() else {
            return Ok(None);
        };
        if second & 0x80 != 0 || first & 0x0f == 8 {
            return Err(LoadError::Protocol(format!(
                "websocket frame {first:#04x} {second:#04x}"
            )));
        }
        Ok(match second & 0x7f {
            126 => rest
                .try_into()
                .ok()
                .map(|bytes| u64::from(u16::from_be_bytes(bytes))),
            127 => rest.try_into().ok().map(u64::from_be_bytes),
            length => Some(u64::from(length)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_frame(first: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![first];
        match u8::try_from(body.len()) {
            Ok(length) if length <= 125 => out.push(length),
            _ => {
                out.push(126);
                out.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
            }
        }
        out.extend_from_slice(body);
        out
    }

    #[test]
    fn frames_survive_any_cut() {
        let mut input = server_frame(0x82, &[7; 300]);
        input.extend(server_frame(0x89, b"ping"));
        input.extend(server_frame(0x82, &[]));
        input.extend(server_frame(0x02, &[8; 5]));
        input.extend(server_frame(0x80, &[9; 5]));
        let expected = [vec![7; 300], vec![8; 5], vec![9; 5]].concat();
        for cut in 0..input.len() {
            let (mut unframer, mut out) = (Unframer::default(), Vec::new());
            unframer.unframe(&input[..cut], &mut out).unwrap();
            unframer.unframe(&input[cut..], &mut out).unwrap();
            assert_eq!(out, expected, "cut at {cut}");
        }
    }

    #[test]
    fn every_packet_gets_its_own_masked_frame() {
        let mut out = Vec::new();
        frame(&[0xC0, 0, 0x40, 2, 0, 9], &mut out).unwrap();
        assert_eq!(out[..2], [0x82, 0x82]);
        assert_eq!([out[6] ^ MASK[0], out[7] ^ MASK[1]], [0xC0, 0]);
        assert_eq!(out[8..10], [0x82, 0x84]);
        assert_eq!(out.len(), 8 + 10);
        assert!(frame(&[0x40, 2, 0], &mut out).is_err());
    }

    #[test]
    fn refused_upgrade_is_an_error() {
        assert_eq!(
            upgrade_reply_bytes(b"HTTP/1.1 101 Switching").unwrap(),
            None
        );
        assert_eq!(
            upgrade_reply_bytes(b"HTTP/1.1 101 X\r\n\r\n\x82").unwrap(),
            Some(18)
        );
        assert!(upgrade_reply_bytes(b"HTTP/1.1 404 Not Found\r\n\r\n").is_err());
        assert!(
            Unframer::default()
                .unframe(&[0x88, 0], &mut Vec::new())
                .is_err()
        );
    }
}
