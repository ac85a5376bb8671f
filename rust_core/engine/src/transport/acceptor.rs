//! TLS configuration of a listener: certificate files, what they allow, and their reload while it runs.
//!
//! Whatever is wrong with a file is found here, with the name of the file, before a connection sees it. A reload
//! replaces everything or nothing. What a connection does with the configuration is `tls.rs`.

use std::fmt;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::certificate::CertificateInfo;

/// A protocol version that a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2, with the ECDHE suites only.
    V12,
    /// TLS 1.3.
    V13,
}

/// Whether clients are asked for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// They are not asked; `cacertfile` and `crlfile` are not read.
    None,
    /// They are asked, and a certificate that is given must be good.
    Peer,
}

/// TLS settings of one listener; every file is PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// The listener's certificate, then its intermediates.
    pub certfile: PathBuf,
    /// Its private key: PKCS#8, PKCS#1 or SEC1, without a password.
    pub keyfile: PathBuf,
    /// Authorities that client certificates must come from; needed with [`Verify::Peer`].
    pub cacertfile: Option<PathBuf>,
    /// Revocation lists. When given, a client's issuer must have a current one here.
    pub crlfile: Option<PathBuf>,
    /// Whether clients are asked for a certificate.
    pub verify: Verify,
    /// With [`Verify::Peer`]: refuse clients that give none.
    pub fail_if_no_peer_cert: bool,
    /// Versions spoken; empty: both.
    pub versions: Vec<TlsVersion>,
}

/// Why a TLS configuration cannot be used. Each names the file at fault.
#[derive(Debug)]
pub enum TlsConfigError {
    /// The file cannot be read.
    Read {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is not PEM, or a section of it cannot be used.
    Content {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The private key does not belong to the first certificate.
    KeyMismatch {
        /// The certificate file.
        certfile: PathBuf,
        /// The key file.
        keyfile: PathBuf,
    },
    /// `verify` is `peer`, but no authorities are given.
    MissingAuthorities,
    /// rustls refuses the combination.
    Rejected(rustls::Error),
}

impl fmt::Display for TlsConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { file, source } => write!(f, "cannot read {}: {source}", file.display()),
            Self::Content { file, reason } => write!(f, "{reason}: {}", file.display()),
            Self::KeyMismatch { certfile, keyfile } => {
                write!(f, "private key does not match the certificate: {}, {}", keyfile.display(), certfile.display())
            }
            Self::MissingAuthorities => f.write_str("verify_peer needs cacertfile"),
            Self::Rejected(error) => write!(f, "tls settings are refused: {error}"),
        }
    }
}

impl std::error::Error for TlsConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            Self::Rejected(error) => Some(error),
            _ => None,
        }
    }
}

/// One reading of a listener's files.
struct Loaded {
    config: ServerConfig,
    key: Arc<CertifiedKey>,
    /// Hash of every file read, to see whether a reload finds anything new.
    fingerprint: u64,
}

/// The TLS side of a listener: gives each new connection the newest good configuration.
pub struct TlsAcceptor {
    settings: TlsSettings,
    loaded: ArcSwap<Loaded>,
    /// Held while files are read, so that reloads do not overtake each other.
    reload: Mutex<()>,
}

impl fmt::Debug for TlsAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsAcceptor").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl TlsAcceptor {
    /// Reads the files of `settings` and checks that they fit together. Reads disk; not for a shard.
    ///
    /// # Errors
    /// [`TlsConfigError`], with the file at fault.
    pub fn load(settings: &TlsSettings) -> Result<Self, TlsConfigError> {
        let loaded = ArcSwap::from_pointee(Files::read(settings)?.build(settings)?);
        Ok(Self { settings: settings.clone(), loaded, reload: Mutex::new(()) })
    }

    /// Reads the files again; connections that exist keep what they have. Reads disk; not for a shard.
    ///
    /// Returns whether anything had changed.
    ///
    /// # Errors
    /// [`TlsConfigError`]; the acceptor keeps its old configuration.
    pub fn reload(&self) -> Result<bool, TlsConfigError> {
        let _guard = self.reload.lock().unwrap_or_else(PoisonError::into_inner);
        let files = Files::read(&self.settings)?;
        if files.fingerprint() == self.loaded.load().fingerprint {
            return Ok(false);
        }
        self.loaded.store(Arc::new(files.build(&self.settings)?));
        Ok(true)
    }

    /// Facts of the certificate that new connections get; `None` if it holds something that cannot be parsed.
    #[must_use]
    pub fn certificate_info(&self) -> Option<CertificateInfo> {
        CertificateInfo::from_der(self.loaded.load().key.end_entity_cert().ok()?)
    }

    /// A configuration of its own for one connection, and where the name that the client asks for will stand.
    pub(super) fn configure(&self) -> (Arc<ServerConfig>, Arc<Resolver>) {
        let loaded = self.loaded.load();
        let resolver = Arc::new(Resolver::new(Arc::clone(&loaded.key)));
        let mut config = loaded.config.clone();
        config.cert_resolver = Arc::clone(&resolver) as Arc<dyn ResolvesServerCert>;
        (Arc::new(config), resolver)
    }

    /// The settings given to [`Self::load`].
    #[must_use]
    pub fn settings(&self) -> &TlsSettings {
        &self.settings
    }
}

/// Contents of the files of one configuration.
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    authorities: Option<Vec<u8>>,
    revocations: Option<Vec<u8>>,
}

fn read_file(file: &Path) -> Result<Vec<u8>, TlsConfigError> {
    fs::read(file).map_err(|source| TlsConfigError::Read { file: file.to_owned(), source })
}

