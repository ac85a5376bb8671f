//! TLS sessions against a real client in memory: handshakes, certificates, reloads, and hostile bytes.

mod transport_support;

use std::fs;
use std::sync::Arc;

use proptest::prelude::*;
use pybroker_engine::transport::tls::{
    TlsAcceptor, TlsConfigError, TlsError, TlsSession, TlsSettings, TlsStatus, TlsVersion, Verify,
};
use rcgen::{DnType, DnValue, SanType};
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ClientConfig};
use transport_support::{
    Authority, ClientOptions, Directory, Identity, Pair, Subject, client_config, settings, text,
};

/// A listener with its authority, and a client configuration that trusts it.
struct Scene {
    directory: Directory,
    authority: Authority,
    settings: TlsSettings,
}

impl Scene {
    fn new() -> Self {
        let directory = Directory::new();
        let authority = Authority::new("test authority");
        let settings = settings(&directory, &authority.server(7));
        Self {
            directory,
            authority,
            settings,
        }
    }

    /// A scene where clients are asked for certificates of the authority.
    fn verifying(fail_if_no_peer_cert: bool) -> Self {
        let mut scene = Self::new();
        scene.settings.cacertfile = Some(scene.directory.store("ca.pem", &scene.authority.pem()));
        scene.settings.verify = Verify::Peer;
        scene.settings.fail_if_no_peer_cert = fail_if_no_peer_cert;
        scene
    }

    fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::load(&self.settings).unwrap()
    }

    fn client(&self, identity: Option<&Identity>) -> Arc<ClientConfig> {
        self.client_speaking(identity, &[&TLS13, &TLS12])
    }

    fn client_speaking(
        &self,
        identity: Option<&Identity>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        client_config(&ClientOptions {
            trusted: &self.authority.pem(),
            identity,
            versions,
        })
    }

    /// Handshakes under both versions and gives each pair to `check`.
    fn with_both_versions(&self, identity: Option<&Identity>, check: impl Fn(Pair)) {
        for versions in [[&TLS12], [&TLS13]] {
            let mut pair = Pair::new(&self.acceptor(), &self.client_speaking(identity, &versions));
            pair.pump();
            check(pair);
        }
    }
}

fn assert_certificate_refused(pair: &Pair) {
    let error = pair.server_error.as_ref().expect("the server must refuse");
    assert!(error.is_certificate(), "{error}");
    assert!(
        matches!(pair.client_error, Some(rustls::Error::AlertReceived(_))),
        "{:?}",
        pair.client_error
    );
    assert!(pair.received.is_empty());
    assert!(pair.session.peer().is_none());
}

#[test]
fn bytes_pass_both_ways_under_each_version() {
    let scene = Scene::new();
    scene.with_both_versions(None, |mut pair| {
        assert!(pair.is_up());
        pair.say(b"\xc0\x00");
        pair.answer(b"\xd0\x00");
        assert_eq!(
            (pair.received.as_slice(), pair.answered.as_slice()),
            (&b"\xc0\x00"[..], &b"\xd0\x00"[..])
        );
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
        (
            vec![TlsVersion::V13, TlsVersion::V12],
            vec![&TLS12],
            Some("TLSv1.2"),
        ),
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
            assert!(
                pair.received == message && pair.answered == message,
                "pieces of {piece}"
            );
        }
    }
}

#[test]
fn a_megabyte_in_one_call_is_whole() {
    let scene = Scene::new();
    let message: Vec<u8> = (0..1_048_576u32)
        .map(|index| (index % 253).to_le_bytes()[0])
        .collect();
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
        assert_eq!(
            pair.session.status(),
            TlsStatus {
                is_handshaking: false,
                is_peer_closed: true
            }
        );
        let status = pair
            .session
            .receive(&mut [0x55; 40], &mut pair.received, &mut pair.wire)
            .unwrap();
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
        assert!(
            pair.session
                .receive(&mut wire, &mut pair.received, &mut Vec::new())
                .is_ok()
        );
    });
}

#[test]
fn client_certificate_names_its_owner() {
    let scene = Scene::verifying(true);
    let identity = scene.authority.issue(Subject {
        names: &[
            (DnType::CountryName, "DE"),
            (DnType::OrganizationName, "Example, Inc. + Co"),
            (DnType::OrganizationalUnitName, " #1"),
            (DnType::CommonName, "Zähler-7"),
        ],
        sans: vec![
            SanType::DnsName("meter-7.example".try_into().unwrap()),
            SanType::Rfc822Name("meter@example.org".try_into().unwrap()),
            SanType::URI("urn:meter:7".try_into().unwrap()),
            SanType::IpAddress("10.0.0.7".parse().unwrap()),
            SanType::IpAddress("2001:db8::7".parse().unwrap()),
        ],
        ..Subject::default()
    });
    scene.with_both_versions(Some(&identity), |mut pair| {
        assert!(pair.is_up());
        pair.say(b"hello");
        let peer = pair.session.peer().unwrap();
        assert_eq!(peer.common_name.as_deref(), Some("Zähler-7"));
        assert_eq!(
            peer.subject_dn,
            r"CN=Zähler-7,OU=\ #1,O=Example\, Inc. \+ Co,C=DE"
        );
        let sans = [
            "DNS:meter-7.example",
            "email:meter@example.org",
            "URI:urn:meter:7",
            "IP:10.0.0.7",
            "IP:2001:db8::7",
        ];
        assert_eq!(peer.sans, sans);
        assert_eq!(peer.der, identity.der().to_vec());
        assert_eq!(pair.received, b"hello");
    });
}

