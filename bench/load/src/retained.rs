//! Replay of retained messages: fresh subscribers ask for all of them, again and again.

use std::time::{Duration, Instant};

use crate::error::LoadError;
use crate::fleet::{ClientPlan, Fleet};
use crate::latency::Latency;
use crate::meter::{self, Meter};
use crate::report::Report;
use crate::settings::Settings;
use crate::wire::{self, Inbound, PublishShape, PublishTemplate, Stamp, kind};

/// Publishes on the way while the messages are stored; the smallest receive maximum of the peers is 20.
const STORE_WINDOW: u64 = 16;

/// Stores `messages` retained messages, replays them for `duration`, and removes them.
///
/// # Errors
/// The first refusal or error of a socket, or a replay that stands still.
pub fn run(settings: &Settings) -> Result<Report, LoadError> {
    let mut report = Report::new(settings);
    let mut fleet = Fleet::new(settings, 2)?;
    let storer = fleet.open_all(&[ClientPlan::clean(format!("{}-storer", settings.prefix))])?;
    let before = meter::Meter::start(&settings.pids)?;
    store(&mut fleet, storer, settings, settings.payload)?;
    meter::settle(&settings.pids)?;
    report.figures.set(
        "bytes_per_retained",
        before.stop()?.growth_per(settings.messages),
    );
    replay(&mut fleet, settings, 0, &mut Latency::new(), &mut report)?;
    report.balance = crate::report::Balance::default();
    eprintln!("measuring");

    let meter = Meter::start(&settings.pids)?;
    let start = Instant::now();
    let mut latency = Latency::new();
    let mut rounds = 0;
    while start.elapsed() < Duration::from_secs_f64(settings.duration)
        && settings.count.is_none_or(|count| rounds < count)
    {
        rounds += 1;
        replay(&mut fleet, settings, rounds, &mut latency, &mut report)?;
    }
    meter.stop()?.report(
        "delivery",
        report.balance.counts.received,
        &mut report.figures,
    );
    latency.report("replay", &mut report.figures);
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
    let deadline = Instant::now() + Duration::from_secs_f64(settings.step_limit);
    let (mut sent, mut stored) = (0, 0);
    while stored < settings.messages {
        while sent < settings.messages && sent - stored < STORE_WINDOW {
            let template =
                PublishTemplate::new(&format!("{}/store/{}/value", settings.prefix, sent), shape);
            let stamp = Stamp {
                sequence: sent,
                ..Stamp::default()
            };
            let packet_id = u16::try_from(sent % 60_000 + 1).unwrap_or(1);
            template.append(&mut fleet.link(link).out, packet_id, &stamp);
            sent += 1;
        }
        fleet.flush(link)?;
        fleet.turn(
            Some(Duration::from_millis(100)),
            &mut |index, _, packet| match packet {
                Inbound::Ack {
                    kind: kind::PUBACK,
                    code: 0..0x80,
                    ..
                } if index == link => {
                    stored += 1;
                    Ok(())
                }
                Inbound::Ack {
                    kind: kind::PUBACK,
                    code,
                    ..
                } => Err(LoadError::Refused {
                    what: "retained message",
                    code,
                }),
                _ => Ok(()),
            },
        )?;
        if Instant::now() > deadline {
            return Err(LoadError::Timeout {
                step: "storing retained messages",
                seconds: settings.step_limit,
            });
        }
    }
    Ok(())
}

/// One fresh subscriber hears all messages; what is missing after two quiet seconds is lost.
fn replay(
    fleet: &mut Fleet,
    settings: &Settings,
    round: u64,
    latency: &mut Latency,
    report: &mut Report,
) -> Result<(), LoadError> {
    let total = settings.messages;
    let link = fleet.open_all(&[ClientPlan::clean(format!("{}-r{round}", settings.prefix))])?;
    let started = Instant::now();
    let filter = [format!("{}/store/#", settings.prefix)];
    let output = &mut fleet.link(link).out;
    wire::put_subscribe(output, settings.version(), 1, &filter, settings.qos);
    fleet.flush(link)?;

    let counts = &mut report.balance.counts;
    let mut seen = vec![false; usize::try_from(total).unwrap_or(usize::MAX)];
    let (mut distinct, mut last) = (0, Instant::now());
    while distinct < total && last.elapsed() < Duration::from_secs(2) {
        let patience = if settings.spins() {
            Duration::ZERO
        } else {
            Duration::from_millis(5)
        };
        let ready = fleet.turn(Some(patience), &mut |index, link_ref, packet| {
            match packet {
                Inbound::Publish {
                    qos,
                    packet_id,
                    payload,
                } if index == link => {
                    counts.received += 1;
                    let slot = Stamp::decode(payload)
                        .and_then(|stamp| seen.get_mut(usize::try_from(stamp.sequence).ok()?));
                    match slot {
                        Some(true) => counts.duplicated += 1,
                        Some(slot) => {
                            *slot = true;
                            distinct += 1;
                        }
                        None => counts.foreign += 1,
                    }
                    match qos {
                        1 => wire::put_ack(&mut link_ref.out, kind::PUBACK, packet_id),
                        2 => wire::put_ack(&mut link_ref.out, kind::PUBREC, packet_id),
                        _ => {}
                    }
                }
                Inbound::Ack {
                    kind: kind::PUBREL,
                    packet_id,
                    ..
                } => wire::put_ack(&mut link_ref.out, kind::PUBCOMP, packet_id),
                _ => {}
            }
            Ok(())
        })?;
        if ready > 0 {
            last = Instant::now();
        }
    }
    latency.record(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX));
    report.balance.expected += total;
    report.balance.counts.lost += total - distinct;
    fleet.close(link)
}
