//! The JSON object that a run prints.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::settings::Settings;
use crate::tally::Counts;

/// Named numbers; the name ends with the unit.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Figures(BTreeMap<String, f64>);

impl Figures {
    /// Sets one figure; a value that is no number is left out.
    pub fn set(&mut self, name: &str, value: f64) {
        if value.is_finite() {
            self.0.insert(name.to_owned(), value);
        }
    }

    /// Reads one figure; NaN if it is missing.
    pub fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(f64::NAN)
    }
}

/// What the publishers did and what became of it.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Balance {
    /// Published messages, warm-up included.
    pub sent: u64,
    /// Deliveries that should follow from them.
    pub expected: u64,
    /// Publishes that the broker acknowledged with an error.
    pub refused: u64,
    #[serde(flatten)]
    pub counts: Counts,
    /// What became of the deliveries to slow subscribers; they are not among the expected ones.
    pub slow: Counts,
    /// Slow subscribers that the broker disconnected: what they did not read is unknown.
    pub slow_closed: u64,
}

/// One run.
#[derive(Debug, Serialize)]
pub struct Report {
    pub settings: Settings,
    pub figures: Figures,
    pub balance: Balance,
    /// The generator was saturated and the broker was not: the figures say little about the broker.
    pub generator_limited: bool,
    /// What a reader has to know, such as a limit of the machine that cut a setting.
    pub notes: Vec<String>,
    /// (percentile, microseconds) of the latency, empty where none was measured.
    pub latency_curve: Vec<(f64, f64)>,
}

impl Report {
    /// A report without figures yet.
    pub fn new(settings: &Settings) -> Self {
        Self {
            settings: settings.clone(),
            figures: Figures::default(),
            balance: Balance::default(),
            generator_limited: false,
            notes: Vec::new(),
            latency_curve: Vec::new(),
        }
    }
}
