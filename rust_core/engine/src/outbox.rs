//! Output of one connection: bytes encoded but not yet sent, and the buffers they live in.
//!
//! Idle connections own no buffer: the first append takes one from the pool of the appending thread, and the flush
//! that empties the outbox gives it back. Large payloads are queued by reference. Marks bound the whole.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use pybroker_core::message::Message;

use crate::sys::{self, Transfer};

/// Above this many unsent bytes QoS 0 is dropped for the consumer and QoS 1/2 wait in the queue (design, section 5).
pub const SOFT_MARK: usize = 256 * 1024;
/// Above this many unsent bytes of answers the connection is ended: the client sends but does not read.
pub const HARD_MARK: usize = 4 * 1024 * 1024;
/// An outbox that has reached this size is flushed within the turn instead of at its end.
pub const FLUSH_MARK: usize = 64 * 1024;
/// Payloads of this size and more are queued by reference instead of being copied for every subscriber.
pub const SHARE_MARK: usize = 8 * 1024;

const BUFFER_BYTES: usize = 4 * 1024;
/// What the free buffers of one thread may hold together; what is beyond goes back to the allocator.
const POOL_BYTES: usize = 2 * 1024 * 1024;
const MAX_PARTS: usize = 64;

/// Empty buffers of one thread.
#[derive(Default)]
pub struct BufferPool {
    free: Vec<Vec<u8>>,
    bytes: usize,
}

impl BufferPool {
    fn take(&mut self) -> Vec<u8> {
        let Some(buffer) = self.free.pop() else { return Vec::with_capacity(BUFFER_BYTES) };
        self.bytes -= buffer.capacity();
        buffer
    }

    fn give(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() > 0 && self.bytes + buffer.capacity() <= POOL_BYTES {
            buffer.clear();
            self.bytes += buffer.capacity();
            self.free.push(buffer);
        }
    }
}

enum Chunk {
    Bytes(Vec<u8>),
    Payload(Arc<Message>),
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Payload(message) => message.payload(),
        }
    }
}

/// How a flush ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flushed {
    /// Everything is with the system.
    Empty,
    /// The socket is full; the poller reports when there is room.
    Blocked,
    /// The connection is over.
    Broken,
}

/// Unsent output, in order.
#[derive(Default)]
pub struct Outbox {
    tail: Vec<u8>,
    /// Earlier parts; only there while payloads are queued by reference.
    #[allow(clippy::box_collection, reason = "idle links are many: one pointer instead of four words")]
    front: Option<Box<VecDeque<Chunk>>>,
    /// Bytes of the first part that were sent already.
    sent: usize,
    len: usize,
}

impl Outbox {
    /// Unsent bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether everything was sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The buffer to append to.
    fn open(&mut self, pool: &mut BufferPool) -> &mut Vec<u8> {
        if self.tail.capacity() == 0 {
            self.tail = pool.take();
        }
        &mut self.tail
    }

    /// Lets `write` append to the buffer.
    pub fn append_with<T>(&mut self, pool: &mut BufferPool, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let tail = self.open(pool);
        let before = tail.len();
        let outcome = write(tail);
        self.len += self.tail.len() - before;
        outcome
    }

