//! The messages that wait for a client: offline, or behind a full window. Bounded by count and bytes.
//!
//! Invariants: one lane per priority, highest first, none of them empty; within a lane the position tells the order of
//! arrival. QoS 0 has a line of its own in each lane, for it may pass what a full window holds back.

use std::cmp::Reverse;
use std::collections::VecDeque;

use super::entry::{Entry, Limits, Overflow};

/// A waiting entry and its place.
#[derive(Debug)]
struct Waiting<M> {
    position: u64,
    entry: Entry<M>,
}

/// The entries of one priority, oldest first in both lines.
#[derive(Debug)]
struct Lane<M> {
    priority: i16,
    bytes: u64,
    acknowledged: VecDeque<Waiting<M>>,
    unacknowledged: VecDeque<Waiting<M>>,
}

/// The bounded queue of one session.
#[derive(Debug)]
pub(super) struct Queue<M> {
    lanes: Vec<Lane<M>>,
    next_position: u64,
    bytes: u64,
    /// No entry expires before this time; it may be too early after removals, never too late.
    earliest_expiry_ms: u64,
    len: usize,
}

impl<M> Queue<M> {
    pub(super) fn new() -> Self {
        Self { lanes: Vec::new(), next_position: 0, bytes: 0, earliest_expiry_ms: u64::MAX, len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn has_qos0(&self) -> bool {
        self.lanes.iter().any(|lane| !lane.unacknowledged.is_empty())
    }

    /// Takes `entry` in and returns what had to leave for it, oldest first, or gives it back if it may not come in.
    pub(super) fn push(&mut self, entry: Entry<M>, limits: &Limits) -> Result<Vec<Entry<M>>, Entry<M>> {
        if has_room(self.len, self.bytes, entry.bytes, limits) {
            self.append(entry);
            return Ok(Vec::new());
        }
        if limits.overflow != Overflow::DropOldest || !self.can_make_room(&entry, limits) {
            return Err(entry);
        }
        let mut evicted = Vec::new();
        while !has_room(self.len, self.bytes, entry.bytes, limits)
            && let Some(oldest) = self.pop_lowest()
        {
            evicted.push(oldest);
        }
        self.append(entry);
        Ok(evicted)
    }

    /// Takes out the entry that goes next, or the next of QoS 0 if `is_window_open` is false.
    pub(super) fn pop(&mut self, is_window_open: bool) -> Option<Entry<M>> {
        let index = self.lanes.iter().position(|lane| is_window_open || !lane.unacknowledged.is_empty())?;
        self.pop_from(index, is_window_open)
    }

    /// Removes the entries that `keep` refuses, asking in no particular order; returns how many went.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Entry<M>) -> bool) -> usize {
        let before = self.len;
        (self.len, self.bytes, self.earliest_expiry_ms) = (0, 0, u64::MAX);
        for lane in &mut self.lanes {
            lane.acknowledged.retain(|waiting| keep(&waiting.entry));
            lane.unacknowledged.retain(|waiting| keep(&waiting.entry));
            lane.bytes = lane.iter().map(|waiting| u64::from(waiting.entry.bytes)).sum();
            self.len += lane.len();
            self.bytes += lane.bytes;
            for waiting in lane.iter() {
                self.earliest_expiry_ms = self.earliest_expiry_ms.min(waiting.entry.expires_at_ms);
            }
        }
        self.lanes.retain(|lane| lane.len() > 0);
        self.trim();
        before - self.len
    }

    /// Removes what expired by `now_ms`; returns how many. O(1) while nothing can have.
    pub(super) fn expire(&mut self, now_ms: u64) -> usize {
        if now_ms < self.earliest_expiry_ms {
            return 0;
        }
        self.retain(|entry| !entry.is_expired(now_ms))
    }

    /// Moves the entries of shared subscriptions to the end of `taken`, in the order they would have gone.
    pub(super) fn take_shared(&mut self, taken: &mut Vec<Entry<M>>) {
        if !self.iter().any(|(_, entry)| entry.is_shared) {
            return;
        }
        let mut waiting = std::mem::replace(self, Self::new());
        while let Some(entry) = waiting.pop(true) {
            if entry.is_shared {
                taken.push(entry);
            } else {
                self.append(entry);
            }
        }
    }

    /// Walks over all entries with their positions, in the order they would go through an open window.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Entry<M>)> {
        self.lanes.iter().flat_map(Lane::iter).map(|waiting| (waiting.position, &waiting.entry))
    }

