//! Connect storm: a fixed number of clients that connect, subscribe on demand, disconnect and start again.

use std::time::{Duration, Instant};

use crate::error::LoadError;
use crate::fleet::{ClientPlan, Fleet};
use crate::latency::Latency;
use crate::link::Link;
use crate::meter::Meter;
use crate::report::Report;
use crate::settings::Settings;
use crate::wire::{self, Inbound};

/// One place of the storm.
#[derive(Clone, Copy, Debug)]
struct Place {
    dialled: Instant,
    /// The broker said all that this client wanted to hear.
    is_done: bool,
}

struct Storm<'a> {
    settings: &'a Settings,
    fleet: Fleet,
    places: Vec<Place>,
    opened: u64,
    closed: u64,
    latency: Latency,
}

/// Connects and disconnects for `duration`, `connections` clients at a time.
///
/// # Errors
/// The first refusal or error of a socket.
pub fn run(settings: &Settings) -> Result<Report, LoadError> {
    let mut report = Report::new(settings);
    let mut storm = Storm {
        settings,
        fleet: Fleet::new(settings, settings.connections)?,
        places: Vec::new(),
        opened: 0,
        closed: 0,
        latency: Latency::new(),
    };
    for _ in 0..settings.connections {
        storm.places.push(Place {
            dialled: Instant::now(),
            is_done: false,
        });
        let plan = storm.next_plan();
        storm.fleet.open(&plan)?;
    }
    storm.rage(Duration::from_secs_f64(settings.warmup), None)?;
    eprintln!("measuring");

    storm.latency = Latency::new();
    let before = storm.closed;
    let meter = Meter::start(&settings.pids)?;
    let idle_s = storm.rage(Duration::from_secs_f64(settings.duration), settings.count)?;
    let (span, connects) = (meter.stop()?, storm.closed - before);
    span.report("connect", connects, &mut report.figures);
    storm.latency.report("connack", &mut report.figures);
    let busy_share = (1.0 - idle_s / span.seconds).min(span.own_cpu_s / span.seconds);
    report.figures.set("generator_busy_share", busy_share);
    report.generator_limited = span.is_generator_limited(busy_share);
    storm.fleet.close_all(0..settings.connections)?;
    Ok(report)
}

impl Storm<'_> {
    fn next_plan(&mut self) -> ClientPlan {
        self.opened += 1;
        ClientPlan::clean(format!("{}-c{}", self.settings.prefix, self.opened))
    }

    /// Keeps all places busy for `time` or until `count` more clients are done; returns the idle seconds.
    fn rage(&mut self, time: Duration, count: Option<u64>) -> Result<f64, LoadError> {
        let start = Instant::now();
        let target = count.map_or(u64::MAX, |count| self.closed + count);
        let (mut idle, mut mark) = (Duration::ZERO, start);
        let patience = if self.settings.spins() {
            Duration::ZERO
        } else {
            Duration::from_millis(5)
        };
        while start.elapsed() < time && self.closed < target {
            let (places, latency, settings) = (&mut self.places, &mut self.latency, self.settings);
            let ready = self
                .fleet
                .turn(Some(patience), &mut |index, link, packet| {
                    places[index].on_packet(index, link, &packet, settings, latency);
                    Ok(())
                })?;
            for index in 0..self.places.len() {
                if self.places[index].is_done {
                    self.start_again(index)?;
                }
            }
            if ready == 0 {
                idle += mark.elapsed();
                std::thread::yield_now();
            }
            mark = Instant::now();
        }
        Ok(idle.as_secs_f64())
    }

    fn start_again(&mut self, index: usize) -> Result<(), LoadError> {
        self.fleet.close(index)?;
        self.closed += 1;
        let plan = self.next_plan();
        self.fleet.reopen(index, &plan)?;
        self.places[index] = Place {
            dialled: Instant::now(),
            is_done: false,
        };
        Ok(())
    }
}

impl Place {
    fn on_packet(
        &mut self,
        index: usize,
        link: &mut Link,
        packet: &Inbound<'_>,
        settings: &Settings,
        latency: &mut Latency,
    ) {
        match packet {
            Inbound::Connack { .. } => {
                latency
                    .record(u64::try_from(self.dialled.elapsed().as_nanos()).unwrap_or(u64::MAX));
                if settings.subscribe {
                    let filter = [format!("{}/device/{index}/command", settings.prefix)];
                    wire::put_subscribe(
                        &mut link.out,
                        settings.version(),
                        1,
                        &filter,
                        settings.qos,
                    );
                    link.open_subscribes = 1;
                } else {
                    self.is_done = true;
                }
            }
            Inbound::Suback { .. } => self.is_done = true,
            _ => {}
        }
    }
}
