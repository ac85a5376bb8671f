//! Runs with steady traffic: starts the threads, moves them through the stages, measures and adds up.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::board::{Board, Stage};
use crate::error::LoadError;
use crate::latency::Latency;
use crate::meter::{Meter, Span};
use crate::process;
use crate::report::{Balance, Report};
use crate::settings::{Mode, Settings};
use crate::topology::Topology;
use crate::worker::{Duties, Harvest, Worker};

/// How often the conductor looks up.
const STEP: Duration = Duration::from_millis(5);
/// Draining ends after this long without a delivery.
const QUIET: Duration = Duration::from_secs(2);
/// The broker's memory is sampled in steps of this many looks.
const RSS_STEPS: u32 = 20;

/// Counters at the two ends of the measurement.
#[derive(Clone, Copy, Debug)]
struct Mark {
    received: u64,
    sent: u64,
    idle_ns: [u64; 2],
}

impl Mark {
    fn of(board: &Board) -> Self {
        Self {
            received: board.received.load(Ordering::Relaxed),
            sent: board.sent.load(Ordering::Relaxed),
            idle_ns: [0, 1].map(|thread: usize| board.idle_ns[thread].load(Ordering::Relaxed)),
        }
    }
}

/// The measurement without what the threads bring home.
#[derive(Debug)]
struct Measured {
    span: Span,
    from: Mark,
    to: Mark,
    rss_peak: u64,
}

/// Runs one of the modes fanin, fanout, pairs, match and paced.
///
/// # Errors
/// The first error of a thread, or a step that does not end.
pub fn run(settings: &Settings) -> Result<Report, LoadError> {
    let topology = Topology::new(settings);
    let board = Board::new(topology.publishers.len());
    let both = Duties {
        publishes: true,
        subscribes: true,
    };
    let duties = match settings.threads {
        1 => vec![both],
        _ => vec![
            Duties {
                publishes: false,
                ..both
            },
            Duties {
                subscribes: false,
                ..both
            },
        ],
    };
    let (measured, harvests) = thread::scope(|scope| {
        let start = |(thread, duties)| {
            scope.spawn({
                let (board, topology) = (&board, &topology);
                move || work(settings, topology, board, thread, duties)
            })
        };
        let handles: Vec<_> = duties.into_iter().enumerate().map(start).collect();
        let measured = conduct(settings, &board, &topology, handles.len());
        board.set_stage(Stage::Stop);
        let harvests = handles
            .into_iter()
            .map(|handle| handle.join().expect("a thread of the generator panicked"));
        (measured, harvests.collect::<Result<Vec<_>, _>>())
    });
    // The error of a thread says more than the conductor's, who only sees that it ended.
    let harvests = harvests?;
    Ok(report(settings, &topology, &measured?, &harvests))
}

/// The life of one thread; a failure is shown to the conductor at once.
fn work(
    settings: &Settings,
    topology: &Topology,
    board: &Board,
    thread: usize,
    duties: Duties,
) -> Result<Harvest, LoadError> {
    let harvest = Worker::prepare(settings, topology, board, thread, duties).and_then(|worker| {
        board.ready.fetch_add(1, Ordering::Release);
        worker.run()
    });
    if harvest.is_err() {
        board.has_failed.store(true, Ordering::Release);
    }
    harvest
}

/// Whether the run goes on; a failed thread tells its error when it is joined.
fn is_alive(board: &Board) -> Result<(), LoadError> {
    if board.has_failed.load(Ordering::Acquire) {
        return Err(LoadError::Protocol("a thread ended early".into()));
    }
    Ok(())
}

fn conduct(
    settings: &Settings,
    board: &Board,
    topology: &Topology,
    threads: usize,
) -> Result<Measured, LoadError> {
    while board.ready.load(Ordering::Acquire) < threads {
        is_alive(board)?;
        thread::sleep(STEP);
    }
    board.set_stage(Stage::Publish);
    sleep_while_alive(board, Duration::from_secs_f64(settings.warmup))?;
    eprintln!("measuring");

    let meter = Meter::start(&settings.pids)?;
    let from = Mark::of(board);
    board.measured_ns[0].store(board.now_ns(), Ordering::Relaxed);
    let rss_peak = watch(settings, board, from.received)?;
    board.measured_ns[1].store(board.now_ns(), Ordering::Relaxed);
    let (to, span) = (Mark::of(board), meter.stop()?);

    board.set_stage(Stage::Drain);
    drain(settings, board, topology)?;
    Ok(Measured {
        span,
        from,
        to,
        rss_peak,
    })
}

/// Waits for the end of the measurement; returns the highest memory of the broker that was seen.
fn watch(settings: &Settings, board: &Board, before: u64) -> Result<u64, LoadError> {
    let end = Instant::now() + Duration::from_secs_f64(settings.duration);
    let mut peak = 0;
    for step in 0_u32.. {
        is_alive(board)?;
        let delivered = board.received.load(Ordering::Relaxed) - before;
        if Instant::now() >= end || settings.count.is_some_and(|count| delivered >= count) {
            break;
        }
        if step.is_multiple_of(RSS_STEPS) {
            peak = peak.max(process::usage(&settings.pids)?.rss_bytes);
        }
        thread::sleep(STEP.min(end - Instant::now().min(end)));
    }
    Ok(peak)
}

fn sleep_while_alive(board: &Board, time: Duration) -> Result<(), LoadError> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        is_alive(board)?;
        thread::sleep(STEP);
    }
    Ok(())
}

