//! The slowest deliveries of late: which client was late on which topic, and by how much.
//!
//! A short list behind a lock that only slow deliveries take. Nothing is measured while the settings have no rule.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// What is measured of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// From the publication to the acknowledgement; to the sending at QoS 0.
    Whole,
    /// From the publication to the sending.
    Internal,
    /// From the sending to the acknowledgement.
    Response,
}

/// Which deliveries are slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowRule {
    /// What is measured.
    pub measure: Measure,
    /// Shortest time that counts.
    pub threshold_ms: u64,
    /// Most rows that are kept: the slowest.
    pub most: usize,
}

/// A client that was late on a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlowRow {
    /// The receiver.
    pub client_id: Box<str>,
    /// Topic as routed.
    pub topic: Box<str>,
    /// How long its latest slow delivery took.
    pub timespan_ms: u64,
    /// Monotonic time of that.
    pub at_ms: u64,
}

/// The list.
#[derive(Default)]
pub struct SlowTable {
    /// What a delivery must pass to come in; 0 while there is room.
    floor_ms: AtomicU64,
    rows: Mutex<Vec<SlowRow>>,
}

impl SlowTable {
    /// Takes note of a delivery of any length.
    pub fn record(&self, rule: SlowRule, client_id: &str, topic: &str, timespan_ms: u64, now_ms: u64) {
        if timespan_ms < rule.threshold_ms || timespan_ms < self.floor_ms.load(Ordering::Relaxed) {
            return;
        }
        let mut rows = self.rows.lock();
        let row = SlowRow { client_id: client_id.into(), topic: topic.into(), timespan_ms, at_ms: now_ms };
        let known = rows.iter_mut().find(|known| *known.client_id == *client_id && *known.topic == *topic);
        if let Some(known) = known {
            *known = row;
        } else if rows.len() < rule.most {
            rows.push(row);
        } else if let Some(fastest) = rows.iter_mut().min_by_key(|known| known.timespan_ms)
            && fastest.timespan_ms < timespan_ms
        {
            *fastest = row;
        }
        self.set_floor(&rows, rule.most);
    }

    /// All rows, slowest first.
    #[must_use]
    pub fn list(&self) -> Vec<SlowRow> {
        let mut rows = self.rows.lock().clone();
        rows.sort_by(|one, other| {
            other.timespan_ms.cmp(&one.timespan_ms).then_with(|| one.client_id.cmp(&other.client_id))
        });
        rows
    }

    /// Forgets the rows of a monotonic time before this one, and the fastest of those that are left beyond `most`.
    pub fn forget(&self, before_ms: u64, most: usize) {
        let mut rows = self.rows.lock();
        rows.retain(|row| row.at_ms >= before_ms);
        rows.sort_by_key(|row| std::cmp::Reverse(row.timespan_ms));
        rows.truncate(most);
        self.set_floor(&rows, most);
    }

    fn set_floor(&self, rows: &[SlowRow], most: usize) {
        let fastest = rows.iter().map(|row| row.timespan_ms).min().unwrap_or(0);
        self.floor_ms.store(if rows.len() >= most { fastest } else { 0 }, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: SlowRule = SlowRule { measure: Measure::Whole, threshold_ms: 100, most: 2 };

    fn spans(table: &SlowTable) -> Vec<(String, u64)> {
        table.list().iter().map(|row| (row.client_id.to_string(), row.timespan_ms)).collect()
    }

    #[test]
    fn only_what_passes_the_threshold_is_listed_slowest_first() {
        let table = SlowTable::default();
        for (client, span) in [("a", 99), ("b", 100), ("c", 300)] {
            table.record(RULE, client, "t", span, 1);
        }
        assert_eq!(spans(&table), [("c".to_owned(), 300), ("b".to_owned(), 100)]);
    }

    #[test]
    fn the_slowest_stay_when_the_list_is_full() {
        let table = SlowTable::default();
        for (client, span) in [("a", 200), ("b", 300), ("c", 150), ("d", 400)] {
            table.record(RULE, client, "t", span, 1);
        }
        assert_eq!(spans(&table), [("d".to_owned(), 400), ("b".to_owned(), 300)]);
    }

    #[test]
    fn a_client_stands_once_for_a_topic_with_its_latest() {
        let table = SlowTable::default();
        table.record(RULE, "a", "t", 300, 1);
        table.record(RULE, "a", "t", 200, 2);
        assert_eq!(spans(&table), [("a".to_owned(), 200)]);
    }

    #[test]
    fn old_rows_are_forgotten_and_make_room() {
        let table = SlowTable::default();
        table.record(RULE, "a", "t", 500, 1);
        table.record(RULE, "b", "t", 600, 5);
        table.forget(5, 2);
        table.record(RULE, "c", "t", 100, 6);
        assert_eq!(spans(&table), [("b".to_owned(), 600), ("c".to_owned(), 100)]);
        table.forget(0, 1);
        assert_eq!(spans(&table), [("b".to_owned(), 600)]);
    }
}
