//! A hashed timer wheel: cheap to schedule, cheap to skip, one vector per slot.
//!
//! Timers are never cancelled; whoever receives a key checks whether it still means something and schedules again.
//! Precision is one tick. Time is passed in, never read.

const SLOTS: usize = 1024;
const WORDS: usize = SLOTS / 64;

/// Timers with keys of type `K`.
pub struct Wheel<K> {
    tick_ms: u64,
    slots: Vec<Vec<(u64, K)>>,
    occupied: [u64; WORDS],
    /// The tick up to which everything has fired.
    tick: u64,
    len: usize,
}

impl<K: Copy> Wheel<K> {
    /// An empty wheel that starts at `now_ms`, with slots of `tick_ms` (at least 1).
    #[must_use]
    pub fn new(tick_ms: u64, now_ms: u64) -> Self {
        let tick_ms = tick_ms.max(1);
        Self {
            tick_ms,
            slots: (0..SLOTS).map(|_| Vec::new()).collect(),
            occupied: [0; WORDS],
            tick: now_ms / tick_ms,
            len: 0,
        }
    }

    /// Reports `key` at the first [`Wheel::advance`] at or after `deadline_ms`, at most one tick late.
    pub fn schedule(&mut self, deadline_ms: u64, key: K) {
        let tick = deadline_ms.div_ceil(self.tick_ms).max(self.tick + 1);
        let slot = slot_of(tick);
        self.slots[slot].push((tick, key));
        self.occupied[slot / 64] |= 1 << (slot % 64);
        self.len += 1;
    }

    /// Moves every due key into `fired`, in slot order.
    pub fn advance(&mut self, now_ms: u64, fired: &mut Vec<K>) {
        let target = now_ms / self.tick_ms;
        if target <= self.tick {
            return;
        }
        if self.len > 0 {
            let rounds = usize::try_from(target - self.tick).unwrap_or(SLOTS).min(SLOTS);
            let first = self.tick + 1;
            for step in 0..rounds {
                let slot = slot_of(first + step as u64);
                if self.occupied[slot / 64] & (1 << (slot % 64)) != 0 {
                    self.fire(slot, target, fired);
                }
            }
        }
        self.tick = target;
    }

    fn fire(&mut self, slot: usize, target: u64, fired: &mut Vec<K>) {
        let entries = &mut self.slots[slot];
        let before = entries.len();
        entries.retain(|&(tick, key)| {
            if tick <= target {
                fired.push(key);
            }
            tick > target
        });
        self.len -= before - entries.len();
        if entries.is_empty() {
            self.occupied[slot / 64] &= !(1 << (slot % 64));
            if entries.capacity() > 64 {
                entries.shrink_to(64);
            }
        }
    }

    /// Milliseconds until the next slot that holds anything (0: due now); `None` when the wheel is empty.
    ///
    /// A slot may hold only keys of a later round: the caller then wakes once for nothing.
    #[must_use]
    pub fn due_in(&self, now_ms: u64) -> Option<u64> {
        if self.len == 0 {
            return None;
        }
        let start = slot_of(self.tick + 1);
        let ahead = self.next_occupied(start)?;
        Some(((self.tick + 1 + ahead as u64) * self.tick_ms).saturating_sub(now_ms))
    }

    /// Distance in slots from `start` to the first occupied one, going round once.
    fn next_occupied(&self, start: usize) -> Option<usize> {
        let (word, bit) = (start / 64, start % 64);
        let first = self.occupied[word] >> bit;
        if first != 0 {
            return Some(first.trailing_zeros() as usize);
        }
        (1..=WORDS).find_map(|step| {
            let bits = self.occupied[(word + step) % WORDS];
            (bits != 0).then(|| step * 64 - bit + bits.trailing_zeros() as usize)
        })
    }
}

fn slot_of(tick: u64) -> usize {
    usize::try_from(tick % SLOTS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK_MS: u64 = 8;

    #[test]
    fn keys_fire_once_at_or_after_their_deadline() {
        let mut wheel = Wheel::new(TICK_MS, 1_000);
        wheel.schedule(1_500, 1u32);
        wheel.schedule(1_010, 2);
        let mut fired = Vec::new();
        wheel.advance(1_009, &mut fired);
        assert!(fired.is_empty());
        wheel.advance(1_018, &mut fired);
        assert_eq!(fired, [2]);
        wheel.advance(1_508, &mut fired);
        assert_eq!(fired, [2, 1]);
        assert_eq!(wheel.due_in(1_508), None);
    }

    #[test]
    fn deadlines_beyond_one_round_wait_for_their_round() {
        let mut wheel = Wheel::new(TICK_MS, 0);
        let round = TICK_MS * SLOTS as u64;
        wheel.schedule(round * 3 + 4, 7u32);
        let mut fired = Vec::new();
        for step in 1..=3 {
            wheel.advance(round * step, &mut fired);
            assert!(fired.is_empty());
        }
        wheel.advance(round * 3 + 2 * TICK_MS, &mut fired);
        assert_eq!(fired, [7]);
    }

    #[test]
    fn a_deadline_in_the_past_fires_at_the_next_tick() {
        let mut wheel = Wheel::new(TICK_MS, 10_000);
        wheel.schedule(5, 1u32);
        assert!(wheel.due_in(10_000).is_some_and(|ms| ms <= TICK_MS));
        let mut fired = Vec::new();
        wheel.advance(10_000 + TICK_MS, &mut fired);
        assert_eq!(fired, [1]);
    }
}
