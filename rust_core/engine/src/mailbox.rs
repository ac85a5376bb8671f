//! Mailboxes: commands to a shard, events to Python. A push wakes the reader only where nobody has done so yet.
//!
//! Whoever posts much in a row may leave its items and ring once: a reader that is woken for each of them costs two
//! switches between threads for each.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;

use parking_lot::Mutex;

use crate::sys::Waker;

/// A queue with one reader that sleeps on a descriptor.
pub struct Mailbox<T> {
    inbox: Mutex<Inbox<T>>,
    waker: Waker,
}

struct Inbox<T> {
    items: VecDeque<T>,
    /// The reader was woken and has not come yet.
    is_called: bool,
}

impl<T> Inbox<T> {
    /// Whether the reader must be woken now for what the box holds; it counts as woken from then on.
    fn calls(&mut self) -> bool {
        !self.items.is_empty() && !std::mem::replace(&mut self.is_called, true)
    }
}

impl<T> Mailbox<T> {
    /// An empty box.
    ///
    /// # Errors
    /// The system's error when no descriptor is left.
    pub fn new() -> io::Result<Self> {
        let inbox = Inbox { items: VecDeque::new(), is_called: false };
        Ok(Self { inbox: Mutex::new(inbox), waker: Waker::new()? })
    }

    /// Adds one item.
    pub fn push(&self, item: T) {
        let calls = {
            let mut inbox = self.inbox.lock();
            inbox.items.push_back(item);
            inbox.calls()
        };
        if calls {
            self.waker.wake();
        }
    }

    /// Adds one item for a reader that is not woken for it before [`Mailbox::ring`] or somebody else's push.
    pub fn leave(&self, item: T) {
        self.inbox.lock().items.push_back(item);
    }

    /// Wakes the reader for what was left.
    pub fn ring(&self) {
        let calls = self.inbox.lock().calls();
        if calls {
            self.waker.wake();
        }
    }

    /// Adds many items in order and empties `batch`.
    pub fn push_all(&self, batch: &mut Vec<T>) {
        if batch.is_empty() {
            return;
        }
        let calls = {
            let mut inbox = self.inbox.lock();
            inbox.items.extend(batch.drain(..));
            inbox.calls()
        };
        if calls {
            self.waker.wake();
        }
    }

    /// Takes everything, for a reader that works on all of it before it sleeps again.
    #[must_use]
    pub fn take_all(&self) -> VecDeque<T> {
        self.waker.clear();
        let mut inbox = self.inbox.lock();
        inbox.is_called = false;
        std::mem::take(&mut inbox.items)
    }

    /// Takes up to `limit` items; the descriptor stays readable while more wait.
    #[must_use]
    pub fn take(&self, limit: usize) -> Vec<T> {
        let mut inbox = self.inbox.lock();
        let items = &mut inbox.items;
        let n = limit.min(items.len());
        let taken = items.drain(..n).collect();
        if items.is_empty() {
            self.waker.clear();
            if items.capacity() > 4096 {
                items.shrink_to(64);
            }
            inbox.is_called = false;
        }
        taken
    }

    /// Readable while items wait.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.waker.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Poller;

    fn watched() -> (Mailbox<u8>, Poller) {
        let (mailbox, poller) = (Mailbox::new().unwrap(), Poller::new().unwrap());
        poller.add_waker(mailbox.as_fd(), 1).unwrap();
        (mailbox, poller)
    }

    fn is_woken(poller: &mut Poller) -> bool {
        poller.wait(Some(0)).unwrap() > 0
    }

    #[test]
    fn what_is_left_wakes_nobody_before_the_ring() {
        let (mailbox, mut poller) = watched();
        mailbox.leave(1);
        mailbox.leave(2);
        assert!(!is_woken(&mut poller));
        mailbox.ring();
        assert!(is_woken(&mut poller));
        assert_eq!(mailbox.take_all(), [1, 2]);
        assert!(!is_woken(&mut poller));
    }

    #[test]
    fn a_push_behind_what_is_left_wakes_for_both() {
        let (mailbox, mut poller) = watched();
        mailbox.leave(1);
        mailbox.push(2);
        assert!(is_woken(&mut poller));
        assert_eq!(mailbox.take_all(), [1, 2]);
    }

    #[test]
    fn a_ring_at_an_empty_box_wakes_nobody() {
        let (mailbox, mut poller) = watched();
        mailbox.ring();
        assert!(!is_woken(&mut poller));
        mailbox.push(1);
        assert!(is_woken(&mut poller));
    }

    #[test]
    fn a_box_that_was_emptied_in_part_stays_readable() {
        let (mailbox, mut poller) = watched();
        mailbox.push_all(&mut vec![1, 2, 3]);
        assert_eq!(mailbox.take(2), [1, 2]);
        assert!(is_woken(&mut poller));
        assert_eq!(mailbox.take(2), [3]);
        assert!(!is_woken(&mut poller));
        mailbox.push(4);
        assert!(is_woken(&mut poller));
    }
}
