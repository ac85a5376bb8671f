//! The HTTP request that opens a WebSocket: what is accepted, and how refusals are answered.

mod transport_support;

use proptest::prelude::*;
use pybroker_engine::transport::websocket::{WsError, WsSettings, WsStatus};
use transport_support::websocket::{ACCEPT, ask, feed, request, session, status};

#[test]
fn request_is_answered_with_key_and_subprotocol() {
    let outcome = ask(WsSettings::default(), &request("/mqtt", &[]));
    let text = String::from_utf8(outcome.reply).unwrap();
    assert_eq!(outcome.end, Ok(WsStatus::Open));
    assert!(text.starts_with("HTTP/1.1 101 "), "{text}");
    assert!(text.contains(&format!("\r\nSec-WebSocket-Accept: {ACCEPT}\r\n")), "{text}");
    // [MQTT5-6.0.0-4]
    assert!(text.contains("\r\nSec-WebSocket-Protocol: mqtt\r\n"), "{text}");
    assert!(text.ends_with("\r\n\r\n"));
}

#[test]
fn first_known_subprotocol_of_the_client_is_chosen() {
    for (offer, chosen) in [
        ("mqttv3.1", "mqttv3.1"),
        ("chat, mqttv3.1, mqtt", "mqttv3.1"),
        ("mqtt,mqttv3.1", "mqtt"),
        ("mqtt-v5", "mqtt-v5"),
    ] {
        let mut session = session(WsSettings::default());
        feed(&mut session, [request("/mqtt", &[("Sec-WebSocket-Protocol", Some(offer))]).as_slice()]);
        assert_eq!(session.request().unwrap().subprotocol, Some(chosen), "{offer}");
    }
}

#[test]
fn missing_subprotocol_is_refused_unless_allowed() {
    let bare = request("/mqtt", &[("Sec-WebSocket-Protocol", None)]);
    let foreign = request("/mqtt", &[("Sec-WebSocket-Protocol", Some("chat"))]);
    let lenient = WsSettings { fail_if_no_subprotocol: false, ..WsSettings::default() };
    assert_eq!(status(&ask(WsSettings::default(), &bare).reply), 400);
    assert_eq!(status(&ask(lenient.clone(), &bare).reply), 101);
    assert_eq!(status(&ask(lenient, &foreign).reply), 400);
}

#[test]
fn refusals_carry_status_and_reason() {
    let cases: &[(u16, Vec<u8>)] = &[
        (404, request("/other", &[])),
        (404, request("/mqtt/", &[])),
        (404, request("/", &[])),
        (426, request("/mqtt", &[("Sec-WebSocket-Version", Some("8"))])),
        (426, request("/mqtt", &[("Sec-WebSocket-Version", None)])),
        (400, request("/mqtt", &[("Upgrade", None)])),
        (400, request("/mqtt", &[("Upgrade", Some("h2c"))])),
        (400, request("/mqtt", &[("Connection", Some("keep-alive"))])),
        (400, request("/mqtt", &[("Sec-WebSocket-Key", None)])),
        (400, request("/mqtt", &[("Sec-WebSocket-Key", Some("c2hvcnQ="))])),
        (400, request("/mqtt", &[("Sec-WebSocket-Key", Some("no base64 at all here!"))])),
        (400, request("/mqtt", &[("Host", None)])),
        (400, request("/mqtt", &[("Content-Length", Some("5"))])),
        (400, request("/mqtt", &[("Transfer-Encoding", Some("chunked"))])),
        (400, request("/mqtt", &[("X", Some("1\r\nHost: second.example"))])),
        (405, b"POST /mqtt HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        (400, b"GET /mqtt HTTP/1.0\r\nHost: a\r\n\r\n".to_vec()),
        (400, b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00".to_vec()),
        (431, request("/mqtt", &[("X", Some(&"y".repeat(9000)))])),
        (431, request("/mqtt", &[("X", Some(&("1".to_owned() + &"\r\nY: 2".repeat(70))))])),
    ];
    for (expected, request) in cases {
        let outcome = ask(WsSettings::default(), request);
        let text = String::from_utf8(outcome.reply).unwrap();
        assert_eq!(status(text.as_bytes()), *expected, "{}", String::from_utf8_lossy(request));
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())) && body.len() > 5, "{text}");
        assert!(matches!(outcome.end, Err(WsError::Refused(refusal)) if refusal.status == *expected));
    }
    let upgrade = ask(WsSettings::default(), &request("/mqtt", &[("Sec-WebSocket-Version", Some("8"))]));
    assert!(String::from_utf8(upgrade.reply).unwrap().contains("\r\nSec-WebSocket-Version: 13\r\n"));
}

#[test]
fn origin_is_checked_only_when_asked() {
    let from = |origin| request("/mqtt", &[("Origin", origin)]);
    let closed = WsSettings {
        check_origin: true,
        allowed_origins: vec!["https://ui.example".to_owned()],
        allow_no_origin: false,
        ..WsSettings::default()
    };
    let lax = WsSettings { allow_no_origin: true, ..closed.clone() };
    assert_eq!(status(&ask(WsSettings::default(), &from(Some("https://evil.example"))).reply), 101);
    assert_eq!(status(&ask(closed.clone(), &from(Some("HTTPS://UI.example"))).reply), 101);
    assert_eq!(status(&ask(closed.clone(), &from(Some("https://ui.example.evil"))).reply), 403);
    assert_eq!(status(&ask(closed.clone(), &from(Some("null"))).reply), 403);
    assert_eq!(status(&ask(closed, &from(None)).reply), 403);
    assert_eq!(status(&ask(lax, &from(None)).reply), 101);
}

#[test]
fn request_facts_are_kept_and_handed_over() {
    let mut session = session(WsSettings::default());
    let headers = [("Cookie", Some("a=1")), ("X-Forwarded-For", Some("10.0.0.1, 10.0.0.2"))];
    feed(&mut session, [request("ws://broker.example/mqtt?token=x%20y", &headers).as_slice()]);
    let facts = session.take_request().unwrap();
    assert_eq!((facts.path.as_str(), facts.query.as_str()), ("/mqtt", "token=x%20y"));
    assert_eq!(facts.cookie.as_deref(), Some("a=1"));
    assert_eq!(facts.forwarded_for.as_deref(), Some("10.0.0.1, 10.0.0.2"));
    assert_eq!(facts.forwarded_port, None);
    assert!(session.request().is_none());
}

proptest! {
    #[test]
    fn header_bound_holds_at_every_cut(filler in 7000usize..9000, cut in any::<prop::sample::Index>()) {
        let wire = request("/mqtt", &[("X", Some(&"y".repeat(filler)))]);
        let (front, back) = wire.split_at(cut.index(wire.len()));
        let expected = if wire.len() <= 8192 { 101 } else { 431 };
        prop_assert_eq!(status(&feed(&mut session(WsSettings::default()), [front, back]).reply), expected);
        prop_assert_eq!(status(&ask(WsSettings::default(), &wire).reply), expected);
    }
}
