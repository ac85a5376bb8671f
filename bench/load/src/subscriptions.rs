//! Many subscriptions on few connections: what the broker's memory and CPU grow by for each.

use crate::error::LoadError;
use crate::fleet::{ClientPlan, Fleet};
use crate::meter::{self, Meter};
use crate::report::Report;
use crate::settings::Settings;

/// Spreads `filters` distinct subscriptions over `connections` clients.
///
/// # Errors
/// The first refusal or error of a socket.
pub fn run(settings: &Settings) -> Result<Report, LoadError> {
    let mut report = Report::new(settings);
    let (count, total) = (settings.connections, settings.filters);
    let mut fleet = Fleet::new(settings, count)?;
    let plans: Vec<_> = (0..count)
        .map(|i| ClientPlan::clean(format!("{}-u{i}", settings.prefix)))
        .collect();
    let first = fleet.open_all(&plans)?;
    let work = (0..count)
        .map(|client| (first + client, filters_of(settings, client)))
        .collect();
    meter::settle(&settings.pids)?;
    eprintln!("measuring");

    let growing = Meter::start(&settings.pids)?;
    fleet.subscribe_all(work, settings.qos)?;
    growing
        .stop()?
        .report("subscription", total as u64, &mut report.figures);
    meter::settle(&settings.pids)?;
    let settled = growing.stop()?;
    report
        .figures
        .set("bytes_per_subscription", settled.growth_per(total as u64));
    report
        .figures
        .set("rss_after_bytes", settled.rss_after as f64);
    fleet.close_all(first..first + count)?;
    Ok(report)
}

/// Filters of one client: four levels, a wildcard in every second one.
fn filters_of(settings: &Settings, client: usize) -> Vec<String> {
    let prefix = &settings.prefix;
    let own = (client..settings.filters).step_by(settings.connections);
    own.map(|k| {
        if k % 2 == 0 {
            format!("{prefix}/{client}/{k}/state")
        } else {
            format!("{prefix}/{client}/{k}/+")
        }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::collections::HashSet;

    #[test]
    fn filters_are_distinct_and_complete() {
        let arguments = [
            "pybroker-load",
            "subscriptions",
            "--connections",
            "7",
            "--filters",
            "100",
        ];
        let settings = Settings::parse_from(arguments);
        let all: Vec<_> = (0..7)
            .flat_map(|client| filters_of(&settings, client))
            .collect();
        assert_eq!(
            (all.len(), all.iter().collect::<HashSet<_>>().len()),
            (100, 100)
        );
    }
}
