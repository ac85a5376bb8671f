//! Bytes of a WebSocket client, and what a session makes of them.

use std::sync::Arc;

use pybroker_engine::transport::websocket::{WsError, WsSession, WsSettings, WsStatus};

pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// The answer that RFC 6455, 1.3 gives for `KEY`.
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
pub const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xA;
pub const FIN: u8 = 0x80;

/// A request with good headers, where `changes` replaces a header by name (`None` removes it).
pub fn request(target: &str, changes: &[(&str, Option<&str>)]) -> Vec<u8> {
    let mut headers = vec![
        ("Host", "broker.example"),
        ("Upgrade", "websocket"),
        ("Connection", "keep-alive, Upgrade"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Protocol", "mqtt"),
    ];
    for &(name, value) in changes {
        headers.retain(|(known, _)| *known != name);
        headers.extend(value.map(|value| (name, value)));
    }
    let mut text = format!("GET {target} HTTP/1.1\r\n");
    for (name, value) in headers {
        text.extend([name, ": ", value, "\r\n"]);
    }
    (text + "\r\n").into_bytes()
}

/// A masked client frame; `first` is the first byte of its header.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut wire = vec![first];
    match payload.len() {
        short @ 0..=125 => wire.push(0x80 | u8::try_from(short).unwrap()),
        medium @ 126..=0xffff => {
            wire.push(0xfe);
            wire.extend(u16::try_from(medium).unwrap().to_be_bytes());
        }
        long => {
            wire.push(0xff);
            wire.extend((long as u64).to_be_bytes());
        }
    }
    wire.extend(MASK);
    wire.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    wire
}

/// What came out of a session that was fed piece by piece, up to the first error.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub plain: Vec<u8>,
    pub reply: Vec<u8>,
    pub end: Result<WsStatus, WsError>,
}

pub fn feed<'a>(session: &mut WsSession, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut outcome = Outcome { plain: Vec::new(), reply: Vec::new(), end: Ok(session.status()) };
    for piece in pieces {
        outcome.end = session.receive(piece, &mut outcome.plain, &mut outcome.reply);
        if outcome.end.is_err() {
            break;
        }
    }
    outcome
}

pub fn session(settings: WsSettings) -> WsSession {
    WsSession::new(Arc::new(settings))
}

pub fn ask(settings: WsSettings, request: &[u8]) -> Outcome {
    feed(&mut session(settings), [request])
}

/// Status code of an HTTP answer.
pub fn status(reply: &[u8]) -> u16 {
    let text = std::str::from_utf8(reply).unwrap();
    text.split(' ').nth(1).unwrap().parse().unwrap()
}

/// A session that has accepted its request; its 101 is already taken.
pub fn open(settings: WsSettings) -> WsSession {
    let mut session = session(settings);
    let outcome = feed(&mut session, [request("/mqtt", &[]).as_slice()]);
    assert_eq!(outcome.end, Ok(WsStatus::Open));
    session
}

/// Feeds frames to an open session.
pub fn exchange(settings: WsSettings, frames: &[Vec<u8>]) -> Outcome {
    feed(&mut open(settings), [frames.concat().as_slice()])
}

pub fn assert_fails(frames: &[Vec<u8>], code: u16) {
    let outcome = exchange(WsSettings::default(), frames);
    assert!(matches!(outcome.end, Err(WsError::Frame { code: found, .. }) if found == code), "{outcome:?}");
    let [high, low] = code.to_be_bytes();
    assert_eq!(outcome.reply, [FIN | CLOSE, 2, high, low]);
}