impl Files {
    fn read(settings: &TlsSettings) -> Result<Self, TlsConfigError> {
        let is_verifying = settings.verify == Verify::Peer;
        let read_optional =
            |file: &Option<PathBuf>| file.as_deref().filter(|_| is_verifying).map(read_file).transpose();
        Ok(Self {
            certificate: read_file(&settings.certfile)?,
            key: read_file(&settings.keyfile)?,
            authorities: read_optional(&settings.cacertfile)?,
            revocations: read_optional(&settings.crlfile)?,
        })
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.certificate, &self.key, &self.authorities, &self.revocations).hash(&mut hasher);
        hasher.finish()
    }

    fn build(&self, settings: &TlsSettings) -> Result<Loaded, TlsConfigError> {
        let provider = Arc::new(ring::default_provider());
        let key = Arc::new(self.certified_key(settings, &provider)?);
        let verifier = self.verifier(settings, &provider)?;
        let is_verifying = verifier.is_some();
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&protocol_versions(&settings.versions))
            .map_err(TlsConfigError::Rejected)?;
        let builder = match verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(Resolver::new(Arc::clone(&key))));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if is_verifying {
            // A resumed session is not verified again, and would outlive the expiry of its certificate.
            config.send_tls13_tickets = 0;
        } else {
            config.ticketer = ring::Ticketer::new().map_err(TlsConfigError::Rejected)?;
            config.send_tls13_tickets = 1;
        }
        Ok(Loaded { config, key, fingerprint: self.fingerprint() })
    }

    fn certified_key(&self, settings: &TlsSettings, provider: &CryptoProvider) -> Result<CertifiedKey, TlsConfigError> {
        let chain: Vec<CertificateDer<'static>> = read_sections(&self.certificate, &settings.certfile, "certificate")?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| TlsConfigError::Content {
            file: settings.keyfile.clone(),
            reason: format!("no usable private key ({error})"),
        })?;
        CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsConfigError::KeyMismatch { certfile: settings.certfile.clone(), keyfile: settings.keyfile.clone() }
            }
            rustls::Error::InvalidCertificate(_) => TlsConfigError::Content {
                file: settings.certfile.clone(),
                reason: format!("certificate cannot be used ({error})"),
            },
            _ => TlsConfigError::Content {
                file: settings.keyfile.clone(),
                reason: format!("private key cannot be used ({error})"),
            },
        })
    }

    /// What judges client certificates; `None` if they are not asked for.
    fn verifier(
        &self,
        settings: &TlsSettings,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsConfigError> {
        if settings.verify == Verify::None {
            return Ok(None);
        }
        let (Some(authorities), Some(cacertfile)) = (&self.authorities, &settings.cacertfile) else {
            return Err(TlsConfigError::MissingAuthorities);
        };
        let mut roots = RootCertStore::empty();
        for authority in read_sections::<CertificateDer<'static>>(authorities, cacertfile, "certificate")? {
            roots.add(authority).map_err(|error| TlsConfigError::Content {
                file: cacertfile.clone(),
                reason: format!("authority cannot be used ({error})"),
            })?;
        }
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        let mut blamed = cacertfile;
        if let (Some(revocations), Some(crlfile)) = (&self.revocations, &settings.crlfile) {
            let lists: Vec<CertificateRevocationListDer<'static>> =
                read_sections(revocations, crlfile, "revocation list")?;
            // As OpenSSL does with its plain CRL check: the client's own certificate, by a list that is not outdated.
            builder = builder.with_crls(lists).only_check_end_entity_revocation().enforce_revocation_expiration();
            blamed = crlfile;
        }
        if !settings.fail_if_no_peer_cert {
            builder = builder.allow_unauthenticated();
        }
        let verifier = builder
            .build()
            .map_err(|error| TlsConfigError::Content { file: blamed.clone(), reason: error.to_string() })?;
        Ok(Some(verifier))
    }
}

/// All PEM sections of one kind in `pem`; at least one.
fn read_sections<T: PemObject>(pem: &[u8], file: &Path, what: &str) -> Result<Vec<T>, TlsConfigError> {
    let content = |reason: String| TlsConfigError::Content { file: file.to_owned(), reason };
    let sections = T::pem_slice_iter(pem)
        .collect::<Result<Vec<T>, _>>()
        .map_err(|error| content(format!("not a PEM file ({error})")))?;
    if sections.is_empty() { Err(content(format!("no PEM {what} in file"))) } else { Ok(sections) }
}

fn protocol_versions(versions: &[TlsVersion]) -> Vec<&'static SupportedProtocolVersion> {
    let is_spoken = |version| versions.is_empty() || versions.contains(&version);
    let table = [(TlsVersion::V13, &rustls::version::TLS13), (TlsVersion::V12, &rustls::version::TLS12)];
    table.into_iter().filter(|(version, _)| is_spoken(*version)).map(|(_, version)| version).collect()
}

/// Gives the listener's certificate and notes the name the client asked for: rustls shows it nowhere else when it
/// works without buffers. Each session has its own, hence its own copy of the (small) `ServerConfig` until the
/// handshake ends.
#[derive(Debug)]
pub(super) struct Resolver {
    key: Arc<CertifiedKey>,
    server_name: OnceLock<Box<str>>,
}

impl Resolver {
    fn new(key: Arc<CertifiedKey>) -> Self {
        Self { key, server_name: OnceLock::new() }
    }

    pub(super) fn server_name(&self) -> Option<&str> {
        self.server_name.get().map(AsRef::as_ref)
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let Some(name) = client_hello.server_name() {
            self.server_name.get_or_init(|| name.into());
        }
        Some(Arc::clone(&self.key))
    }
}