#[test]
fn ambiguous_or_hostile_common_names_name_nobody() {
    let scene = Scene::verifying(true);
    for (name, rendered) in [("a\nb", r"CN=a\0ab"), ("a\0", r"CN=a\00"), ("", "CN=")] {
        let names = [(DnType::CommonName, name)];
        let identity = scene.authority.issue(Subject {
            names: &names,
            ..Subject::default()
        });
        let mut pair = Pair::new(&scene.acceptor(), &scene.client(Some(&identity)));
        pair.pump();
        let peer = pair.session.peer().unwrap();
        assert_eq!(
            (peer.common_name, peer.subject_dn.as_str()),
            (None, rendered)
        );
    }
}

#[test]
fn wide_strings_are_read() {
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let name = rcgen::string::BmpString::from_utf16be([0x04, 0x16, 0x00, 0x37].to_vec()).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, DnValue::BmpString(name));
    let certificate = params
        .self_signed(&rcgen::KeyPair::generate().unwrap())
        .unwrap();
    let peer =
        pybroker_engine::transport::certificate::PeerCertificate::from_der(certificate.der());
    assert_eq!(peer.common_name.as_deref(), Some("\u{416}7"));
}

#[test]
fn missing_certificate_is_refused_only_when_required() {
    Scene::verifying(true).with_both_versions(None, |pair| assert_certificate_refused(&pair));
    Scene::verifying(false).with_both_versions(None, |mut pair| {
        pair.say(b"hello");
        assert!(pair.is_up() && pair.session.peer().is_none());
        assert_eq!(pair.received, b"hello");
    });
}

#[test]
fn bad_certificates_are_refused_even_where_none_is_needed() {
    let stranger = Authority::new("test authority").issue(Subject::default());
    for is_required in [false, true] {
        let scene = Scene::verifying(is_required);
        let expired = scene.authority.issue(Subject {
            is_expired: true,
            ..Subject::default()
        });
        scene.with_both_versions(Some(&stranger), |pair| assert_certificate_refused(&pair));
        scene.with_both_versions(Some(&expired), |pair| assert_certificate_refused(&pair));
    }
}

#[test]
fn revoked_certificates_are_refused() {
    let mut scene = Scene::verifying(true);
    let good = scene.authority.issue(Subject {
        serial: 41,
        ..Subject::default()
    });
    let revoked = scene.authority.issue(Subject {
        serial: 42,
        ..Subject::default()
    });
    scene.settings.crlfile = Some(
        scene
            .directory
            .store("crl.pem", &scene.authority.revoke(&[42], true)),
    );
    scene.with_both_versions(Some(&good), |pair| assert!(pair.is_up()));
    scene.with_both_versions(Some(&revoked), |pair| assert_certificate_refused(&pair));
}

#[test]
fn revocation_list_must_be_current_and_of_the_issuer() {
    let mut scene = Scene::verifying(true);
    let good = scene.authority.issue(Subject::default());
    scene.settings.crlfile = Some(
        scene
            .directory
            .store("crl.pem", &scene.authority.revoke(&[], false)),
    );
    scene.with_both_versions(Some(&good), |pair| assert_certificate_refused(&pair));
    scene.directory.store(
        "crl.pem",
        &Authority::new("somebody else").revoke(&[], true),
    );
    scene.with_both_versions(Some(&good), |pair| assert_certificate_refused(&pair));
}

#[test]
fn broken_files_are_named() {
    let scene = Scene::verifying(true);
    let other = scene.authority.server(8);
    let message = |change: &dyn Fn(&mut TlsSettings)| {
        let mut settings = scene.settings.clone();
        change(&mut settings);
        TlsAcceptor::load(&settings).unwrap_err().to_string()
    };
    let empty = scene.directory.store("empty.pem", "no certificates here\n");
    let torn = scene.directory.store(
        "torn.pem",
        "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
    );
    let noise = scene.directory.store(
        "noise.pem",
        "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
    );
    let other_key = scene.directory.store("other.key", &other.key);
    let missing = scene.directory.path("missing.pem");
    for file in [&empty, &torn, &missing] {
        assert!(message(&|settings| settings.certfile = file.clone()).contains(&text(file)));
        assert!(message(&|settings| settings.keyfile = file.clone()).contains(&text(file)));
        assert!(
            message(&|settings| settings.cacertfile = Some(file.clone())).contains(&text(file))
        );
        assert!(message(&|settings| settings.crlfile = Some(file.clone())).contains(&text(file)));
    }
    assert!(message(&|settings| settings.crlfile = Some(noise.clone())).contains(&text(&noise)));
    let mismatch = message(&|settings| settings.keyfile = other_key.clone());
    assert!(
        mismatch.contains("does not match") && mismatch.contains(&text(&other_key)),
        "{mismatch}"
    );
    assert!(message(&|settings| settings.cacertfile = None).contains("cacertfile"));
}