    /// Returns whether `entry` fits once everything it may displace is gone. What it may not displace is of higher priority.
    fn can_make_room(&self, entry: &Entry<M>, limits: &Limits) -> bool {
        let above = self.lanes.iter().take_while(|lane| lane.priority > entry.priority);
        let (len, bytes) = above.fold((0, 0), |(len, bytes), lane| (len + lane.len(), bytes + lane.bytes));
        has_room(len, bytes, entry.bytes, limits)
    }

    fn append(&mut self, entry: Entry<M>) {
        let priority = entry.priority;
        let index = match self.lanes.binary_search_by_key(&Reverse(priority), |lane| Reverse(lane.priority)) {
            Ok(index) => index,
            Err(index) => {
                self.lanes.insert(index, Lane::new(priority));
                index
            }
        };
        let Some(lane) = self.lanes.get_mut(index) else {
            return;
        };
        let bytes = u64::from(entry.bytes);
        self.len += 1;
        self.bytes += bytes;
        self.earliest_expiry_ms = self.earliest_expiry_ms.min(entry.expires_at_ms);
        lane.bytes += bytes;
        let entries = if entry.qos == 0 { &mut lane.unacknowledged } else { &mut lane.acknowledged };
        entries.push_back(Waiting { position: self.next_position, entry });
        self.next_position += 1;
    }

    fn pop_lowest(&mut self) -> Option<Entry<M>> {
        self.pop_from(self.lanes.len().checked_sub(1)?, true)
    }

    fn pop_from(&mut self, index: usize, is_window_open: bool) -> Option<Entry<M>> {
        let lane = self.lanes.get_mut(index)?;
        let entry = lane.pop(is_window_open)?;
        if lane.len() == 0 {
            self.lanes.remove(index);
        }
        self.len -= 1;
        self.bytes -= u64::from(entry.bytes);
        self.trim();
        Some(entry)
    }

    fn trim(&mut self) {
        if self.len == 0 {
            *self = Self::new();
        }
    }
}

impl<M> Lane<M> {
    fn new(priority: i16) -> Self {
        Self { priority, bytes: 0, acknowledged: VecDeque::new(), unacknowledged: VecDeque::new() }
    }

    fn len(&self) -> usize {
        self.acknowledged.len() + self.unacknowledged.len()
    }

    fn pop(&mut self, is_window_open: bool) -> Option<Entry<M>> {
        let takes_qos0 = match (self.unacknowledged.front(), self.acknowledged.front()) {
            (Some(qos0), Some(other)) => !is_window_open || qos0.position < other.position,
            (qos0, _) => qos0.is_some(),
        };
        let line = if takes_qos0 { &mut self.unacknowledged } else { &mut self.acknowledged };
        let waiting = line.pop_front()?;
        give_back_room(line);
        self.bytes -= u64::from(waiting.entry.bytes);
        Some(waiting.entry)
    }

    /// Merges the two lines by position.
    fn iter(&self) -> impl Iterator<Item = &Waiting<M>> {
        let mut acknowledged = self.acknowledged.iter().peekable();
        let mut unacknowledged = self.unacknowledged.iter().peekable();
        std::iter::from_fn(move || match (acknowledged.peek(), unacknowledged.peek()) {
            (Some(other), Some(qos0)) if qos0.position < other.position => unacknowledged.next(),
            (Some(_), _) => acknowledged.next(),
            (None, _) => unacknowledged.next(),
        })
    }
}

/// Gives memory back while a long line drains: a session that always has something waiting must not keep its peak.
fn give_back_room<T>(line: &mut VecDeque<T>) {
    if line.capacity() > 64 && line.len() < line.capacity() / 4 {
        line.shrink_to(line.capacity() / 2);
    }
}

fn has_room(len: usize, bytes: u64, more_bytes: u32, limits: &Limits) -> bool {
    let has_place = limits.max_queue_len == 0 || (len as u64) < u64::from(limits.max_queue_len);
    let has_bytes =
        limits.max_queue_bytes == 0 || bytes.saturating_add(u64::from(more_bytes)) <= limits.max_queue_bytes;
    has_place && has_bytes
}
