//! The TLS configuration that all clients of a run share.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::error::LoadError;

/// Makes client sides of TLS connections.
#[derive(Clone, Debug)]
pub struct TlsMaker {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl TlsMaker {
    /// Trusts the authorities in the PEM file `cafile`; the broker must prove `server_name`.
    ///
    /// # Errors
    /// `LoadError::Settings` if the file or the name cannot be used.
    pub fn new(cafile: &Path, server_name: &str) -> Result<Self, LoadError> {
        let unusable = |what: &str| LoadError::Settings(format!("{what}: {}", cafile.display()));
        let mut roots = RootCertStore::empty();
        for certificate in
            CertificateDer::pem_file_iter(cafile).map_err(|_| unusable("cannot read"))?
        {
            let certificate = certificate.map_err(|_| unusable("not a PEM file"))?;
            roots
                .add(certificate)
                .map_err(|_| unusable("not an authority"))?;
        }
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(server_name.to_owned())
            .map_err(|_| LoadError::Settings(format!("not a server name: {server_name}")))?;
        Ok(Self {
            config: Arc::new(config),
            name,
        })
    }

    /// Starts a connection; its first flight is ready to be written.
    ///
    /// # Errors
    /// `LoadError::Protocol` if rustls refuses the configuration.
    pub fn start(&self) -> Result<Box<ClientConnection>, LoadError> {
        let mut connection =
            ClientConnection::new(self.config.clone(), self.name.clone()).map_err(tls_error)?;
        connection.set_buffer_limit(None);
        Ok(Box::new(connection))
    }
}

/// Turns an error of rustls into ours.
#[allow(clippy::needless_pass_by_value, reason = "fits map_err")]
pub fn tls_error(error: rustls::Error) -> LoadError {
    LoadError::Protocol(format!("tls: {error}"))
}