#[test]
fn certificate_info_tells_names_and_dates() {
    let scene = Scene::new();
    let info = scene.acceptor().certificate_info().unwrap();
    assert_eq!(
        (info.subject_dn.as_str(), info.issuer_dn.as_str()),
        ("CN=broker", "CN=test authority")
    );
    assert_eq!(
        (info.serial.as_str(), info.sans.as_slice()),
        ("07", &["DNS:broker.example".to_owned()][..])
    );
    assert_eq!(
        (info.not_before_s, info.not_after_s),
        (1_577_836_800, 7_258_118_400)
    );
}

#[test]
fn reload_serves_new_connections_and_leaves_old_ones() {
    let scene = Scene::new();
    let acceptor = scene.acceptor();
    assert!(!acceptor.reload().unwrap());
    let mut old = Pair::new(&acceptor, &scene.client(None));
    old.pump();

    settings(&scene.directory, &scene.authority.server(8));
    assert!(acceptor.reload().unwrap());
    assert!(!acceptor.reload().unwrap());
    assert_eq!(acceptor.certificate_info().unwrap().serial, "08");

    old.say(b"still here");
    let mut new = Pair::new(&acceptor, &scene.client(None));
    new.pump();
    assert_eq!(old.received, b"still here");
    assert_ne!(
        old.client.peer_certificates(),
        new.client.peer_certificates()
    );
}

#[test]
fn broken_reload_keeps_what_works() {
    let scene = Scene::new();
    let acceptor = scene.acceptor();
    scene
        .directory
        .store("server.key", &scene.authority.server(8).key);
    assert!(matches!(
        acceptor.reload(),
        Err(TlsConfigError::KeyMismatch { .. })
    ));
    fs::remove_file(&scene.settings.certfile).unwrap();
    assert!(matches!(
        acceptor.reload(),
        Err(TlsConfigError::Read { .. })
    ));
    let mut pair = Pair::new(&acceptor, &scene.client(None));
    pair.pump();
    assert!(pair.is_up());
    // Once the files are whole again, the next reload takes them.
    settings(&scene.directory, &scene.authority.server(9));
    assert!(acceptor.reload().unwrap());
}

#[test]
fn reload_takes_new_authorities_and_revocations() {
    let mut scene = Scene::verifying(true);
    scene.settings.crlfile = Some(
        scene
            .directory
            .store("crl.pem", &scene.authority.revoke(&[], true)),
    );
    let acceptor = scene.acceptor();
    let identity = scene.authority.issue(Subject {
        serial: 42,
        ..Subject::default()
    });
    let config = scene.client(Some(&identity));
    let connect = || {
        let mut pair = Pair::new(&acceptor, &config);
        pair.pump();
        pair
    };
    assert!(connect().is_up());
    scene
        .directory
        .store("crl.pem", &scene.authority.revoke(&[42], true));
    assert!(acceptor.reload().unwrap());
    // The client remembers its session; a resumption must not get around the list.
    assert_certificate_refused(&connect());

    let second = Authority::new("second authority");
    scene.directory.store("ca.pem", &second.pem());
    scene.directory.store("crl.pem", &second.revoke(&[], true));
    assert!(acceptor.reload().unwrap());
    let newcomer = second.issue(Subject::default());
    let mut pair = Pair::new(&acceptor, &scene.client(Some(&newcomer)));
    pair.pump();
    assert!(pair.is_up());
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
    let error = session
        .receive(&mut connect, &mut plain, &mut reply)
        .unwrap_err();
    assert!(
        matches!(error, TlsError::Protocol(rustls::Error::InvalidMessage(_)))
            && !error.is_certificate()
    );
    // A fatal alert record.
    assert_eq!((reply.first(), reply.get(5)), (Some(&21), Some(&2)));
    assert!(
        session
            .receive(&mut [1; 100], &mut plain, &mut reply)
            .is_ok()
    );
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
        assert!(
            outcome.is_err() && total < 100_000,
            "{total} bytes taken for {announced}"
        );
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
    client_config(&ClientOptions {
        trusted: &listener().1,
        identity: None,
        versions,
    })
}