/// Waits until everything arrived or nothing comes any more.
fn drain(settings: &Settings, board: &Board, topology: &Topology) -> Result<(), LoadError> {
    let end = Instant::now() + Duration::from_secs_f64(settings.step_limit);
    // A thread may be in the middle of a refill when the stage changes.
    thread::sleep(STEP * 4);
    let expected = board.sent.load(Ordering::Relaxed) * topology.fan as u64;
    let mut seen = (0, Instant::now());
    while Instant::now() < end {
        is_alive(board)?;
        let received = board.received.load(Ordering::Relaxed);
        let all = received + board.late.load(Ordering::Relaxed);
        if all != seen.0 {
            seen = (all, Instant::now());
        }
        // Duplicates count too, so that enough may have come while some are still on their way. How much a slow
        // subscriber still gets, only the broker knows.
        let patience = if received >= expected && settings.slow == 0 {
            STEP * 10
        } else {
            QUIET
        };
        if seen.1.elapsed() > patience {
            break;
        }
        thread::sleep(STEP);
    }
    // Acknowledgements that would come now.
    thread::sleep(STEP * 10);
    Ok(())
}

fn report(
    settings: &Settings,
    topology: &Topology,
    measured: &Measured,
    harvests: &[Harvest],
) -> Report {
    let mut report = Report::new(settings);
    let (span, from, to) = (&measured.span, &measured.from, &measured.to);
    let deliveries = to.received - from.received;
    span.report("delivery", deliveries, &mut report.figures);
    report.figures.set(
        "publishes_per_s",
        (to.sent - from.sent) as f64 / span.seconds,
    );
    report.figures.set(
        "rss_peak_bytes",
        measured.rss_peak.max(span.rss_after) as f64,
    );

    let busy_share = busy_share(settings, measured, harvests.len());
    report.figures.set("generator_busy_share", busy_share);
    report.generator_limited = span.is_generator_limited(busy_share);

    report.balance = balance(topology, harvests);
    let forgiven: u64 = harvests.iter().map(|harvest| harvest.forgiven).sum();
    if forgiven > 0 {
        report
            .notes
            .push(format!("stopped waiting for {forgiven} deliveries"));
    }
    if settings.mode == Mode::Paced {
        report_latency(&mut report, harvests);
        report_schedule(&mut report);
    } else {
        let refills: u64 = harvests.iter().map(|harvest| harvest.refills).sum();
        report.figures.set(
            "publishes_per_refill",
            report.balance.sent as f64 / refills as f64,
        );
        report.notes.push(format!(
            "at most {} deliveries on the way",
            settings.outstanding
        ));
    }
    report
}

/// Share of the time that the busiest thread had work.
fn busy_share(settings: &Settings, measured: &Measured, threads: usize) -> f64 {
    let seconds = measured.span.seconds;
    let own_share = measured.span.own_cpu_s / seconds;
    if !settings.spins() {
        return own_share / threads as f64;
    }
    let idle =
        |thread: usize| (measured.to.idle_ns[thread] - measured.from.idle_ns[thread]) as f64 / 1e9;
    let busiest = (0..threads)
        .map(|thread| 1.0 - idle(thread) / seconds)
        .fold(0.0, f64::max);
    // A thread that lost its core to others looks busy to the clock, but used no CPU.
    busiest.min(own_share)
}

fn balance(topology: &Topology, harvests: &[Harvest]) -> Balance {
    let sent_by: Vec<u64> = harvests
        .iter()
        .flat_map(|harvest| harvest.sent.iter().copied())
        .collect();
    let sent: u64 = sent_by.iter().sum();
    let mut balance = Balance {
        sent,
        expected: sent * topology.fan as u64,
        ..Balance::default()
    };
    for harvest in harvests {
        balance.refused += harvest.refused;
        balance.counts.foreign += harvest.foreign;
        for (publisher, stream) in &harvest.streams {
            balance.counts += stream.finish(sent_by[*publisher]);
        }
        balance.slow_closed += harvest.slow_closed;
        for (publisher, stream) in &harvest.slow_streams {
            balance.slow += stream.finish(sent_by[*publisher]);
        }
    }
    balance
}

/// Marks a run that sent in bunches: half of its messages left later than the next one, or a millisecond, was due.
fn report_schedule(report: &mut Report) {
    let bound_us = (1e6 / report.settings.rate).min(1e3);
    if report.figures.get("lateness_p50_us") > bound_us
        || report.figures.get("lateness_p99_us") > 1e3
    {
        report.generator_limited = true;
        report
            .notes
            .push("the schedule was not kept: latency and cost are not those of a trickle".into());
    }
}

fn report_latency(report: &mut Report, harvests: &[Harvest]) {
    let sum = |pick: fn(&Harvest) -> &Latency| {
        let mut all = Latency::new();
        for harvest in harvests {
            all.merge(pick(harvest));
        }
        all
    };
    let latency = sum(|harvest| &harvest.latency);
    latency.report("latency", &mut report.figures);
    sum(|harvest| &harvest.transit).report("transit", &mut report.figures);
    sum(|harvest| &harvest.lateness).report("lateness", &mut report.figures);
    report.latency_curve = latency.curve();
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn is_marked(p50_us: f64, p99_us: f64) -> bool {
        let settings = Settings::parse_from(["pybroker-load", "paced", "--rate", "10000"]);
        let mut report = Report::new(&settings);
        report.figures.set("lateness_p50_us", p50_us);
        report.figures.set("lateness_p99_us", p99_us);
        report_schedule(&mut report);
        report.generator_limited
    }

    #[test]
    fn bunched_trickle_is_marked() {
        assert!(!is_marked(20.0, 300.0));
        assert!(is_marked(150.0, 300.0));
        assert!(is_marked(20.0, 3_700.0));
    }
}
