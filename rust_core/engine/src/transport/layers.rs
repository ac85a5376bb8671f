//! TLS and WebSocket of one connection, stacked: wire bytes in, MQTT bytes out, and back.
//!
//! Both halves of a connection need them, so they live with the link, under its lock.

use std::os::fd::BorrowedFd;

use super::tls::{TlsError, TlsSession};
use super::websocket::{WsError, WsSession, WsStatus};
use crate::outbox::{BufferPool, Flushed, Outbox};
use crate::sys::{self, Transfer};

/// Where the layers of a connection stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerStatus {
    /// A handshake is not finished.
    Handshaking,
    /// MQTT bytes flow.
    Open,
    /// The peer closed in an orderly way.
    Closed,
}

/// Why a layer gave up.
#[derive(Debug)]
pub enum LayerError {
    /// TLS failed; an alert may wait to be sent.
    Tls(TlsError),
    /// WebSocket failed; the answer waits to be sent.
    WebSocket(WsError),
}

impl std::fmt::Display for LayerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tls(error) => error.fmt(f),
            Self::WebSocket(error) => error.fmt(f),
        }
    }
}

/// The layers above the socket.
pub struct Layers {
    tls: Option<TlsSession>,
    websocket: Option<WsSession>,
    /// Bytes for the socket.
    wire: Vec<u8>,
    sent: usize,
    /// Bytes that TLS has not taken yet.
    clear: Vec<u8>,
}

impl Layers {
    /// Layers of a new connection; `None` when it needs neither.
    #[must_use]
    pub fn new(tls: Option<TlsSession>, websocket: Option<WsSession>) -> Option<Box<Self>> {
        (tls.is_some() || websocket.is_some())
            .then(|| Box::new(Self { tls, websocket, wire: Vec::new(), sent: 0, clear: Vec::new() }))
    }

    /// Bytes not yet with the system.
    #[must_use]
    pub fn unsent_bytes(&self) -> usize {
        self.wire.len() - self.sent + self.clear.len()
    }

    /// Takes bytes from the socket and appends MQTT bytes to `plain`. Answers of the layers wait for [`Layers::flush`].
    ///
    /// # Errors
    /// What the layer found wrong. What `plain` holds by then is good.
    pub fn receive(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>) -> Result<LayerStatus, LayerError> {
        let Some(tls) = self.tls.as_mut() else {
            return Self::receive_websocket(self.websocket.as_mut(), bytes, plain, &mut self.wire);
        };
        let mut decrypted = Vec::new();
        let status = tls.receive(bytes, &mut decrypted, &mut self.wire).map_err(LayerError::Tls)?;
        let mut reply = Vec::new();
        let upper = Self::receive_websocket(self.websocket.as_mut(), &decrypted, plain, &mut reply);
        if !reply.is_empty() {
            self.clear.append(&mut reply);
            self.encrypt().map_err(LayerError::Tls)?;
        }
        match upper? {
            _ if status.is_peer_closed => Ok(LayerStatus::Closed),
            _ if status.is_handshaking => Ok(LayerStatus::Handshaking),
            upper => Ok(upper),
        }
    }

    fn receive_websocket(
        websocket: Option<&mut WsSession>,
        bytes: &[u8],
        plain: &mut Vec<u8>,
        reply: &mut Vec<u8>,
    ) -> Result<LayerStatus, LayerError> {
        let Some(websocket) = websocket else {
            plain.extend_from_slice(bytes);
            return Ok(LayerStatus::Open);
        };
        match websocket.receive(bytes, plain, reply).map_err(LayerError::WebSocket)? {
            WsStatus::Handshaking => Ok(LayerStatus::Handshaking),
            WsStatus::Open => Ok(LayerStatus::Open),
            WsStatus::Closed => Ok(LayerStatus::Closed),
        }
    }

    /// Gives as much clear text to TLS as it takes.
    fn encrypt(&mut self) -> Result<(), TlsError> {
        if let Some(tls) = self.tls.as_mut() {
            let mut taken = 0;
            while taken < self.clear.len() {
                let n = tls.send(self.clear.get(taken..).unwrap_or_default(), &mut self.wire)?;
                if n == 0 {
                    break;
                }
                taken += n;
            }
            self.clear.drain(..taken);
        }
        Ok(())
    }

    /// Sends what the socket takes: layer answers first, then the outbox.
    pub fn flush(&mut self, fd: BorrowedFd<'_>, outbox: &mut Outbox, pool: &mut BufferPool) -> Flushed {
        loop {
            while self.sent < self.wire.len() {
                match sys::transmit(fd, self.wire.get(self.sent..).unwrap_or_default()) {
                    Transfer::Bytes(n) => self.sent += n,
                    Transfer::WouldBlock => return Flushed::Blocked,
                    Transfer::Eof | Transfer::Broken => return Flushed::Broken,
                }
            }
            self.wire.clear();
            self.sent = 0;
            self.wire = Vec::new();
            if self.clear.is_empty() && (outbox.is_empty() || !self.is_open()) {
                return Flushed::Empty;
            }
            if !outbox.is_empty() && self.clear.is_empty() {
                self.take(outbox, pool);
            }
            let waiting = self.clear.len();
            if self.encrypt().is_err() || (self.wire.is_empty() && self.clear.len() == waiting) {
                return Flushed::Broken;
            }
        }
    }

    /// Moves the whole outbox down as one WebSocket frame, or as plain TLS data.
    fn take(&mut self, outbox: &mut Outbox, pool: &mut BufferPool) {
        let Self { tls, websocket, wire, clear, .. } = self;
        let target = if tls.is_some() { clear } else { wire };
        if let Some(websocket) = websocket.as_ref() {
            websocket.send_header(outbox.len(), target);
        }
        outbox.take_into(pool, |bytes| target.extend_from_slice(bytes));
    }

    /// Whether the peer has closed in an orderly way.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.status().is_peer_closed)
            || self.websocket.as_ref().is_some_and(|websocket| websocket.status() == WsStatus::Closed)
    }

    /// Whether MQTT bytes may be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| !tls.status().is_handshaking)
            && self.websocket.as_ref().is_none_or(|websocket| websocket.status() == WsStatus::Open)
    }

    /// Ends both layers in an orderly way; the bytes for it wait behind everything unsent.
    pub fn close(&mut self, outbox: &mut Outbox, pool: &mut BufferPool) {
        if !self.is_open() {
            return;
        }
        if !outbox.is_empty() {
            self.take(outbox, pool);
        }
        let Self { tls, websocket, wire, clear, .. } = self;
        if let Some(websocket) = websocket.as_mut() {
            websocket.close(1000, if tls.is_some() { &mut *clear } else { &mut *wire });
        }
        // Data that TLS refuses at this point has nowhere to go: the connection ends either way.
        let _ = self.encrypt();
        if let Some(tls) = self.tls.as_mut() {
            tls.close_notify(&mut self.wire);
        }
    }

    /// The TLS layer, for what the peer showed.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsSession> {
        self.tls.as_ref()
    }

    /// The WebSocket layer, for what the request said.
    #[must_use]
    pub fn websocket(&self) -> Option<&WsSession> {
        self.websocket.as_ref()
    }
}
