//! The bytes of a WebSocket client: request, then frames, cut in two at any place.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use pybroker_engine::transport::websocket::{WsError, WsSession, WsSettings, WsStatus};

/// More than an answer to a request ever has.
const MAX_ANSWER_BYTES: usize = 1024;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, wire)) = data.split_first() else {
        return;
    };
    let whole = run(&[wire]);
    let cut = wire.len() * usize::from(choice) / 256;
    let (first, second) = wire.split_at(cut);
    assert_eq!(run(&[first, second]), whole);
    let (plain, reply, _) = whole;
    assert!(plain.len() <= wire.len());
    assert!(reply.len() <= wire.len() + MAX_ANSWER_BYTES);
});

fn run(pieces: &[&[u8]]) -> (Vec<u8>, Vec<u8>, Result<WsStatus, WsError>) {
    let settings = WsSettings {
        max_frame_bytes: Some(1024),
        ..WsSettings::default()
    };
    let mut session = WsSession::new(Arc::new(settings));
    let (mut plain, mut reply) = (Vec::new(), Vec::new());
    let mut end = Ok(session.status());
    for piece in pieces {
        end = session.receive(piece, &mut plain, &mut reply);
        if end.is_err() {
            break;
        }
    }
    (plain, reply, end)
}
