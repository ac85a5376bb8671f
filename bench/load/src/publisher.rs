//! One publishing client: its topics, its windows, and what waits for a free window.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use crate::board::{Board, add};
use crate::wire::{PublishTemplate, Stamp};

/// Bytes that one refill puts on a socket at most.
const REFILL_BYTES: usize = 256 * 1024;

/// One publishing client.
#[derive(Debug)]
pub struct Publisher {
    /// Connection in the fleet.
    pub link: usize,
    /// Sequence of the next message.
    pub next: u64,
    /// Publishes that the broker refused.
    pub refused: u64,
    /// Due times of messages that wait for room in the window (paced runs).
    pub backlog: VecDeque<u64>,
    id: u32,
    templates: Vec<PublishTemplate>,
    qos: u8,
    window: usize,
    in_flight: usize,
    packet_id: u16,
    fan: u64,
    share: u64,
    forgiven: u64,
}

/// The windows of a publisher.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    /// QoS 1 and 2 publishes that wait for an acknowledgement.
    pub in_flight: usize,
    /// Publishes whose deliveries may be on the way.
    pub share: u64,
    /// Deliveries per publish.
    pub fan: u64,
}

impl Publisher {
    /// A publisher that has sent nothing yet. `templates` must not be empty.
    pub fn new(
        id: u32,
        link: usize,
        templates: Vec<PublishTemplate>,
        qos: u8,
        windows: Windows,
    ) -> Self {
        Self {
            link,
            next: 0,
            refused: 0,
            backlog: VecDeque::new(),
            id,
            templates,
            qos,
            window: windows.in_flight,
            in_flight: 0,
            packet_id: 0,
            fan: windows.fan,
            share: windows.share.max(1),
            forgiven: 0,
        }
    }

    /// Free places in the in-flight window; no limit at QoS 0.
    fn room(&self) -> usize {
        if self.qos == 0 {
            usize::MAX
        } else {
            self.window.saturating_sub(self.in_flight)
        }
    }

    /// Messages that a flood may send now: 0 until half of a window is free, so that refills stay large.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "counts of messages on the way are small"
    )]
    pub fn refill(&self, board: &Board) -> usize {
        let delivered = board.delivered[self.id as usize].load(Ordering::Relaxed) + self.forgiven;
        let on_the_way = self.next - (delivered / self.fan).min(self.next);
        let credit = self.share.saturating_sub(on_the_way) as usize;
        let most = (REFILL_BYTES / self.templates[0].len()).max(1);
        let half = |window: usize| window.div_ceil(2);
        let mut least = half(self.share as usize).min(most);
        if self.qos > 0 {
            least = least.min(half(self.window));
        }
        let quota = credit.min(self.room()).min(most);
        if quota >= least { quota } else { 0 }
    }

    /// Appends `count` messages to `out`, all due and sent now.
    pub fn flood(&mut self, count: usize, out: &mut Vec<u8>, board: &Board) {
        let now_ns = board.now_ns();
        for _ in 0..count {
            self.append(out, now_ns, now_ns);
        }
        add(&board.sent, count as u64);
    }

    /// Appends the messages of the backlog that the window has room for; returns how many.
    pub fn send_due(
        &mut self,
        out: &mut Vec<u8>,
        board: &Board,
        on_sent: &mut impl FnMut(u64, u64),
    ) -> u64 {
        let mut count = 0;
        while self.room() > 0
            && let Some(due_ns) = self.backlog.pop_front()
        {
            let now_ns = board.now_ns();
            self.append(out, due_ns, now_ns);
            on_sent(due_ns, now_ns);
            count += 1;
        }
        add(&board.sent, count);
        count
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "the index is below the number of templates"
    )]
    fn append(&mut self, out: &mut Vec<u8>, due_ns: u64, sent_ns: u64) {
        if self.qos > 0 {
            self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
            self.in_flight += 1;
        }
        let template = match self.templates.as_slice() {
            [only] => only,
            many => &many[(self.next % many.len() as u64) as usize],
        };
        template.append(
            out,
            self.packet_id,
            &Stamp {
                publisher: self.id,
                sequence: self.next,
                due_ns,
                sent_ns,
            },
        );
        self.next += 1;
    }

    /// One publish was acknowledged in full. Returns `false` if none was open.
    pub fn on_settled(&mut self, code: u8) -> bool {
        self.refused += u64::from(code >= 0x80);
        self.in_flight.checked_sub(1).is_some_and(|left| {
            self.in_flight = left;
            true
        })
    }

    /// Gives up waiting for deliveries on the way, so that a lossy broker does not stop the run; returns their number.
    pub fn forgive(&mut self, board: &Board) -> u64 {
        let settled = board.delivered[self.id as usize].load(Ordering::Relaxed) + self.forgiven;
        let missing = (self.next * self.fan).saturating_sub(settled);
        self.forgiven += missing;
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{PropertySet, PublishShape, Version};

    fn publisher(qos: u8, windows: Windows) -> Publisher {
        let shape = PublishShape {
            version: Version::V311,
            qos,
            is_retained: false,
            payload_bytes: 64,
            properties: PropertySet::None,
        };
        Publisher::new(0, 0, vec![PublishTemplate::new("t", shape)], qos, windows)
    }

    #[test]
    fn refill_waits_until_half_of_the_share_was_delivered() {
        let board = Board::new(1);
        let mut publisher = publisher(
            0,
            Windows {
                in_flight: 1,
                share: 10,
                fan: 2,
            },
        );
        assert_eq!(publisher.refill(&board), 10);
        publisher.flood(10, &mut Vec::new(), &board);
        add(&board.delivered[0], 8);
        assert_eq!(publisher.refill(&board), 0);
        add(&board.delivered[0], 2);
        assert_eq!(publisher.refill(&board), 5);
    }

    #[test]
    fn window_bounds_acknowledged_publishes() {
        let board = Board::new(1);
        let mut publisher = publisher(
            1,
            Windows {
                in_flight: 4,
                share: 100,
                fan: 1,
            },
        );
        assert_eq!(publisher.refill(&board), 4);
        publisher.flood(4, &mut Vec::new(), &board);
        assert!(publisher.on_settled(0));
        assert_eq!(publisher.refill(&board), 0);
        assert!(publisher.on_settled(0x97));
        assert_eq!((publisher.refill(&board), publisher.refused), (2, 1));
        assert!(publisher.on_settled(0) && publisher.on_settled(0) && !publisher.on_settled(0));
    }

    #[test]
    fn backlog_keeps_due_times_while_the_window_is_full() {
        let board = Board::new(1);
        let mut publisher = publisher(
            1,
            Windows {
                in_flight: 1,
                share: 100,
                fan: 1,
            },
        );
        publisher.backlog.extend([5, 6]);
        let (mut out, mut due) = (Vec::new(), Vec::new());
        assert_eq!(
            publisher.send_due(&mut out, &board, &mut |due_ns, _| due.push(due_ns)),
            1
        );
        publisher.on_settled(0);
        publisher.send_due(&mut out, &board, &mut |due_ns, _| due.push(due_ns));
        assert_eq!(due, [5, 6]);
    }

    #[test]
    fn lost_messages_are_forgiven_once() {
        let board = Board::new(1);
        let mut publisher = publisher(
            0,
            Windows {
                in_flight: 1,
                share: 10,
                fan: 1,
            },
        );
        publisher.flood(10, &mut Vec::new(), &board);
        add(&board.delivered[0], 3);
        assert_eq!(
            (publisher.forgive(&board), publisher.forgive(&board)),
            (7, 0)
        );
        assert_eq!(publisher.refill(&board), 10);
    }
}
