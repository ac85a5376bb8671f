//! TLS 1.2 and 1.3 for one connection.
//!
//! rustls does all of TLS through its unbuffered interface: records are decrypted in the shard's receive buffer and
//! encrypted into its send buffer. A session keeps bytes only while a record is incomplete, so an idle connection
//! owns no buffer and a slow reader costs what the caller's send buffer holds, nothing here. Certificates and their
//! files are `acceptor.rs`.

use std::fmt;
use std::sync::Arc;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus};

use super::acceptor::Resolver;
pub use super::acceptor::{TlsAcceptor, TlsConfigError, TlsSettings, TlsVersion, Verify};
use super::certificate::PeerCertificate;

/// Bytes of an unfinished handshake that are kept; rustls itself refuses messages above 64 KiB.
const MAX_HANDSHAKE_BYTES: usize = 80 * 1024;
/// Type, version and length in front of each record.
const RECORD_HEADER_BYTES: usize = 5;
/// Plaintext of one record. Spec: RFC 8446, 5.1.
const RECORD_PLAIN_BYTES: usize = 16 * 1024;
/// Bytes that a record adds to its plaintext: header, nonce and tag of TLS 1.2, which takes more than TLS 1.3.
const RECORD_OVERHEAD_BYTES: usize = 29;

/// Why a TLS connection ends. The alert that tells the peer stands in the caller's `reply`.
#[derive(Debug, Clone, PartialEq)]
pub enum TlsError {
    /// The peer broke the protocol, has nothing in common with us, or its certificate is not accepted.
    Protocol(rustls::Error),
    /// A handshake that never completes a message.
    HandshakeTooLong,
}

impl TlsError {
    /// Whether the client's certificate was the reason (missing, unknown issuer, expired, revoked).
    #[must_use]
    pub fn is_certificate(&self) -> bool {
        matches!(self, Self::Protocol(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented))
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(error) => write!(f, "tls: {error}"),
            Self::HandshakeTooLong => write!(f, "tls: handshake is longer than {MAX_HANDSHAKE_BYTES} bytes"),
        }
    }
}

impl std::error::Error for TlsError {}

/// Where a connection stands after [`TlsSession::receive`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsStatus {
    /// Nothing can be sent or has been received yet.
    pub is_handshaking: bool,
    /// The peer sent `close_notify`: no more plaintext follows.
    pub is_peer_closed: bool,
}

/// The server's side of one TLS connection.
pub struct TlsSession {
    connection: Box<UnbufferedServerConnection>,
    resolver: Arc<Resolver>,
    /// Bytes of a record or a handshake message whose rest has not come; no allocation between records.
    pending: Vec<u8>,
    is_peer_closed: bool,
    has_sent_close: bool,
    has_failed: bool,
}

impl fmt::Debug for TlsSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSession")
            .field("is_handshaking", &self.connection.is_handshaking())
            .field("pending_bytes", &self.pending.len())
            .field("is_peer_closed", &self.is_peer_closed)
            .finish_non_exhaustive()
    }
}

/// What [`TlsSession::drive`] is to do once nothing is left to read.
#[derive(Clone, Copy)]
enum Intent<'a> {
    Read,
    Send(&'a [u8]),
    Close,
}

impl TlsSession {
    /// Starts with the first byte of a connection, under the newest configuration of `acceptor`.
    ///
    /// # Errors
    /// [`TlsError::Protocol`] if the configuration cannot serve at all.
    pub fn new(acceptor: &TlsAcceptor) -> Result<Self, TlsError> {
        let (config, resolver) = acceptor.configure();
        let connection = UnbufferedServerConnection::new(config).map_err(TlsError::Protocol)?;
        Ok(Self {
            connection: Box::new(connection),
            resolver,
            pending: Vec::new(),
            is_peer_closed: false,
            has_sent_close: false,
            has_failed: false,
        })
    }

