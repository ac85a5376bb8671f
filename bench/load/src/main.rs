//! `pybroker-load`: puts an MQTT broker under a stated load and prints what that cost as one JSON object.
//!
//! One thread on epoll (two on demand), frames encoded once, large reads, one write per connection and turn. The
//! generator has to stay far cheaper than the broker; a run in which it was not says so (`generator_limited`).

#![allow(
    clippy::cast_precision_loss,
    reason = "figures are for reading; 53 bits are enough"
)]

mod board;
mod error;
mod feed;
mod fleet;
mod idle;
mod latency;
mod link;
mod meter;
mod process;
mod publisher;
mod queued;
mod report;
mod retained;
mod settings;
mod storm;
mod subscriptions;
mod tally;
mod tls;
mod topology;
mod traffic;
mod websocket;
mod wire;
mod worker;

use std::process::ExitCode;

use clap::Parser;

use crate::error::LoadError;
use crate::report::Report;
use crate::settings::{Mode, Settings};

/// Files beside the connections: standard streams, epoll, /proc.
const SPARE_FILES: u64 = 64;

fn main() -> ExitCode {
    let settings = Settings::parse();
    match run(&settings) {
        Ok(report) => {
            println!(
                "{}",
                serde_json::to_string(&report)
                    .expect("a report has only text keys and finite numbers")
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("pybroker-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(settings: &Settings) -> Result<Report, LoadError> {
    settings.validate()?;
    let clients = settings.publishers + settings.subscribers + settings.slow + settings.connections;
    let wanted = clients as u64 + SPARE_FILES;
    let possible = process::raise_file_limit(wanted);
    let mut settings = settings.clone();
    if possible < wanted {
        settings.connections = settings
            .connections
            .saturating_sub(usize::try_from(wanted - possible).unwrap_or(0))
            .max(1);
    }
    let mut report = match settings.mode {
        Mode::Fanin | Mode::Fanout | Mode::Pairs | Mode::Match | Mode::Paced => {
            traffic::run(&settings)
        }
        Mode::Idle => idle::run(&settings),
        Mode::Storm => storm::run(&settings),
        Mode::Subscriptions => subscriptions::run(&settings),
        Mode::Retained => retained::run(&settings),
        Mode::Queued => queued::run(&settings),
    }?;
    if possible < wanted {
        report.notes.push(format!(
            "the limit of {possible} open files cut the connections to {}",
            settings.connections
        ));
    }
    Ok(report)
}
