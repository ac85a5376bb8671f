//! One client connection: socket, optional TLS and WebSocket layers, pending output and a cut packet.
//!
//! The fleet decides when to read and flush; nothing here waits.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use rustls::ClientConnection;

use crate::error::LoadError;
use crate::tls::tls_error;
use crate::websocket::{self, Unframer};
use crate::wire::{self, Inbound, Version};

/// Bytes taken from a socket by one read: large enough that a flood costs few system calls.
const READ_BYTES: usize = 256 * 1024;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// TCP is connecting.
    Dialing,
    /// The WebSocket upgrade is on its way.
    Upgrading,
    /// CONNECT is on its way.
    Greeting,
    /// CONNACK arrived.
    Connected,
    Closed,
}

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// The connection goes on.
    Open,
    /// The peer closed it.
    Closed,
}

/// Buffers of one thread that every read uses anew.
#[derive(Debug)]
pub struct Scratch {
    wire: Vec<u8>,
    plain: Vec<u8>,
    frames: Vec<u8>,
}

impl Scratch {
    /// Allocates the buffers of one thread.
    pub fn new() -> Self {
        Self {
            wire: vec![0; READ_BYTES],
            plain: Vec::new(),
            frames: Vec::new(),
        }
    }
}

#[derive(Debug, Default)]
struct WebSocket {
    unframer: Unframer,
    is_open: bool,
    reply: Vec<u8>,
}

/// One client connection.
#[derive(Debug)]
pub struct Link {
    pub phase: Phase,
    /// MQTT packets that wait for the next flush.
    pub out: Vec<u8>,
    /// QoS 1 and 2 publishes that the broker wants in flight at most.
    pub receive_maximum: u16,
    /// SUBSCRIBE packets that were not answered yet.
    pub open_subscribes: usize,
    /// Whether the socket is watched for room to write.
    pub wants_write: bool,
    /// Whether the run goes on if the broker closes it.
    pub may_close: bool,
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
    websocket: Option<WebSocket>,
    cut: Vec<u8>,
    wire_out: Vec<u8>,
    wire_out_at: usize,
}

impl Link {
    /// Wraps a non-blocking socket whose TCP connect has been started.
    pub fn new(stream: TcpStream, tls: Option<Box<ClientConnection>>, is_websocket: bool) -> Self {
        Self {
            phase: Phase::Dialing,
            out: Vec::new(),
            receive_maximum: u16::MAX,
            open_subscribes: 0,
            wants_write: true,
            may_close: false,
            stream,
            tls,
            websocket: is_websocket.then(WebSocket::default),
            cut: Vec::new(),
            wire_out: Vec::new(),
            wire_out_at: 0,
        }
    }

    /// The socket, for epoll.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Bytes that the socket did not take yet.
    pub fn unsent_bytes(&self) -> usize {
        self.out.len() + self.wire_out.len() - self.wire_out_at
    }

    /// Queues bytes below MQTT: the upgrade request.
    ///
    /// # Errors
    /// `LoadError::Io` if TLS does not take them.
    pub fn put_raw(&mut self, bytes: &[u8]) -> Result<(), LoadError> {
        if let Some(tls) = self.tls.as_mut() {
            return tls
                .writer()
                .write_all(bytes)
                .map_err(LoadError::io("writing to TLS"));
        }
        self.wire_out.extend_from_slice(bytes);
        Ok(())
    }

    /// Reads once and hands every whole packet to `on_packet`, together with the output buffer.
    ///
    /// # Errors
    /// What the socket, TLS, WebSocket or `on_packet` says.
    pub fn drain(
        &mut self,
        scratch: &mut Scratch,
        version: Version,
        on_packet: &mut impl FnMut(&mut Self, Inbound<'_>) -> Result<(), LoadError>,
    ) -> Result<Drained, LoadError> {
        let size = match self.stream.read(&mut scratch.wire) {
            Ok(0) => return Ok(Drained::Closed),
            Ok(size) => size,
            Err(error) if is_not_ready(&error) => return Ok(Drained::Open),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                return Ok(Drained::Closed);
            }
            Err(error) => {
                return Err(LoadError::Io {
                    doing: "reading",
                    source: error,
                });
            }
        };
        let Scratch {
            wire,
            plain,
            frames,
        } = scratch;
        let mut input = &wire[..size];
        if let Some(tls) = self.tls.as_mut() {
            plain.clear();
            decrypt(tls, input, plain)?;
            input = plain;
        }
        if let Some(websocket) = self.websocket.as_mut() {
            frames.clear();
            if websocket.receive(input, frames)? {
                self.phase = Phase::Greeting;
            }
            input = frames;
        }
        self.split_packets(input, version, on_packet)?;
        Ok(Drained::Open)
    }

