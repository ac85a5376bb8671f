//! WebSocket frames in every cut, the closing handshake, and a foreign client.

mod transport_support;

use std::io::{self, Read, Write};

use proptest::prelude::*;
use pybroker_engine::transport::websocket::{WsError, WsSession, WsSettings, WsStatus};
use transport_support::websocket::{
    BINARY, CLOSE, CONTINUATION, FIN, Outcome, PING, PONG, TEXT, ask, assert_fails, exchange, feed, frame, open,
    request, session, status,
};
use tungstenite::Message;
use tungstenite::client::IntoClientRequest as _;

#[test]
fn packets_right_behind_the_request_are_read() {
    let wire = [request("/mqtt", &[]), frame(FIN | BINARY, b"\xc0\x00")].concat();
    let outcome = ask(WsSettings::default(), &wire);
    assert_eq!(outcome.plain, b"\xc0\x00");
    assert_eq!(status(&outcome.reply), 101);
}

/// [MQTT5-6.0.0-2]
#[test]
fn packets_and_frames_need_not_line_up() {
    let fragments = [
        frame(BINARY, b"\xc0"),
        frame(FIN | PING, b"are you there"),
        frame(CONTINUATION, b"\x00\xc0"),
        frame(FIN | CONTINUATION, b""),
        frame(FIN | BINARY, b"\x00\xc0\x00"),
    ];
    let outcome = exchange(WsSettings::default(), &fragments);
    assert_eq!(outcome.plain, b"\xc0\x00\xc0\x00\xc0\x00");
    assert_eq!(outcome.reply, [&[FIN | PONG, 13][..], b"are you there"].concat());
    assert_eq!(outcome.end, Ok(WsStatus::Open));
}

#[test]
fn frames_of_every_length_form_are_unmasked() {
    for length in [0, 1, 3, 4, 5, 125, 126, 127, 0xffff, 0x1_0000, 0x1_0003] {
        let payload: Vec<u8> = (0..length).map(|index| u8::try_from(index % 251).unwrap()).collect();
        assert_eq!(exchange(WsSettings::default(), &[frame(FIN | BINARY, &payload)]).plain, payload);
    }
}

/// [MQTT3-6.0.0-1] [MQTT5-6.0.0-1]
#[test]
fn text_frame_closes() {
    assert_fails(&[frame(FIN | TEXT, b"hello")], 1003);
}

#[test]
fn broken_frames_close_with_their_code() {
    assert_fails(&[vec![FIN | BINARY, 2, 0xc0, 0x00]], 1002); // not masked
    assert_fails(&[frame(FIN | 0x40 | BINARY, b"x")], 1002); // reserved bit
    assert_fails(&[frame(FIN | 0x3, b"x")], 1002); // reserved opcode
    assert_fails(&[frame(FIN | 0xB, b"x")], 1002); // reserved control opcode
    assert_fails(&[frame(FIN | CONTINUATION, b"x")], 1002); // nothing to continue
    assert_fails(&[frame(BINARY, b"x"), frame(FIN | BINARY, b"y")], 1002); // first message not finished
    assert_fails(&[frame(PING, b"")], 1002); // fragmented control frame
    assert_fails(&[frame(FIN | PING, &[b'x'; 126])], 1002); // long control frame
    assert_fails(&[vec![FIN | BINARY, 0xfe, 0, 5, 0, 0, 0, 0]], 1002); // length could be shorter
    assert_fails(&[vec![FIN | BINARY, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]], 1002); // negative length
    assert_fails(&[frame(FIN | CLOSE, b"\x03")], 1002); // half a close code
    assert_fails(&[frame(FIN | CLOSE, &1005u16.to_be_bytes())], 1002); // code that is never sent
    assert_fails(&[frame(FIN | CLOSE, b"\x03\xe8\xff\xfe")], 1007); // reason is not UTF-8
}

#[test]
fn long_message_is_refused_on_its_header() {
    let settings = WsSettings { max_frame_bytes: Some(10), ..WsSettings::default() };
    let fits = exchange(settings.clone(), &[frame(BINARY, b"12345"), frame(FIN | CONTINUATION, b"67890")]);
    assert_eq!(fits.plain, b"1234567890");
    let long = exchange(settings.clone(), &[frame(BINARY, b"12345"), frame(FIN | CONTINUATION, b"678901")]);
    assert!(matches!(long.end, Err(WsError::Frame { code: 1009, .. })));
    let header_only = exchange(settings, &[frame(FIN | BINARY, &[0; 11])[..6].to_vec()]);
    assert!(matches!(header_only.end, Err(WsError::Frame { code: 1009, .. })));
}

#[test]
fn close_is_echoed_once_and_ends_the_stream() {
    let frames = [frame(FIN | CLOSE, b"\x03\xe9going"), frame(FIN | PING, b""), frame(FIN | BINARY, b"late")];
    let outcome = exchange(WsSettings::default(), &frames);
    assert_eq!(outcome.end, Ok(WsStatus::Closed));
    assert_eq!(outcome.reply, [FIN | CLOSE, 2, 0x03, 0xe9]);
    assert!(outcome.plain.is_empty());
    assert_eq!(exchange(WsSettings::default(), &[frame(FIN | CLOSE, b"")]).reply, [FIN | CLOSE, 0]);
}

