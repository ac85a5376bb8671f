//! The bounded queue against a list that does the same in the most naive way.

use proptest::collection::vec;
use proptest::prelude::*;
use pybroker_core::session::{Entry, Limits, Next, Offer, Overflow, Window};

use super::{entry, limits};

/// The queue as a list in the order of arrival; every question walks over all of it.
#[derive(Default)]
struct NaiveQueue {
    waiting: Vec<Entry<u32>>,
}

impl NaiveQueue {
    fn fits(waiting: &[Entry<u32>], more_bytes: u32, limits: &Limits) -> bool {
        let bytes: u64 = waiting.iter().map(|entry| u64::from(entry.bytes)).sum();
        (limits.max_queue_len == 0 || waiting.len() < limits.max_queue_len as usize)
            && (limits.max_queue_bytes == 0 || bytes + u64::from(more_bytes) <= limits.max_queue_bytes)
    }

    fn offer(&mut self, entry: Entry<u32>, limits: &Limits) -> Offer<u32> {
        if entry.qos == 0 && !limits.stores_qos0 {
            return Offer::Refused(entry);
        }
        let mut rest = self.waiting.clone();
        let mut evicted = Vec::new();
        while !Self::fits(&rest, entry.bytes, limits) {
            let lowest = rest.iter().map(|other| other.priority).min();
            if limits.overflow != Overflow::DropOldest || lowest.is_none_or(|lowest| lowest > entry.priority) {
                return Offer::Refused(entry);
            }
            let oldest = rest.iter().position(|other| Some(other.priority) == lowest);
            evicted.push(rest.remove(oldest.unwrap()));
        }
        rest.push(entry);
        self.waiting = rest;
        Offer::Queued { evicted }
    }

    fn in_order(&self) -> Vec<Entry<u32>> {
        let mut order = self.waiting.clone();
        order.sort_by_key(|entry| std::cmp::Reverse(entry.priority));
        order
    }

    fn pop(&mut self, is_window_open: bool) -> Option<Entry<u32>> {
        let order = self.in_order();
        let next = order.into_iter().find(|entry| is_window_open || entry.qos == 0)?;
        self.waiting.retain(|entry| entry.message != next.message);
        Some(next)
    }

    fn remove(&mut self, leaves: impl Fn(&Entry<u32>) -> bool) -> Vec<Entry<u32>> {
        let gone = self.in_order().into_iter().filter(&leaves).collect();
        self.waiting.retain(|entry| !leaves(entry));
        gone
    }
}

#[derive(Debug, Clone)]
enum QueueStep {
    /// The number of the step becomes the message, its lifetime the time of expiry.
    Offer(Entry<u32>),
    Next {
        is_window_open: bool,
    },
    Expire,
    TakeShared,
    Retain {
        residue: u32,
    },
}

fn queue_steps() -> impl Strategy<Value = Vec<QueueStep>> {
    let lifetime_ms = prop_oneof![Just(u64::MAX), 0_u64..40];
    let offer = (0_u8..3, -1_i16..2, 0_u32..6, lifetime_ms, any::<bool>()).prop_map(
        |(qos, priority, bytes, lifetime_ms, is_shared)| {
            QueueStep::Offer(Entry { bytes, expires_at_ms: lifetime_ms, is_shared, ..entry(0, qos, priority) })
        },
    );
    let step = prop_oneof![
        12 => offer,
        4 => any::<bool>().prop_map(|is_window_open| QueueStep::Next { is_window_open }),
        1 => Just(QueueStep::Expire),
        1 => Just(QueueStep::TakeShared),
        1 => (0_u32..5).prop_map(|residue| QueueStep::Retain { residue }),
    ];
    vec(step, 1..200)
}

/// Applies step number `now_ms` to both queues and compares what they answer.
fn compare_step(window: &mut Window<u32>, naive: &mut NaiveQueue, step: &QueueStep, now_ms: u32, limits: &Limits) {
    let number = now_ms;
    let now_ms = u64::from(now_ms);
    match step {
        QueueStep::Offer(entry) => {
            let mut entry = entry.clone();
            entry.message = number;
            entry.expires_at_ms = entry.expires_at_ms.saturating_add(now_ms);
            let outcome = window.offer(entry.clone(), false, 0, limits);
            assert_eq!(outcome, naive.offer(entry, limits));
        }
        QueueStep::Next { is_window_open } => {
            let expected = naive.pop(*is_window_open);
            let is_expired = expected.as_ref().is_some_and(|entry| entry.is_expired(now_ms));
            let (packet_id, actual) = match window.next(now_ms, u16::from(*is_window_open), limits) {
                Next::Send { packet_id, entry } => (packet_id, Some(entry.clone())),
                Next::SendQos0(entry) if !is_expired => (0, Some(entry)),
                Next::Expired(entry) if is_expired => (0, Some(entry)),
                Next::None => (0, None),
                other => panic!("not expected: {other:?}"),
            };
            assert_eq!(actual, expected);
            assert_eq!(window.abandon(packet_id).is_some(), packet_id > 0);
        }
        QueueStep::Expire => {
            let gone = naive.remove(|entry| entry.is_expired(now_ms));
            assert_eq!(window.expire(now_ms), gone.len());
        }
        QueueStep::TakeShared => {
            assert_eq!(window.take_shared(), naive.remove(|entry| entry.is_shared));
        }
        QueueStep::Retain { residue } => {
            let gone = naive.remove(|entry| entry.message % 5 == *residue);
            let removed = window.retain_entries(|entry| entry.message % 5 != *residue);
            assert_eq!(removed, gone.len());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn the_queue_does_what_a_naive_list_does(
        limits in limits(),
        max_queue_bytes in prop_oneof![Just(0_u64), 1_u64..20],
        steps in queue_steps(),
    ) {
        let limits = Limits { max_inflight: 1, max_queue_bytes, ..limits };
        let (mut window, mut naive) = (Window::new(), NaiveQueue::default());
        for (now_ms, step) in (0_u32..).zip(&steps) {
            compare_step(&mut window, &mut naive, step, now_ms, &limits);
            let waiting: Vec<_> = window.queued().map(|item| item.entry.clone()).collect();
            assert_eq!(waiting, naive.in_order());
            assert_eq!(window.queue_len(), waiting.len());
            let bytes: u64 = waiting.iter().map(|entry| u64::from(entry.bytes)).sum();
            assert_eq!(window.queue_bytes(), bytes);
        }
    }
}
