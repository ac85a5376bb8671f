//! Counts lost, duplicated and out-of-order messages of one (publisher, subscriber) stream.
//!
//! Every message carries a sequence that counts 0, 1, 2 ... per publisher. Memory grows only with open gaps.

use std::collections::BTreeMap;
use std::ops::AddAssign;

/// Open gaps that one stream remembers; beyond it the oldest is settled as lost.
const MAX_GAPS: usize = 65_536;

/// What was seen on one or many streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Every arrival, duplicates too.
    pub received: u64,
    pub lost: u64,
    pub duplicated: u64,
    /// Arrivals after a higher sequence of the same publisher.
    pub out_of_order: u64,
    /// Arrivals that belong to no stream of this subscriber.
    pub foreign: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.received += other.received;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.out_of_order += other.out_of_order;
        self.foreign += other.foreign;
    }
}

/// Sequences of one publisher as one subscriber sees them.
#[derive(Debug, Default)]
pub struct Stream {
    next: u64,
    /// Missing ranges: first sequence to the one behind the last.
    gaps: BTreeMap<u64, u64>,
    settled: Counts,
}

impl Stream {
    /// Records one arrival. O(1) while nothing is missing.
    #[inline]
    pub fn record(&mut self, sequence: u64) {
        self.settled.received += 1;
        if sequence == self.next {
            self.next += 1;
        } else {
            self.record_surprise(sequence);
        }
    }

    #[cold]
    fn record_surprise(&mut self, sequence: u64) {
        if sequence > self.next {
            self.gaps.insert(self.next, sequence);
            self.next = sequence + 1;
            if self.gaps.len() > MAX_GAPS
                && let Some((start, end)) = self.gaps.pop_first()
            {
                self.settled.lost += end - start;
            }
            return;
        }
        match self
            .gaps
            .range(..=sequence)
            .next_back()
            .map(|(start, end)| (*start, *end))
        {
            Some((start, end)) if sequence < end => {
                self.settled.out_of_order += 1;
                self.gaps.remove(&start);
                if start < sequence {
                    self.gaps.insert(start, sequence);
                }
                if sequence + 1 < end {
                    self.gaps.insert(sequence + 1, end);
                }
            }
            _ => self.settled.duplicated += 1,
        }
    }

    /// Closes the stream: everything below `sent` that never came is lost.
    pub fn finish(&self, sent: u64) -> Counts {
        let open: u64 = self.gaps.iter().map(|(start, end)| end - start).sum();
        Counts {
            lost: self.settled.lost + open + sent.saturating_sub(self.next),
            ..self.settled
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(arrivals: &[u64], sent: u64) -> (u64, u64, u64, u64) {
        let mut stream = Stream::default();
        for sequence in arrivals {
            stream.record(*sequence);
        }
        let counts = stream.finish(sent);
        (
            counts.received,
            counts.lost,
            counts.duplicated,
            counts.out_of_order,
        )
    }

    #[test]
    fn unbroken_stream_has_no_faults() {
        assert_eq!(counts(&[0, 1, 2, 3], 4), (4, 0, 0, 0));
    }

    #[test]
    fn missing_middle_and_tail_are_lost() {
        assert_eq!(counts(&[0, 3, 4], 7), (3, 4, 0, 0));
    }

    #[test]
    fn late_arrival_is_out_of_order_and_not_lost() {
        assert_eq!(counts(&[0, 4, 2, 1, 3], 5), (5, 0, 0, 3));
    }

    #[test]
    fn second_arrival_is_a_duplicate_also_inside_a_filled_gap() {
        assert_eq!(counts(&[0, 1, 1, 4, 2, 2, 3, 0], 5), (8, 0, 3, 2));
    }

    #[test]
    fn gap_memory_is_bounded_and_counted() {
        let mut stream = Stream::default();
        for step in 0..(MAX_GAPS as u64 + 10) {
            stream.record(step * 2 + 1);
        }
        assert_eq!(stream.gaps.len(), MAX_GAPS);
        assert_eq!(
            stream.finish(2 * (MAX_GAPS as u64 + 10)).lost,
            MAX_GAPS as u64 + 10
        );
    }
}
