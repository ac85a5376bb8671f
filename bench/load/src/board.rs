//! What the threads of a traffic run show each other: the stage, and counters that each has one writer.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

/// Where a traffic run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// Connections and subscriptions are made.
    Prepare,
    /// Publishers run.
    Publish,
    /// Publishers rest, deliveries on the way still arrive.
    Drain,
    /// Threads end.
    Stop,
}

/// Shared by the conductor and the threads.
#[derive(Debug)]
pub struct Board {
    stage: AtomicU8,
    /// Threads whose clients are connected and subscribed.
    pub ready: AtomicUsize,
    /// Set by a thread that ended with an error.
    pub has_failed: AtomicBool,
    /// Deliveries of each publisher's messages; written by the thread that holds the subscribers.
    pub delivered: Vec<AtomicU64>,
    /// The sum of `delivered`.
    pub received: AtomicU64,
    /// Deliveries to slow subscribers, which read once everything is published.
    pub late: AtomicU64,
    /// Published messages.
    pub sent: AtomicU64,
    /// Nanoseconds that each thread found nothing to do.
    pub idle_ns: [AtomicU64; 2],
    /// Latencies of messages that are due in this span are recorded; nanoseconds since `epoch`.
    pub measured_ns: [AtomicU64; 2],
    epoch: Instant,
}

impl Board {
    /// A board for `publishers`.
    pub fn new(publishers: usize) -> Self {
        Self {
            stage: AtomicU8::new(Stage::Prepare as u8),
            ready: AtomicUsize::new(0),
            has_failed: AtomicBool::new(false),
            delivered: (0..publishers).map(|_| AtomicU64::new(0)).collect(),
            received: AtomicU64::new(0),
            late: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            idle_ns: [AtomicU64::new(0), AtomicU64::new(0)],
            measured_ns: [AtomicU64::new(u64::MAX), AtomicU64::new(u64::MAX)],
            epoch: Instant::now(),
        }
    }

    /// The current stage.
    pub fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Acquire) {
            0 => Stage::Prepare,
            1 => Stage::Publish,
            2 => Stage::Drain,
            _ => Stage::Stop,
        }
    }

    /// Moves to another stage.
    pub fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Release);
    }

    /// Nanoseconds since the board was made; the clock of all stamps.
    #[allow(clippy::cast_possible_truncation, reason = "584 years fit")]
    pub fn now_ns(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// Whether the latency of a message that was due then counts.
    pub fn is_measured(&self, due_ns: u64) -> bool {
        let [from, to] = &self.measured_ns;
        due_ns >= from.load(Ordering::Relaxed) && due_ns < to.load(Ordering::Relaxed)
    }
}

/// Adds to a counter that only this thread writes: a load and a store instead of a locked addition.
#[inline]
pub fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Ordering::Relaxed) + amount, Ordering::Relaxed);
}
