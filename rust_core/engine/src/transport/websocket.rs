//! WebSocket frames of one connection, from the HTTP request to the closing handshake.
//!
//! The stream of MQTT bytes is all that matters to us: payloads are unmasked straight into the caller's buffer as they
//! arrive, whole or in pieces, and no frame is ever held back. Only a partial header (13 bytes at most) and a partial
//! control frame (125 bytes) are kept between calls. The request that opens the stream is `upgrade.rs`.

use std::fmt;
use std::io::Cursor;
use std::sync::Arc;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

use super::upgrade;
pub use super::upgrade::{Refusal, WsRequest, WsSettings};

/// Longest frame header: two bytes, eight of length, four of mask.
const MAX_FRAME_HEADER_BYTES: usize = 14;
/// Longest payload of a control frame. Spec: RFC 6455, 5.5.
const MAX_CONTROL_BYTES: usize = 125;

/// Where the connection stands after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WsStatus {
    /// The request is not complete.
    Handshaking,
    /// MQTT bytes flow.
    Open,
    /// The peer closed, or answered our close: send what is in `reply`, then close the socket.
    Closed,
}

/// Why the stream ends. What the peer is to be told stands in `reply`; then the socket is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WsError {
    /// The request was refused.
    Refused(Refusal),
    /// A frame broke the rules.
    Frame {
        /// Close code that was sent.
        code: u16,
        /// What was wrong with the frame.
        reason: &'static str,
    },
}

impl fmt::Display for WsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Frame { code, reason } => {
                write!(f, "websocket frame refused with {code}: {reason}")
            }
        }
    }
}

impl std::error::Error for WsError {}

const fn protocol_error(reason: &'static str) -> WsError {
    WsError::Frame { code: 1002, reason }
}

/// The server's side of one WebSocket connection. An open one holds about 100 bytes and no heap of its own.
#[derive(Debug)]
pub struct WsSession {
    settings: Arc<WsSettings>,
    phase: Phase,
    has_sent_close: bool,
    /// A data message is begun whose last frame has not come.
    is_in_message: bool,
    /// Payload bytes of that message so far.
    message_bytes: usize,
    /// Beginning of a frame header whose rest has not come; `partial_len` bytes of it count.
    partial: [u8; MAX_FRAME_HEADER_BYTES],
    partial_len: u8,
    /// Payload of the control frame that is being read.
    control: Vec<u8>,
    request: Option<Box<WsRequest>>,
}

#[derive(Debug)]
enum Phase {
    /// Collecting the request.
    Handshake(Vec<u8>),
    /// Between two frames, or inside a frame header.
    Header,
    /// Inside a payload.
    Payload { frame: Frame, mask: [u8; 4], rest: u64 },
    /// Over; further bytes are ignored.
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frame {
    Data,
    Ping,
    Pong,
    Close,
}

impl WsSession {
    /// Starts with the first byte of a connection.
    #[must_use]
    pub fn new(settings: Arc<WsSettings>) -> Self {
        Self {
            settings,
            phase: Phase::Handshake(Vec::new()),
            has_sent_close: false,
            is_in_message: false,
            message_bytes: 0,
            partial: [0; MAX_FRAME_HEADER_BYTES],
            partial_len: 0,
            control: Vec::new(),
            request: None,
        }
    }

    /// Takes all of `wire`; appends MQTT bytes to `plain` and what the peer must be sent to `reply`.
    ///
    /// How the bytes are cut into calls does not matter. `reply` grows by one HTTP answer at most and by no more than
    /// `wire` is long. After [`WsStatus::Closed`] or an error, further bytes are ignored.
    ///
    /// # Errors
    /// [`WsError`] if the request is refused or a frame breaks the rules; `reply` then holds the answer or the close
    /// frame. MQTT bytes in front of the fault are in `plain`.
    ///
    /// Spec: RFC 6455, 5 and 7. [MQTT5-6.0.0-1] [MQTT5-6.0.0-2]
    pub fn receive(&mut self, wire: &[u8], plain: &mut Vec<u8>, reply: &mut Vec<u8>) -> Result<WsStatus, WsError> {
        let mut rest = wire;
        while !rest.is_empty() {
            let step = match self.phase {
                Phase::Handshake(_) => self.read_request(&mut rest, reply),
                Phase::Header => self.read_header(&mut rest, reply),
                Phase::Payload { .. } => self.read_payload(&mut rest, plain, reply),
                Phase::Closed => break,
            };
            if let Err(error) = step {
                self.fail(error, reply);
                return Err(error);
            }
        }
        Ok(self.status())
    }

    /// Where the connection stands.
    #[must_use]
    pub fn status(&self) -> WsStatus {
        match self.phase {
            Phase::Handshake(_) => WsStatus::Handshaking,
            Phase::Header | Phase::Payload { .. } => WsStatus::Open,
            Phase::Closed => WsStatus::Closed,
        }
    }

