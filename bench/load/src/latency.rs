//! Latency histograms with three significant digits, from 1 ns to 60 s.

use hdrhistogram::Histogram;

use crate::report::Figures;

const HIGHEST_NS: u64 = 60_000_000_000;

/// Distribution of one kind of time.
#[derive(Debug)]
pub struct Latency {
    histogram: Histogram<u64>,
}

impl Latency {
    /// An empty distribution.
    pub fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, HIGHEST_NS, 3)
            .expect("the bounds are constants that fit");
        Self { histogram }
    }

    /// Records one value; longer than 60 s counts as 60 s.
    #[inline]
    pub fn record(&mut self, nanoseconds: u64) {
        self.histogram.saturating_record(nanoseconds.max(1));
    }

    /// Adds all values of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.histogram
            .add(&other.histogram)
            .expect("both have the same bounds");
    }

    /// Writes percentiles in microseconds under `NAME_p50_us`, `_p90_us`, `_p99_us`, `_p999_us`, `_max_us`, `_mean_us`.
    pub fn report(&self, name: &str, figures: &mut Figures) {
        if self.histogram.is_empty() {
            return;
        }
        let micros = |nanoseconds: u64| nanoseconds as f64 / 1e3;
        for (suffix, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)] {
            figures.set(
                &format!("{name}_{suffix}_us"),
                micros(self.histogram.value_at_quantile(quantile)),
            );
        }
        figures.set(&format!("{name}_max_us"), micros(self.histogram.max()));
        figures.set(&format!("{name}_mean_us"), self.histogram.mean() / 1e3);
    }

    /// The distribution for plots: (percentile, microseconds) in rising order, about 60 points.
    pub fn curve(&self) -> Vec<(f64, f64)> {
        let mut points: Vec<(f64, f64)> = Vec::new();
        for value in self.histogram.iter_quantiles(5) {
            let point = (
                value.quantile_iterated_to() * 100.0,
                value.value_iterated_to() as f64 / 1e3,
            );
            points.push(point);
        }
        points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_exact_to_three_digits() {
        let mut latency = Latency::new();
        (1..=1000_u64).for_each(|step| latency.record(step * 1000));
        latency.record(u64::MAX);
        let mut figures = Figures::default();
        latency.report("latency", &mut figures);
        assert!((figures.get("latency_p50_us") - 501.0).abs() < 2.0);
        assert!((figures.get("latency_p99_us") - 991.0).abs() < 2.0);
        assert!((figures.get("latency_max_us") - 6e7).abs() < 1e5);
        assert!(
            latency
                .curve()
                .windows(2)
                .all(|pair| pair[0].1 <= pair[1].1)
        );
    }
}
