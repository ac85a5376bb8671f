//! Rates of a namespace: how much may pass per interval, and a second bucket for bursts. Time is passed in.
//!
//! A meter is the time at which its bucket will be full again. That is one number: threads share it without a lock, and
//! the rate may change under it. A bucket of rate N/interval holds N and refills steadily over the interval.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};

/// Parts of a millisecond: fine enough for 10 GB/s byte by byte, coarse enough for 34 years in 64 bits.
const TICKS_PER_MS: u64 = 1 << 24;
/// Longest interval of a rate: a year.
pub const MAX_INTERVAL_MS: u64 = 366 * 24 * 3_600_000;

/// So much per interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    capacity_ticks: NonZeroU64,
    ticks_per_token: f64,
}

impl Rate {
    /// `amount` per `interval_ms`; `None` for 0 of either, or for more than a year.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "the part of 2^-52 that is lost is no limit's business")]
    pub fn new(amount: u64, interval_ms: u64) -> Option<Self> {
        if amount == 0 || interval_ms > MAX_INTERVAL_MS {
            return None;
        }
        let capacity_ticks = NonZeroU64::new(interval_ms * TICKS_PER_MS)?;
        Some(Self { capacity_ticks, ticks_per_token: capacity_ticks.get() as f64 / amount as f64 })
    }

    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive; rounding down lets a full bucket give exactly what it holds"
    )]
    fn ticks(&self, amount: u64) -> u64 {
        (amount as f64 * self.ticks_per_token) as u64
    }

    /// When the bucket is full again after `amount` is taken; `None`: it does not hold so much.
    fn take(&self, full_at: u64, amount: u64, now: u64) -> Option<u64> {
        let after = self.owe(full_at, amount, now);
        (after - now <= self.capacity_ticks.get()).then_some(after)
    }

    /// As `take`, but the bucket may go below zero.
    fn owe(&self, full_at: u64, amount: u64, now: u64) -> u64 {
        full_at.max(now).saturating_add(self.ticks(amount))
    }

    /// `full_at` of a bucket that was under another rate: an empty one is empty, and full after one interval.
    fn refit(&self, full_at: u64, now: u64) -> u64 {
        full_at.min(now.saturating_add(self.capacity_ticks.get()))
    }

    /// When the bucket holds one again; not later than `now` if it does already.
    fn ready_at(&self, full_at: u64) -> u64 {
        full_at.saturating_add(self.ticks(1).max(1)).saturating_sub(self.capacity_ticks.get())
    }
}

/// A rate and its burst. Without a rate there is no limit, whatever the burst.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct Limit {
    /// What may pass all the time.
    pub rate: Option<Rate>,
    /// What may pass beyond it, from a bucket with a refill of its own.
    pub burst: Option<Rate>,
}

/// Which bucket gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// There is no limit.
    Unlimited,
    /// That of the rate.
    Rate,
    /// That of the burst.
    Burst,
}

/// The buckets of one client for one limit; full when made.
#[derive(Debug, Default, Clone, Copy)]
pub struct Meter {
    rate_full_at: u64,
    burst_full_at: u64,
}

impl Meter {
    /// Takes `amount` out of one bucket. `None`: neither holds so much, and nothing is taken.
    pub fn take(&mut self, limit: &Limit, amount: u64, now_ms: u64) -> Option<Source> {
        let Some(rate) = &limit.rate else {
            return Some(Source::Unlimited);
        };
        let now = now_ms * TICKS_PER_MS;
        if let Some(after) = rate.take(self.rate_full_at, amount, now) {
            self.rate_full_at = after;
            return Some(Source::Rate);
        }
        self.burst_full_at = limit.burst.as_ref()?.take(self.burst_full_at, amount, now)?;
        Some(Source::Burst)
    }

    /// Puts back what was taken and not used.
    pub fn give_back(&mut self, limit: &Limit, amount: u64, source: Source) {
        match (source, &limit.rate, &limit.burst) {
            (Source::Rate, Some(rate), _) => {
                self.rate_full_at = self.rate_full_at.saturating_sub(rate.ticks(amount));
            }
            (Source::Burst, _, Some(burst)) => {
                self.burst_full_at = self.burst_full_at.saturating_sub(burst.ticks(amount));
            }
            _ => {}
        }
    }

    /// Takes what cannot be refused any more: the bucket of the rate may go below zero.
    pub fn owe(&mut self, limit: &Limit, amount: u64, now_ms: u64) {
        if self.take(limit, amount, now_ms).is_none()
            && let Some(rate) = &limit.rate
        {
            self.rate_full_at = rate.owe(self.rate_full_at, amount, now_ms * TICKS_PER_MS);
        }
    }