    /// Appends encoded bytes.
    pub fn append(&mut self, pool: &mut BufferPool, bytes: &[u8]) {
        self.open(pool).extend_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Appends a frame whose packet id is at `at` (two bytes, big endian).
    pub fn append_with_packet_id(&mut self, pool: &mut BufferPool, frame: &[u8], at: usize, packet_id: u16) {
        let tail = self.open(pool);
        let start = tail.len();
        tail.extend_from_slice(frame);
        if let Some(place) = tail.get_mut(start + at..start + at + 2) {
            place.copy_from_slice(&packet_id.to_be_bytes());
        }
        self.len += frame.len();
    }

    /// Appends the payload of a message by reference; its head was appended before.
    pub fn append_payload(&mut self, message: &Arc<Message>) {
        self.len += message.payload().len();
        let front = self.front.get_or_insert_default();
        if !self.tail.is_empty() {
            front.push_back(Chunk::Bytes(std::mem::take(&mut self.tail)));
        }
        front.push_back(Chunk::Payload(Arc::clone(message)));
    }

    /// Sends as much as the socket takes. Returns the number of bytes sent and how it ended.
    pub fn flush(&mut self, fd: BorrowedFd<'_>, pool: &mut BufferPool) -> (usize, Flushed) {
        let mut total = 0;
        while self.len > 0 {
            let asked = self.len;
            let transfer = if self.front.is_none() {
                sys::transmit(fd, self.tail.get(self.sent..).unwrap_or_default())
            } else {
                self.transmit_parts(fd)
            };
            match transfer {
                Transfer::Bytes(n) => {
                    total += n;
                    self.advance(n, pool);
                    if self.front.is_none() && n < asked {
                        // A short send means a full socket: the poller will report room, another try would be refused.
                        return (total, self.block());
                    }
                }
                Transfer::WouldBlock => return (total, self.block()),
                Transfer::Eof | Transfer::Broken => return (total, Flushed::Broken),
            }
        }
        (total, Flushed::Empty)
    }

    fn block(&mut self) -> Flushed {
        // Sent bytes at the front of a buffer that keeps growing would never be freed.
        if self.front.is_none() && self.sent > FLUSH_MARK {
            self.tail.drain(..self.sent);
            self.sent = 0;
        }
        Flushed::Blocked
    }

    fn transmit_parts(&self, fd: BorrowedFd<'_>) -> Transfer {
        let mut parts = Vec::with_capacity(MAX_PARTS);
        let mut skip = self.sent;
        let chunks = self.front.iter().flat_map(|front| front.iter().map(Chunk::bytes));
        for bytes in chunks.chain(std::iter::once(self.tail.as_slice())).take(MAX_PARTS) {
            parts.push(IoSlice::new(bytes.get(skip..).unwrap_or_default()));
            skip = 0;
        }
        sys::transmit_all(fd, &parts)
    }

    /// Takes note that `n` bytes left.
    fn advance(&mut self, n: usize, pool: &mut BufferPool) {
        self.len -= n;
        self.sent += n;
        while let Some(front) = self.front.as_mut() {
            match front.front() {
                Some(chunk) if chunk.bytes().len() <= self.sent => {
                    self.sent -= chunk.bytes().len();
                    if let Some(Chunk::Bytes(bytes)) = front.pop_front() {
                        pool.give(bytes);
                    }
                }
                Some(_) => break,
                None => self.front = None,
            }
        }
        if self.len == 0 {
            self.sent = 0;
            pool.give(std::mem::take(&mut self.tail));
        }
    }

    /// Moves all unsent bytes out, for a transport that transforms them.
    pub fn take_into(&mut self, pool: &mut BufferPool, mut consume: impl FnMut(&[u8])) {
        let mut skip = self.sent;
        if let Some(front) = self.front.take() {
            for chunk in *front {
                consume(chunk.bytes().get(skip..).unwrap_or_default());
                skip = 0;
            }
        }
        consume(self.tail.get(skip..).unwrap_or_default());
        self.clear(pool);
    }

    /// Forgets everything unsent.
    pub fn clear(&mut self, pool: &mut BufferPool) {
        self.front = None;
        self.sent = 0;
        self.len = 0;
        pool.give(std::mem::take(&mut self.tail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_keeps_no_more_than_its_bytes() {
        let mut pool = BufferPool::default();
        for _ in 0..1_000 {
            pool.give(Vec::with_capacity(64 * 1024));
        }
        assert_eq!(pool.bytes, pool.free.iter().map(Vec::capacity).sum::<usize>());
        assert!(pool.bytes <= POOL_BYTES && pool.bytes >= POOL_BYTES / 2);
        while !pool.free.is_empty() {
            pool.take();
        }
        assert_eq!(pool.bytes, 0);
    }

    #[test]
    fn an_empty_outbox_owns_no_buffer() {
        let (mut outbox, mut pool) = (Outbox::default(), BufferPool::default());
        outbox.append(&mut pool, b"abc");
        outbox.append_with_packet_id(&mut pool, &[0x32, 4, 0, 0], 2, 7);
        let mut taken = Vec::new();
        outbox.take_into(&mut pool, |bytes| taken.extend_from_slice(bytes));
        assert_eq!(taken, [b'a', b'b', b'c', 0x32, 4, 0, 7]);
        assert!(outbox.is_empty() && outbox.tail.capacity() == 0);
    }
}
