//! What /proc says about the broker and about this process, and the limit of open files.

use std::fs;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::error::LoadError;

/// CPU time and memory of a group of processes at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// User and system time of all threads. Exact where the kernel keeps schedstat and no thread has ended, otherwise in
    /// steps of a clock tick.
    pub cpu: Duration,
    /// Resident bytes.
    pub rss_bytes: u64,
}

/// Reads the sum over `pids`; zero for an empty list.
///
/// # Errors
/// `LoadError::Io` if a process is gone.
pub fn usage(pids: &[u32]) -> Result<Usage, LoadError> {
    pids.iter().try_fold(Usage::default(), |sum, pid| {
        let one = usage_of(&pid.to_string())?;
        Ok(Usage {
            cpu: sum.cpu + one.cpu,
            rss_bytes: sum.rss_bytes + one.rss_bytes,
        })
    })
}

/// Reads the usage of this process.
///
/// # Errors
/// `LoadError::Io` if /proc is not mounted.
pub fn own_usage() -> Result<Usage, LoadError> {
    usage_of("self")
}

fn usage_of(process: &str) -> Result<Usage, LoadError> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))
        .map_err(LoadError::io("reading /proc/PID/stat"))?;
    let status = fs::read_to_string(format!("/proc/{process}/status"))
        .map_err(LoadError::io("reading /proc/PID/status"))?;
    // The scheduler's figure has no clock ticks to round to, but forgets threads that have ended.
    let exact = scheduled(process).unwrap_or_default();
    Ok(Usage {
        cpu: cpu_of_stat(&stat).unwrap_or_default().max(exact),
        rss_bytes: rss_of_status(&status).unwrap_or_default(),
    })
}

/// Time that the scheduler gave to the threads that are there now; `None` where the kernel does not say.
fn scheduled(process: &str) -> Option<Duration> {
    let mut sum = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{process}/task")).ok()? {
        // A thread may end between the listing and the reading.
        if let Ok(text) = fs::read_to_string(thread.ok()?.path().join("schedstat")) {
            sum += run_time_of(&text)?;
        }
    }
    Some(sum)
}

/// Takes the run time, the first field in nanoseconds, out of a schedstat line.
fn run_time_of(schedstat: &str) -> Option<Duration> {
    let nanos = schedstat.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}

/// Takes utime and stime out of a stat line; the command name may hold spaces and brackets.
fn cpu_of_stat(stat: &str) -> Option<Duration> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_secs(user + system) / u32::try_from(clock_ticks_per_second()).ok()?)
}

fn rss_of_status(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_ascii_whitespace()
        .next()?
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}

/// Raises the limit of open files as far as `wanted` or the hard limit allows; returns the limit that holds.
pub fn raise_file_limit(wanted: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current.unwrap_or(u64::MAX);
    if current >= wanted {
        return current;
    }
    let maximum = limit.maximum.unwrap_or(u64::MAX);
    let higher = Rlimit {
        current: Some(wanted),
        maximum: Some(wanted.max(maximum)),
    };
    if wanted > maximum && setrlimit(Resource::Nofile, higher).is_ok() {
        return wanted;
    }
    let possible = wanted.min(maximum);
    match setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(possible),
            maximum: limit.maximum,
        },
    ) {
        Ok(()) => possible,
        Err(_) => current,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_line_with_a_hostile_command_name_is_read() {
        let stat = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1";
        assert_eq!(
            cpu_of_stat(stat),
            Some(Duration::from_secs(200) / u32::try_from(clock_ticks_per_second()).unwrap())
        );
    }

    #[test]
    fn run_time_is_the_first_field_of_schedstat() {
        let text = "667716311 1006968029 360\n";
        assert_eq!(run_time_of(text), Some(Duration::from_nanos(667_716_311)));
        assert_eq!(run_time_of(""), None);
    }

    #[test]
    fn own_usage_is_not_zero() {
        assert!(own_usage().unwrap().rss_bytes > 100_000);
        assert!(usage(&[]).unwrap().rss_bytes == 0);
    }
}