    fn split_packets(
        &mut self,
        input: &[u8],
        version: Version,
        on_packet: &mut impl FnMut(&mut Self, Inbound<'_>) -> Result<(), LoadError>,
    ) -> Result<(), LoadError> {
        if self.cut.is_empty() {
            let used = self.split_all(input, version, on_packet)?;
            self.cut.extend_from_slice(&input[used..]);
            return Ok(());
        }
        let mut joined = std::mem::take(&mut self.cut);
        joined.extend_from_slice(input);
        let used = self.split_all(&joined, version, on_packet)?;
        joined.drain(..used);
        self.cut = joined;
        Ok(())
    }

    fn split_all(
        &mut self,
        input: &[u8],
        version: Version,
        on_packet: &mut impl FnMut(&mut Self, Inbound<'_>) -> Result<(), LoadError>,
    ) -> Result<usize, LoadError> {
        let mut used = 0;
        while let Some((packet, size)) = wire::split(&input[used..], version)? {
            on_packet(self, packet)?;
            used += size;
        }
        Ok(used)
    }

    /// Writes what is pending. Returns whether all of it left; `Closed` is reported by the next read.
    ///
    /// # Errors
    /// What the socket or a layer says.
    pub fn flush(&mut self) -> Result<bool, LoadError> {
        if self
            .websocket
            .as_ref()
            .is_none_or(|websocket| websocket.is_open)
            && !self.out.is_empty()
        {
            self.lower_output()?;
        }
        if let Some(tls) = self.tls.as_mut() {
            while tls.wants_write() {
                tls.write_tls(&mut self.wire_out)
                    .map_err(LoadError::io("writing to TLS"))?;
            }
        }
        while self.wire_out_at < self.wire_out.len() {
            match self.stream.write(&self.wire_out[self.wire_out_at..]) {
                Ok(size) => self.wire_out_at += size,
                Err(error) if is_not_ready(&error) => return Ok(false),
                Err(error) if is_disconnect(&error) => break,
                Err(error) => {
                    return Err(LoadError::Io {
                        doing: "writing",
                        source: error,
                    });
                }
            }
        }
        self.wire_out.clear();
        self.wire_out_at = 0;
        Ok(true)
    }

    /// Moves `out` through the WebSocket and TLS layers.
    fn lower_output(&mut self) -> Result<(), LoadError> {
        if self.websocket.is_none() && self.tls.is_none() {
            if self.wire_out.is_empty() {
                std::mem::swap(&mut self.out, &mut self.wire_out);
            } else {
                self.wire_out.append(&mut self.out);
            }
            return Ok(());
        }
        let mut framed = Vec::new();
        if self.websocket.is_some() {
            let target = if self.tls.is_some() {
                &mut framed
            } else {
                &mut self.wire_out
            };
            websocket::frame(&self.out, target)?;
        }
        if let Some(tls) = self.tls.as_mut() {
            let bytes = if self.websocket.is_some() {
                &framed
            } else {
                &self.out
            };
            tls.writer()
                .write_all(bytes)
                .map_err(LoadError::io("writing to TLS"))?;
        }
        self.out.clear();
        Ok(())
    }
}

impl WebSocket {
    /// Takes bytes from the server; returns whether the upgrade ended just now.
    fn receive(&mut self, input: &[u8], frames: &mut Vec<u8>) -> Result<bool, LoadError> {
        if self.is_open {
            self.unframer.unframe(input, frames)?;
            return Ok(false);
        }
        self.reply.extend_from_slice(input);
        let Some(size) = websocket::upgrade_reply_bytes(&self.reply)? else {
            return Ok(false);
        };
        self.is_open = true;
        let reply = std::mem::take(&mut self.reply);
        self.unframer.unframe(&reply[size..], frames)?;
        Ok(true)
    }
}

fn decrypt(
    tls: &mut ClientConnection,
    mut input: &[u8],
    plain: &mut Vec<u8>,
) -> Result<(), LoadError> {
    while !input.is_empty() {
        tls.read_tls(&mut input)
            .map_err(LoadError::io("reading TLS"))?;
        tls.process_new_packets().map_err(tls_error)?;
        match tls.reader().read_to_end(plain) {
            Ok(_) => {}
            Err(error) if is_not_ready(&error) => {}
            Err(error) => {
                return Err(LoadError::Io {
                    doing: "reading TLS",
                    source: error,
                });
            }
        }
    }
    Ok(())
}

fn is_not_ready(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

fn is_disconnect(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected
    )
}