    /// Writes the header of one binary frame; the `payload_len` bytes of it must follow on the wire.
    ///
    /// Only for an open connection to which no close was sent.
    #[allow(clippy::unused_self, reason = "the call belongs to an open session, whatever it needs of it")]
    pub fn send_header(&self, payload_len: usize, wire: &mut Vec<u8>) {
        write_header(OpCode::Data(Data::Binary), payload_len, wire);
    }

    /// Starts the closing handshake with `code`; does nothing before the connection is open or when a close was sent.
    ///
    /// MQTT bytes that still arrive are dropped; the peer's answer leads to [`WsStatus::Closed`].
    pub fn close(&mut self, code: u16, wire: &mut Vec<u8>) {
        if self.status() == WsStatus::Open {
            self.write_close(Some(code), wire);
        }
    }

    /// The accepted request; `None` before it, and after [`Self::take_request`].
    #[must_use]
    pub fn request(&self) -> Option<&WsRequest> {
        self.request.as_deref()
    }

    /// Hands the request over, so that the session keeps no memory for it.
    pub fn take_request(&mut self) -> Option<Box<WsRequest>> {
        self.request.take()
    }

    fn read_request(&mut self, rest: &mut &[u8], reply: &mut Vec<u8>) -> Result<(), WsError> {
        let Phase::Handshake(held) = &mut self.phase else {
            return Ok(());
        };
        let limit = self.settings.max_header_bytes;
        let before = held.len();
        let room = limit.saturating_sub(before).min(rest.len());
        let (taken, _) = rest.split_at(room);
        let outcome = if before == 0 {
            upgrade::accept(taken, &self.settings, reply)
        } else {
            held.extend_from_slice(taken);
            upgrade::accept(held, &self.settings, reply)
        };
        match outcome.map_err(WsError::Refused)? {
            Some((request, consumed)) => {
                *rest = rest.get(consumed.saturating_sub(before)..).unwrap_or_default();
                self.request = Some(Box::new(request));
                self.phase = Phase::Header;
            }
            None if before + room >= limit => {
                return Err(WsError::Refused(Refusal { status: 431, reason: "request header is too long" }));
            }
            None => {
                if before == 0 {
                    held.extend_from_slice(taken);
                }
                *rest = &[];
            }
        }
        Ok(())
    }

    fn read_header(&mut self, rest: &mut &[u8], reply: &mut Vec<u8>) -> Result<(), WsError> {
        let held = usize::from(self.partial_len);
        let parsed = if held == 0 {
            parse_header(rest)?
        } else {
            self.hold(rest.get(..MAX_FRAME_HEADER_BYTES - held).unwrap_or(rest));
            parse_header(self.partial.get(..usize::from(self.partial_len)).unwrap_or_default())?
        };
        let Some((header, payload_len, consumed)) = parsed else {
            // Fourteen bytes always make a header, so there were fewer and all of them are kept.
            if held == 0 {
                self.hold(rest);
            }
            *rest = &[];
            return Ok(());
        };
        *rest = rest.get(consumed.saturating_sub(held)..).unwrap_or_default();
        self.partial_len = 0;
        self.begin_frame(&header, payload_len, reply)
    }

    /// Keeps `piece` of a header that is not complete.
    fn hold(&mut self, piece: &[u8]) {
        let held = usize::from(self.partial_len);
        for (slot, &byte) in self.partial.iter_mut().skip(held).zip(piece) {
            *slot = byte;
            self.partial_len += 1;
        }
    }

    fn begin_frame(&mut self, header: &FrameHeader, payload_len: u64, reply: &mut Vec<u8>) -> Result<(), WsError> {
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(protocol_error("reserved bit is set"));
        }
        let Some(mask) = header.mask else {
            return Err(protocol_error("frame is not masked"));
        };
        let frame = match header.opcode {
            OpCode::Data(opcode) => {
                self.check_data(opcode, header.is_final, payload_len)?;
                Frame::Data
            }
            OpCode::Control(opcode) => {
                if !header.is_final {
                    return Err(protocol_error("control frame is fragmented"));
                }
                if payload_len > MAX_CONTROL_BYTES as u64 {
                    return Err(protocol_error("control frame is longer than 125 bytes"));
                }
                match opcode {
                    Control::Ping => Frame::Ping,
                    Control::Pong => Frame::Pong,
                    Control::Close => Frame::Close,
                    Control::Reserved(_) => return Err(protocol_error("reserved opcode")),
                }
            }
        };
        self.phase = Phase::Payload { frame, mask, rest: payload_len };
        if payload_len == 0 { self.end_frame(frame, reply) } else { Ok(()) }
    }

    /// Judges a data frame by its header and counts it into its message.
    fn check_data(&mut self, opcode: Data, is_final: bool, payload_len: u64) -> Result<(), WsError> {
        match opcode {
            // [MQTT3-6.0.0-1] [MQTT5-6.0.0-1]
            Data::Text => {
                return Err(WsError::Frame { code: 1003, reason: "text frame" });
            }
            Data::Reserved(_) => return Err(protocol_error("reserved opcode")),
            Data::Binary if self.is_in_message => {
                return Err(protocol_error("new message inside a fragmented one"));
            }
            Data::Continue if !self.is_in_message => {
                return Err(protocol_error("continuation of no message"));
            }
            Data::Binary => self.message_bytes = 0,
            Data::Continue => {}
        }
        let payload_len = usize::try_from(payload_len).unwrap_or(usize::MAX);
        self.message_bytes = self.message_bytes.saturating_add(payload_len);
        if self.settings.max_frame_bytes.is_some_and(|limit| self.message_bytes > limit) {
            return Err(WsError::Frame { code: 1009, reason: "message is too long" });
        }
        self.is_in_message = !is_final;
        Ok(())
    }

