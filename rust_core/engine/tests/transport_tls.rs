//! TLS sessions against a real client in memory: handshakes, cuts, closing, and hostile bytes.

mod transport_support;

use std::sync::Arc;

use proptest::prelude::*;
use pybroker_engine::transport::tls::{TlsAcceptor, TlsError, TlsSession, TlsStatus, TlsVersion};
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ClientConfig};
use transport_support::tls::{ClientOptions, Pair, Scene, client_config};

#[test]
fn bytes_pass_both_ways_under_each_version() {
    let scene = Scene::new();
    scene.with_both_versions(None, |mut pair| {
        assert!(pair.is_up());
        pair.say(b"\xc0\x00");
        pair.answer(b"\xd0\x00");
        assert_eq!((pair.received.as_slice(), pair.answered.as_slice()), (&b"\xc0\x00"[..], &b"\xd0\x00"[..]));
        assert_eq!(pair.session.server_name(), Some("broker.example"));
        assert!(pair.session.cipher().unwrap().starts_with("TLS"));
        assert!(pair.session.peer().is_none());
    });
}

#[test]
fn versions_are_negotiated_and_limited() {
    let mut scene = Scene::new();
    for (spoken, client, expected) in [
        (vec![], vec![&TLS12, &TLS13], Some("TLSv1.3")),
        (vec![TlsVersion::V12], vec![&TLS12, &TLS13], Some("TLSv1.2")),
        (vec![TlsVersion::V12], vec![&TLS13], None),
        (vec![TlsVersion::V13], vec![&TLS12], None),
        (vec![TlsVersion::V13, TlsVersion::V12], vec![&TLS12], Some("TLSv1.2")),
    ] {
        scene.settings.versions = spoken;
        let mut pair = Pair::new(&scene.acceptor(), &scene.client_speaking(None, &client));
        pair.pump();
        assert_eq!(pair.is_up(), expected.is_some());
        if expected.is_some() {
            assert_eq!(pair.session.version(), expected);
        } else {
            let alert = rustls::Error::AlertReceived(AlertDescription::ProtocolVersion);
            assert_eq!(pair.client_error, Some(alert));
        }
    }
}

#[test]
fn every_cut_of_the_wire_works() {
    let scene = Scene::new();
    let message: Vec<u8> = (0..50_000u32).map(|index| index.to_le_bytes()[0]).collect();
    for versions in [[&TLS12], [&TLS13]] {
        for piece in [1, 2, 3, 5, 7, 100, 1500, 4096, 20_000] {
            let mut pair = Pair::new(&scene.acceptor(), &scene.client_speaking(None, &versions));
            pair.piece = piece;
            pair.pump();
            pair.say(&message);
            pair.answer(&message);
            assert!(pair.received == message && pair.answered == message, "pieces of {piece}");
        }
    }
}

#[test]
fn a_megabyte_in_one_call_is_whole() {
    let scene = Scene::new();
    let message: Vec<u8> = (0..1_048_576u32).map(|index| (index % 253).to_le_bytes()[0]).collect();
    scene.with_both_versions(None, |mut pair| {
        pair.say(&message);
        pair.answer(&message);
        assert!(pair.received == message && pair.answered == message);
    });
}

#[test]
fn nothing_is_taken_before_the_handshake_is_over() {
    let scene = Scene::new();
    let mut session = TlsSession::new(&scene.acceptor()).unwrap();
    let mut wire = Vec::new();
    assert_eq!(session.send(b"early", &mut wire), Ok(0));
    session.close_notify(&mut wire);
    assert!(wire.is_empty() && session.status().is_handshaking && session.version().is_none());
}

#[test]
fn sent_bytes_follow_what_the_buffer_holds() {
    let scene = Scene::new();
    let mut pair = Pair::new(&scene.acceptor(), &scene.client(None));
    pair.pump();
    let mut wire = b"before".to_vec();
    pair.session.send(b"hello", &mut wire).unwrap();
    assert_eq!(&wire[..6], b"before");
    pair.wire = wire.split_off(6);
    pair.pump();
    assert_eq!(pair.answered, b"hello");
}

#[test]
fn close_of_the_peer_is_reported_and_later_bytes_ignored() {
    let scene = Scene::new();
    scene.with_both_versions(None, |mut pair| {
        pair.say(b"last");
        pair.client.send_close_notify();
        pair.pump();
        assert_eq!(pair.session.status(), TlsStatus { is_handshaking: false, is_peer_closed: true });
        let status = pair.session.receive(&mut [0x55; 40], &mut pair.received, &mut pair.wire).unwrap();
        assert!(status.is_peer_closed);
        assert_eq!(pair.received, b"last");
        // The other direction is still open.
        pair.answer(b"reply");
        assert_eq!(pair.answered, b"reply");
    });
}

