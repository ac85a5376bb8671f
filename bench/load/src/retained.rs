//! Replay of retained messages: fresh subscribers ask for all of them, again and again.

use std::time::{Duration, Instant};

use crate::error::LoadError;
use crate::feed::feed;
use crate::fleet::{ClientPlan, Fleet};
use crate::latency::Latency;
use crate::link::Link;
use crate::meter::{self, Meter};
use crate::report::{Balance, Report};
use crate::settings::Settings;
use crate::tally::Counts;
use crate::wire::{self, Inbound, PublishShape, PublishTemplate, Stamp, kind};

/// Stores `messages` retained messages, replays them for `duration`, and removes them.
///
/// # Errors
/// The first refusal or error of a socket, or a replay that stands still.
pub fn run(settings: &Settings) -> Result<Report, LoadError> {
    let mut report = Report::new(settings);
    let mut fleet = Fleet::new(settings, 2)?;
    let storer = fleet.open_all(&[ClientPlan::clean(format!("{}-storer", settings.prefix))])?;
    let before = Meter::start(&settings.pids)?;
    store(&mut fleet, storer, settings, settings.payload)?;
    meter::settle(&settings.pids)?;
    report.figures.set(
        "bytes_per_retained",
        before.stop()?.growth_per(settings.messages),
    );
    replay(&mut fleet, settings, 0, &mut Balance::default())?;
    eprintln!("measuring");

    let meter = Meter::start(&settings.pids)?;
    let start = Instant::now();
    let (mut latency, mut balance, mut rounds) = (Latency::new(), Balance::default(), 0);
    while start.elapsed() < Duration::from_secs_f64(settings.duration)
        && settings.count.is_none_or(|count| rounds < count)
    {
        rounds += 1;
        let time = replay(&mut fleet, settings, rounds, &mut balance)?;
        latency.record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }
    meter
        .stop()?
        .report("delivery", balance.counts.received, &mut report.figures);
    latency.report("replay", &mut report.figures);
    report.balance = balance;
    store(&mut fleet, storer, settings, 0)?;
    fleet.close(storer)?;
    Ok(report)
}

/// Publishes every topic once at QoS 1; an empty payload removes it.
fn store(
    fleet: &mut Fleet,
    link: usize,
    settings: &Settings,
    payload_bytes: usize,
) -> Result<(), LoadError> {
    let shape = PublishShape {
        qos: 1,
        is_retained: true,
        payload_bytes,
        ..settings.publish_shape()
    };
    feed(
        fleet,
        settings,
        link,
        settings.messages,
        &mut |number, packet_id, out| {
            let topic = format!("{}/store/{number}/value", settings.prefix);
            let stamp = Stamp {
                sequence: number,
                ..Stamp::default()
            };
            PublishTemplate::new(&topic, shape).append(out, packet_id, &stamp);
        },
    )
}

/// What one fresh subscriber has heard.
#[derive(Debug)]
struct Replay {
    seen: Vec<bool>,
    distinct: u64,
    counts: Counts,
}

impl Replay {
    fn on_packet(&mut self, link: &mut Link, packet: &Inbound<'_>) {
        match *packet {
            Inbound::Publish {
                qos,
                packet_id,
                payload,
            } => {
                self.record(payload);
                match qos {
                    1 => wire::put_ack(&mut link.out, kind::PUBACK, packet_id),
                    2 => wire::put_ack(&mut link.out, kind::PUBREC, packet_id),
                    _ => {}
                }
            }
            Inbound::Ack {
                kind: kind::PUBREL,
                packet_id,
                ..
            } => {
                wire::put_ack(&mut link.out, kind::PUBCOMP, packet_id);
            }
            _ => {}
        }
    }

    fn record(&mut self, payload: &[u8]) {
        self.counts.received += 1;
        let sequence =
            Stamp::decode(payload).and_then(|stamp| usize::try_from(stamp.sequence).ok());
        match sequence.and_then(|sequence| self.seen.get_mut(sequence)) {
            Some(true) => self.counts.duplicated += 1,
            Some(slot) => {
                *slot = true;
                self.distinct += 1;
            }
            None => self.counts.foreign += 1,
        }
    }
}

/// One fresh subscriber hears all messages; what is missing after two quiet seconds is lost.
fn replay(
    fleet: &mut Fleet,
    settings: &Settings,
    round: u64,
    balance: &mut Balance,
) -> Result<Duration, LoadError> {
    let total = settings.messages;
    let link = fleet.open_all(&[ClientPlan::clean(format!("{}-r{round}", settings.prefix))])?;
    let started = Instant::now();
    let filter = [format!("{}/store/#", settings.prefix)];
    wire::put_subscribe(
        &mut fleet.link(link).out,
        settings.version(),
        1,
        &filter,
        settings.qos,
    );
    fleet.flush(link)?;

    let seen = vec![false; usize::try_from(total).unwrap_or(usize::MAX)];
    let mut replay = Replay {
        seen,
        distinct: 0,
        counts: Counts::default(),
    };
    let patience = if settings.spins() {
        Duration::ZERO
    } else {
        Duration::from_millis(5)
    };
    let mut last = Instant::now();
    while replay.distinct < total && last.elapsed() < Duration::from_secs(2) {
        let ready = fleet.turn(Some(patience), &mut |index, client, packet| {
            if index == link {
                replay.on_packet(client, &packet);
            }
            Ok(())
        })?;
        if ready > 0 {
            last = Instant::now();
        }
    }
    let time = started.elapsed();
    replay.counts.lost = total - replay.distinct;
    balance.expected += total;
    balance.counts += replay.counts;
    fleet.close(link)?;
    Ok(time)
}