    /// Goes on under other numbers: what is owed is forgiven.
    pub fn refit(&mut self, limit: &Limit, now_ms: u64) {
        let now = now_ms * TICKS_PER_MS;
        self.rate_full_at = limit.rate.as_ref().map_or(0, |rate| rate.refit(self.rate_full_at, now));
        self.burst_full_at = limit.burst.as_ref().map_or(0, |burst| burst.refit(self.burst_full_at, now));
    }

    /// Milliseconds until one of the buckets holds one; 0 when it does now.
    #[must_use]
    pub fn wait_ms(&self, limit: &Limit, now_ms: u64) -> u64 {
        wait_ms(limit, self.rate_full_at, self.burst_full_at, now_ms)
    }
}

fn wait_ms(limit: &Limit, rate_full_at: u64, burst_full_at: u64, now_ms: u64) -> u64 {
    let Some(rate) = &limit.rate else { return 0 };
    let ready_at = rate.ready_at(rate_full_at);
    let ready_at = limit.burst.as_ref().map_or(ready_at, |burst| ready_at.min(burst.ready_at(burst_full_at)));
    ready_at.saturating_sub(now_ms * TICKS_PER_MS).div_ceil(TICKS_PER_MS)
}

/// The buckets that all clients of a namespace share, on every thread.
#[derive(Debug, Default)]
pub struct SharedMeter {
    rate_full_at: AtomicU64,
    burst_full_at: AtomicU64,
}

