//! Measures a span of time: wall clock, the broker's CPU and memory, our own CPU.

use std::time::{Duration, Instant};

use crate::error::LoadError;
use crate::process::{self, Usage};
use crate::report::Figures;

/// How often the broker's memory is looked at for settling.
const SETTLE_STEP: Duration = Duration::from_millis(200);
/// Share of a core above which a thread counts as saturated.
const SATURATED: f64 = 0.9;
/// Share of a core below which the broker counts as not saturated.
const RELAXED: f64 = 0.85;

/// A running measurement.
#[derive(Debug)]
pub struct Meter {
    pids: Vec<u32>,
    started: Instant,
    broker: Usage,
    own: Usage,
}

/// A finished measurement.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub seconds: f64,
    /// CPU-seconds of the broker; 0 without process ids.
    pub broker_cpu_s: f64,
    pub own_cpu_s: f64,
    pub rss_before: u64,
    pub rss_after: u64,
}

impl Meter {
    /// Starts measuring.
    ///
    /// # Errors
    /// `LoadError::Io` if the broker is gone.
    pub fn start(pids: &[u32]) -> Result<Self, LoadError> {
        let (broker, own) = (process::usage(pids)?, process::own_usage()?);
        Ok(Self {
            pids: pids.to_vec(),
            started: Instant::now(),
            broker,
            own,
        })
    }

    /// Ends the measurement.
    ///
    /// # Errors
    /// As `start`.
    pub fn stop(&self) -> Result<Span, LoadError> {
        let seconds = self.started.elapsed().as_secs_f64();
        let (broker, own) = (process::usage(&self.pids)?, process::own_usage()?);
        Ok(Span {
            seconds,
            broker_cpu_s: broker.cpu.saturating_sub(self.broker.cpu).as_secs_f64(),
            own_cpu_s: own.cpu.saturating_sub(self.own.cpu).as_secs_f64(),
            rss_before: self.broker.rss_bytes,
            rss_after: broker.rss_bytes,
        })
    }
}

impl Span {
    /// Writes what every mode reports, and the cost per `unit` (`delivery`, `connect`, ...) of `units` of them.
    pub fn report(&self, unit: &str, units: u64, figures: &mut Figures) {
        figures.set("seconds", self.seconds);
        figures.set("units", units as f64);
        figures.set(&format!("{unit}_rate_per_s"), units as f64 / self.seconds);
        figures.set("generator_cpu_s", self.own_cpu_s);
        if self.rss_after > 0 {
            figures.set("broker_cpu_s", self.broker_cpu_s);
            figures.set("broker_cpu_share", self.broker_cpu_s / self.seconds);
            figures.set(
                &format!("cpu_us_per_{unit}"),
                self.broker_cpu_s * 1e6 / units as f64,
            );
            figures.set("rss_before_bytes", self.rss_before as f64);
            figures.set("rss_after_bytes", self.rss_after as f64);
        }
    }

    /// Growth of the broker's memory per item in bytes, negative if it shrank.
    pub fn growth_per(&self, items: u64) -> f64 {
        (self.rss_after as f64 - self.rss_before as f64) / items as f64
    }

    /// Whether a generator that was busy for this share of the time was the limit.
    pub fn is_generator_limited(&self, busy_share: f64) -> bool {
        busy_share > SATURATED && self.rss_after > 0 && self.broker_cpu_s / self.seconds < RELAXED
    }
}

/// Waits until the broker's memory stands still, at most three seconds.
///
/// # Errors
/// `LoadError::Io` if the broker is gone.
pub fn settle(pids: &[u32]) -> Result<(), LoadError> {
    let mut last = process::usage(pids)?.rss_bytes;
    for _ in 0..15 {
        std::thread::sleep(SETTLE_STEP);
        let now = process::usage(pids)?.rss_bytes;
        if now.abs_diff(last) < 16 * 1024 {
            return Ok(());
        }
        last = now;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(broker_cpu_s: f64) -> Span {
        Span {
            seconds: 2.0,
            broker_cpu_s,
            own_cpu_s: 1.0,
            rss_before: 1000,
            rss_after: 3000,
        }
    }

    #[test]
    fn generator_is_the_limit_only_if_the_broker_is_not() {
        assert!(span(1.0).is_generator_limited(0.95));
        assert!(!span(1.9).is_generator_limited(0.95));
        assert!(!span(1.0).is_generator_limited(0.5));
    }

    #[test]
    fn cost_is_per_unit() {
        let mut figures = Figures::default();
        span(1.0).report("delivery", 500_000, &mut figures);
        assert!((figures.get("cpu_us_per_delivery") - 2.0).abs() < 1e-9);
        assert!((span(1.0).growth_per(10) - 200.0).abs() < 1e-9);
    }
}