#[test]
fn our_close_reaches_the_peer_and_ends_sending() {
    let scene = Scene::new();
    scene.with_both_versions(None, |mut pair| {
        pair.session.close_notify(&mut pair.wire);
        let sent = pair.wire.len();
        pair.session.close_notify(&mut pair.wire);
        assert_eq!(pair.session.send(b"late", &mut pair.wire), Ok(0));
        assert_eq!(pair.wire.len(), sent);
        let mut wire = std::mem::take(&mut pair.wire);
        pair.client.read_tls(&mut wire.as_slice()).unwrap();
        assert!(pair.client.process_new_packets().unwrap().peer_has_closed());
        wire.fill(0);
        assert!(pair.session.receive(&mut wire, &mut pair.received, &mut Vec::new()).is_ok());
    });
}

#[test]
fn sessions_resume_only_where_no_certificate_is_asked() {
    for (scene, is_resumed) in [(Scene::new(), true), (Scene::verifying(false), false)] {
        let acceptor = scene.acceptor();
        for versions in [[&TLS12], [&TLS13]] {
            let config = scene.client_speaking(None, &versions);
            let mut kinds = Vec::new();
            for _ in 0..2 {
                let mut pair = Pair::new(&acceptor, &config);
                pair.pump();
                assert_eq!(pair.session.server_name(), Some("broker.example"));
                kinds.push(pair.client.handshake_kind().unwrap() == rustls::HandshakeKind::Resumed);
            }
            assert_eq!(kinds, [false, is_resumed]);
        }
    }
}

#[test]
fn plain_mqtt_is_answered_with_an_alert() {
    let scene = Scene::new();
    let mut session = TlsSession::new(&scene.acceptor()).unwrap();
    let (mut plain, mut reply) = (Vec::new(), Vec::new());
    let mut connect = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00".to_vec();
    let error = session.receive(&mut connect, &mut plain, &mut reply).unwrap_err();
    assert!(matches!(error, TlsError::Protocol(rustls::Error::InvalidMessage(_))) && !error.is_certificate());
    // A fatal alert record.
    assert_eq!((reply.first(), reply.get(5)), (Some(&21), Some(&2)));
    assert!(session.receive(&mut [1; 100], &mut plain, &mut reply).is_ok());
    assert_eq!(session.send(b"x", &mut reply), Ok(0));
    assert!(plain.is_empty());
}

#[test]
fn endless_handshake_message_is_cut_off() {
    let scene = Scene::new();
    for announced in [0xff_ffffu32, 0xffff] {
        let mut session = TlsSession::new(&scene.acceptor()).unwrap();
        let mut message = vec![1];
        message.extend(&announced.to_be_bytes()[1..]);
        let mut total = 0;
        let outcome = loop {
            message.resize(1000, 0);
            let mut record = vec![22, 3, 1];
            record.extend(u16::try_from(message.len()).unwrap().to_be_bytes());
            record.append(&mut message);
            total += record.len();
            let outcome = session.receive(&mut record, &mut Vec::new(), &mut Vec::new());
            if outcome.is_err() || total > 1_000_000 {
                break outcome;
            }
        };
        assert!(outcome.is_err() && total < 100_000, "{total} bytes taken for {announced}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_bytes_are_survived(
        prefix in prop_oneof![Just(&b""[..]), Just(&b"\x16\x03\x01"[..]), Just(&b"\x16\x03\x01\x00\x20\x01\x00\x00\x1c\x03\x03"[..])],
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        piece in 1usize..100,
    ) {
        let acceptor = acceptor();
        let mut session = TlsSession::new(acceptor).unwrap();
        let (mut plain, mut reply) = (Vec::new(), Vec::new());
        for piece in [prefix, &bytes].concat().chunks_mut(piece) {
            let _ = session.receive(piece, &mut plain, &mut reply);
            session.send(b"x", &mut reply).unwrap();
        }
        prop_assert!(plain.is_empty());
    }

    #[test]
    fn a_damaged_stream_never_gives_other_bytes(
        is_tls12: bool,
        flip in any::<prop::sample::Index>(),
        bit in 0u8..8,
        piece in 1usize..400,
    ) {
        let versions = if is_tls12 { [&TLS12] } else { [&TLS13] };
        let mut pair = Pair::new(acceptor(), &damaged_client(&versions));
        pair.pump();
        let mut wire = Vec::new();
        std::io::Write::write_all(&mut pair.client.writer(), &[7; 300]).unwrap();
        pair.client.write_tls(&mut wire).unwrap();
        let at = flip.index(wire.len());
        wire[at] ^= 1 << bit;
        for piece in wire.chunks_mut(piece) {
            if pair.session.receive(piece, &mut pair.received, &mut pair.wire).is_err() {
                break;
            }
        }
        // The version in a record's header is not protected and not looked at: that flip alone does no harm.
        prop_assert!(pair.received.is_empty() || pair.received == [7; 300]);
    }
}

/// One listener for the random tests: making keys is slow.
fn listener() -> &'static (TlsAcceptor, String) {
    static LISTENER: std::sync::OnceLock<(TlsAcceptor, String)> = std::sync::OnceLock::new();
    LISTENER.get_or_init(|| {
        let scene = Scene::new();
        (scene.acceptor(), scene.authority.pem())
    })
}

fn acceptor() -> &'static TlsAcceptor {
    &listener().0
}

fn damaged_client(versions: &[&'static rustls::SupportedProtocolVersion]) -> Arc<ClientConfig> {
    client_config(&ClientOptions { trusted: &listener().1, identity: None, versions })
}