impl SharedMeter {
    /// Takes between `least` and `most`: the larger number only while the bucket stays at least half full, so that a
    /// thread that takes ahead of its need leaves none without. `None`: less than `least` is there.
    pub fn take(&self, limit: &Limit, least: u64, most: u64, now_ms: u64) -> Option<(u64, Source)> {
        let Some(rate) = &limit.rate else {
            return Some((most, Source::Unlimited));
        };
        let now = now_ms * TICKS_PER_MS;
        let mut full_at = self.rate_full_at.load(Ordering::Relaxed);
        loop {
            let ahead = Some(rate.owe(full_at, most, now)).filter(|after| after - now <= rate.capacity_ticks.get() / 2);
            let (amount, after) = match ahead {
                Some(after) => (most, after),
                None => match rate.take(full_at, least, now) {
                    Some(after) => (least, after),
                    None => break,
                },
            };
            match self.rate_full_at.compare_exchange_weak(full_at, after, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some((amount, Source::Rate)),
                Err(changed) => full_at = changed,
            }
        }
        let burst = limit.burst.as_ref()?;
        let taken = self
            .burst_full_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| burst.take(full_at, least, now));
        taken.ok().map(|_| (least, Source::Burst))
    }

    /// Puts back what was taken and not used.
    pub fn give_back(&self, limit: &Limit, amount: u64, source: Source) {
        if amount == 0 {
            return;
        }
        match (source, &limit.rate, &limit.burst) {
            (Source::Rate, Some(rate), _) => {
                self.rate_full_at.fetch_sub(rate.ticks(amount), Ordering::Relaxed);
            }
            (Source::Burst, _, Some(burst)) => {
                self.burst_full_at.fetch_sub(burst.ticks(amount), Ordering::Relaxed);
            }
            _ => {}
        }
    }

    /// Takes what cannot be refused any more: the bucket of the rate may go below zero.
    pub fn owe(&self, limit: &Limit, amount: u64, now_ms: u64) {
        if self.take(limit, amount, amount, now_ms).is_some() {
            return;
        }
        if let Some(rate) = &limit.rate {
            let now = now_ms * TICKS_PER_MS;
            // The update always has a value.
            let _ = self
                .rate_full_at
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| Some(rate.owe(full_at, amount, now)));
        }
    }

    /// Goes on under other numbers: what is owed is forgiven.
    pub fn refit(&self, limit: &Limit, now_ms: u64) {
        let now = now_ms * TICKS_PER_MS;
        for (full_at, rate) in [(&self.rate_full_at, &limit.rate), (&self.burst_full_at, &limit.burst)] {
            let latest = rate.as_ref().map_or(0, |rate| rate.refit(u64::MAX, now));
            full_at.fetch_min(latest, Ordering::Relaxed);
        }
    }

    /// Milliseconds until one of the buckets holds one; 0 when it does now.
    #[must_use]
    pub fn wait_ms(&self, limit: &Limit, now_ms: u64) -> u64 {
        let rate_full_at = self.rate_full_at.load(Ordering::Relaxed);
        wait_ms(limit, rate_full_at, self.burst_full_at.load(Ordering::Relaxed), now_ms)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn limit(amount: u64, interval_ms: u64) -> Limit {
        Limit { rate: Rate::new(amount, interval_ms), burst: None }
    }

    fn passes(meter: &mut Meter, limit: &Limit, tries: u64, now_ms: u64) -> usize {
        (0..tries).filter(|_| meter.take(limit, 1, now_ms).is_some()).count()
    }

    #[test]
    fn a_full_bucket_gives_exactly_what_it_holds() {
        for amount in [1, 3, 7, 1_000, 99_991] {
            let mut meter = Meter::default();
            assert_eq!(passes(&mut meter, &limit(amount, 1_000), amount + 10, 5_000) as u64, amount);
        }
    }

    #[test]
    fn the_bucket_refills_steadily_over_the_interval() {
        let (mut meter, limit) = (Meter::default(), limit(100, 10_000));
        assert_eq!(passes(&mut meter, &limit, 1_000, 20_000), 100);
        assert_eq!(passes(&mut meter, &limit, 1_000, 20_099), 0);
        assert_eq!(passes(&mut meter, &limit, 1_000, 21_000), 10);
        assert_eq!(passes(&mut meter, &limit, 1_000, 90_000), 100);
    }

    #[test]
    fn the_burst_is_a_second_bucket_with_its_own_refill() {
        let mut meter = Meter::default();
        let limit = Limit { rate: Rate::new(10, 1_000), burst: Rate::new(5, 60_000) };
        assert_eq!(passes(&mut meter, &limit, 100, 60_000), 15);
        assert_eq!(passes(&mut meter, &limit, 100, 61_000), 10);
        assert_eq!(passes(&mut meter, &limit, 100, 73_000), 11);
    }

    #[test]
    fn a_limit_without_a_rate_lets_everything_pass() {
        let mut meter = Meter::default();
        let limit = Limit { rate: None, burst: Rate::new(1, 1_000) };
        assert_eq!(passes(&mut meter, &limit, 50, 0), 50);
        assert_eq!(meter.wait_ms(&limit, 0), 0);
    }

    #[test]
    fn what_is_owed_is_waited_for_and_one_more() {
        let (mut meter, limit) = (Meter::default(), limit(100, 1_000));
        meter.owe(&limit, 150, 1_000);
        let wait_ms = meter.wait_ms(&limit, 1_000);
        assert!((510..=511).contains(&wait_ms));
        assert_eq!(meter.wait_ms(&limit, 1_000 + wait_ms), 0);
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let (mut meter, limit) = (Meter::default(), limit(10, 1_000));
        assert_eq!(passes(&mut meter, &limit, 100, 1_000), 10);
        meter.give_back(&limit, 4, Source::Rate);
        assert_eq!(passes(&mut meter, &limit, 100, 1_000), 4);
    }

    #[test]
    fn under_other_numbers_an_empty_bucket_fills_within_their_interval() {
        let (mut meter, shared) = (Meter::default(), SharedMeter::default());
        assert_eq!(passes(&mut meter, &limit(10, 1_000_000), 100, 1_000), 10);
        meter.refit(&limit(100, 1_000), 1_000);
        assert_eq!(passes(&mut meter, &limit(100, 1_000), 1_000, 1_500), 50);
        shared.owe(&limit(10, 1_000_000), 10, 1_000);
        shared.refit(&limit(100, 1_000), 1_000);
        assert!(shared.take(&limit(100, 1_000), 51, 51, 1_500).is_none());
        assert!(shared.take(&limit(100, 1_000), 50, 50, 1_500).is_some());
    }

    #[test]
    fn threads_that_take_ahead_never_pass_the_rate() {
        let (meter, limit) = (Arc::new(SharedMeter::default()), limit(10_000, 1_000));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let meter = Arc::clone(&meter);
                std::thread::spawn(move || {
                    let mut used = 0;
                    while let Some((taken, source)) = meter.take(&limit, 1, 64, 9_000) {
                        let need = taken.min(3);
                        meter.give_back(&limit, taken - need, source);
                        used += need;
                    }
                    used
                })
            })
            .collect();
        let used: u64 = threads.into_iter().map(|thread| thread.join().unwrap_or_default()).sum();
        assert!((9_990..=10_000).contains(&used), "{used}");
    }

    #[test]
    fn an_interval_of_a_year_and_a_rate_of_gigabytes_are_told_apart() {
        assert!(Rate::new(1, MAX_INTERVAL_MS + 1).is_none() && Rate::new(0, 1).is_none());
        let (mut meter, limit) = (Meter::default(), limit(10 << 30, 1_000));
        assert!(meter.take(&limit, 5 << 30, 1_000).is_some() && meter.take(&limit, 5 << 30, 1_000).is_some());
        assert!(meter.take(&limit, 1 << 20, 1_000).is_none());
    }
}