    /// Takes all of `wire`; appends decrypted bytes to `plain` and what the peer must be sent to `reply`.
    ///
    /// `wire` is decrypted in place and holds nothing of use afterwards. How the bytes are cut into calls does not
    /// matter. After an error and after `close_notify` of either side further bytes are ignored.
    ///
    /// # Errors
    /// [`TlsError`]; an alert may stand in `reply`, then the socket is to be closed. Plaintext that came before the
    /// fault is in `plain`.
    pub fn receive(
        &mut self,
        wire: &mut [u8],
        plain: &mut Vec<u8>,
        reply: &mut Vec<u8>,
    ) -> Result<TlsStatus, TlsError> {
        let mut rest = wire;
        while !self.pending.is_empty() && !rest.is_empty() && self.is_readable() {
            let (piece, behind) = rest.split_at_mut(self.missing_bytes().min(rest.len()));
            rest = behind;
            let mut joined = std::mem::take(&mut self.pending);
            joined.extend_from_slice(piece);
            let used = self.read(&mut joined, plain, reply)?;
            joined.drain(..used);
            if !joined.is_empty() {
                self.pending = joined;
            }
            self.check_pending()?;
        }
        if !rest.is_empty() && self.is_readable() {
            let used = self.read(rest, plain, reply)?;
            self.pending = rest.get(used..).unwrap_or_default().to_vec();
            self.check_pending()?;
        }
        if !self.is_readable() {
            self.pending = Vec::new();
        }
        Ok(self.status())
    }

    /// Encrypts `plain` behind `wire`. Returns how many bytes were taken: all, or 0 while the handshake lasts and
    /// after [`Self::close_notify`] or an error; then the caller keeps them.
    ///
    /// # Errors
    /// [`TlsError::Protocol`] when the keys are used up (after 2^23 records or more under TLS 1.2).
    pub fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<usize, TlsError> {
        if plain.is_empty() || self.has_sent_close || self.has_failed || self.connection.is_handshaking() {
            return Ok(0);
        }
        let mut pending = std::mem::take(&mut self.pending);
        let outcome = self.drive(&mut pending, Intent::Send(plain), &mut Vec::new(), wire);
        self.pending = pending;
        outcome.map(|_| plain.len())
    }

    /// Tells the peer behind `wire` that nothing more follows; does nothing before the handshake is over, or twice.
    pub fn close_notify(&mut self, wire: &mut Vec<u8>) {
        if self.has_sent_close || self.has_failed || self.connection.is_handshaking() {
            return;
        }
        self.has_sent_close = true;
        let mut pending = std::mem::take(&mut self.pending);
        // The connection is over either way; without keys there is nothing to tell.
        let _ = self.drive(&mut pending, Intent::Close, &mut Vec::new(), wire);
        self.pending = pending;
    }

    /// Where the connection stands.
    #[must_use]
    pub fn status(&self) -> TlsStatus {
        TlsStatus { is_handshaking: self.connection.is_handshaking(), is_peer_closed: self.is_peer_closed }
    }

    /// The client's certificate; `None` if it gave none or the handshake is not over. Parses at each call.
    #[must_use]
    pub fn peer(&self) -> Option<PeerCertificate> {
        if self.connection.is_handshaking() {
            return None;
        }
        self.connection.peer_certificates()?.first().map(|der| PeerCertificate::from_der(der))
    }

