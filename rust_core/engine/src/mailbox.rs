//! Mailboxes: commands to a shard, events to Python. A push wakes the reader only when the box was empty.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;

use parking_lot::Mutex;

use crate::sys::Waker;

/// A queue with one reader that sleeps on a descriptor.
pub struct Mailbox<T> {
    items: Mutex<VecDeque<T>>,
    waker: Waker,
}

impl<T> Mailbox<T> {
    /// An empty box.
    ///
    /// # Errors
    /// The system's error when no descriptor is left.
    pub fn new() -> io::Result<Self> {
        Ok(Self { items: Mutex::new(VecDeque::new()), waker: Waker::new()? })
    }

    /// Adds one item.
    pub fn push(&self, item: T) {
        let was_empty = {
            let mut items = self.items.lock();
            items.push_back(item);
            items.len() == 1
        };
        if was_empty {
            self.waker.wake();
        }
    }

    /// Adds many items in order and empties `batch`.
    pub fn push_all(&self, batch: &mut Vec<T>) {
        if batch.is_empty() {
            return;
        }
        let was_empty = {
            let mut items = self.items.lock();
            let was_empty = items.is_empty();
            items.extend(batch.drain(..));
            was_empty
        };
        if was_empty {
            self.waker.wake();
        }
    }

    /// Takes everything, for a reader that works on all of it before it sleeps again.
    #[must_use]
    pub fn take_all(&self) -> VecDeque<T> {
        self.waker.clear();
        std::mem::take(&mut *self.items.lock())
    }

    /// Takes up to `limit` items; the descriptor stays readable while more wait.
    #[must_use]
    pub fn take(&self, limit: usize) -> Vec<T> {
        let mut items = self.items.lock();
        let n = limit.min(items.len());
        let taken = items.drain(..n).collect();
        if items.is_empty() {
            self.waker.clear();
            if items.capacity() > 4096 {
                items.shrink_to(64);
            }
        }
        taken
    }

    /// Readable while items wait.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.waker.as_fd()
    }
}
