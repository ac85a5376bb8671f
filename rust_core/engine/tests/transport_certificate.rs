//! Certificates: who a client is, who is refused, which files are broken, and what a reload changes.

mod transport_support;

use std::fs;

use pybroker_engine::transport::certificate::PeerCertificate;
use pybroker_engine::transport::tls::{TlsAcceptor, TlsConfigError, TlsSettings};
use rcgen::{DnType, DnValue, SanType};
use transport_support::tls::{Authority, Pair, Scene, Subject, assert_certificate_refused, settings, text};

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
        assert_eq!(peer.subject_dn, r"CN=Zähler-7,OU=\ #1,O=Example\, Inc. \+ Co,C=DE");
        let sans =
            ["DNS:meter-7.example", "email:meter@example.org", "URI:urn:meter:7", "IP:10.0.0.7", "IP:2001:db8::7"];
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
        let identity = scene.authority.issue(Subject { names: &names, ..Subject::default() });
        let mut pair = Pair::new(&scene.acceptor(), &scene.client(Some(&identity)));
        pair.pump();
        let peer = pair.session.peer().unwrap();
        assert_eq!((peer.common_name, peer.subject_dn.as_str()), (None, rendered));
    }
}

#[test]
fn wide_strings_are_read() {
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let name = rcgen::string::BmpString::from_utf16be([0x04, 0x16, 0x00, 0x37].to_vec()).unwrap();
    params.distinguished_name.push(DnType::CommonName, DnValue::BmpString(name));
    let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    let peer = PeerCertificate::from_der(certificate.der());
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
        let expired = scene.authority.issue(Subject { is_expired: true, ..Subject::default() });
        scene.with_both_versions(Some(&stranger), |pair| assert_certificate_refused(&pair));
        scene.with_both_versions(Some(&expired), |pair| assert_certificate_refused(&pair));
    }
}

#[test]
fn revoked_certificates_are_refused() {
    let mut scene = Scene::verifying(true);
    let good = scene.authority.issue(Subject { serial: 41, ..Subject::default() });
    let revoked = scene.authority.issue(Subject { serial: 42, ..Subject::default() });
    scene.settings.crlfile = Some(scene.directory.store("crl.pem", &scene.authority.revoke(&[42], true)));
    scene.with_both_versions(Some(&good), |pair| assert!(pair.is_up()));
    scene.with_both_versions(Some(&revoked), |pair| assert_certificate_refused(&pair));
}

#[test]
fn revocation_list_must_be_current_and_of_the_issuer() {
    let mut scene = Scene::verifying(true);
    let good = scene.authority.issue(Subject::default());
    scene.settings.crlfile = Some(scene.directory.store("crl.pem", &scene.authority.revoke(&[], false)));
    scene.with_both_versions(Some(&good), |pair| assert_certificate_refused(&pair));
    scene.directory.store("crl.pem", &Authority::new("somebody else").revoke(&[], true));
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
    let torn = scene.directory.store("torn.pem", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n");
    let noise = scene.directory.store("noise.pem", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n");
    let other_key = scene.directory.store("other.key", &other.key);
    let missing = scene.directory.path("missing.pem");
    for file in [&empty, &torn, &missing] {
        assert!(message(&|settings| settings.certfile = file.clone()).contains(&text(file)));
        assert!(message(&|settings| settings.keyfile = file.clone()).contains(&text(file)));
        assert!(message(&|settings| settings.cacertfile = Some(file.clone())).contains(&text(file)));
        assert!(message(&|settings| settings.crlfile = Some(file.clone())).contains(&text(file)));
    }
    assert!(message(&|settings| settings.crlfile = Some(noise.clone())).contains(&text(&noise)));
    let mismatch = message(&|settings| settings.keyfile = other_key.clone());
    assert!(mismatch.contains("does not match") && mismatch.contains(&text(&other_key)), "{mismatch}");
    assert!(message(&|settings| settings.cacertfile = None).contains("cacertfile"));
}

#[test]
fn certificate_info_tells_names_and_dates() {
    let scene = Scene::new();
    let info = scene.acceptor().certificate_info().unwrap();
    assert_eq!((info.subject_dn.as_str(), info.issuer_dn.as_str()), ("CN=broker", "CN=test authority"));
    assert_eq!((info.serial.as_str(), info.sans.as_slice()), ("07", &["DNS:broker.example".to_owned()][..]));
    assert_eq!((info.not_before_s, info.not_after_s), (1_577_836_800, 7_258_118_400));
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
    assert_ne!(old.client.peer_certificates(), new.client.peer_certificates());
}

#[test]
fn broken_reload_keeps_what_works() {
    let scene = Scene::new();
    let acceptor = scene.acceptor();
    scene.directory.store("server.key", &scene.authority.server(8).key);
    assert!(matches!(acceptor.reload(), Err(TlsConfigError::KeyMismatch { .. })));
    fs::remove_file(&scene.settings.certfile).unwrap();
    assert!(matches!(acceptor.reload(), Err(TlsConfigError::Read { .. })));
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
    scene.settings.crlfile = Some(scene.directory.store("crl.pem", &scene.authority.revoke(&[], true)));
    let acceptor = scene.acceptor();
    let identity = scene.authority.issue(Subject { serial: 42, ..Subject::default() });
    let config = scene.client(Some(&identity));
    let connect = || {
        let mut pair = Pair::new(&acceptor, &config);
        pair.pump();
        pair
    };
    assert!(connect().is_up());
    scene.directory.store("crl.pem", &scene.authority.revoke(&[42], true));
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