    /// The name the client asked for (SNI), lower case as rustls gives it.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.resolver.server_name()
    }

    /// Negotiated version, `TLSv1.2` or `TLSv1.3`; `None` before it is known.
    #[must_use]
    pub fn version(&self) -> Option<&'static str> {
        match self.connection.protocol_version()? {
            rustls::ProtocolVersion::TLSv1_2 => Some("TLSv1.2"),
            rustls::ProtocolVersion::TLSv1_3 => Some("TLSv1.3"),
            _ => None,
        }
    }

    /// Negotiated cipher suite under rustls' name; `None` before it is known.
    #[must_use]
    pub fn cipher(&self) -> Option<&'static str> {
        self.connection.negotiated_cipher_suite()?.suite().as_str()
    }

    fn is_readable(&self) -> bool {
        !self.is_peer_closed && !self.has_failed && !self.has_sent_close
    }

    /// How many bytes to add to `pending` before it is worth a look: the rest of its record, so that what follows can
    /// be decrypted where it lies.
    fn missing_bytes(&self) -> usize {
        let record_bytes = match self.pending.as_slice() {
            [_, _, _, high, low, ..] => RECORD_HEADER_BYTES + usize::from(u16::from_be_bytes([*high, *low])),
            _ => RECORD_HEADER_BYTES,
        };
        // A handshake message over several records keeps them all, so the first may be complete: then take any.
        record_bytes.checked_sub(self.pending.len()).filter(|&missing| missing > 0).unwrap_or(usize::MAX)
    }

    fn check_pending(&mut self) -> Result<(), TlsError> {
        if self.pending.len() <= MAX_HANDSHAKE_BYTES {
            return Ok(());
        }
        self.pending = Vec::new();
        self.has_failed = true;
        Err(TlsError::HandshakeTooLong)
    }

    fn read(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>, reply: &mut Vec<u8>) -> Result<usize, TlsError> {
        let outcome = self.drive(bytes, Intent::Read, plain, reply);
        if outcome.is_err() {
            self.has_failed = true;
            // The alert that rustls has prepared. While it holds one it looks at no input, so none is given.
            while self.connection.wants_write() {
                match self.connection.process_tls_records(&mut []).state {
                    Ok(ConnectionState::EncodeTlsData(data)) => encode_into(reply, data),
                    _ => break,
                }
            }
        }
        outcome
    }

    /// Runs rustls over `bytes` until it wants more of them, then does what `intent` says. Returns how many bytes of
    /// `bytes` are done with.
    fn drive(
        &mut self,
        bytes: &mut [u8],
        intent: Intent<'_>,
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<usize, TlsError> {
        let mut used = 0;
        loop {
            let rest = bytes.get_mut(used..).unwrap_or_default();
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(rest);
            used += discard;
            match state.map_err(TlsError::Protocol)? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(TlsError::Protocol)?;
                        used += record.discard;
                        plain.extend_from_slice(record.payload);
                    }
                }
                ConnectionState::EncodeTlsData(data) => encode_into(wire, data),
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => self.is_peer_closed = true,
                ConnectionState::WriteTraffic(mut traffic) => {
                    let is_done = match intent {
                        Intent::Read => true,
                        Intent::Send(data) => {
                            let records = data.len().div_ceil(RECORD_PLAIN_BYTES);
                            let estimate = data.len() + records * RECORD_OVERHEAD_BYTES;
                            append_sized(wire, estimate, |room| encrypt_step(&traffic.encrypt(data, room)))
                        }
                        Intent::Close => append_sized(wire, 0, |room| encrypt_step(&traffic.queue_close_notify(room))),
                    };
                    return if is_done { Ok(used) } else { Err(TlsError::Protocol(rustls::Error::EncryptError)) };
                }
                // More input is needed, or both sides have closed. Early data is not offered.
                _ if matches!(intent, Intent::Read) => return Ok(used),
                _ => return Err(TlsError::Protocol(rustls::Error::HandshakeNotComplete)),
            }
        }
    }
}

/// Outcome of one attempt to write into a slice.
enum Step {
    Written(usize),
    Need(usize),
    Failed,
}

fn encode_into(wire: &mut Vec<u8>, mut data: EncodeTlsData<'_, ServerConnectionData>) {
    append_sized(wire, 0, |room| match data.encode(room) {
        Ok(written) => Step::Written(written),
        Err(EncodeError::InsufficientSize(size)) => Step::Need(size.required_size),
        Err(EncodeError::AlreadyEncoded) => Step::Failed,
    });
}

fn encrypt_step(outcome: &Result<usize, EncryptError>) -> Step {
    match outcome {
        Ok(written) => Step::Written(*written),
        Err(EncryptError::InsufficientSize(size)) => Step::Need(size.required_size),
        Err(EncryptError::EncryptExhausted) => Step::Failed,
    }
}

/// Lets `write` fill the end of `wire`, first with `estimate` bytes of room, then with what it asks for. Returns
/// whether it succeeded; `wire` is unchanged if not.
fn append_sized(wire: &mut Vec<u8>, estimate: usize, mut write: impl FnMut(&mut [u8]) -> Step) -> bool {
    let start = wire.len();
    let mut room = estimate;
    loop {
        wire.resize(start + room, 0);
        match write(wire.get_mut(start..).unwrap_or_default()) {
            Step::Written(written) => {
                wire.truncate(start + written);
                return true;
            }
            Step::Need(required) if required > room => room = required,
            Step::Need(_) | Step::Failed => {
                wire.truncate(start);
                return false;
            }
        }
    }
}
