//! Idle connections: what the broker's memory grows by, and what they cost while nothing happens.

use std::time::{Duration, Instant};

use crate::error::LoadError;
use crate::fleet::{ClientPlan, Fleet};
use crate::meter::{self, Meter};
use crate::report::Report;
use crate::settings::Settings;

/// Opens `connections` clients (each with one subscription with `--subscribe`) and holds them for `duration`.
///
/// # Errors
/// The first refusal or error of a socket.
pub fn run(settings: &Settings) -> Result<Report, LoadError> {
    let mut report = Report::new(settings);
    let mut fleet = Fleet::new(settings, settings.connections)?;
    // One client before the first look, so that what a broker allocates once is not counted per connection.
    let pilot = open(
        &mut fleet,
        settings,
        &[ClientPlan::clean(format!("{}-pilot", settings.prefix))],
    )?;
    meter::settle(&settings.pids)?;

    let growing = Meter::start(&settings.pids)?;
    let count = settings.connections;
    let plans: Vec<_> = (0..count)
        .map(|i| ClientPlan::clean(format!("{}-i{i}", settings.prefix)))
        .collect();
    open(&mut fleet, settings, &plans)?;
    let opened = growing.stop()?;
    opened.report("connect", count as u64, &mut report.figures);
    meter::settle(&settings.pids)?;
    let settled = growing.stop()?;
    report
        .figures
        .set("bytes_per_connection", settled.growth_per(count as u64));
    report
        .figures
        .set("rss_after_bytes", settled.rss_after as f64);
    eprintln!("measuring");

    let holding = Meter::start(&settings.pids)?;
    let end = Instant::now() + Duration::from_secs_f64(settings.duration);
    while Instant::now() < end {
        fleet.turn(Some(Duration::from_millis(50)), &mut |_, _, _| Ok(()))?;
    }
    let held = holding.stop()?;
    report
        .figures
        .set("idle_cpu_share", held.broker_cpu_s / held.seconds);
    fleet.close_all(pilot..=pilot + count)?;
    Ok(report)
}

fn open(fleet: &mut Fleet, settings: &Settings, plans: &[ClientPlan]) -> Result<usize, LoadError> {
    let first = fleet.open_all(plans)?;
    if settings.subscribe {
        let filters = plans.iter().map(|plan| {
            vec![format!(
                "{}/device/{}/command",
                settings.prefix, plan.client_id
            )]
        });
        fleet.subscribe_all((first..).zip(filters).collect(), settings.qos)?;
    }
    Ok(first)
}
