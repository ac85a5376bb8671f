//! Certificates for tests, and a rustls client whose socket is a `TlsSession` in memory.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pybroker_engine::transport::tls::{TlsAcceptor, TlsError, TlsSession, TlsSettings, Verify};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

static DIRECTORIES: AtomicU64 = AtomicU64::new(0);

/// A directory that goes with the test.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Self {
        let number = DIRECTORIES.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("pybroker-tls-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn store(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A certificate and its key, both PEM.
#[derive(Clone)]
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

/// What a certificate of [`Authority::issue`] says.
pub struct Subject<'a> {
    pub names: &'a [(DnType, &'a str)],
    pub sans: Vec<SanType>,
    pub serial: u64,
    pub is_expired: bool,
}

impl Default for Subject<'_> {
    fn default() -> Self {
        Self { names: &[(DnType::CommonName, "meter-7")], sans: Vec::new(), serial: 1, is_expired: false }
    }
}

impl Identity {
    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }
}

/// A certificate authority of its own.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub fn issue(&self, subject: Subject<'_>) -> Identity {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in subject.names {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.subject_alt_names = subject.sans;
        params.serial_number = Some(SerialNumber::from(subject.serial));
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = if subject.is_expired { date_time_ymd(2021, 1, 1) } else { date_time_ymd(2200, 1, 1) };
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    pub fn server(&self, serial: u64) -> Identity {
        self.issue(Subject {
            names: &[(DnType::CommonName, "broker")],
            sans: vec![SanType::DnsName("broker.example".try_into().unwrap())],
            serial,
            is_expired: false,
        })
    }

    /// A revocation list with `serials` in it.
    pub fn revoke(&self, serials: &[u64], is_current: bool) -> String {
        let revoke_one = |&serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: if is_current { date_time_ymd(2200, 1, 1) } else { date_time_ymd(2024, 2, 1) },
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoke_one).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

/// Settings for `identity`, whose files are written into `directory`.
pub fn settings(directory: &Directory, identity: &Identity) -> TlsSettings {
    TlsSettings {
        certfile: directory.store("server.pem", &identity.certificate),
        keyfile: directory.store("server.key", &identity.key),
        cacertfile: None,
        crlfile: None,
        verify: Verify::None,
        fail_if_no_peer_cert: false,
        versions: Vec::new(),
    }
}

/// What a client trusts, shows and speaks.
pub struct ClientOptions<'a> {
    pub trusted: &'a str,
    pub identity: Option<&'a Identity>,
    pub versions: &'a [&'static SupportedProtocolVersion],
}

pub fn client_config(options: &ClientOptions<'_>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(options.trusted.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(options.versions)
        .unwrap()
        .with_root_certificates(roots);
    let config = match options.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    Arc::new(config)
}

pub fn client(config: &Arc<ClientConfig>) -> ClientConnection {
    ClientConnection::new(Arc::clone(config), ServerName::try_from("broker.example").unwrap()).unwrap()
}

/// A client and our session, with the bytes between them under control.
pub struct Pair {
    pub client: ClientConnection,
    pub session: TlsSession,
    /// What the server received.
    pub received: Vec<u8>,
    /// What the client received.
    pub answered: Vec<u8>,
    /// Bytes on their way to the client.
    pub wire: Vec<u8>,
    /// Bytes of the client that go into one `receive`.
    pub piece: usize,
    pub server_error: Option<TlsError>,
    pub client_error: Option<rustls::Error>,
}

impl Pair {
    pub fn new(acceptor: &TlsAcceptor, config: &Arc<ClientConfig>) -> Self {
        Self {
            client: client(config),
            session: TlsSession::new(acceptor).unwrap(),
            received: Vec::new(),
            answered: Vec::new(),
            wire: Vec::new(),
            piece: usize::MAX,
            server_error: None,
            client_error: None,
        }
    }

    /// Lets both sides talk until neither has anything to say.
    pub fn pump(&mut self) {
        loop {
            let mut upwards = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut upwards).unwrap();
            }
            if upwards.is_empty() && self.wire.is_empty() {
                return;
            }
            for piece in upwards.chunks_mut(self.piece) {
                if let Err(error) = self.session.receive(piece, &mut self.received, &mut self.wire) {
                    self.server_error.get_or_insert(error);
                }
            }
            self.deliver();
        }
    }

    /// Gives the client what is on the wire.
    fn deliver(&mut self) {
        let downwards = std::mem::take(&mut self.wire);
        let mut rest = downwards.as_slice();
        while !rest.is_empty() && self.client_error.is_none() {
            if self.client.read_tls(&mut rest).unwrap() == 0 {
                return;
            }
            match self.client.process_new_packets() {
                Ok(state) => {
                    let start = self.answered.len();
                    self.answered.resize(start + state.plaintext_bytes_to_read(), 0);
                    self.client.reader().read_exact(&mut self.answered[start..]).unwrap();
                }
                Err(error) => self.client_error = Some(error),
            }
        }
    }

    /// Sends from the client.
    pub fn say(&mut self, bytes: &[u8]) {
        self.client.set_buffer_limit(None);
        self.client.writer().write_all(bytes).unwrap();
        self.pump();
    }

    /// Sends from the server.
    pub fn answer(&mut self, bytes: &[u8]) {
        assert_eq!(self.session.send(bytes, &mut self.wire).unwrap(), bytes.len());
        self.pump();
    }

    pub fn is_up(&self) -> bool {
        !self.session.status().is_handshaking && !self.client.is_handshaking() && self.client_error.is_none()
    }
}

pub fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A listener with its authority, and a client configuration that trusts it.
pub struct Scene {
    pub directory: Directory,
    pub authority: Authority,
    pub settings: TlsSettings,
}

impl Scene {
    pub fn new() -> Self {
        let directory = Directory::new();
        let authority = Authority::new("test authority");
        let settings = settings(&directory, &authority.server(7));
        Self { directory, authority, settings }
    }

    /// A scene where clients are asked for certificates of the authority.
    pub fn verifying(fail_if_no_peer_cert: bool) -> Self {
        let mut scene = Self::new();
        scene.settings.cacertfile = Some(scene.directory.store("ca.pem", &scene.authority.pem()));
        scene.settings.verify = Verify::Peer;
        scene.settings.fail_if_no_peer_cert = fail_if_no_peer_cert;
        scene
    }

    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::load(&self.settings).unwrap()
    }

    pub fn client(&self, identity: Option<&Identity>) -> Arc<ClientConfig> {
        self.client_speaking(identity, &[&TLS13, &TLS12])
    }

    pub fn client_speaking(
        &self,
        identity: Option<&Identity>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        client_config(&ClientOptions { trusted: &self.authority.pem(), identity, versions })
    }

    /// Handshakes under both versions and gives each pair to `check`.
    pub fn with_both_versions(&self, identity: Option<&Identity>, check: impl Fn(Pair)) {
        for versions in [[&TLS12], [&TLS13]] {
            let mut pair = Pair::new(&self.acceptor(), &self.client_speaking(identity, &versions));
            pair.pump();
            check(pair);
        }
    }
}

pub fn assert_certificate_refused(pair: &Pair) {
    let error = pair.server_error.as_ref().expect("the server must refuse");
    assert!(error.is_certificate(), "{error}");
    assert!(matches!(pair.client_error, Some(rustls::Error::AlertReceived(_))), "{:?}", pair.client_error);
    assert!(pair.received.is_empty());
    assert!(pair.session.peer().is_none());
}