    fn read_payload(&mut self, rest: &mut &[u8], plain: &mut Vec<u8>, reply: &mut Vec<u8>) -> Result<(), WsError> {
        let Phase::Payload { frame, mask, rest: missing } = &mut self.phase else {
            return Ok(());
        };
        let taken = usize::try_from(*missing).unwrap_or(usize::MAX).min(rest.len());
        let (piece, behind) = rest.split_at(taken);
        *rest = behind;
        match *frame {
            Frame::Data if self.has_sent_close => {}
            Frame::Data => append_unmasked(plain, piece, *mask),
            Frame::Ping | Frame::Close => append_unmasked(&mut self.control, piece, *mask),
            Frame::Pong => {}
        }
        mask.rotate_left(taken % 4);
        *missing -= taken as u64;
        if *missing == 0 {
            let frame = *frame;
            return self.end_frame(frame, reply);
        }
        Ok(())
    }

    fn end_frame(&mut self, frame: Frame, reply: &mut Vec<u8>) -> Result<(), WsError> {
        self.phase = Phase::Header;
        match frame {
            Frame::Data | Frame::Pong => {}
            Frame::Ping => {
                let payload = std::mem::take(&mut self.control);
                if !self.has_sent_close {
                    write_header(OpCode::Control(Control::Pong), payload.len(), reply);
                    reply.extend_from_slice(&payload);
                }
            }
            Frame::Close => {
                let code = check_close(&std::mem::take(&mut self.control))?;
                self.write_close(code, reply);
                self.phase = Phase::Closed;
            }
        }
        Ok(())
    }

    /// Writes a close frame unless one was sent.
    fn write_close(&mut self, code: Option<u16>, wire: &mut Vec<u8>) {
        if std::mem::replace(&mut self.has_sent_close, true) {
            return;
        }
        let code = code.map(u16::to_be_bytes);
        let payload = code.as_ref().map_or(&[][..], |code| code);
        write_header(OpCode::Control(Control::Close), payload.len(), wire);
        wire.extend_from_slice(payload);
    }

    /// Ends the stream with the answer that belongs to `error`.
    fn fail(&mut self, error: WsError, reply: &mut Vec<u8>) {
        match error {
            WsError::Refused(refusal) => refusal.render(reply),
            WsError::Frame { code, .. } => self.write_close(Some(code), reply),
        }
        self.control = Vec::new();
        self.phase = Phase::Closed;
    }
}

/// Reads a frame header from the front of `bytes`: header, payload length, bytes of the header.
fn parse_header(bytes: &[u8]) -> Result<Option<(FrameHeader, u64, usize)>, WsError> {
    let mut cursor = Cursor::new(bytes);
    let Some((header, payload_len)) = FrameHeader::parse(&mut cursor).map_err(|_| protocol_error("reserved opcode"))?
    else {
        return Ok(None);
    };
    let consumed = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
    if payload_len > i64::MAX as u64 || consumed != header.len(payload_len) {
        return Err(protocol_error("frame length is not in its shortest form"));
    }
    Ok(Some((header, payload_len, consumed)))
}

/// The code of a close frame's payload, to be echoed; `None` if it is empty. Spec: RFC 6455, 5.5.1 and 7.4.
fn check_close(payload: &[u8]) -> Result<Option<u16>, WsError> {
    let Some((&code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(None) } else { Err(protocol_error("close code is cut off")) };
    };
    let code = u16::from_be_bytes(code);
    if !CloseCode::from(code).is_allowed() {
        return Err(protocol_error("close code is not allowed"));
    }
    if std::str::from_utf8(reason).is_err() {
        return Err(WsError::Frame { code: 1007, reason: "close reason is not UTF-8" });
    }
    Ok(Some(code))
}

/// Writes the header of an unmasked, unfragmented frame.
fn write_header(opcode: OpCode, payload_len: usize, wire: &mut Vec<u8>) {
    let header = FrameHeader { opcode, ..FrameHeader::default() };
    // Writing to a vector cannot fail.
    let _ = header.format(payload_len as u64, wire);
}

/// Appends `masked` to `out` without its mask, whose first byte belongs to the first byte of `masked`.
fn append_unmasked(out: &mut Vec<u8>, masked: &[u8], mask: [u8; 4]) {
    let start = out.len();
    out.extend_from_slice(masked);
    let fresh = out.get_mut(start..).unwrap_or_default();
    let (words, tail) = fresh.as_chunks_mut::<4>();
    let key = u32::from_ne_bytes(mask);
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ key).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(mask) {
        *byte ^= key;
    }
}