#[test]
fn our_close_waits_for_the_answer_and_drops_what_comes_before() {
    let mut session = open(WsSettings::default());
    let mut wire = Vec::new();
    session.close(1001, &mut wire);
    session.close(1000, &mut wire);
    assert_eq!(wire, [FIN | CLOSE, 2, 0x03, 0xe9]);
    let frames = [frame(FIN | BINARY, b"late"), frame(FIN | PING, b"x"), frame(FIN | CLOSE, b"\x03\xe9")].concat();
    let outcome = feed(&mut session, [frames.as_slice()]);
    assert_eq!(outcome, Outcome { plain: Vec::new(), reply: Vec::new(), end: Ok(WsStatus::Closed) });
}

#[test]
fn close_before_the_stream_is_open_writes_nothing() {
    let mut wire = Vec::new();
    session(WsSettings::default()).close(1001, &mut wire);
    assert!(wire.is_empty());
}

#[test]
fn sent_header_fits_its_payload() {
    let session = open(WsSettings::default());
    for (length, header) in
        [(2, vec![0x82, 2]), (126, vec![0x82, 126, 0, 126]), (0x1_0000, vec![0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0])]
    {
        let mut wire = b"before".to_vec();
        session.send_header(length, &mut wire);
        assert_eq!(wire, [b"before".as_slice(), &header].concat());
    }
}

#[test]
fn an_open_session_is_small() {
    assert!(size_of::<WsSession>() <= 112, "{}", size_of::<WsSession>());
}

/// A socket whose other end is a session that sends back every MQTT byte in one frame.
struct Echo {
    session: WsSession,
    out: Vec<u8>,
}

impl Read for Echo {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        // Three bytes at a time, so that the client sees every header in pieces.
        let taken = self.out.len().min(buf.len()).min(3);
        buf[..taken].copy_from_slice(&self.out[..taken]);
        self.out.drain(..taken);
        // The server hangs up after the closing handshake.
        if taken == 0 && self.session.status() != WsStatus::Closed {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(taken)
    }
}

impl Write for Echo {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let mut plain = Vec::new();
        self.session.receive(buf, &mut plain, &mut self.out).map_err(io::Error::other)?;
        if !plain.is_empty() {
            self.session.send_header(plain.len(), &mut self.out);
            self.out.extend(plain);
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn foreign_client_talks_to_us() {
    let mut request = "ws://broker.example/mqtt".into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "mqtt".parse().unwrap());
    let echo = Echo { session: session(WsSettings::default()), out: Vec::new() };
    let (mut client, response) = tungstenite::client(request, echo).unwrap();
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "mqtt");
    for length in [1, 125, 126, 70_000] {
        let payload = vec![7; length];
        client.send(Message::binary(payload.clone())).unwrap();
        assert_eq!(client.read().unwrap().into_data(), payload);
    }
    client.send(Message::Ping("hello".into())).unwrap();
    assert_eq!(client.read().unwrap(), Message::Pong("hello".into()));
    client.close(None).unwrap();
    assert!(matches!(client.read().unwrap(), Message::Close(None)));
    assert!(matches!(client.read(), Err(tungstenite::Error::ConnectionClosed)));
}

/// Client bytes that are mostly right: a request, then frames, some of them broken.
fn client_bytes() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        8 => Just(FIN | BINARY),
        2 => Just(BINARY),
        2 => Just(FIN | CONTINUATION),
        1 => Just(CONTINUATION),
        2 => Just(FIN | PING),
        1 => Just(FIN | PONG),
        1 => Just(FIN | CLOSE),
        1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        5 => prop::collection::vec(any::<u8>(), 0..20),
        1 => prop::collection::vec(any::<u8>(), 120..140),
        1 => Just(b"\x03\xe8".to_vec()),
    ];
    let frames = prop::collection::vec((first, payload), 0..8);
    let noise = prop::collection::vec(any::<u8>(), 0..30);
    (frames, noise, prop::option::weighted(0.1, 0usize..200)).prop_map(|(frames, noise, flip)| {
        let mut wire = request("/mqtt", &[]);
        for (first, payload) in frames {
            wire.extend(frame(first, &payload));
        }
        wire.extend(noise);
        if let Some(byte) = flip.and_then(|at| wire.get_mut(at)) {
            *byte ^= 0x55;
        }
        wire
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn cuts_do_not_matter(wire in client_bytes(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let whole = ask(WsSettings::default(), &wire);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len())).collect();
        cuts.extend([0, wire.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|pair| &wire[pair[0]..pair[1]]);
        prop_assert_eq!(&feed(&mut session(WsSettings::default()), pieces), &whole);
        prop_assert_eq!(&feed(&mut session(WsSettings::default()), wire.chunks(1)), &whole);
    }

    #[test]
    fn any_bytes_are_survived(wire in prop::collection::vec(any::<u8>(), 0..300)) {
        let fresh = ask(WsSettings::default(), &wire);
        prop_assert!(fresh.plain.is_empty());
        let opened = feed(&mut open(WsSettings { max_frame_bytes: Some(64), ..WsSettings::default() }), [wire.as_slice()]);
        prop_assert!(opened.plain.len() + opened.reply.len() <= wire.len() + 4);
    }
}
